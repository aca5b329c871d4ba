//! Sleeping and waking. **Publishers pay nothing when nobody sleeps**: one look at one word.
//!
//! A reader that finds nothing writes down which event types and symbols it wants, sets its bit in
//! the bus's `SLEEPING` word, looks again, and sleeps on a file descriptor: an eventfd on a private
//! bus, a named pipe between processes (descriptors cannot be passed through shared memory). A
//! publisher that sees bits set clears and wakes those whose wishes match: each sleep costs one
//! publisher one system call, and a market stream does not wake a sleeper that waits for risk.
//!
//! No wake-up is lost: the publisher's compare-and-swap and its look at `SLEEPING`, the sleeper's
//! bit and its second look at the lanes are all sequentially consistent, so one of the two sees the
//! other. A publisher killed in between is why nobody sleeps longer than [`LONGEST_SLEEP`].

use crate::error::BusError;
use crate::lane::layout::{Layout, SLEEPER_CELLS, SLEEPERS, SLEEPING};
use crate::lane::memory::{Cells, Memory};
use crate::sync::{AtomicU64, Ordering};
use crate::sys;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How late a wake-up can be when the process that owed it was killed.
pub const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// What a sleeper waits for: type bits and a 64-bit Bloom filter of symbols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    pub types: [u64; 4],
    pub symbols: u64,
}

impl Wishes {
    /// Everything either of two readers waits for.
    pub fn union(self, other: Wishes) -> Wishes {
        Wishes {
            types: std::array::from_fn(|i| self.types[i] | other.types[i]),
            symbols: self.symbols | other.symbols,
        }
    }
}

// Cells of a sleeper.
const OWNER: usize = 0;
const EPOCH: usize = 1;
const TYPES: usize = 2;
const SYMBOLS: usize = 6;

type Waker = Option<(u64, Arc<OwnedFd>)>;

/// Everybody who may sleep on one bus, seen by one process.
pub struct Sleepers {
    header: Cells,
    cells: Cells,
    /// Path of the named pipes but for the number; `None` on a private bus.
    pipes: Option<String>,
    /// Descriptors by sleeper and epoch: our own, and those we opened to wake others.
    wakers: Mutex<[Waker; SLEEPERS]>,
}

impl Sleepers {
    pub fn new(memory: &Arc<Memory>, layout: &Layout, pipes: Option<String>) -> Sleepers {
        Sleepers {
            header: memory.cells(layout.header.at, layout.header.len),
            cells: memory.cells(layout.sleepers.at, layout.sleepers.len),
            pipes,
            wakers: Mutex::new([const { None }; SLEEPERS]),
        }
    }

    fn of(&self, number: usize) -> &[AtomicU64] {
        &self.cells[number * SLEEPER_CELLS..(number + 1) * SLEEPER_CELLS]
    }

    fn pipe(&self, number: usize, epoch: u64) -> Option<String> {
        Some(format!("{}{number}.{epoch}", self.pipes.as_ref()?))
    }

    /// Take a place to sleep for a participant. The caller holds the admin lock.
    pub fn enter(&self, owner: u8) -> Result<(usize, Arc<OwnedFd>), BusError> {
        let free = (0..SLEEPERS).find(|n| self.of(*n)[OWNER].load(Ordering::Acquire) == 0);
        let limit = BusError::Capacity { what: "sleeping readers", limit: SLEEPERS };
        let number = free.ok_or(limit)?;
        let cells = self.of(number);
        let epoch = cells[EPOCH].load(Ordering::Relaxed) + 1;
        // Before the pipe, so that whoever frees the place of a process killed here removes it too.
        cells[EPOCH].store(epoch, Ordering::Release);
        cells[OWNER].store(u64::from(owner), Ordering::Release);
        let fd = match self.pipe(number, epoch) {
            Some(path) => sys::named_pipe(&path).map_err(BusError::io("create wake-up pipe")),
            None => sys::eventfd().map_err(BusError::io("create wake-up event")),
        };
        let fd = match fd {
            Ok(fd) => Arc::new(fd),
            Err(error) => {
                self.leave(number);
                return Err(error);
            }
        };
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)[number] =
            Some((epoch, Arc::clone(&fd)));
        Ok((number, fd))
    }

    /// Give the place back. The caller holds the admin lock.
    pub fn leave(&self, number: usize) {
        self.cancel(number);
        let cells = self.of(number);
        if let Some(path) = self.pipe(number, cells[EPOCH].load(Ordering::Relaxed)) {
            // Gone already is as good.
            let _ = rustix::fs::unlink(path);
        }
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)[number] = None;
        cells[OWNER].store(0, Ordering::Release);
    }

    /// Free the places of a dead participant. The caller holds the admin lock.
    pub fn leave_all(&self, owner: u8) {
        for number in 0..SLEEPERS {
            if self.of(number)[OWNER].load(Ordering::Acquire) == u64::from(owner) {
                self.leave(number);
            }
        }
    }

    /// Announce that `number` is about to sleep. After this, look at the lanes once more.
    pub fn announce(&self, number: usize, wishes: &Wishes) {
        let cells = self.of(number);
        for (cell, types) in cells[TYPES..].iter().zip(wishes.types) {
            cell.store(types, Ordering::Relaxed);
        }
        cells[SYMBOLS].store(wishes.symbols, Ordering::Relaxed);
        // SeqCst: see the module's head. Also releases the wishes above.
        self.header[SLEEPING].fetch_or(1 << number, Ordering::SeqCst);
    }

    /// Take the announcement back, unless a publisher has: that was the call.
    pub fn cancel(&self, number: usize) {
        if self.header[SLEEPING].load(Ordering::Relaxed) & 1 << number != 0 {
            self.header[SLEEPING].fetch_and(!(1 << number), Ordering::SeqCst);
        }
    }

    /// Whether anybody sleeps: the whole price of sleeping readers for a publisher.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.header[SLEEPING].load(Ordering::SeqCst) != 0
    }

    /// Wake those who wait for an event of this type and symbol.
    #[cold]
    #[inline(never)]
    pub fn wake(&self, event_type: u8, symbol: u32) {
        let types = |i| if i == usize::from(event_type >> 6) { 1 << (event_type & 63) } else { 0 };
        let published = Wishes { types: std::array::from_fn(types), symbols: 1 << (symbol & 63) };
        self.wake_for(&published);
    }

    /// Wake those who wait for anything in `published`.
    pub fn wake_for(&self, published: &Wishes) {
        let mut left = self.header[SLEEPING].load(Ordering::SeqCst);
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            let cells = self.of(number);
            let wished = (0..4)
                .any(|i| cells[TYPES + i].load(Ordering::Relaxed) & published.types[i] != 0)
                && cells[SYMBOLS].load(Ordering::Relaxed) & published.symbols != 0;
            let bit = 1 << number;
            if wished && self.header[SLEEPING].fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
                self.ring(number);
            }
        }
    }

    /// Wake a sleeper that has not announced itself, because nobody should look for it but those who
    /// know its number.
    pub fn call(&self, number: usize) {
        if self.of(number)[OWNER].load(Ordering::Acquire) != 0 {
            self.ring(number);
        }
    }

    fn ring(&self, number: usize) {
        let epoch = self.of(number)[EPOCH].load(Ordering::Acquire);
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        let waker = &mut wakers[number];
        if waker.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let path = self.pipe(number, epoch);
            let opened = path.and_then(|path| sys::open_waker(&path).ok());
            *waker = opened.map(|fd| (epoch, Arc::new(fd)));
        }
        if let Some((_, fd)) = waker {
            sys::wake(fd);
        }
    }
}
