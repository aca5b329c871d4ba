//! What everybody on a bus can see of its journal: that there is one, whose it is, how far it is.
//!
//! The journal itself is another part, which the bus does not know. It tells the bus here what it
//! has written, and reads the lanes like any other reader. **Persisted before it is seen** follows
//! from one word: the critical lane is *held* (`Lane::hold`), and the journal moves that mark only
//! past what it has persisted. A publisher that has to wait for it waits here.

use crate::bus::{Bus, CRITICAL};
use crate::error::BusError;
use crate::lane::layout::{JOURNAL, JOURNAL_PATH_BYTES};
use crate::lane::memory::Cells;
use crate::sync::{Ordering, relax};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// Cells after `JOURNAL`.
const STATE: usize = 0;
const READER: usize = 1;
const WAKER: usize = 2;
const PERSISTED: usize = 4;
const PATH_LEN: usize = 7;
const PATH: usize = 8;

/// How the journal of a bus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// There is none.
    None = 0,
    Live = 1,
    /// The disk is full; it will go on when there is space.
    Full = 2,
    /// A sync has failed: what was not persisted then may never be.
    Failed = 3,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::None => "none",
            State::Live => "live",
            State::Full => "full",
            State::Failed => "failed",
        }
    }
}

/// Why an event is not known to be persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpersisted {
    /// The disk is full. The event is published and will be seen once it is persisted.
    Full,
    /// The journal has failed. Nobody has seen the event; whether it is on the disk is not known.
    Failed,
    /// The process that writes the journal is gone, stopped, or slow.
    Late { pid: Option<u64> },
}

/// The journal's words in a bus's memory.
#[derive(Clone)]
pub struct Persistence(Cells);

impl Persistence {
    pub fn new(header: Cells) -> Persistence {
        Persistence(header)
    }

    fn cell(&self, at: usize) -> &crate::sync::AtomicU64 {
        &self.0[JOURNAL + at]
    }

    pub fn state(&self) -> State {
        match self.cell(STATE).load(Ordering::SeqCst) {
            0 => State::None,
            1 => State::Live,
            2 => State::Full,
            _ => State::Failed,
        }
    }

    pub fn set_state(&self, state: State) {
        self.cell(STATE).store(state as u64, Ordering::SeqCst);
    }

    /// Whether somebody keeps a journal of this bus.
    pub fn is_on(&self) -> bool {
        self.state() != State::None
    }

    /// Number of the journal's own reader, whose cursors are what it has taken.
    pub fn reader(&self) -> Option<usize> {
        self.is_on().then(|| self.cell(READER).load(Ordering::Acquire) as usize)
    }

    /// Where the journal sleeps.
    pub fn waker(&self) -> Option<usize> {
        (self.cell(WAKER).load(Ordering::Acquire) as usize).checked_sub(1)
    }

    pub fn set_waker(&self, sleeper: Option<usize>) {
        self.cell(WAKER)
            .store(sleeper.map_or(0, |number| number as u64 + 1), Ordering::Release);
    }

    /// Next sequence of a lane that is not in the journal, at any level.
    pub fn persisted(&self, lane: usize) -> u64 {
        self.cell(PERSISTED + lane).load(Ordering::SeqCst)
    }

    pub fn set_persisted(&self, lane: usize, next: u64) {
        self.cell(PERSISTED + lane).store(next, Ordering::SeqCst);
    }

    /// Say that there is a journal, kept in `path` by reader `reader`. The caller holds the admin lock.
    pub fn open(&self, reader: usize, path: &Path) {
        let bytes = path.as_os_str().as_encoded_bytes();
        debug_assert!(bytes.len() <= JOURNAL_PATH_BYTES);
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.cell(PATH + i).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
        self.cell(PATH_LEN).store(bytes.len() as u64, Ordering::Release);
        self.cell(READER).store(reader as u64, Ordering::Release);
        self.set_state(State::Live);
    }

