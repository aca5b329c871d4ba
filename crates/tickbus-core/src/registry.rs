//! Who is on the bus: participants (handles that publish) and readers (subscriptions).
//!
//! Entries change only under the admin lock. An entry names the process it belongs to by PID, start
//! time, PID namespace and stack, so that it can be reclaimed on proof of death, and only then.

use crate::error::BusError;
use crate::lane::layout::{Layout, PARTICIPANT_CELLS, PARTICIPANTS, READER_CELLS, READERS};
use crate::lane::memory::{Cells, Memory};
use crate::sync::{AtomicU64, Ordering};
use crate::sys::Identity;
use std::sync::Arc;

// Cells of a participant.
const LIVE: usize = 0;
const PID: usize = 1;
const START: usize = 2;
const NAMESPACE: usize = 3;
const STACK: usize = 4;

/// Participants by number, 1 to 255.
#[derive(Clone)]
pub struct Participants(Cells);

impl Participants {
    pub fn new(memory: &Arc<Memory>, layout: &Layout) -> Participants {
        Participants(memory.cells(layout.participants.at, layout.participants.len))
    }

    fn of(&self, number: u8) -> &[AtomicU64] {
        let at = usize::from(number) * PARTICIPANT_CELLS;
        &self.0[at..at + PARTICIPANT_CELLS]
    }

    /// Numbers in use.
    pub fn live(&self) -> impl Iterator<Item = u8> + '_ {
        (1..=(PARTICIPANTS - 1) as u8).filter(|n| self.of(*n)[LIVE].load(Ordering::Acquire) != 0)
    }

    /// Take a free number for this process.
    pub fn enter(&self, identity: &Identity) -> Result<u8, BusError> {
        let free =
            (1..=(PARTICIPANTS - 1) as u8).find(|n| self.of(*n)[LIVE].load(Ordering::Acquire) == 0);
        let limit = PARTICIPANTS - 1;
        let number = free.ok_or(BusError::Capacity { what: "participants", limit })?;
        let cells = self.of(number);
        cells[PID].store(identity.pid, Ordering::Relaxed);
        cells[START].store(identity.start, Ordering::Relaxed);
        cells[NAMESPACE].store(identity.namespace, Ordering::Relaxed);
        cells[STACK].store(identity.stack, Ordering::Relaxed);
        // Last, so that an entry is never live without its identity.
        cells[LIVE].store(1, Ordering::Release);
        Ok(number)
    }

    pub fn leave(&self, number: u8) {
        self.of(number)[LIVE].store(0, Ordering::Release);
    }

    /// The process behind a number in use.
    pub fn identity(&self, number: u8) -> Option<Identity> {
        let cells = self.of(number);
        if cells[LIVE].load(Ordering::Acquire) == 0 {
            return None;
        }
        Some(Identity {
            pid: cells[PID].load(Ordering::Relaxed),
            start: cells[START].load(Ordering::Relaxed),
            namespace: cells[NAMESPACE].load(Ordering::Relaxed),
            stack: cells[STACK].load(Ordering::Relaxed),
        })
    }
}

// Cells of a reader; the last five have one for each lane.
const OWNER: usize = 0;
const GATING: usize = 1;
const CURSORS: usize = 2;
const STARTS: usize = 5;
const DELIVERED: usize = 8;
const FILTERED: usize = 11;
const MISSED: usize = 14;

/// What may become of an event, for one reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Fate {
    Delivered = DELIVERED,
    Filtered = FILTERED,
    Missed = MISSED,
}

/// Readers by number.
#[derive(Clone)]
pub struct Readers(Cells);

impl Readers {
    pub fn new(memory: &Arc<Memory>, layout: &Layout) -> Readers {
        Readers(memory.cells(layout.readers.at, layout.readers.len))
    }

    fn of(&self, number: usize) -> &[AtomicU64] {
        &self.0[number * READER_CELLS..(number + 1) * READER_CELLS]
    }

