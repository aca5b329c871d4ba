//! Where an audit has come to: positions, chain, sequences and names, from part to part.

use super::super::error::JournalError;
use super::super::format::{JournalId, LANES, SLOT, Sequences, record, u32_at};
use super::super::verify::Gap;
use super::listing::{Part, forms_of, log_name};
use super::{Audit, Finding, Form, Kind, Lost, Names, PartReport, Progress, Visitor};
use crate::event::{PRIORITIES, Priority};
use crate::taxonomy;
use std::collections::BTreeSet;
use std::path::Path;

/// Bytes between two questions whether to go on.
const EVERY: u64 = 16 << 20;
/// Forms that a part may take on while it is read: sealed, then packed.
const AGAIN: usize = 3;
/// More than any bus has places for.
const MOST_NAMES: u32 = 1 << 28;

/// What is numbered, and numbers of it.
type Numbers = BTreeSet<(&'static str, u32)>;

pub(super) struct Tracker<'a> {
    pub path: &'a Path,
    pub audit: Audit,
    pub id: Option<JournalId>,
    /// Parts behind the one that is being read.
    pub later: Vec<Part>,
    /// Sequence that each lane goes on with.
    next: Sequences,
    /// A finding accounts for what the lane misses until its next event.
    explained: [bool; LANES],
    /// Findings whose range ends with the lane's next event.
    open: [Vec<usize>; LANES],
    /// Behind the last part; `None` where that is not known.
    pub end: Option<u64>,
    /// First position of the part read last.
    last: Option<u64>,
    /// What stood between here and the next part was removed on purpose, so nothing is missed.
    begins_anew: bool,
    /// What is known again is no contradiction: a part that went away is read in its other form.
    reading_again: bool,
    /// A file that is shorter than it was, until the reading comes to where it ends.
    pub short: Option<Finding>,
    symbols: Known,
    sources: Known,
    /// Checksum of the last batch; `None` where it is not known.
    pub chain: Option<u32>,
    /// The log ends here: all that follows was never acknowledged as durable.
    pub ended: bool,
    /// Events that nobody names, of the part being read.
    unnamed: u64,
    unnamed_numbers: Numbers,
    /// The same of parts before the first that begins with all names, where old parts were removed.
    unnamed_yet: Vec<(String, u64, Numbers)>,
    all_named: bool,
    types: [bool; 256],
    visitor: &'a mut dyn Visitor,
    progress: Progress<'a>,
    done: u64,
    asked: u64,
    total: u64,
}

/// How the reading of a part ended.
pub(super) enum Outcome {
    Read,
    /// It could not be opened as what its name says; a finding tells why.
    Useless,
    /// It went away or was given another use meanwhile.
    Gone,
}

