//! A log segment as queries look through it: what it held at one moment, and a reader of its blocks.
//!
//! ```text
//! log segment ─ scan.rs, once, every checksum ─► index: an entry and a place for each 4,096 events
//!             ─ block by block ────────────────► events, checked against their entry
//! ```
//!
//! [`Hot`] never changes, so a query ends at what was written when it began. Memory: 120 bytes for each
//! 4,096 events, so some 60 KiB for a log segment of 64 MiB. A segment that was recycled meanwhile is
//! [`SegmentError::Removed`]: its events are in a sealed one.

use super::disk::{open_to_read, read_full};
use super::error::JournalError;
use super::fault::{Damage, SegmentError};
use super::format::{BLOCK, BatchHeader, HeaderState, Kind, LANES, SLOT, SegmentHeader, record};
use super::index::{BLOCK_EVENTS, EVENT_LEN, LaneIndex};
use super::query::{Buffer, Segment, Span};
use super::walk::{Step, Walk, read_header};
use crate::event::{PRIORITIES, Priority};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// Where a block's first event stands: its batch, and the events of that before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub position: u64,
    pub skip: u64,
}

/// Rows from `row` on have the sequence `row + shift`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub row: u64,
    pub shift: u64,
}

/// A place of the log that cannot be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hole {
    pub position: u64,
    /// Where something readable follows.
    pub until: u64,
    pub why: &'static str,
    /// First and last sequence that it cost, as far as is known.
    pub lost: [Option<(u64, u64)>; LANES],
}

#[derive(Debug)]
pub(super) struct HotLane {
    pub span: Span,
    pub index: Arc<LaneIndex>,
    pub places: Vec<Place>,
    pub runs: Vec<Run>,
}

/// What a log segment held at one moment.
#[derive(Debug)]
pub struct Hot {
    pub(super) path: PathBuf,
    pub(super) head: SegmentHeader,
    pub(super) lanes: [HotLane; LANES],
    pub(super) holes: Vec<Hole>,
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
        let file = open_to_read(&self.path).map_err(|error| match error.kind() {
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

    /// The bytes behind `key` in the last record of a payload that begins with it and stands before an
    /// event.
    pub fn payload(
        &self,
        lane: Priority,
        sequence: u64,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, SegmentError> {
        let wrong = |error| fault(&self.hot.path, error);
        let file = self.file.try_clone().map_err(SegmentError::io("open", &self.hot.path))?;
        let mut walk = Walk::new(Arc::new(file), self.hot.head);
        let is_payload = |header: &BatchHeader| {
            header.kind == Kind::Record && header.record_kind() == record::PAYLOAD
        };
        let mut found = None;
        while let Step::Batch(_, header) = walk.step(is_payload).map_err(wrong)? {
            let events = header.kind == Kind::Events && header.lane == lane as u8;
            if events && header.first + u64::from(header.slots) > sequence {
                break;
            }
            if is_payload(&header) && walk.payload().starts_with(key) {
                found = Some(walk.payload()[key.len()..header.record_len()].to_vec());
            }
        }
        if self.is_recycled()? {
            return Err(SegmentError::Removed { path: self.hot.path.clone() });
        }
        Ok(found)
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
