//! All segments of a journal as one log: what is still in the log, sealed and packed ones.
//!
//! ```text
//! 00.segz 01.segz 02.seg 03.seg 04.log 05.log ─► parts in order ─► query
//! packed          sealed        hot: scanned once, the last one goes on
//! ```
//!
//! Others append, seal, pack, recycle and delete meanwhile. A query ends at what was written when it
//! began, and what it began with it reads to its end: a segment that was sealed or packed since has the
//! same events in the same blocks, and is read there. Only one that was deleted is an error,
//! [`SegmentError::Removed`].
//!
//! **Damage** is an error of the query, before or while it reads. A query that salvages leaves out
//! what cannot be read and lists it.
//!
//! **Memory.** For each segment what its footer says of the lanes (200 bytes), the index of each log
//! segment (hot.rs), up to 64 open files with an index of 0.1 % of their events, the names, and what
//! the query itself takes (query.rs).

use super::dictionary::Dictionary;
use super::fault::{Damage, SegmentError};
use super::folder::Form;
use super::format::{HeaderState, JournalId, SegmentHeader, segment_name};
use super::hot::{Hot, HotReader, Scan, fault};
use super::index::LaneIndex;
use super::parts::{Files, Forms, SegmentFile, list};
use super::query::{Buffer, Hold, Query, Results, Rows, Segment, Span};
use super::walk::{look_ahead, read_header};
use crate::event::{PRIORITIES, Priority};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Looks at a directory that others change, with a pause between them.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// A segment of the journal, in whatever form.
#[derive(Clone)]
pub struct Part {
    /// First position, and the one behind the last.
    pub first: u64,
    pub end: u64,
    pub path: PathBuf,
    /// None: it is in the log.
    pub form: Option<Form>,
    spans: [Span; 3],
    hot: Option<Arc<Hot>>,
    files: Arc<Files>,
}

impl Part {
    fn of_file(files: &Arc<Files>, file: &SegmentFile, form: Form) -> Part {
        let opened = file.opened();
        let identity = &opened.layout().identity;
        let segment = file.segment();
        Part {
            first: identity.first_position,
            end: identity.first_position.saturating_add(identity.slots),
            path: opened.path().to_path_buf(),
            form: Some(form),
            spans: PRIORITIES.map(|lane| segment.span(lane)),
            hot: None,
            files: Arc::clone(files),
        }
    }

    fn of_log(files: &Arc<Files>, head: &SegmentHeader, hot: &Arc<Hot>) -> Part {
        Part {
            first: head.first,
            end: head.end(),
            path: files.path.join(segment_name(head.first)),
            form: None,
            spans: PRIORITIES.map(|lane| hot.span(lane)),
            hot: Some(Arc::clone(hot)),
            files: Arc::clone(files),
        }
    }

    pub fn span(&self, lane: Priority) -> Span {
        self.spans[lane as usize]
    }
}

impl Hold for Arc<Part> {
    fn span(&self, lane: Priority) -> Span {
        Part::span(self, lane)
    }

    fn open(&self) -> Result<Arc<dyn Segment>, SegmentError> {
        let Some(hot) = &self.hot else {
            return self.files.open(self.first).map(|file| file.segment());
        };
        match hot.open() {
            Ok(reader) => Ok(Arc::new(Recyclable {
                reader,
                part: Arc::clone(self),
                instead: OnceLock::new(),
            })),
            // It has been sealed since.
            Err(SegmentError::Removed { .. }) => {
                self.files.open(self.first).map(|file| file.segment())
            }
            Err(error) => Err(error),
        }
    }
}

/// A log segment that may be sealed and overwritten while it is read.
struct Recyclable {
    reader: HotReader,
    part: Arc<Part>,
    instead: OnceLock<Arc<dyn Segment>>,
}