impl<'a> Tracker<'a> {
    pub fn new(
        path: &'a Path,
        id: Option<JournalId>,
        writer: Option<u32>,
        total: u64,
        visitor: &'a mut dyn Visitor,
        progress: Progress<'a>,
    ) -> Tracker<'a> {
        Tracker {
            path,
            audit: Audit { id, writer, ..Audit::default() },
            id,
            later: Vec::new(),
            next: [0; LANES],
            explained: [false; LANES],
            open: Default::default(),
            end: Some(0),
            last: None,
            begins_anew: false,
            reading_again: false,
            short: None,
            symbols: Known::default(),
            sources: Known::default(),
            chain: None,
            ended: false,
            unnamed: 0,
            unnamed_numbers: Numbers::new(),
            unnamed_yet: Vec::new(),
            all_named: false,
            types: std::array::from_fn(|number| taxonomy::builtin(number as u8).is_some()),
            visitor,
            progress,
            done: 0,
            asked: 0,
            total,
        }
    }

    /// Read one segment, in the form that counts; `others` are its other forms.
    pub fn part(&mut self, part: &Part, others: &[Part]) -> Result<(), JournalError> {
        // What the listing has not shown may be there all the same.
        let behind = |end: u64, last: Option<u64>| last.is_none_or(|last| end > last);
        while let Some(end) = self.end.filter(|&end| end < part.first && behind(end, self.last))
            && !self.ended
        {
            let forms = forms_of(self.path, end)?;
            let Some((one, others)) = forms.split_first() else {
                break;
            };
            self.one(one, others)?;
        }
        self.one(part, others)
    }

    fn one(&mut self, part: &Part, others: &[Part]) -> Result<(), JournalError> {
        self.until_part(part);
        self.last = Some(part.first);
        let before = self.done;
        let mut outcome = self.read(part)?;
        for other in others {
            match outcome {
                Outcome::Read => {
                    let why = format!("is there in another form, {}, which counts", part.file);
                    let leftover = Finding::new(Kind::Leftover, &other.file, why);
                    self.tell(Finding { bytes: other.bytes, ..leftover });
                }
                Outcome::Useless | Outcome::Gone => outcome = self.read(other)?,
            }
        }
        for _ in 0..AGAIN {
            if !matches!(outcome, Outcome::Gone) {
                break;
            }
            // Sealed, packed or given up while we read.
            self.reading_again = true;
            if let Some(form) = forms_of(self.path, part.first)?.first() {
                outcome = self.read(form)?;
            }
        }
        if matches!(outcome, Outcome::Gone) {
            let first = super::list(self.path)?.parts.first().map(|part| part.first);
            if first.is_some_and(|first| first > part.first) {
                // Retention takes the oldest parts, so nothing that was read is there any more either.
                self.begins_anew = true;
            } else {
                let why = "the segment went away while the journal was read";
                let missing = Finding::new(Kind::Missing, &part.file, why);
                self.hole(missing.at(0, Some(part.first)));
            }
        }
        self.reading_again = false;
        if !matches!(outcome, Outcome::Read) {
            self.chain = None;
        }
        self.done = before + part.bytes;
        self.tell_of_unnamed(&part.file);
        self.ask(0)
    }

    fn read(&mut self, part: &Part) -> Result<Outcome, JournalError> {
        match part.form {
            Form::Log => self.log_part(part),
            Form::Sealed | Form::Packed => self.segment_part(part),
        }
    }

    /// Whether anything lies between the parts before and this one.
    fn until_part(&mut self, part: &Part) {
        // What a useless part before covered is not known.
        let end = self.end.take().unwrap_or(part.first);
        if part.first < end {
            let why = format!("begins inside the segment before, which ends at position {end}");
            self.tell(Finding::new(Kind::Contradiction, &part.file, why).at(0, Some(part.first)));
            self.chain = None;
        } else if part.first > end && end == 0 && part.form != Form::Log {
            // The log has to begin where sealed segments end, but those may begin anywhere.
            self.begins_anew = true;
            let why = format!(
                "the journal begins at position {}: what was before was removed, by retention or by hand",
                part.first
            );
            self.tell(Finding::new(Kind::Removed, "", why));
        } else if part.first > end && !self.ended {
            self.chain = None;
            let why = match end {
                0 => "the segment is missing, and with it the beginning of the journal",
                _ => "the segment is missing",
            };
            let finding = Finding::new(Kind::Missing, &log_name(end), why).at(0, Some(end));
            self.hole(Finding { until: Some(part.first), ..finding });
        }
    }

    pub fn tell(&mut self, finding: Finding) {
        self.audit.findings.push(finding);
    }

    /// Something is not to be had, and events may be among it.
    pub fn hole(&mut self, mut finding: Finding) {
        for lane in 0..LANES {
            finding.sequences[lane].0 = Some(self.next[lane]);
            self.explained[lane] = true;
            self.open[lane].push(self.audit.findings.len());
        }
        self.audit.closed = false;
        self.audit.findings.push(finding);
    }

    /// Damage that costs known events of one lane.
    pub fn hole_in(&mut self, lane: Priority, mut finding: Finding, sequences: (u64, u64)) {
        finding.sequences[lane as usize] = (Some(sequences.0), Some(sequences.1));
        self.explained[lane as usize] = true;
        self.audit.closed = false;
        self.audit.findings.push(finding);
    }

    /// A part says with which sequences it begins.
    pub fn begin_part(&mut self, first: &Sequences, part: &Part) {
        if std::mem::take(&mut self.begins_anew) {
            self.next = *first;
            self.audit.begins = *first;
        }
        for (lane, &first) in first.iter().enumerate() {
            self.arrive(lane, first, &part.file, (0, Some(part.first)));
        }
    }

    /// A lane goes on with `first`: what was expected before is lost.
    pub fn arrive(&mut self, lane: usize, first: u64, file: &str, at: (u64, Option<u64>)) {
        let expected = self.next[lane];
        for index in std::mem::take(&mut self.open[lane]) {
            self.audit.findings[index].sequences[lane].1 = Some(first);
        }
        let explained = std::mem::take(&mut self.explained[lane]);
        let name = PRIORITIES[lane].name();
        if first > expected {
            if !explained {
                let why = format!(
                    "{name} goes on with {first}, {expected} is next, and no gap is recorded"
                );
                let mut finding = Finding::new(Kind::Missing, file, why).at(at.0, at.1);
                finding.sequences[lane] = (Some(expected), Some(first));
                self.tell(finding);
            }
            self.lose(lane, expected, Some(first));
        } else if first < expected && !self.reading_again {
            let why = format!("{name} goes on with {first} and had come to {expected} already");
            let mut finding = Finding::new(Kind::Contradiction, file, why).at(at.0, at.1);
            finding.sequences[lane] = (Some(first), Some(expected));
            self.tell(finding);
        }
        self.next[lane] = expected.max(first);
    }

    fn lose(&mut self, lane: usize, first: u64, end: Option<u64>) {
        let count = end.map(|end| end - first);
        self.audit.lost.push(Lost { lane: PRIORITIES[lane], first, count });
    }

    /// Where the lanes stand after all that was read.
    pub fn sequences(&self) -> Sequences {
        self.next
    }

    /// Events with their first sequence. Those that were there already are left out.
    pub fn events(
        &mut self,
        lane: Priority,
        first: u64,
        rows: &[u8],
        report: &mut PartReport,
        at: (u64, Option<u64>),
    ) -> Result<(), JournalError> {
        let (number, count) = (lane as usize, (rows.len() / SLOT) as u64);
        if self.next[number] != first || self.explained[number] {
            self.arrive(number, first, &report.file, at);
        }
        let known = self.next[number].saturating_sub(first).min(count);
        let rows = &rows[known as usize * SLOT..];
        report.events[number] += count;
        self.look_at(rows, report);
        self.next[number] = self.next[number].max(first.saturating_add(count));
        if !rows.is_empty() {
            self.visitor.events(lane, first + known, rows)?;
        }
        self.ask(rows.len() as u64)
    }

    fn look_at(&mut self, rows: &[u8], report: &mut PartReport) {
        for row in rows.chunks_exact(SLOT) {
            let timestamp = u64::from_le_bytes(row[..8].try_into().expect("eight bytes"));
            report.least = report.least.min(timestamp);
            report.greatest = report.greatest.max(timestamp);
            let source = u32::from(row[10]) | u32::from(row[11]) << 8;
            let symbol = u32_at(row, 12);
            let unnamed = if !self.symbols.has(symbol) {
                ("symbol", symbol)
            } else if !self.sources.has(source) {
                ("source", source)
            } else if !self.types[usize::from(row[8])] {
                ("event type", u32::from(row[8]))
            } else {
                continue;
            };
            self.unnamed += 1;
            self.unnamed_numbers.insert(unnamed);
        }
    }

    pub fn gap(
        &mut self,
        gap: Gap,
        file: &str,
        at: (u64, Option<u64>),
    ) -> Result<(), JournalError> {
        let lane = gap.lane as usize;
        self.arrive(lane, gap.first, file, at);
        let Some(end) = gap.first.checked_add(gap.count) else {
            let why = "a gap goes past the last sequence";
            self.tell(Finding::new(Kind::Contradiction, file, why).at(at.0, at.1));
            return Ok(());
        };
        let first = self.next[lane];
        if end <= first {
            return Ok(());
        }
        self.next[lane] = end;
        let gap = Gap { first, count: end - first, ..gap };
        self.audit.gaps.push(gap);
        self.visitor.gap(gap)
    }

    pub fn record(
        &mut self,
        position: u64,
        kind: u32,
        bytes: &[u8],
        file: &str,
        offset: u64,
    ) -> Result<(), JournalError> {
        match (kind, self.audit.names.learn(kind, bytes)) {
            (_, Err(why)) => {
                self.tell(Finding::new(Kind::Contradiction, file, why).at(offset, Some(position)));
            }
            (record::SYMBOL, Ok(number)) => self.symbols.add(number),
            (record::SOURCE, Ok(number)) => self.sources.add(number),
            (record::EVENT_TYPE, Ok(number)) => self.types[number as usize] = true,
            (record::NAMES, Ok(_)) => self.all_named = true,
            _ => {}
        }
        self.visitor.record(position, kind, bytes)
    }

    /// A name comes before its first event, or stands at the head of a later segment: that counts where
    /// what was before is not there any more.
    fn tell_of_unnamed(&mut self, file: &str) {
        let (count, numbers) =
            (std::mem::take(&mut self.unnamed), std::mem::take(&mut self.unnamed_numbers));
        if count > 0 && self.audit.begins != [0; LANES] && !self.all_named {
            self.unnamed_yet.push((file.to_owned(), count, numbers));
        } else if let Some((kind, number)) = numbers.first() {
            let why = format!(
                "{count} events have a number that no record before them names: {kind} {number}"
            );
            self.tell(Finding::new(Kind::Unnamed, file, why));
        }
    }

    fn tell_of_never_named(&mut self) {
        for (file, count, numbers) in std::mem::take(&mut self.unnamed_yet) {
            let named = |&&(kind, number): &&(&str, u32)| match kind {
                "symbol" => self.symbols.has(number),
                "source" => self.sources.has(number),
                _ => self.types[number as usize],
            };
            if let Some((kind, number)) = numbers.iter().find(|number| !named(number)) {
                let why = format!(
                    "some of {count} events have a number that no record names: {kind} {number}"
                );
                self.tell(Finding::new(Kind::Unnamed, &file, why));
            }
        }
    }

    /// Tell how far it has come, and ask whether to go on.
    pub fn ask(&mut self, more: u64) -> Result<(), JournalError> {
        self.done += more;
        self.audit.bytes_read = self.done;
        if more > 0 && self.done < self.asked + EVERY {
            return Ok(());
        }
        self.asked = self.done;
        let go_on = (self.progress)(self.done.min(self.total), self.total);
        if go_on { Ok(()) } else { Err(JournalError::Interrupted) }
    }

    pub fn finish(mut self) -> Audit {
        self.tell_of_never_named();
        for lane in 0..LANES {
            // Nothing follows the last hole: how much it cost is not known.
            if !self.open[lane].is_empty() {
                self.lose(lane, self.next[lane], None);
            }
        }
        self.audit.next = self.sequences();
        self.audit.findings.sort_by_key(|finding| {
            (!finding.kind.is_damage(), finding.position.unwrap_or(u64::MAX), finding.file.clone())
        });
        self.audit
    }
}

