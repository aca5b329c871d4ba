//! A log segment as queries look through it, finished or still being written.
//!
//! ```text
//! log segment ─ once, every checksum ─► index: an entry and a place for each 4,096 events of a lane
//!             ─ block by block ───────► events, checked against their entry
//! ```
//!
//! [`Scan`] reads the batches and goes on where it stopped; [`Hot`] is what it had found at one moment
//! and never changes, so that a query ends at what was written when it began. Memory: 120 bytes for
//! each 4,096 events, so some 60 KiB for a log segment of 64 MiB, and a batch (at most 2 MiB) while it
//! scans.
//!
//! **Damage** is passed over and remembered with the sequences it cost; whether that is an error is for
//! the caller to say. What is not written yet is told from damage as recovery tells them apart: damage
//! is what a later batch calls durable. A segment that was recycled in the meantime is
//! [`SegmentError::Removed`], and its events are in a sealed one.

use super::dictionary::Dictionary;
use super::disk::read_full;
use super::error::JournalError;
use super::fault::{Damage, SegmentError};
use super::format::{
    BLOCK, BatchHeader, HeaderState, Kind, LANES, SLOT, SegmentHeader, record, u64_at,
};
use super::index::{BLOCK_EVENTS, EVENT_LEN, Entry, LaneIndex};
use super::query::{Buffer, Segment, Span};
use super::walk::{Step, Walk, look_ahead_to, read_header};
use crate::event::{PRIORITIES, Priority};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Searched for signs of damage behind the end of what is written, in slots, once the whole rest of
/// the segment has been searched.
const LOOK_AHEAD: u64 = 8_192;
/// Read at once where batches are small.
const WINDOW: usize = 64 << 10;

/// What is wrong with a log file, as queries tell it.
pub(super) fn fault(path: &Path, error: JournalError) -> SegmentError {
    match error {
        JournalError::Io { what, error, .. } => SegmentError::io(what, path)(error),
        JournalError::OtherJournal { .. } => {
            SegmentError::Foreign { path: path.to_path_buf(), why: "of another journal" }
        }
        JournalError::Version { .. } => {
            let why = "a log segment of another version";
            SegmentError::Foreign { path: path.to_path_buf(), why }
        }
        _ => SegmentError::Foreign { path: path.to_path_buf(), why: "no log segment" },
    }
}

/// Whether records of this kind are names, or say how many follow.
pub(super) fn is_of_names(kind: u32) -> bool {
    Dictionary::knows(kind) || kind == record::NAMES
}

/// Where a block's first event stands: its batch, and the events of that before it.
#[derive(Debug, Clone, Copy)]
struct Place {
    position: u64,
    skip: u64,
}

/// Rows from `row` on have the sequence `row + shift`.
#[derive(Debug, Clone, Copy)]
struct Run {
    row: u64,
    shift: u64,
}

/// What was found of a lane.
#[derive(Debug, Clone)]
struct Lane {
    entries: Vec<Entry>,
    places: Vec<Place>,
    runs: Vec<Run>,
    count: u64,
    next: u64,
}

impl Lane {
    fn new(first: u64) -> Lane {
        let runs = vec![Run { row: 0, shift: first }];
        Lane { entries: Vec::new(), places: Vec::new(), runs, count: 0, next: first }
    }

    fn events(&mut self, position: u64, rows: &[u8]) {
        let mut left = rows;
        while !left.is_empty() {
            let in_block = self.count as usize % BLOCK_EVENTS;
            if in_block == 0 {
                let before = self.entries.last().map_or(0, |entry| entry.greatest_so_far);
                self.entries.push(Entry::after(before));
                let skip = ((rows.len() - left.len()) / EVENT_LEN) as u64;
                self.places.push(Place { position, skip });
            }
            let room = (BLOCK_EVENTS - in_block) * EVENT_LEN;
            let (now, later) = left.split_at(room.min(left.len()));
            self.entries.last_mut().expect("pushed above").extend(now);
            self.count += (now.len() / EVENT_LEN) as u64;
            left = later;
        }
        self.next += (rows.len() / EVENT_LEN) as u64;
    }

    /// The next `count` sequences are none of events.
    fn pass(&mut self, count: u64) {
        let Some(next) = self.next.checked_add(count) else {
            return;
        };
        self.next = next;
        let shift = next - self.count;
        match self.runs.last_mut() {
            Some(last) if last.row == self.count => last.shift = shift,
            _ => self.runs.push(Run { row: self.count, shift }),
        }
    }
}