impl Segment for Recyclable {
    fn span(&self, lane: Priority) -> Span {
        self.part.span(lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.reader.index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.reader.sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        if self.instead.get().is_none() {
            match self.reader.fill(lane, block, buffer) {
                Ok(length) => return Ok(&buffer.bytes[..length]),
                Err(SegmentError::Removed { .. }) => {
                    let file = self.part.files.open(self.part.first)?;
                    self.instead.get_or_init(|| file.segment());
                }
                Err(error) => return Err(error),
            }
        }
        self.instead.get().expect("set above").block(lane, block, buffer)
    }
}

/// A journal's segments at one moment.
pub struct View {
    pub id: JournalId,
    pub parts: Vec<Arc<Part>>,
    /// What is known to be missing or damaged, without reading all events.
    pub faults: Vec<SegmentError>,
}

/// What a query finds.
pub struct Answer {
    results: Results,
    salvage: bool,
    /// What could not be read, when salvaging.
    pub left_out: Vec<SegmentError>,
}

impl Answer {
    /// As [`Results::read`]; a query that salvages goes on behind damage.
    pub fn read(&mut self, rows: &mut Rows, max: usize) -> Result<usize, SegmentError> {
        loop {
            match self.results.read(rows, max) {
                Err(error) if self.salvage && !matches!(error, SegmentError::Io { .. }) => {
                    self.left_out.push(error);
                }
                read => return read,
            }
        }
    }
}

/// A journal's directory, to be asked; shared by threads.
pub struct Archive {
    files: Arc<Files>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    id: Option<JournalId>,
    /// Sealed and packed segments.
    parts: BTreeMap<u64, Arc<Part>>,
    /// Log segments that take no more.
    hot: BTreeMap<u64, (SegmentHeader, Arc<Hot>)>,
    /// Those that do.
    scans: BTreeMap<u64, Scan>,
    /// Records of names from log segments that the dictionary has not taken in yet.
    names: BTreeMap<u64, Vec<(u32, Vec<u8>)>>,
    dictionary: Dictionary,
    /// Names of segments before this position are known.
    named_to: u64,
    bad_names: Vec<Damage>,
}

/// Why a look at the directory was not enough.
enum Trouble {
    /// It changed meanwhile.
    Changed(SegmentError),
    Wrong(SegmentError),
}

impl From<SegmentError> for Trouble {
    fn from(error: SegmentError) -> Trouble {
        match error {
            SegmentError::Removed { .. } => Trouble::Changed(error),
            _ => Trouble::Wrong(error),
        }
    }
}

/// What stands at a position.
enum Stands {
    Part(Arc<Part>),
    Log(SegmentHeader, File),
    Broken(PathBuf),
}

impl Archive {
    /// The journal in a directory.
    pub fn open(path: &Path) -> Result<Archive, SegmentError> {
        let archive =
            Archive { files: Arc::new(Files::new(path.to_path_buf())), state: Mutex::default() };
        archive.view()?;
        Ok(archive)
    }

    pub fn path(&self) -> &Path {
        &self.files.path
    }

    /// What there is now.
    pub fn view(&self) -> Result<View, SegmentError> {
        self.look(&mut self.state())
    }

    /// Ask for what is written by now.
    ///
    /// # Errors
    /// Whatever is damaged or missing, unless it salvages.
    pub fn query(&self, query: &Query, salvage: bool) -> Result<Answer, SegmentError> {
        let view = self.view()?;
        let mut left_out = view.faults;
        if !salvage && !left_out.is_empty() {
            return Err(left_out.swap_remove(0));
        }
        Ok(Answer { results: query.run(&view.parts)?, salvage, left_out })
    }

    /// The names known by now, and what could not be read of them.
    pub fn names(&self) -> Result<(Dictionary, Vec<SegmentError>), SegmentError> {
        let mut state = self.state();
        self.look(&mut state)?;
        let faults = state.bad_names.iter().cloned().map(SegmentError::Damaged).collect();
        Ok((state.dictionary.clone(), faults))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, state: &mut State) -> Result<View, SegmentError> {
        for tries_left in (0..TRIES).rev() {
            match self.try_look(state, tries_left == 0) {
                Ok(view) => return Ok(view),
                Err(Trouble::Changed(error)) if tries_left == 0 => return Err(error),
                Err(Trouble::Changed(_)) => std::thread::sleep(PAUSE),
                Err(Trouble::Wrong(error)) => return Err(error),
            }
        }
        unreachable!("the last try returns")
    }

    fn try_look(&self, state: &mut State, is_last: bool) -> Result<View, Trouble> {
        let listing = list(&self.files.path)?;
        self.files.forget(&listing);
        state.parts.retain(|first, _| listing.contains_key(first));
        state.hot.retain(|first, _| listing.get(first).is_some_and(|forms| forms.log));
        state.scans.retain(|first, _| listing.get(first).is_some_and(|forms| forms.log));
        let mut faults = Vec::new();
        let mut standing = Vec::new();
        let last = listing.keys().next_back().copied();
        for (&first, forms) in &listing {
            match self.stands(state, first, *forms, Some(first) == last, &mut faults)? {
                Some(stands) => standing.push(stands),
                None => continue,
            }
        }
        let parts = self.scan(state, standing)?;
        let mut sound = Vec::new();
        for part in &parts {
            if let Ok(part) = part {
                if let Some(hot) = &part.hot {
                    faults.extend(hot.damage().into_iter().map(SegmentError::Damaged));
                }
                sound.push(Arc::clone(part));
            }
        }
        follow(&parts, is_last, &mut faults)?;
        let Some(id) = state.id else {
            let path = self.files.path.clone();
            let no_journal = SegmentError::Foreign { path, why: "no journal: it has no segment" };
            return Err(Trouble::Wrong(match faults.into_iter().next() {
                Some(fault) => fault,
                None => no_journal,
            }));
        };
        self.learn(state, &sound)?;
        faults.extend(state.bad_names.iter().cloned().map(SegmentError::Damaged));
        Ok(View { id, parts: sound, faults })
    }

