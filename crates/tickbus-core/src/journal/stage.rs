//! Batches on their way to the log: encoded, checksummed and chained, not written yet.
//!
//! Staging knows no disk and cannot fail half-way. It decides where segments end, so that what was
//! staged is written byte for byte the same, however often a full disk lets a commit fail.

use super::error::JournalError;
use super::format::{
    BATCH_EVENTS, BatchHeader, Kind, SLOT, SLOTS_A_BLOCK, SegmentHeader, Sequences, record,
};
use crate::event::{Event, Priority};

/// What the buffer keeps of its size between commits.
const KEPT: usize = 1 << 20;

/// Where the buffer goes on in a new segment.
struct Cut {
    at: usize,
    head: SegmentHeader,
}

/// A run of the buffer, and the segment that follows it.
pub(super) struct Run<'a> {
    pub bytes: &'a [u8],
    pub then: Option<SegmentHeader>,
}

pub(super) struct Stage {
    bytes: Vec<u8>,
    cuts: Vec<Cut>,
    /// How much of the two is written already.
    done: usize,
    cuts_done: usize,
    /// The segment that the end of the buffer is in.
    head: SegmentHeader,
    /// Of the next batch.
    pub position: u64,
    chain: u32,
    pub next: Sequences,
    /// Of new segments.
    slots: u64,
    /// Records that every segment repeats at its head.
    names: Vec<(u32, Vec<u8>)>,
}

/// Where new segments get what cannot be computed: salt and time.
pub(super) trait Fresh {
    fn salt(&self) -> u32;
    fn now_ns(&self) -> u64;
}

impl Stage {
    pub fn new(
        head: SegmentHeader,
        position: u64,
        chain: u32,
        next: Sequences,
        slots: u64,
    ) -> Stage {
        let (bytes, cuts) = (Vec::with_capacity(KEPT / 4), Vec::with_capacity(4));
        Stage {
            bytes,
            cuts,
            done: 0,
            cuts_done: 0,
            head,
            position,
            chain,
            next,
            slots,
            names: Vec::new(),
        }
    }

