//! A log segment, batch by batch.

use super::super::disk::{Disk, DiskFile, FsDisk, read_full};
use super::super::error::JournalError;
use super::super::format::{
    BatchHeader, HEADER, HeaderState, Kind as Batch, LANES, SLOT, SegmentHeader, VERSION, record,
    u32_at, u64_at,
};
use super::super::verify::Gap;
use super::super::walk::{Step, Walk, look_ahead, read_header, written_bytes};
use super::listing::Part;
use super::tracker::{Outcome, Tracker};
use super::{Finding, Form, Kind, PartReport};
use crate::event::PRIORITIES;
use std::fs::File;
use std::sync::Arc;

impl Tracker<'_> {
    pub(super) fn log_part(&mut self, part: &Part) -> Result<Outcome, JournalError> {
        let refused = |error: &dyn std::fmt::Display| {
            let finding = Finding::new(Kind::Unreadable, &part.file, error.to_string());
            finding.at(0, Some(part.first))
        };
        let opened = FsDisk::open(self.path, false).and_then(|disk| disk.open(&part.file, false));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Outcome::Gone),
            Err(error) => {
                self.hole(refused(&error));
                return Ok(Outcome::Useless);
            }
        };
        let mut page = [0; HEADER];
        let looked =
            DiskFile::len(&file).and_then(|len| Ok((len, read_full(&file, &mut page, 0)?)));
        let (len, read) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                self.hole(refused(&error));
                return Ok(Outcome::Useless);
            }
        };
        let mut state = SegmentHeader::decode(&page);
        if read < HEADER {
            state = HeaderState::Broken;
        }
        let wrong = |kind, why: String| Finding::new(kind, &part.file, why).at(0, Some(part.first));
        let head = match state {
            HeaderState::Whole(head) => head,
            HeaderState::Foreign => {
                self.hole(wrong(Kind::Foreign, "is no segment of a journal".into()));
                return Ok(Outcome::Useless);
            }
            HeaderState::Version(found) => {
                let why = format!("has format {found}; this version reads format {VERSION}");
                self.hole(wrong(Kind::Foreign, why));
                return Ok(Outcome::Useless);
            }
            HeaderState::Blank | HeaderState::Broken => {
                return self.without_header(part, Arc::new(file), len, &page, state);
            }
        };
        if self.id.is_some_and(|id| id != head.id) {
            self.hole(wrong(Kind::Foreign, format!("belongs to the journal {}", hex(&head.id))));
            return Ok(Outcome::Useless);
        }
        if head.first != part.first {
            let why = format!("holds the segment of position {}: renamed, or swapped", head.first);
            self.hole(wrong(Kind::Foreign, why));
            return Ok(Outcome::Useless);
        }
        let file = Arc::new(file);
        if self.ended {
            let bytes = written_bytes(&*file, 0..len).unwrap_or(len);
            let why = "follows the end of the log; the next opening puts it aside";
            self.tell(Finding { bytes, ..wrong(Kind::Torn, why.into()) });
            return Ok(Outcome::Read);
        }
        if self.chain.is_some_and(|chain| chain != head.chain) {
            let why = "does not follow the segment before: one of the two is from another time";
            self.tell(wrong(Kind::Contradiction, why.into()));
        }
        if len < head.file_len() {
            let why = format!("the file has {len} bytes and had {}", head.file_len());
            let position = head.first + len.saturating_sub(HEADER as u64) / SLOT as u64;
            let finding = Finding::new(Kind::Damaged, &part.file, why).at(len, Some(position));
            self.short = Some(finding);
        } else if len > head.file_len() {
            let bytes = len - head.file_len();
            let why = format!("{bytes} bytes behind the segment's end, which nothing reads");
            let finding = Finding::new(Kind::Stray, &part.file, why).at(head.file_len(), None);
            self.tell(Finding { bytes, ..finding });
        }
        self.begin_part(&head.next, part);
        let outcome = self.batches(part, Walk::new(file, head));
        if let Some(finding) = self.short.take() {
            // It ends behind the last batch; the writer refuses it all the same.
            self.tell(finding);
        }
        outcome
    }

    /// A segment whose header is not there, or not whole.
    fn without_header(
        &mut self,
        part: &Part,
        file: Arc<File>,
        len: u64,
        page: &[u8; HEADER],
        state: HeaderState,
    ) -> Result<Outcome, JournalError> {
        let batches = match written_bytes(&*file, HEADER as u64..len.max(HEADER as u64)) {
            Ok(bytes) => bytes,
            Err(error) => {
                let finding = Finding::new(Kind::Unreadable, &part.file, error.to_string());
                self.hole(finding.at(0, Some(part.first)));
                return Ok(Outcome::Useless);
            }
        };
        // The writer may have begun the segment since we looked: its header comes before its batches.
        if batches > 0 && self.audit.writer.is_some() && has_header(&file) {
            return self.log_part(part);
        }
        let slots = len.saturating_sub(HEADER as u64) / SLOT as u64;
        if batches == 0 && !self.goes_on_behind(part.first) {
            // The next segment, made ready, or its header half written when the process was killed.
            let mut report = self.report(part, part.first + slots, 0);
            report.prepared = true;
            self.audit.parts.push(report);
            self.end = Some(part.first + slots);
            if state == HeaderState::Broken && len >= HEADER as u64 {
                let why = "the header was begun and not finished; the next opening makes it anew";
                self.tell(Finding::new(Kind::Torn, &part.file, why).at(0, Some(part.first)));
            }
            if len < HEADER as u64 {
                let why = "the file is shorter than a segment's header";
                self.tell(Finding::new(Kind::Damaged, &part.file, why).at(len, Some(part.first)));
            }
            return Ok(Outcome::Read);
        }
        let why = match state {
            HeaderState::Blank => "the header is missing: zeros stand there",
            _ => "the header is wrong",
        };
        let finding = Finding::new(Kind::Damaged, &part.file, why).at(0, Some(part.first));
        let Some(head) = self.guess(part, &file, len, page) else {
            self.hole(finding);
            return Ok(Outcome::Useless);
        };
        // Its batches vouch for the little of the header that reading them takes.
        self.tell(finding);
        self.batches(part, Walk::new(file, head))
    }

    /// A header that its first batch bears out: that passes its checksum only with the segment's position
    /// and salt. It has to go on from the last batch before, if that is known.
    fn guess(
        &self,
        part: &Part,
        file: &File,
        len: u64,
        page: &[u8; HEADER],
    ) -> Option<SegmentHeader> {
        let in_file = len.saturating_sub(HEADER as u64) / SLOT as u64;
        let slots = self.later.first().map_or(in_file, |next| next.first - part.first);
        let mut head = SegmentHeader {
            id: self.id.unwrap_or(page[8..24].try_into().expect("sixteen bytes")),
            first: part.first,
            slots,
            next: self.sequences(),
            created_ns: 0,
            salt: u32_at(page, 72),
            chain: 0,
        };
        let mut slot = [0; SLOT];
        read_full(file, &mut slot, HEADER as u64).ok()?;
        let batch = BatchHeader::decode(&slot, head.salt, head.first)?;
        head.chain = batch.chain;
        (slots > 0 && self.chain.is_none_or(|chain| chain == batch.chain)).then_some(head)
    }

    fn report(&self, part: &Part, end: u64, created_ns: u64) -> PartReport {
        PartReport {
            file: part.file.clone(),
            form: Form::Log,
            first: part.first,
            end,
            bytes: part.bytes,
            created_ns,
            prepared: false,
            batches: 0,
            records: 0,
            padding_slots: 0,
            events: [0; LANES],
            first_sequence: self.sequences(),
            next_sequence: self.sequences(),
            least: u64::MAX,
            greatest: 0,
        }
    }

    fn batches(&mut self, part: &Part, mut walk: Walk<File>) -> Result<Outcome, JournalError> {
        let head = walk.head;
        let mut report = self.report(part, head.end(), head.created_ns);
        let outcome = self.follow(&mut walk, &mut report)?;
        if matches!(outcome, Outcome::Gone) {
            return Ok(outcome);
        }
        report.next_sequence = self.sequences();
        self.audit.parts.push(report);
        self.audit.position = if walk.position >= head.end() { head.end() } else { walk.position };
        self.end = Some(head.end());
        self.chain = walk.chain.filter(|_| !self.ended);
        Ok(outcome)
    }

    fn follow(
        &mut self,
        walk: &mut Walk<File>,
        report: &mut PartReport,
    ) -> Result<Outcome, JournalError> {
        let head = walk.head;
        let mut looked_again = None;
        loop {
            let why = match walk.step(|_| true) {
                Ok(Step::Batch(position, header)) => {
                    self.batch(position, &header, walk.payload(), &head, report)?;
                    continue;
                }
                Ok(Step::Done) => return Ok(Outcome::Read),
                Ok(Step::Blank) => "zeros where a batch was",
                Ok(Step::Bad(why)) => why,
                Err(error) => return Ok(self.unreadable(walk, report, &error)),
            };
            let (position, file) = (walk.position, Arc::clone(walk.file()));
            let mut page = [0; HEADER];
            let same = read_full(&*file, &mut page, 0).is_ok() && {
                // A guessed header is none that the file could have.
                let state = SegmentHeader::decode(&page);
                !matches!(state, HeaderState::Blank) && state_of_another(&state, &head).is_none()
            };
            if !same && self.audit.writer.is_some() {
                return Ok(Outcome::Gone);
            }
            let ahead = match look_ahead(&*file, &head, position) {
                Ok(ahead) => ahead,
                Err(error) => return Ok(self.unreadable(walk, report, &error)),
            };
            let offset = head.offset_of(position);
            if ahead.durable <= position && !self.vouched_behind(position) {
                self.ended = true;
                match self.short.take() {
                    // What was in the part that is gone, nobody can say.
                    Some(finding) if why == "the file is too short" => self.hole(finding),
                    kept => {
                        self.short = kept;
                        self.torn(&file, &head, position, report);
                    }
                }
                return Ok(Outcome::Read);
            }
            // It may have been half written when it was read, and the batch that vouches for it been
            // written since: then it is whole now.
            if looked_again != Some(position) {
                looked_again = Some(position);
                continue;
            }
            let finding = match self.short.take() {
                Some(finding) if why == "the file is too short" => finding,
                kept => {
                    self.short = kept;
                    Finding::new(Kind::Damaged, &report.file, why).at(offset, Some(position))
                }
            };
            let until = ahead.next.unwrap_or(head.end());
            let finding = Finding { until: Some(until), ..finding };
            match known_cost(&file, &head, position, until) {
                Some((lane, sequences)) => self.hole_in(PRIORITIES[lane], finding, sequences),
                None => self.hole(finding),
            }
            walk.jump(until);
        }
    }

    fn unreadable(
        &mut self,
        walk: &mut Walk<File>,
        report: &PartReport,
        error: &JournalError,
    ) -> Outcome {
        let offset = walk.head.offset_of(walk.position);
        let finding = Finding::new(Kind::Unreadable, &report.file, error.to_string());
        self.hole(finding.at(offset, Some(walk.position)));
        walk.jump(walk.head.end());
        Outcome::Read
    }

    /// Behind the end of the log: nothing, or what was not finished.
    fn torn(&mut self, file: &File, head: &SegmentHeader, position: u64, report: &PartReport) {
        let offset = head.offset_of(position);
        let bytes = written_bytes(file, offset..head.file_len()).unwrap_or(0);
        if bytes == 0 {
            return;
        }
        let (kind, why) = match self.audit.writer {
            Some(_) => (Kind::BeingWritten, "the batch here is being written"),
            None => (
                Kind::Torn,
                "the last batch is not whole, and nothing says that it was ever on the disk",
            ),
        };
        let finding = Finding::new(kind, &report.file, why).at(offset, Some(position));
        self.audit.closed = false;
        self.tell(Finding { bytes, ..finding });
    }

    fn batch(
        &mut self,
        position: u64,
        header: &BatchHeader,
        payload: &[u8],
        head: &SegmentHeader,
        report: &mut PartReport,
    ) -> Result<(), JournalError> {
        let at = (head.offset_of(position), Some(position));
        report.batches += 1;
        match header.kind {
            Batch::Events => {
                let lane = PRIORITIES[usize::from(header.lane)];
                self.events(lane, header.first, payload, report, at)?;
            }
            Batch::Gap => {
                let lane = PRIORITIES[usize::from(header.lane)];
                let (count, why) = (u64_at(payload, 0), u64_at(payload, 8));
                self.gap(Gap { lane, first: header.first, count, why }, &report.file, at)?;
            }
            Batch::Record => {
                report.records += 1;
                let bytes = &payload[..header.record_len()];
                self.record(position, header.record_kind(), bytes, &report.file, at.0)?;
            }
            Batch::Padding => report.padding_slots += 1 + u64::from(header.slots),
            Batch::End => {}
        }
        let closing = header.kind == Batch::Record && header.record_kind() == record::CLOSED;
        self.audit.closed = closing || (self.audit.closed && header.kind == Batch::Padding);
        self.ask(SLOT as u64)
    }

    /// Whether a later part says that everything before `position` was on the disk.
    fn vouched_behind(&self, position: u64) -> bool {
        self.whole_behind().any(|(head, file)| match (head, file) {
            (Some(head), Some(file)) => {
                look_ahead(&file, &head, head.first).is_ok_and(|ahead| ahead.durable > position)
            }
            // Only what is on the disk is sealed.
            _ => true,
        })
    }

    /// Whether any later part has been begun.
    fn goes_on_behind(&self, first: u64) -> bool {
        self.later.iter().any(|part| part.first > first) && self.whole_behind().next().is_some()
    }

    fn whole_behind(&self) -> impl Iterator<Item = (Option<SegmentHeader>, Option<File>)> + '_ {
        self.later.iter().filter_map(|part| match part.form {
            Form::Sealed | Form::Packed => Some((None, None)),
            Form::Log => {
                let disk = FsDisk::open(self.path, false).ok()?;
                let file = disk.open(&part.file, false).ok()?;
                match read_header(&file, part.first, self.id) {
                    Ok(HeaderState::Whole(head)) => Some((Some(head), Some(file))),
                    _ => None,
                }
            }
        })
    }
}

/// The lane and sequences that damage from `position` to `until` costs, if it is one batch whose header
/// is whole.
fn known_cost(
    file: &File,
    head: &SegmentHeader,
    position: u64,
    until: u64,
) -> Option<(usize, (u64, u64))> {
    let mut slot = [0; SLOT];
    read_full(file, &mut slot, head.offset_of(position)).ok()?;
    let header = BatchHeader::decode(&slot, head.salt, position)?;
    let alone = header.kind == Batch::Events && position + 1 + u64::from(header.slots) == until;
    let end = header.first.checked_add(header.slots.into())?;
    alone.then_some((header.lane.into(), (header.first, end)))
}

/// Another segment's header, if that is what stands there now.
fn state_of_another(state: &HeaderState, head: &SegmentHeader) -> Option<SegmentHeader> {
    match state {
        HeaderState::Whole(found) if found.salt != head.salt => Some(*found),
        _ => None,
    }
}

/// An id as people compare it.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn has_header(file: &File) -> bool {
    let mut page = [0; HEADER];
    let read = read_full(file, &mut page, 0);
    read.is_ok_and(|read| read == HEADER)
        && matches!(SegmentHeader::decode(&page), HeaderState::Whole(_))
}