    /// What the files of a position are; `None` for a segment that is only prepared.
    fn stands(
        &self,
        state: &mut State,
        first: u64,
        forms: Forms,
        is_last: bool,
        faults: &mut Vec<SegmentError>,
    ) -> Result<Option<Stands>, Trouble> {
        let form = if forms.sealed { Form::Sealed } else { Form::Packed };
        if forms.sealed || forms.packed {
            if let Some(part) = state.parts.get(&first).filter(|part| part.form == Some(form)) {
                return Ok(Some(Stands::Part(Arc::clone(part))));
            }
            match self.files.open(first) {
                Ok(file) => {
                    let identity = file.opened().layout().identity;
                    own(state, identity.journal, file.opened().path())?;
                    let part = Arc::new(Part::of_file(&self.files, &file, form));
                    state.parts.insert(first, Arc::clone(&part));
                    return Ok(Some(Stands::Part(part)));
                }
                // Damaged, but what it was made of is still there.
                Err(_) if forms.log => {}
                Err(error @ (SegmentError::Removed { .. } | SegmentError::Io { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    faults.push(error);
                    let path = self.files.path.join(form.name(first));
                    return Ok(Some(Stands::Broken(path)));
                }
            }
        }
        let path = self.files.path.join(segment_name(first));
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Trouble::Changed(SegmentError::Removed { path: path.clone() }),
            _ => Trouble::Wrong(SegmentError::io("open", &path)(error)),
        })?;
        let read = || read_header(&file, first, None).map_err(|error| fault(&path, error));
        let mut header = read()?;
        if !matches!(header, HeaderState::Whole(_) | HeaderState::Blank) {
            // It may be read while it is written.
            std::thread::sleep(PAUSE);
            header = read()?;
        }
        let why = match header {
            HeaderState::Whole(head) => {
                own(state, head.id, &path)?;
                return Ok(Some(Stands::Log(head, file)));
            }
            HeaderState::Foreign => {
                return Err(SegmentError::Foreign { path, why: "no log segment" }.into());
            }
            _ if is_last => return Ok(None),
            HeaderState::Blank => "the header is missing",
            _ => "the header is wrong",
        };
        faults.push(SegmentError::damaged(&path, 0, why));
        Ok(Some(Stands::Broken(path)))
    }

    /// Read what is new in the log. `Err`: the file at this place cannot be read.
    fn scan(
        &self,
        state: &mut State,
        standing: Vec<Stands>,
    ) -> Result<Vec<Result<Arc<Part>, PathBuf>>, SegmentError> {
        let mut parts = Vec::new();
        let mut standing = standing.into_iter();
        while let Some(stands) = standing.next() {
            let (head, file) = match stands {
                Stands::Part(part) => {
                    parts.push(Ok(part));
                    continue;
                }
                Stands::Broken(path) => {
                    parts.push(Err(path));
                    continue;
                }
                Stands::Log(head, file) => (head, file),
            };
            if let Some((_, hot)) = state.hot.get(&head.first).filter(|(known, _)| *known == head) {
                parts.push(Ok(Arc::new(Part::of_log(&self.files, &head, hot))));
                continue;
            }
            let path = self.files.path.join(segment_name(head.first));
            let later: Vec<(&SegmentHeader, &File)> = standing
                .as_slice()
                .iter()
                .filter_map(|stands| match stands {
                    Stands::Log(head, file) => Some((head, file)),
                    _ => None,
                })
                .collect();
            let mut vouched = |position| {
                for (head, file) in &later {
                    let ahead = look_ahead(*file, head, head.first);
                    if ahead.map_err(|error| fault(&path, error))?.durable > position {
                        return Ok(true);
                    }
                }
                Ok(false)
            };
            let known = state.scans.remove(&head.first).filter(|scan| *scan.head() == head);
            let scan = match known {
                Some(mut scan) => {
                    let holes = scan.holes();
                    scan.go_on(&mut vouched)?;
                    // What was read before a failed sync may have been cut, and written anew.
                    if scan.holes() > holes { None } else { Some(scan) }
                }
                None => None,
            };
            if scan.is_none() {
                state.names.remove(&head.first);
            }
            let mut scan = scan.unwrap_or_else(|| Scan::new(path.clone(), file, head));
            scan.go_on(&mut vouched)?;
            state.names.entry(head.first).or_default().append(&mut scan.names);
            let hot = Arc::new(scan.hot());
            parts.push(Ok(Arc::new(Part::of_log(&self.files, &head, &hot))));
            if scan.finished {
                state.hot.insert(head.first, (head, hot));
                continue;
            }
            state.scans.insert(head.first, scan);
            if !later.is_empty() {
                // What follows an end that nobody vouches for was never acknowledged: recovery cuts it.
                break;
            }
        }
        Ok(parts)
    }