/// Numbers that have a name. 0 stands for none and needs none.
#[derive(Default)]
struct Known(Vec<u64>);

impl Known {
    #[inline]
    fn has(&self, number: u32) -> bool {
        let word = self.0.get(number as usize / 64).copied().unwrap_or(0);
        number == 0 || word >> (number % 64) & 1 != 0
    }

    fn add(&mut self, number: u32) {
        let word = number as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }
}

impl Names {
    /// Take in a record: the number that it names, or what is wrong with it.
    fn learn(&mut self, kind: u32, bytes: &[u8]) -> Result<u32, String> {
        let unreadable = |what| format!("a record names a {what} and cannot be read");
        let (what, names, number, text) = match kind {
            record::SYMBOL => {
                let number = bytes.first_chunk().map(|number| u32::from_le_bytes(*number));
                ("symbol", &mut self.symbols, number, 4)
            }
            record::SOURCE => {
                let number = bytes.first_chunk().map(|number| u16::from_le_bytes(*number).into());
                ("source", &mut self.sources, number, 2)
            }
            record::EVENT_TYPE => {
                let &number = bytes.first().ok_or_else(|| unreadable("type"))?;
                let known = self.types.entry(number).or_insert_with(|| bytes.to_vec());
                let two = || format!("event type {number} is described in two ways");
                return if known == bytes { Ok(number.into()) } else { Err(two()) };
            }
            _ => return Ok(0),
        };
        let number = number.ok_or_else(|| unreadable(what))?;
        let text = str::from_utf8(&bytes[text..]).map_err(|_| unreadable(what))?;
        // Names are given one after the other, so that a number far off is none of a writer's.
        if number == 0 || number > MOST_NAMES {
            return Err(format!(
                "{what} {number} is called {text:?}, a number that no writer gives"
            ));
        }
        match names.get(&number) {
            Some(known) if known != text => {
                Err(format!("{what} {number} is called {text:?}, and {known:?} before"))
            }
            Some(_) => Ok(number),
            None => {
                names.insert(number, text.to_owned());
                Ok(number)
            }
        }
    }
}
