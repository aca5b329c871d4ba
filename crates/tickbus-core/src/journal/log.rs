//! The writer: stages batches, writes them with one call, syncs when told to.
//!
//! ```text
//! append_* ──► stage ──► commit(false): pwrite ──► commit(true): pad, pwrite, fdatasync
//! ```
//!
//! What `commit` returned for is in the page cache (it survives the process) or, with `sync`, on
//! the disk. A commit costs one `pwrite` and at most one `fdatasync`, no allocation, and no lock
//! that is held during either. Where a segment ends it is one write more, into a segment that
//! [`Preparer`] made ready beforehand.
//!
//! Errors leave what was staged where it is: after a full disk the next commit writes it. A failed
//! sync is different. The kernel may have dropped the data and marked it clean, so that a second
//! sync succeeds without it; the log takes nothing more until it is opened again.

use super::disk::{Disk, sync_data, write_all};
use super::error::JournalError;
use super::format::{BLOCK, HEADER, SLOT, SegmentHeader, Sequences, record, segment_name};
use super::recovery::{self, Recovered, Tail};
use super::spares::{Preparer, Spares};
use super::stage::{Fresh, Stage};
use crate::event::{Event, Priority};
use crate::fork::Mark;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Sizes a segment's slots may take together, in bytes.
pub const SEGMENT_BYTES: RangeInclusive<u64> = 2 * BLOCK as u64..=1 << 40;

/// How to open a log.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of slots of a new segment, a multiple of 4,096. Existing ones keep their size.
    pub segment_bytes: u64,
    /// Name of the bus, for the record that says who opened the log.
    pub name: String,
    /// Position up to which segments were recycled because they are sealed: the log has to start
    /// here or earlier. 0 for a log that nothing was taken from.
    pub sealed_to: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { segment_bytes: 64 << 20, name: String::new(), sealed_to: 0 }
    }
}

/// What a commit has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Everything before this position is written.
    pub written: u64,
    /// Everything before this position is on the disk.
    pub durable: u64,
    /// For each lane the sequence behind the last one written.
    pub next: Sequences,
}

pub struct Log<D: Disk> {
    disk: Arc<D>,
    spares: Arc<Spares<D>>,
    stage: Stage,
    /// The segment that `written` is in.
    head: SegmentHeader,
    file: Arc<D::File>,
    written: u64,
    durable: u64,
    /// Process that opened the log. A fork inherits the lock, and may not write.
    owner: Mark,
    _lock: D::Lock,
}

struct FreshOf<'a, D>(&'a D);

impl<D: Disk> Fresh for FreshOf<'_, D> {
    fn salt(&self) -> u32 {
        self.0.random() as u32
    }

    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

impl<D: Disk> Log<D> {
    /// Take the lock, recover what is there or begin a new log, and write that it was opened.
    ///
    /// Everything found is on the disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::Locked`], and everything that can be wrong with the files: nothing that was
    /// durable is changed then.
    pub fn open(disk: D, options: &Options) -> Result<(Log<D>, Recovered), JournalError> {
        let bytes = options.segment_bytes;
        if !SEGMENT_BYTES.contains(&bytes) || !bytes.is_multiple_of(BLOCK as u64) {
            return Err(JournalError::SegmentSize { bytes });
        }
        let disk = Arc::new(disk);
        let lock = disk.lock()?;
        let slots = bytes / SLOT as u64;
        let mut found = recovery::recover(&disk, slots, options.sealed_to)?;
        let next_first = found.tail.as_ref().map_or(found.recovered.first, |tail| tail.head.end());
        let spares =
            Spares::new(Arc::clone(&disk), slots, found.finished, next_first, found.ready.take());
        let tail = match found.tail {
            Some(tail) => tail,
            None => Self::begin(&disk, &spares, slots)?,
        };
        let Tail { head, file, position, chain, next } = tail;
        let mut log = Log {
            disk,
            spares: Arc::new(spares),
            stage: Stage::new(head, position, chain, next, slots),
            head,
            file,
            written: position,
            durable: position,
            owner: Mark::new(),
            _lock: lock,
        };
        let mut opened = log.owner.pid().to_le_bytes().to_vec();
        // For people to read; 0 where the system does not tell.
        opened.extend(crate::sys::boot_id().unwrap_or(0).to_le_bytes());
        opened.extend(options.name.bytes().take(BLOCK / 2));
        log.append_record(record::OPENED, &opened)?;
        log.commit(true)?;
        Ok((log, found.recovered))
    }