    /// Take in the names of segments that are new.
    fn learn(&self, state: &mut State, parts: &[Arc<Part>]) -> Result<(), SegmentError> {
        let new = parts.partition_point(|part| part.end <= state.named_to);
        let mut start = new;
        for (at, part) in parts.iter().enumerate().skip(new).rev() {
            // The head of a segment repeats all names before.
            if part.first > state.named_to && self.has_all_names(state, part)? {
                start = at;
                break;
            }
        }
        let first = parts.get(start).map_or(0, |part| part.first);
        state.names.retain(|position, _| *position >= first);
        for part in &parts[start..] {
            let records = match &part.hot {
                Some(_) => state.names.remove(&part.first).unwrap_or_default(),
                None => names_of(&self.files.open(part.first)?)?,
            };
            let mut bad = false;
            for (kind, bytes) in records.iter().filter(|(kind, _)| Dictionary::knows(*kind)) {
                bad |= state.dictionary.read(*kind, bytes).is_err();
            }
            if bad {
                let why = "a name contradicts one before, or one is missing";
                let path = part.path.clone();
                let damage = Damage { path, offset: 0, lane: None, sequences: None, why };
                state.bad_names.push(damage);
            }
            state.named_to = if part.hot.is_some() { part.first } else { part.end };
        }
        Ok(())
    }

    fn has_all_names(&self, state: &State, part: &Part) -> Result<bool, SegmentError> {
        let has_all = |records: &[(u32, Vec<u8>)]| {
            let count = records.first().filter(|(kind, _)| !Dictionary::knows(*kind));
            let count = count.and_then(|(_, bytes)| bytes.first_chunk().copied());
            count.is_some_and(|count| records.len() > u32::from_le_bytes(count) as usize)
        };
        match &part.hot {
            Some(_) => Ok(state.names.get(&part.first).is_some_and(|records| has_all(records))),
            None => Ok(has_all(&names_of(&self.files.open(part.first)?)?)),
        }
    }
}

/// The records of names in a file, and how many its head says there are.
fn names_of(file: &SegmentFile) -> Result<Vec<(u32, Vec<u8>)>, SegmentError> {
    let mut records = file.opened().records();
    let mut found = Vec::new();
    while let Some(record) = records.next()? {
        if super::hot::is_of_names(record.kind) {
            found.push((record.kind, record.bytes.to_vec()));
        }
    }
    Ok(found)
}

/// All files are of one journal.
fn own(state: &mut State, id: JournalId, path: &Path) -> Result<(), SegmentError> {
    if *state.id.get_or_insert(id) != id {
        let why = "of another journal";
        return Err(SegmentError::Foreign { path: path.to_path_buf(), why });
    }
    Ok(())
}

/// Whether each part begins where the one before ends; what is missing in between.
fn follow(
    parts: &[Result<Arc<Part>, PathBuf>],
    is_last: bool,
    faults: &mut Vec<SegmentError>,
) -> Result<(), Trouble> {
    let mut before: Option<&Arc<Part>> = None;
    let mut broken: Option<&PathBuf> = None;
    for part in parts {
        let part = match part {
            Ok(part) => part,
            Err(path) => {
                broken = Some(path);
                continue;
            }
        };
        if let Some(before) = before {
            let path = part.path.clone();
            if part.first < before.end {
                let why = "holds positions of the segment before";
                return Err(SegmentError::Foreign { path, why }.into());
            }
            let is_gap = part.first > before.end && broken.is_none();
            if is_gap {
                let missing = SegmentError::Missing { path, first: before.end, end: part.first };
                if !is_last {
                    return Err(Trouble::Changed(missing));
                }
                faults.push(missing);
            }
            for lane in PRIORITIES {
                let (next, first) =
                    (before.span(lane).next_sequence, part.span(lane).first_sequence);
                if first < next {
                    return Err(SegmentError::Order { lane, sequence: first }.into());
                }
                if first > next {
                    let path = broken.unwrap_or(&before.path).clone();
                    let why = "these sequences cannot be read";
                    let sequences = Some((next, first - 1));
                    let damage = Damage { path, offset: 0, lane: Some(lane), sequences, why };
                    faults.push(SegmentError::Damaged(damage));
                }
            }
        }
        (before, broken) = (Some(part), None);
    }
    Ok(())
}