    /// Take a free number for a reader that gates the lanes in `gating`, a bit each. `cursors` is
    /// where it holds their gates until it knows better. `kept` is a number that is not free although
    /// its owner is gone: the journal's.
    pub fn enter(
        &self,
        owner: u8,
        gating: u64,
        cursors: [u64; 3],
        kept: Option<usize>,
    ) -> Result<usize, BusError> {
        let is_free = |n: &usize| self.of(*n)[OWNER].load(Ordering::Acquire) == 0;
        let free = (0..READERS).find(|n| Some(*n) != kept && is_free(n));
        let number = free.ok_or(BusError::Capacity { what: "subscriptions", limit: READERS })?;
        let cells = self.of(number);
        cells[GATING].store(gating, Ordering::Relaxed);
        for (cell, cursor) in cells[CURSORS..].iter().zip(cursors) {
            cell.store(cursor, Ordering::Relaxed);
        }
        // SeqCst: from here on a publisher that looks for room sees us; the joiner then reads the
        // tail, and starts there or later (native-bus protocol, see docs/parts/lanes.md).
        cells[OWNER].store(u64::from(owner), Ordering::SeqCst);
        Ok(number)
    }

    /// Free a place, if it is still `owner`'s: leaving the bus has freed it already, and it may be
    /// somebody else's by now.
    pub fn leave_of(&self, number: usize, owner: u8) {
        let cell = &self.of(number)[OWNER];
        let _ = cell.compare_exchange(u64::from(owner), 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub fn leave_all(&self, owner: u8) {
        for number in 0..READERS {
            self.leave_of(number, owner);
        }
    }

    /// Begin the books of a lane: nothing counted, first event `start`.
    pub fn start(&self, number: usize, lane: usize, start: u64) {
        for fate in [Fate::Delivered, Fate::Filtered, Fate::Missed] {
            self.of(number)[fate as usize + lane].store(0, Ordering::Relaxed);
        }
        self.of(number)[STARTS + lane].store(start, Ordering::Relaxed);
        self.set_cursor(number, lane, start);
    }

    /// Enter events into the books. Only the reader itself does, so load and store are enough.
    #[inline(always)]
    pub fn enter_fate(&self, number: usize, lane: usize, fate: Fate, count: u64) {
        let cell = &self.of(number)[fate as usize + lane];
        cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Start and counts of a lane's books, as `(start, delivered, filtered, missed)`.
    pub fn books(&self, number: usize, lane: usize) -> (u64, u64, u64, u64) {
        let cells = self.of(number);
        let read = |at: usize| cells[at + lane].load(Ordering::Relaxed);
        (read(STARTS), read(DELIVERED), read(FILTERED), read(MISSED))
    }

    /// Where a reader's cursors stand in shared memory.
    #[inline(always)]
    pub fn set_cursor(&self, number: usize, lane: usize, cursor: u64) {
        // Release: what was read before may be overwritten by whoever sees this (the gate).
        self.of(number)[CURSORS + lane].store(cursor, Ordering::Release);
    }

    /// Where a reader's cursor stands.
    pub fn cursor(&self, number: usize, lane: usize) -> u64 {
        self.of(number)[CURSORS + lane].load(Ordering::Acquire)
    }

    /// The participant a reader belongs to; `None` when it is gone.
    pub fn owner(&self, number: usize) -> Option<u8> {
        let owner = self.of(number)[OWNER].load(Ordering::SeqCst) as u8;
        (owner != 0).then_some(owner)
    }

    /// Lanes that a reader gates, a bit each.
    pub fn gating(&self, number: usize) -> u64 {
        self.of(number)[GATING].load(Ordering::Relaxed)
    }

    /// How many are registered, in all processes.
    pub fn count(&self) -> usize {
        (0..READERS).filter(|n| self.of(*n)[OWNER].load(Ordering::Relaxed) != 0).count()
    }

    /// Lowest cursor of a lane's gating readers, with its owner; `None` without any.
    pub fn slowest_gating(&self, lane: usize) -> Option<(u64, u8)> {
        (0..READERS)
            .filter_map(|number| {
                let cells = self.of(number);
                let owner = cells[OWNER].load(Ordering::SeqCst) as u8;
                let gating = cells[GATING].load(Ordering::Relaxed) >> lane & 1 != 0;
                let cursor = || cells[CURSORS + lane].load(Ordering::Acquire);
                (owner != 0 && gating).then(|| (cursor(), owner))
            })
            .min()
    }
}
