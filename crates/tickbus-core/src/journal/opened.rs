//! A segment file that was opened for reading: everything but the events themselves.
//!
//! Footer, header and gaps are read and checked when it is opened, the index when it is first
//! asked for. Files are read, not mapped: a file that somebody else truncates is then an error and
//! not a signal, and a block's checksum vouches for the very bytes that are used.

use super::disk::open_to_read;
use super::fault::{Damage, SegmentError};
use super::folder::Form;
use super::index::{BLOCK_EVENTS, ENTRY_LEN, Entry, LaneIndex};
use super::segment::{
    GAP_LEN, Gap, LANES, Layout, PAGE, Part, RECORD_HEAD_LEN, Record, get, read_identity,
};
use crate::event::{PRIORITIES, Priority};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Rows from `row` on have the sequence `row + shift`.
#[derive(Debug, Clone, Copy)]
struct Run {
    row: u64,
    shift: u64,
}

/// A segment file, its footer read.
#[derive(Debug)]
pub struct Opened {
    file: File,
    path: PathBuf,
    form: Form,
    layout: Layout,
    gaps: Vec<Gap>,
    runs: [Vec<Run>; LANES],
    next_sequence: [u64; LANES],
    index: OnceLock<[Arc<LaneIndex>; LANES]>,
}

impl Opened {
    /// Open the file at `path`, which must be the segment with this first position.
    pub fn open(path: &Path, form: Form, first_position: u64) -> Result<Opened, SegmentError> {
        let io = |what| SegmentError::io(what, path);
        let file = open_to_read(path).map_err(io("open"))?;
        let file_len = file.metadata().map_err(io("look at"))?.len();
        if file_len < 2 * PAGE as u64 || file_len % PAGE as u64 != 0 {
            return Err(SegmentError::damaged(path, file_len, "the file ends before its footer"));
        }
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, file_len - PAGE as u64).map_err(io("read"))?;
        let layout = Layout::read(form, &page, path, file_len)?;
        file.read_exact_at(&mut page, 0).map_err(io("read"))?;
        if read_identity(form, &page, path, 0)? != layout.identity {
            return Err(SegmentError::damaged(path, 0, "header and footer are not of one segment"));
        }
        if layout.identity.first_position != first_position {
            let why = "the segment of another position under this name";
            return Err(SegmentError::Foreign { path: path.to_path_buf(), why });
        }
        let mut opened = Opened {
            file,
            path: path.to_path_buf(),
            form,
            layout,
            gaps: Vec::new(),
            runs: [const { Vec::new() }; LANES],
            next_sequence: [0; LANES],
            index: OnceLock::new(),
        };
        opened.read_gaps()?;
        Ok(opened)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Sequences that are missing, in the log's order.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Sequence that a lane's next event has behind this segment.
    pub fn next_sequence(&self, lane: Priority) -> u64 {
        self.next_sequence[lane as usize]
    }

    /// Sequence of a lane's event by its place in the segment.
    pub fn sequence(&self, lane: Priority, row: u64) -> u64 {
        let runs = &self.runs[lane as usize];
        row + runs[runs.partition_point(|run| run.row <= row) - 1].shift
    }

    /// Place of the first event of a lane with at least this sequence; their number if there is none.
    pub fn row(&self, lane: Priority, sequence: u64) -> u64 {
        let runs = &self.runs[lane as usize];
        let count = self.layout.lanes[lane as usize].count;
        let run = runs.partition_point(|run| run.row + run.shift <= sequence);
        let Some(run) = run.checked_sub(1) else {
            return 0;
        };
        let end = runs.get(run + 1).map_or(count, |next| next.row);
        (sequence - runs[run].shift).min(end)
    }