/// A place of the log that cannot be read.
#[derive(Debug, Clone, Copy)]
struct Hole {
    position: u64,
    /// Where something readable follows.
    until: u64,
    why: &'static str,
    /// First and last sequence that it cost, as far as is known.
    lost: [Option<(u64, u64)>; LANES],
}

/// Reads a log segment once, and what is appended to it.
pub(super) struct Scan {
    path: PathBuf,
    head: SegmentHeader,
    walk: Walk<File>,
    lanes: [Lane; LANES],
    holes: Vec<Hole>,
    /// Lanes of which nothing was read since the last hole.
    behind_a_hole: [bool; LANES],
    /// Where the end was last time, and that nothing but zeros was behind.
    end: Option<u64>,
    /// The segment takes no more.
    pub finished: bool,
    /// Records that name something, in their order; for the caller to take.
    pub names: Vec<(u32, Vec<u8>)>,
}

impl Scan {
    pub fn new(path: PathBuf, file: File, head: SegmentHeader) -> Scan {
        Scan {
            path,
            head,
            walk: Walk::new(Arc::new(file), head),
            lanes: head.next.map(Lane::new),
            holes: Vec::new(),
            behind_a_hole: [false; LANES],
            end: None,
            finished: false,
            names: Vec::new(),
        }
    }

    pub fn head(&self) -> &SegmentHeader {
        &self.head
    }