    /// The first segment of a new log, on the disk.
    fn begin(disk: &Arc<D>, spares: &Spares<D>, slots: u64) -> Result<Tail<D::File>, JournalError> {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&disk.random().to_le_bytes());
        id[8..].copy_from_slice(&disk.random().to_le_bytes());
        let (created_ns, salt) = (disk.now_ns(), disk.random() as u32);
        let head = SegmentHeader { id, first: 0, slots, next: [0; 3], created_ns, salt, chain: 0 };
        let file = spares.take(0, head.end())?;
        let name = segment_name(0);
        write_all(&*file, &head.encode(), 0).map_err(JournalError::io("write", &name))?;
        sync_data(&*file).map_err(JournalError::io("sync", &name))?;
        Ok(Tail { head, file, position: 0, chain: 0, next: [0; 3] })
    }

    /// Stage events of a lane, of which the first has sequence `first`.
    ///
    /// # Errors
    /// [`JournalError::Order`] unless `first` is [`Log::next`]. Nothing was staged then.
    pub fn append_events(
        &mut self,
        lane: Priority,
        first: u64,
        events: &[Event],
    ) -> Result<(), JournalError> {
        self.stage.events(lane, first, events, self.durable, &FreshOf(&*self.disk))
    }

    /// Stage that `count` sequences of a lane, from `first` on, will never come, and why.
    ///
    /// # Errors
    /// [`JournalError::Order`] unless `first` is [`Log::next`]. Nothing was staged then.
    pub fn append_gap(
        &mut self,
        lane: Priority,
        first: u64,
        count: u64,
        why: u64,
    ) -> Result<(), JournalError> {
        self.stage.gap(lane, first, count, why, self.durable, &FreshOf(&*self.disk))
    }

    /// Stage a record.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`] if it fits no segment. Nothing was staged then.
    pub fn append_record(&mut self, kind: u32, bytes: &[u8]) -> Result<(), JournalError> {
        self.stage.record(kind, bytes, self.durable, &FreshOf(&*self.disk))
    }

    /// Stage a record that names something, and repeat it at the head of every later segment.
    ///
    /// # Errors
    /// As [`Log::append_record`].
    pub fn append_name(&mut self, kind: u32, bytes: &[u8]) -> Result<(), JournalError> {
        self.append_record(kind, bytes)?;
        self.stage.remember(kind, bytes);
        Ok(())
    }

    /// Repeat these records at the head of every later segment; they are in the log already.
    pub(super) fn remember_names(&mut self, names: &[(u32, Vec<u8>)]) {
        for (kind, bytes) in names {
            self.stage.remember(*kind, bytes);
        }
    }

    /// Write what is staged, and with `sync` have everything on the disk.
    ///
    /// # Errors
    /// Nothing is acknowledged. [`JournalError::Poisoned`] is final; after any other error what was
    /// staged still is, and a later commit may succeed.
    pub fn commit(&mut self, sync: bool) -> Result<Committed, JournalError> {
        if !self.owner.is_ours() {
            return Err(JournalError::Forked { owner: self.owner.pid() });
        }
        self.durable = self.durable.max(self.spares.durable_to()?.unwrap_or(0));
        if sync && (!self.stage.is_empty() || self.durable < self.written) {
            self.stage.pad(self.durable);
        }
        self.write()?;
        if sync {
            self.sync()?;
        }
        Ok(Committed { written: self.written, durable: self.durable, next: self.stage.next })
    }

    fn write(&mut self) -> Result<(), JournalError> {
        while !self.stage.is_empty() {
            let run = self.stage.run();
            if !run.bytes.is_empty() {
                let offset = self.head.offset_of(self.written);
                let wrote = write_all(&*self.file, run.bytes, offset);
                wrote.map_err(|error| {
                    JournalError::io("write", &segment_name(self.head.first))(error)
                })?;
                self.written += (run.bytes.len() / SLOT) as u64;
            }
            let then = run.then;
            self.stage.written();
            if let Some(head) = then {
                self.enter(head)?;
                self.stage.entered();
            }
        }
        self.stage.clear();
        Ok(())
    }

    /// Go on in the next segment.
    fn enter(&mut self, head: SegmentHeader) -> Result<(), JournalError> {
        // Recovery reads the last two segments: what lies before them has to be on the disk.
        self.spares.sync_finished()?;
        let file = self.spares.take(head.first, head.end())?;
        if let Err(error) = write_all(&*file, &head.encode(), 0) {
            self.spares.put_back(head.first, file);
            return Err(JournalError::io("write", &segment_name(head.first))(error));
        }
        // A batch is never on the disk without the header that it is read with, so that a segment
        // with batches and no header is damage. One sync a segment, of one block.
        sync_data(&*file).map_err(|error| self.spares.poison(&segment_name(head.first), &error))?;
        let full = std::mem::replace(&mut self.file, file);
        self.spares.finish(self.head.first, self.head.end(), full);
        self.head = head;
        self.written = head.first;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        if self.durable == self.written {
            return Ok(());
        }
        self.spares.sync_finished()?;
        sync_data(&*self.file)
            .map_err(|error| self.spares.poison(&segment_name(self.head.first), &error))?;
        self.durable = self.written;
        Ok(())
    }

    /// Everything before this position is written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Everything before this position is on the disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// The sequence a lane goes on with, behind what is staged.
    pub fn next(&self, lane: Priority) -> u64 {
        self.stage.next[lane as usize]
    }

    /// Bytes that the next commit writes.
    pub fn staged_bytes(&self) -> usize {
        self.stage.waiting()
    }

    /// What makes all files of this journal its own.
    pub fn id(&self) -> super::format::JournalId {
        self.head.id
    }

    pub fn disk(&self) -> &Arc<D> {
        &self.disk
    }

    /// Handle for the work that another thread should do.
    pub fn preparer(&self) -> Preparer<D> {
        Preparer(Arc::clone(&self.spares))
    }

    /// Commit, sync, and write that nothing follows.
    ///
    /// # Errors
    /// As [`Log::commit`]; the log counts as not closed then.
    pub fn close(mut self) -> Result<Committed, JournalError> {
        self.commit(true)?;
        self.append_record(record::CLOSED, &[])?;
        self.commit(true)
    }
}

const _: () = assert!(HEADER == BLOCK, "a segment's slots start at a block");