    pub fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), SegmentError> {
        self.file.read_exact_at(bytes, offset).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                SegmentError::damaged(&self.path, offset, "the file was cut while it was open")
            }
            _ => SegmentError::io("read", &self.path)(error),
        })
    }

    /// Let the kernel forget what it has cached, so that the device is read. Only synced pages go.
    pub fn forget_cached(&self) -> Result<(), SegmentError> {
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed)
            .map_err(|error| SegmentError::io("forget the cache of", &self.path)(error.into()))
    }

    /// A part that is read as a whole, checked.
    pub fn read_part(&self, part: &Part, why: &'static str) -> Result<Vec<u8>, SegmentError> {
        let mut bytes = vec![0; part.length as usize];
        self.read(&mut bytes, part.offset)?;
        if crc32c::crc32c(&bytes) != part.crc {
            return Err(SegmentError::damaged(&self.path, part.offset, why));
        }
        Ok(bytes)
    }

    /// A lane's index, read once.
    pub fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        let index = match self.index.get() {
            Some(index) => index,
            None => {
                let index = self.read_index()?;
                self.index.get_or_init(|| index)
            }
        };
        Ok(Arc::clone(&index[lane as usize]))
    }

    fn read_index(&self) -> Result<[Arc<LaneIndex>; LANES], SegmentError> {
        let bytes = self.read_part(&self.layout.index, "the index fails its checksum")?;
        let entries: Vec<Entry> = bytes
            .chunks_exact(ENTRY_LEN)
            .map(|entry| Entry::from_bytes(entry.try_into().expect("a whole entry")))
            .collect();
        Ok(std::array::from_fn(|lane| {
            let from = self.layout.blocks_before(lane) as usize;
            let to = self.layout.blocks_before(lane + 1) as usize;
            Arc::new(LaneIndex::new(entries[from..to].to_vec()))
        }))
    }

    fn read_gaps(&mut self) -> Result<(), SegmentError> {
        let part = self.layout.gaps;
        let contradiction =
            SegmentError::damaged(&self.path, part.offset, "a gap where there can be none");
        for bytes in self.read_part(&part, "the gaps fail their checksum")?.chunks_exact(GAP_LEN) {
            match Gap::from_bytes(bytes) {
                Some(gap) => self.gaps.push(gap),
                None => return Err(contradiction),
            }
        }
        for lane in PRIORITIES {
            let number = lane as usize;
            let mut shift = self.layout.identity.first_sequence[number];
            let runs = &mut self.runs[number];
            runs.push(Run { row: 0, shift });
            let mut last_row = 0;
            for gap in self.gaps.iter().filter(|gap| gap.lane == lane) {
                let row = gap.first.checked_sub(shift).filter(|row| *row >= last_row);
                let (Some(row), Some(after)) = (row, shift.checked_add(gap.count)) else {
                    return Err(contradiction);
                };
                (shift, last_row) = (after, row);
                // Of gaps side by side the last one counts.
                if runs.last().is_some_and(|run| run.row == row) {
                    runs.pop();
                }
                runs.push(Run { row, shift });
            }
            let count = self.layout.lanes[number].count;
            match shift.checked_add(count).filter(|_| last_row <= count) {
                Some(next) => self.next_sequence[number] = next,
                None => return Err(contradiction),
            }
        }
        Ok(())
    }

    /// Damage at `offset` that costs some rows of a lane.
    pub fn damaged_rows(
        &self,
        lane: Priority,
        rows: std::ops::Range<u64>,
        offset: u64,
        why: &'static str,
    ) -> SegmentError {
        let last = rows.end.min(self.layout.lanes[lane as usize].count).saturating_sub(1);
        let sequences = Some((self.sequence(lane, rows.start), self.sequence(lane, last)));
        let path = self.path.clone();
        SegmentError::Damaged(Damage { path, offset, lane: Some(lane), sequences, why })
    }

    /// A block's events were read as `rows`: are they the ones that were written?
    pub fn check_block(
        &self,
        lane: Priority,
        block: usize,
        rows: &[u8],
        offset: u64,
    ) -> Result<(), SegmentError> {
        let index = self.index(lane)?;
        if crc32c::crc32c(rows) == index.entries()[block].crc {
            return Ok(());
        }
        let first = (block * BLOCK_EVENTS) as u64;
        let rows = first..first + BLOCK_EVENTS as u64;
        Err(self.damaged_rows(lane, rows, offset, "events fail their checksum"))
    }

    /// The records, one after the other.
    pub fn records(&self) -> Records<'_> {
        Records { of: self, at: 0, left: self.layout.records.count, bytes: Vec::new() }
    }

    /// Tells of everything that is wrong outside of the events.
    pub fn verify(&self, tell: &mut dyn FnMut(SegmentError)) {
        if let Err(error) = self.read_index() {
            tell(error);
        }
        let mut records = self.records();
        loop {
            match records.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    tell(error);
                    break;
                }
            }
        }
        for pair in self.layout.parts(self.form).windows(2) {
            let from = pair[0].0 + pair[0].1;
            let mut padding = vec![0; (pair[1].0 - from) as usize];
            let read = self.read(&mut padding, from).and_then(|()| {
                if padding.iter().all(|byte| *byte == 0) {
                    return Ok(());
                }
                Err(SegmentError::damaged(&self.path, from, "filling is not zero"))
            });
            if let Err(error) = read {
                tell(error);
            }
        }
    }
}

/// Reads the records of a segment, one in memory at a time.
pub struct Records<'a> {
    of: &'a Opened,
    at: u64,
    left: u64,
    bytes: Vec<u8>,
}

impl Records<'_> {
    /// The next record, or `None` behind the last. After an error there is none: where the next
    /// one starts is not known.
    #[expect(
        clippy::should_implement_trait,
        reason = "lends its buffer, as an Iterator cannot"
    )]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, SegmentError> {
        let part = &self.of.layout.records;
        let damage = |at: u64, why| SegmentError::damaged(&self.of.path, part.offset + at, why);
        if self.left == 0 {
            if self.at != part.length {
                self.at = part.length;
                return Err(damage(self.at, "bytes behind the last record"));
            }
            return Ok(None);
        }
        let left = std::mem::take(&mut self.left);
        let begin = self.at;
        self.at = part.length;
        let mut head = [0; RECORD_HEAD_LEN];
        if begin + RECORD_HEAD_LEN as u64 > part.length {
            return Err(damage(begin, "the records end early"));
        }
        self.of.read(&mut head, part.offset + begin)?;
        let (kind, length) = (get(&head, 8) as u32, (get(&head, 8) >> 32) as usize);
        let filled = length.next_multiple_of(8);
        let end = begin + (RECORD_HEAD_LEN + filled) as u64;
        if end > part.length {
            return Err(damage(begin, "a record is longer than all of them"));
        }
        self.bytes.resize(filled, 0);
        self.of.read(&mut self.bytes, part.offset + begin + RECORD_HEAD_LEN as u64)?;
        let record = Record { position: get(&head, 0), kind, bytes: &self.bytes[..length] };
        if record.head() != head || self.bytes[length..].iter().any(|byte| *byte != 0) {
            return Err(damage(begin, "a record fails its checksum"));
        }
        (self.at, self.left) = (end, left - 1);
        Ok(Some(record))
    }
}