    /// Bytes that wait to be written.
    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.done
    }

    pub fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.cuts_done == self.cuts.len()
    }

    /// The next bytes to write, up to the end of their segment.
    pub fn run(&self) -> Run<'_> {
        let cut = self.cuts.get(self.cuts_done);
        let end = cut.map_or(self.bytes.len(), |cut| cut.at);
        Run { bytes: &self.bytes[self.done..end], then: cut.map(|cut| cut.head) }
    }

    /// The bytes of the run are written.
    pub fn written(&mut self) {
        self.done += self.run().bytes.len();
    }

    /// The segment after the run is begun.
    pub fn entered(&mut self) {
        self.cuts_done += 1;
    }

    /// Start over with an empty buffer, when all is written.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.cuts.clear();
        self.bytes.shrink_to(KEPT);
        (self.done, self.cuts_done) = (0, 0);
    }

    fn room(&self) -> u64 {
        self.head.end() - self.position
    }

    fn put(&mut self, header: BatchHeader, fill: impl FnOnce(&mut [u8])) {
        let at = self.bytes.len();
        let slots = 1 + header.slots as usize;
        self.bytes.resize(at + slots * SLOT, 0);
        let batch = &mut self.bytes[at..];
        fill(&mut batch[SLOT..]);
        self.chain = header.seal(self.head.salt, self.position, batch);
        self.position += slots as u64;
    }

    fn header(&self, kind: Kind, lane: u8, first: u64, slots: usize, durable: u64) -> BatchHeader {
        let lag = BatchHeader::lag(self.position, durable);
        BatchHeader { kind, lane, first, slots: slots as u32, lag, chain: self.chain, sum: 0 }
    }

    /// Make room for a batch of this many payload slots, in the next segment if need be.
    fn reserve(&mut self, slots: u64, durable: u64, fresh: &impl Fresh) {
        if self.room() > slots {
            return;
        }
        if self.room() > 0 {
            self.put(self.header(Kind::End, 0, 0, 0, durable), |_| {});
        }
        self.head = SegmentHeader {
            id: self.head.id,
            first: self.head.end(),
            slots: self.slots,
            next: self.next,
            created_ns: fresh.now_ns(),
            salt: fresh.salt(),
            chain: self.chain,
        };
        self.position = self.head.first;
        self.cuts.push(Cut { at: self.bytes.len(), head: self.head });
        self.repeat_names(durable);
    }

    /// Write all names again, after a record that says how many: a segment can be read without those
    /// before it, which may be gone. A segment that they would fill by half does without.
    fn repeat_names(&mut self, durable: u64) {
        let slots: usize = self.names.iter().map(|(_, bytes)| 1 + bytes.len().div_ceil(SLOT)).sum();
        if self.names.is_empty() || slots as u64 > self.slots / 2 {
            return;
        }
        let names = std::mem::take(&mut self.names);
        self.put_record(record::NAMES, &(names.len() as u32).to_le_bytes(), durable);
        for (kind, bytes) in &names {
            self.put_record(*kind, bytes, durable);
        }
        self.names = names;
    }

    /// Have a record repeated at the head of every later segment.
    pub fn remember(&mut self, kind: u32, bytes: &[u8]) {
        self.names.push((kind, bytes.to_vec()));
    }

    fn in_order(&self, lane: Priority, first: u64) -> Result<(), JournalError> {
        match self.next[lane as usize] {
            expected if expected == first => Ok(()),
            expected => Err(JournalError::Order { lane, expected, found: first }),
        }
    }

    pub fn events(
        &mut self,
        lane: Priority,
        first: u64,
        mut events: &[Event],
        durable: u64,
        fresh: &impl Fresh,
    ) -> Result<(), JournalError> {
        self.in_order(lane, first)?;
        while !events.is_empty() {
            self.reserve(1, durable, fresh);
            let fits = (self.room() - 1).min(BATCH_EVENTS as u64) as usize;
            let (batch, rest) = events.split_at(fits.min(events.len()));
            let first = self.next[lane as usize];
            let header = self.header(Kind::Events, lane as u8, first, batch.len(), durable);
            self.put(header, |payload| {
                for (slot, event) in payload.chunks_exact_mut(SLOT).zip(batch) {
                    slot.copy_from_slice(&event.to_bytes());
                }
            });
            self.next[lane as usize] += batch.len() as u64;
            events = rest;
        }
        Ok(())
    }

    pub fn gap(
        &mut self,
        lane: Priority,
        first: u64,
        count: u64,
        why: u64,
        durable: u64,
        fresh: &impl Fresh,
    ) -> Result<(), JournalError> {
        self.in_order(lane, first)?;
        self.reserve(1, durable, fresh);
        let header = self.header(Kind::Gap, lane as u8, first, 1, durable);
        self.put(header, |payload| {
            payload[..8].copy_from_slice(&count.to_le_bytes());
            payload[8..16].copy_from_slice(&why.to_le_bytes());
        });
        self.next[lane as usize] += count;
        Ok(())
    }

    pub fn record(
        &mut self,
        kind: u32,
        bytes: &[u8],
        durable: u64,
        fresh: &impl Fresh,
    ) -> Result<(), JournalError> {
        let slots = bytes.len().div_ceil(SLOT);
        // Names take up to half of a segment's head.
        let limit = (self.slots as usize / 2 - 1) * SLOT;
        if bytes.len() > limit.min(u32::MAX as usize) {
            return Err(JournalError::TooLarge { bytes: bytes.len(), limit });
        }
        self.reserve(slots as u64, durable, fresh);
        self.put_record(kind, bytes, durable);
        Ok(())
    }

    fn put_record(&mut self, kind: u32, bytes: &[u8], durable: u64) {
        let first = u64::from(kind) << 32 | bytes.len() as u64;
        let header = self.header(Kind::Record, 0, first, bytes.len().div_ceil(SLOT), durable);
        self.put(header, |payload| payload[..bytes.len()].copy_from_slice(bytes));
    }

    /// Fill the block that the end of the buffer is in.
    pub fn pad(&mut self, durable: u64) {
        let used = (self.position - self.head.first) % SLOTS_A_BLOCK;
        if used > 0 {
            let slots = (SLOTS_A_BLOCK - used - 1) as usize;
            self.put(self.header(Kind::Padding, 0, 0, slots, durable), |_| {});
        }
    }
}