    /// Places that could not be read.
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Read what is written by now. `vouched` says whether a later segment calls everything before a
    /// position durable.
    pub fn go_on(
        &mut self,
        vouched: &mut dyn FnMut(u64) -> Result<bool, SegmentError>,
    ) -> Result<(), SegmentError> {
        let wanted = |header: &BatchHeader| match header.kind {
            Kind::Events | Kind::Gap => true,
            Kind::Record => is_of_names(header.record_kind()),
            _ => false,
        };
        while !self.finished {
            let step = self.walk.step(wanted).map_err(|error| fault(&self.path, error))?;
            match step {
                Step::Batch(position, header) => self.take(position, &header),
                Step::Done => self.finished = true,
                Step::Blank if self.end == Some(self.walk.position) => return Ok(()),
                Step::Blank => {
                    if !self.broken("zeros where a batch was", &wanted, vouched)? {
                        return Ok(());
                    }
                }
                Step::Bad(why) => {
                    if !self.broken(why, &wanted, vouched)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// No valid batch stands here: `false` if it is the end.
    fn broken(
        &mut self,
        why: &'static str,
        wanted: &dyn Fn(&BatchHeader) -> bool,
        vouched: &mut dyn FnMut(u64) -> Result<bool, SegmentError>,
    ) -> Result<bool, SegmentError> {
        let (position, head) = (self.walk.position, self.head);
        let wrong = |error| fault(&self.path, error);
        let file = Arc::clone(self.walk.file());
        if read_header(&*file, head.first, None).map_err(wrong)? != HeaderState::Whole(head) {
            return Err(SegmentError::Removed { path: self.path.clone() });
        }
        let to = match self.end {
            Some(_) => head.end().min(position + LOOK_AHEAD),
            None => head.end(),
        };
        let mut ahead = look_ahead_to(&*file, &head, position, to).map_err(wrong)?;
        if ahead.durable <= position && !vouched(position)? {
            self.end = Some(position);
            return Ok(false);
        }
        // It may just have been written, and what was found ahead as well.
        let again = self.walk.step(wanted).map_err(wrong)?;
        if let Step::Batch(position, header) = again {
            self.take(position, &header);
            return Ok(true);
        }
        if ahead.next.is_none() && to < head.end() {
            ahead = look_ahead_to(&*file, &head, position, head.end()).map_err(wrong)?;
        }
        let until = ahead.next.unwrap_or(head.end());
        self.holes.push(Hole { position, until, why, lost: [None; LANES] });
        self.behind_a_hole = [true; LANES];
        self.walk.jump(until);
        Ok(true)
    }

    fn take(&mut self, position: u64, header: &BatchHeader) {
        let payload = self.walk.payload();
        if header.kind == Kind::Record {
            if !payload.is_empty() {
                let bytes = payload[..header.record_len()].to_vec();
                self.names.push((header.record_kind(), bytes));
            }
            return;
        }
        if !matches!(header.kind, Kind::Events | Kind::Gap) {
            return;
        }
        let number = usize::from(header.lane);
        let lane = &mut self.lanes[number];
        let is_known = std::mem::take(&mut self.behind_a_hole[number]);
        if header.first != lane.next {
            let lost = header.first.checked_sub(1).map(|last| (lane.next, last));
            let repeated = header.first < lane.next;
            if repeated || !is_known {
                let why = "the batch's sequence is not the next one of its lane";
                // A batch that comes again is passed over.
                let until = if repeated { self.walk.position } else { position };
                self.holes.push(Hole { position, until, why, lost: [None; LANES] });
            }
            if repeated {
                return;
            }
            self.holes.last_mut().expect("the one we are behind").lost[number] = lost;
            lane.pass(header.first - lane.next);
        }
        match header.kind {
            Kind::Gap => lane.pass(u64_at(payload, 0)),
            _ => lane.events(position, payload),
        }
    }

    /// What there is by now.
    pub fn hot(&self) -> Hot {
        let lanes = PRIORITIES.map(|priority| {
            let number = priority as usize;
            let lane = &self.lanes[number];
            let least = lane.entries.iter().map(|entry| entry.least).min();
            let span = Span {
                first_sequence: self.head.next[number],
                next_sequence: lane.next,
                count: lane.count,
                least: least.unwrap_or(u64::MAX),
                greatest: lane.entries.last().map_or(0, |entry| entry.greatest_so_far),
            };
            let index = Arc::new(LaneIndex::new(lane.entries.clone()));
            HotLane { span, index, places: lane.places.clone(), runs: lane.runs.clone() }
        });
        Hot { path: self.path.clone(), head: self.head, lanes, holes: self.holes.clone() }
    }
}

#[derive(Debug)]
struct HotLane {
    span: Span,
    index: Arc<LaneIndex>,
    places: Vec<Place>,
    runs: Vec<Run>,
}

/// What a log segment held at one moment.
#[derive(Debug)]
pub struct Hot {
    path: PathBuf,
    head: SegmentHeader,
    lanes: [HotLane; LANES],
    holes: Vec<Hole>,
}

impl Hot {
    pub fn span(&self, lane: Priority) -> Span {
        self.lanes[lane as usize].span
    }

    /// What could not be read when it was looked through.
    pub fn damage(&self) -> Vec<Damage> {
        let of_hole = |hole: &Hole| {
            let one = |lane, sequences| Damage {
                path: self.path.clone(),
                offset: self.head.offset_of(hole.position),
                lane,
                sequences,
                why: hole.why,
            };
            let lost: Vec<Damage> = PRIORITIES
                .into_iter()
                .filter(|lane| hole.lost[*lane as usize].is_some())
                .map(|lane| one(Some(lane), hole.lost[lane as usize]))
                .collect();
            if lost.is_empty() { vec![one(None, None)] } else { lost }
        };
        self.holes.iter().flat_map(of_hole).collect()
    }

    /// Open its file; [`SegmentError::Removed`] if that is another segment's by now.
    pub fn open(self: &Arc<Hot>) -> Result<HotReader, SegmentError> {
        let removed = || SegmentError::Removed { path: self.path.clone() };
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => removed(),
            _ => SegmentError::io("open", &self.path)(error),
        })?;
        let reader = HotReader { hot: Arc::clone(self), file };
        if reader.is_recycled()? { Err(removed()) } else { Ok(reader) }
    }
}

/// A log segment, open for reading.
pub struct HotReader {
    hot: Arc<Hot>,
    file: File,
}

impl HotReader {
    fn is_recycled(&self) -> Result<bool, SegmentError> {
        let head = self.hot.head;
        let state = read_header(&self.file, head.first, None);
        Ok(state.map_err(|error| fault(&self.hot.path, error))? != HeaderState::Whole(head))
    }

    /// Read a block's events into the buffer; how many bytes.
    pub fn fill(
        &self,
        lane: Priority,
        block: usize,
        buffer: &mut Buffer,
    ) -> Result<usize, SegmentError> {
        let hot_lane = &self.hot.lanes[lane as usize];
        let first = (block * BLOCK_EVENTS) as u64;
        let count = (hot_lane.span.count - first).min(BLOCK_EVENTS as u64);
        let length = count as usize * EVENT_LEN;
        let mut window = Window::new(std::mem::take(&mut buffer.packed));
        let rows = buffer.rows(length);
        let gathered = self.gather(lane, hot_lane.places[block], rows, &mut window);
        buffer.packed = window.bytes;
        let whole = gathered.map_err(SegmentError::io("read", &self.hot.path))?
            && crc32c::crc32c(&buffer.bytes[..length]) == hot_lane.index.entries()[block].crc;
        if whole {
            return Ok(length);
        }
        if self.is_recycled()? {
            return Err(SegmentError::Removed { path: self.hot.path.clone() });
        }
        let sequence = |row| self.sequence(lane, row);
        Err(SegmentError::Damaged(Damage {
            path: self.hot.path.clone(),
            offset: self.hot.head.offset_of(hot_lane.places[block].position),
            lane: Some(lane),
            sequences: Some((sequence(first), sequence(first + count - 1))),
            why: "events are not what they were when they were indexed",
        }))
    }

    /// Copy rows of a lane from a place on; `false` where no batch stands as one did.
    fn gather(
        &self,
        lane: Priority,
        place: Place,
        rows: &mut [u8],
        window: &mut Window,
    ) -> io::Result<bool> {
        let head = &self.hot.head;
        let Place { mut position, mut skip } = place;
        let mut filled = 0;
        while filled < rows.len() {
            let hole = self.hot.holes.iter().find(|hole| hole.position == position);
            if let Some(hole) = hole.filter(|hole| hole.until > position) {
                position = hole.until;
                continue;
            }
            if position >= head.end() {
                return Ok(false);
            }
            let slot = window.slots(&self.file, head, position, 1)?;
            let header = slot.and_then(|slot| BatchHeader::decode(slot, head.salt, position));
            let Some(header) = header else {
                return Ok(false);
            };
            if header.kind == Kind::Events && header.lane == lane as u8 {
                let left = ((rows.len() - filled) / EVENT_LEN) as u64;
                let count = u64::from(header.slots).saturating_sub(skip).min(left);
                let to = &mut rows[filled..filled + count as usize * EVENT_LEN];
                match window.slots(&self.file, head, position + 1 + skip, count)? {
                    Some(bytes) => to.copy_from_slice(bytes),
                    None => {
                        let offset = head.offset_of(position + 1 + skip);
                        self.file.read_exact_at(to, offset)?;
                    }
                }
                filled += to.len();
                skip = 0;
            }
            position += 1 + u64::from(header.slots);
        }
        Ok(true)
    }
}

/// Bytes of the log that were read ahead: many small batches take one read.
struct Window {
    bytes: Vec<u8>,
    /// Position of the first slot.
    first: u64,
    size: usize,
}

impl Window {
    fn new(mut memory: Vec<u8>) -> Window {
        memory.clear();
        Window { bytes: memory, first: 0, size: BLOCK }
    }

    /// Slots from a position on; `None` if they are too many for a window, or the file ends.
    fn slots(
        &mut self,
        file: &File,
        head: &SegmentHeader,
        position: u64,
        count: u64,
    ) -> io::Result<Option<&[u8]>> {
        let need = count as usize * SLOT;
        let at = position.checked_sub(self.first).map(|slots| slots as usize * SLOT);
        if let Some(at) = at.filter(|at| at + need <= self.bytes.len()) {
            return Ok(Some(&self.bytes[at..at + need]));
        }
        if need > self.size {
            // Behind a large batch comes a large one.
            self.size = BLOCK;
            return Ok(None);
        }
        let left = (head.end() - position) as usize * SLOT;
        self.bytes.resize(self.size.min(left), 0);
        self.size = (2 * self.size).min(WINDOW);
        let read = read_full(file, &mut self.bytes, head.offset_of(position))?;
        self.bytes.truncate(read);
        self.first = position;
        Ok(self.bytes.get(..need))
    }
}

impl Segment for HotReader {
    fn span(&self, lane: Priority) -> Span {
        self.hot.span(lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        Ok(Arc::clone(&self.hot.lanes[lane as usize].index))
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        let runs = &self.hot.lanes[lane as usize].runs;
        row + runs[runs.partition_point(|run| run.row <= row) - 1].shift
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        let length = self.fill(lane, block, buffer)?;
        Ok(&buffer.bytes[..length])
    }
}