    /// The directory of the journal, while there is one.
    pub fn path(&self) -> Option<PathBuf> {
        if !self.is_on() {
            return None;
        }
        let len = self.cell(PATH_LEN).load(Ordering::Acquire) as usize;
        let words = (0..len.div_ceil(8)).map(|i| self.cell(PATH + i).load(Ordering::Relaxed));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.truncate(len);
        Some(PathBuf::from(OsString::from_vec(bytes)))
    }
}

/// How long a publisher looks without letting go of its core: about what a sync of a fast device takes.
const SPIN: Duration = Duration::from_micros(20);
const NAP: Duration = Duration::from_micros(50);

impl Bus {
    /// Wait, at most until `deadline`, until the critical event at `sequence` may be seen. The journal
    /// is another process's.
    pub fn await_visible(
        &self,
        lane: usize,
        sequence: u64,
        deadline: Instant,
    ) -> Result<(), Unpersisted> {
        let ring = &self.lanes[lane];
        let began = Instant::now();
        if !ring.is_visible(sequence)
            && let Some(number) = self.persistence.waker()
        {
            self.sleepers.call(number);
        }
        loop {
            if ring.is_visible(sequence) {
                return Ok(());
            }
            match self.persistence.state() {
                State::Full => return Err(Unpersisted::Full),
                State::Failed => return Err(Unpersisted::Failed),
                State::None | State::Live => {}
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Unpersisted::Late { pid: self.journal_pid() });
            }
            if now - began < SPIN {
                relax();
            } else {
                std::thread::sleep(NAP);
            }
        }
    }

    /// Whether critical events are persisted, at any level, before anybody sees them.
    pub fn persists_critical_first(&self) -> bool {
        let reader = self.persistence.reader();
        reader.is_some_and(|reader| self.readers.gating(reader) >> CRITICAL & 1 != 0)
    }

    /// The process that keeps the journal.
    pub fn journal_pid(&self) -> Option<u64> {
        let owner = self.readers.owner(self.persistence.reader()?)?;
        self.pid_of(owner)
    }
}

/// Which bus a journal was last kept of, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Continuation {
    /// `Bus::id` of that bus; `None` of a new journal.
    pub bus: Option<u64>,
    /// Next sequence of each lane.
    pub next: [u64; 3],
}

impl Bus {
    /// Become the journal of this bus: a reader that gates the lanes in `gating`, a bit each, and
    /// before whose word no critical event is seen. Returns the reader's number.
    pub fn begin_journal(
        &self,
        path: &Path,
        from: Continuation,
        gating: u64,
    ) -> Result<usize, BusError> {
        let _guard = self.admin.lock()?;
        if path.as_os_str().len() > JOURNAL_PATH_BYTES {
            return Err(BusError::Capacity {
                what: "bytes of a journal's path",
                limit: JOURNAL_PATH_BYTES,
            });
        }
        if let Some(pid) = self.journal_pid() {
            return Err(BusError::Journaled { pid });
        }
        for (number, (lane, next)) in self.lanes.iter().zip(from.next).enumerate() {
            let (origin, tail) = (lane.origin(), lane.tail());
            let fresh = origin == next && tail == next;
            let ours = from.bus.is_none_or(|bus| bus == self.id());
            if next > tail || !(ours || fresh) {
                return Err(BusError::OtherBus { lane: number, next, tail });
            }
        }
        let reader = self.readers.enter(self.number(), gating, from.next, None)?;
        for (number, (lane, next)) in self.lanes.iter().zip(from.next).enumerate() {
            self.readers.start(reader, number, next);
            self.persistence.set_persisted(number, next);
            if gating >> number & 1 != 0 && number != CRITICAL {
                lane.close_gate(next);
            }
        }
        if gating >> CRITICAL & 1 != 0 {
            self.lanes[CRITICAL].hold(from.next[CRITICAL]);
        }
        self.persistence.open(reader, path);
        Ok(reader)
    }

    /// Let the bus go on without its journal.
    pub fn end_journal(&self, reader: usize) {
        self.persistence.set_waker(None);
        self.persistence.set_state(State::None);
        for (number, lane) in self.lanes.iter().enumerate() {
            if number == CRITICAL {
                lane.release();
            } else {
                lane.open_gate();
            }
        }
        if self.holds_places() {
            self.readers.leave_of(reader, self.number());
        }
    }
}
