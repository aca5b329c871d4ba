//! A segment that is being written: `*.new` until it is whole, synced and renamed.
//!
//! Checks that what it is given is without holes: an event's sequence is its place, so a missing
//! piece that no gap accounts for would shift all behind it.

use super::fault::SegmentError;
use super::folder::{Folder, Form, NEW};
use super::index::{BLOCK_LEN, ENTRY_LEN, EVENT_LEN, Entry};
use super::segment::{
    GAP_LEN, Gap, Identity, LANES, LanePart, Layout, PAGE, Part, Record, header, round_up,
};
use crate::event::Priority;
use std::path::PathBuf;

/// Writes are at least this long where there is enough to write.
const WRITE_LEN: usize = 1 << 20;

/// A file under its `*.new` name.
pub struct Draft<'a, F: Folder> {
    folder: &'a F,
    file: F::File,
    form: Form,
    identity: Identity,
    path: PathBuf,
}

impl<'a, F: Folder> Draft<'a, F> {
    pub fn create(
        folder: &'a F,
        form: Form,
        identity: Identity,
    ) -> Result<Draft<'a, F>, SegmentError> {
        let name = form.name(identity.first_position) + NEW;
        let path = folder.path(&name);
        let file = folder.create(&name).map_err(SegmentError::io("create", &path))?;
        let draft = Draft { folder, file, form, identity, path };
        draft.write_at(&header(form, &identity), 0)?;
        Ok(draft)
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), SegmentError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.folder
            .write_at(&self.file, bytes, offset)
            .map_err(SegmentError::io("write to", &self.path))
    }

    /// What stands behind the events, and the footer; then all of it is on the disk, unnamed.
    pub fn finish(
        &self,
        ledger: &Ledger,
        lane_offsets: [u64; LANES],
        records: Part,
        frames: Part,
        frame_list: &[u8],
    ) -> Result<(), SegmentError> {
        let gaps: Vec<u8> = ledger.gaps.iter().flat_map(Gap::to_bytes).collect();
        let index: Vec<u8> = ledger.entries.iter().flatten().flat_map(Entry::to_bytes).collect();
        let mut at = round_up(records.offset + records.length);
        let mut part = |bytes: &[u8], thing_len: usize| {
            let (length, count) = (bytes.len() as u64, (bytes.len() / thing_len) as u64);
            let part = Part { offset: at, length, count, crc: crc32c::crc32c(bytes) };
            at = round_up(at + length);
            self.write_at(bytes, part.offset).map(|()| part)
        };
        let mut layout = Layout {
            identity: self.identity,
            file_len: 0,
            lanes: std::array::from_fn(|lane| ledger.lane(lane, lane_offsets[lane])),
            records,
            gaps: part(&gaps, GAP_LEN)?,
            index: part(&index, ENTRY_LEN)?,
            frames,
            frame_list: part(frame_list, super::packed::FRAME_ENTRY_LEN)?,
        };
        layout.file_len = at + PAGE as u64;
        self.write_at(&layout.footer(self.form), at)?;
        self.folder.sync(&self.file).map_err(SegmentError::io("sync", &self.path))
    }

    /// Gives the file its name, for good.
    pub fn publish(self) -> Result<(), SegmentError> {
        let name = self.form.name(self.identity.first_position);
        let rename = self.folder.rename(&(name.clone() + NEW), &name);
        rename.map_err(SegmentError::io("rename", &self.path))?;
        self.folder
            .sync_names()
            .map_err(SegmentError::io("sync the folder of", &self.path))
    }

    /// Takes the unfinished file away: on a full disk its space is needed.
    pub fn discard(self) {
        // What cannot be removed is passed over by readers and overwritten by the next attempt.
        let _ = self.folder.remove(&(self.form.name(self.identity.first_position) + NEW));
    }
}

/// Appends to one place of a draft, in long writes.
pub struct Appender {
    buffer: Vec<u8>,
    begin: u64,
    written: u64,
}

impl Appender {
    pub fn new(begin: u64) -> Appender {
        Appender { buffer: Vec::new(), begin, written: 0 }
    }

    pub fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub fn push<F: Folder>(&mut self, to: &Draft<F>, bytes: &[u8]) -> Result<(), SegmentError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_LEN { self.flush(to) } else { Ok(()) }
    }

    pub fn flush<F: Folder>(&mut self, to: &Draft<F>) -> Result<(), SegmentError> {
        if !self.buffer.is_empty() {
            to.write_at(&self.buffer, self.begin + self.written)?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    pub fn record<F: Folder>(
        &mut self,
        to: &Draft<F>,
        record: &Record,
    ) -> Result<(), SegmentError> {
        self.push(to, &record.head())?;
        self.push(to, record.bytes)?;
        let filled = record.bytes.len().next_multiple_of(8);
        self.push(to, &[0; 8][..filled - record.bytes.len()])
    }

    /// Where it was written to, and how many things it is.
    pub fn part(&self, count: u64) -> Part {
        Part { offset: self.begin, length: self.length(), count, crc: 0 }
    }
}

/// What a segment is to hold, counted as it comes.
pub struct Ledger {
    next: [u64; LANES],
    counts: [u64; LANES],
    pub entries: [Vec<Entry>; LANES],
    pub gaps: Vec<Gap>,
}

impl Ledger {
    pub fn new(identity: &Identity) -> Ledger {
        Ledger {
            next: identity.first_sequence,
            counts: [0; LANES],
            entries: [const { Vec::new() }; LANES],
            gaps: Vec::new(),
        }
    }

    pub fn counts(&self) -> [u64; LANES] {
        self.counts
    }

    pub fn events(&mut self, lane: Priority, first: u64, count: u64) -> Result<(), SegmentError> {
        self.advance(lane, first, count, "events do not follow the ones before")?;
        self.counts[lane as usize] += count;
        Ok(())
    }

    /// A lane that is copied whole from a segment that was checked.
    pub fn lane_of(&mut self, lane: Priority, count: u64) {
        self.counts[lane as usize] = count;
    }

    pub fn gap(&mut self, gap: Gap) -> Result<(), SegmentError> {
        self.advance(gap.lane, gap.first, gap.count, "a gap does not follow the events before")?;
        self.gaps.push(gap);
        Ok(())
    }

    fn advance(
        &mut self,
        lane: Priority,
        first: u64,
        count: u64,
        why: &'static str,
    ) -> Result<(), SegmentError> {
        let next = &mut self.next[lane as usize];
        let after = first.checked_add(count).filter(|_| first == *next);
        *next = after.ok_or(SegmentError::Source { lane: Some(lane), sequence: first, why })?;
        Ok(())
    }

    /// A block of a lane, the last one maybe short.
    pub fn block(&mut self, lane: usize, rows: &[u8]) {
        debug_assert!(rows.len() <= BLOCK_LEN && rows.len().is_multiple_of(EVENT_LEN));
        let before = self.entries[lane].last().map_or(0, |entry| entry.greatest_so_far);
        self.entries[lane].push(Entry::of(rows, before));
    }

    fn lane(&self, lane: usize, offset: u64) -> LanePart {
        let entries = &self.entries[lane];
        LanePart {
            count: self.counts[lane],
            offset,
            least: entries.iter().map(|entry| entry.least).min().unwrap_or(u64::MAX),
            greatest: entries.last().map_or(0, |entry| entry.greatest_so_far),
        }
    }
}
