//! One lane: a broadcast ring with many producers, many readers and one total order.
//!
//! **Promise.** An event is published or it is not, whole, at one instant: the compare-and-swap on
//! its slot's stamp. A producer killed at any instruction leaves no hole. No lock, no system call,
//! no allocation. A reader never sees a torn event and always knows how many it missed.
//!
//! **How.** A producer first writes its events into a staging area of its own that readers can see,
//! then swaps the stamp of the next free slot to "lap, me, how many": that is the claim, the order
//! and the publication in one step. Only then it copies the events into their slots and marks them
//! done. Until it has, readers take them from the staging area; if it died, another producer
//! finishes the copy ([`Lane::repair`]).
//!
//! ```text
//!   staging[me]  e5 e6 e7              stamp   .. 4✓  5:me,3  (6)    (7)    ← published here
//!        │                             mark    .. 4✓  5:me,3  6:me,1 7:me,2 ← 7 first, then 6
//!        └── copy into the slots ──►   done    .. 4✓  5✓      6✓     7✓     ← 7, 6, then 5
//! ```
//!
//! Marks and dones go from last to first, so that whoever steps from slot to slot and meets an
//! interior slot of a claim can rely on all later ones being marked, and can never claim inside it.
//!
//! **Cost.** One locked instruction a claim; `benches/lane.rs` measures it. **Not here:** who may
//! be blocked or waited for (`bus.rs`), proof of death (`registry.rs`), sleeping (`wake.rs`).
//!
//! `tests/ring_model.rs` checks this protocol state by state with kills anywhere;
//! `tests/loom_ring.rs` checks this code under the memory model.

use super::counter::Counter;
use super::memory::Cells;
use super::stamp::{MAX_CLAIM, Stamp, State};
use crate::event::Words;
use crate::sync::{AtomicU64, Ordering, fence};

/// Offsets into a lane's control cells; what producers write shares no 128 bytes with the rest.
const TAIL: usize = 0;
const GATE: usize = 16;
const COUNTERS: usize = 32;
const TYPES: usize = 40;
const ORIGIN: usize = 44;
const HELD: usize = 48;
/// Cells of a lane's control block.
pub const CONTROL_CELLS: usize = 64;
/// Values that zeroed memory has: a gate or a held lane is stored as its sequence plus one.
const NO_GATE: u64 = 0;
const NOT_HELD: u64 = 0;
/// Cells of one participant's staging area.
pub const STAGING_CELLS: usize = MAX_CLAIM * 4;

/// Why an append did not happen. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The slot still holds an event that a gating reader has not seen.
    Full { sequence: u64 },
    /// The claim that wrote `sequence`, a lap ago, is unfinished; its owner has to go on, or be
    /// repaired if dead.
    Unfinished { owner: u8, sequence: u64 },
}

/// Events that one claim published: `first .. first + len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub first: u64,
    pub len: usize,
}

/// What a reader finds at its cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peek {
    Event(Words),
    /// Nothing published there yet.
    Empty,
    /// Overwritten; the oldest event still there is `oldest` or later.
    Lapped {
        oldest: u64,
    },
}

/// A lane, seen by one process.
#[derive(Clone)]
pub struct Lane {
    control: Cells,
    stamps: Cells,
    events: Cells,
    /// Every participant's staging area, `STAGING_CELLS` each, by owner number.
    staging: Cells,
    shift: u32,
}

#[inline(always)]
fn load_words(cells: &[AtomicU64], at: usize) -> Words {
    let cells = &cells[at..at + 4];
    std::array::from_fn(|i| cells[i].load(Ordering::Relaxed))
}

/// Write events one behind the other.
#[inline(always)]
fn store_all(cells: &[AtomicU64], words: impl Fn(usize) -> Words) {
    for (i, event) in cells.chunks_exact(4).enumerate() {
        for (cell, word) in event.iter().zip(words(i)) {
            cell.store(word, Ordering::Relaxed);
        }
    }
}

impl Lane {
    /// A lane over zeroed or living memory; `stamps.len()` is its size, a power of two. Zeroed memory
    /// is an empty lane that begins at 0, without a gate, and hides nothing.
    pub fn new(control: Cells, stamps: Cells, events: Cells, staging: Cells) -> Lane {
        assert!(stamps.len().is_power_of_two() && events.len() == stamps.len() * 4);
        let shift = stamps.len().trailing_zeros();
        Lane { control, stamps, events, staging, shift }
    }

    /// Let the first event be `origin`, to go on where a journal ends. Only for zeroed memory that
    /// nobody else can see yet.
    pub fn begin_at(&self, origin: u64) {
        self.control[ORIGIN].store(origin, Ordering::Relaxed);
        self.control[TAIL].store(origin, Ordering::Relaxed);
        let lap = self.lap(origin);
        for (slot, stamp) in self.stamps.iter().enumerate() {
            let laps = if slot < self.slot(origin) { lap + 1 } else { lap };
            stamp.store(Stamp::done_before(laps).0, Ordering::Relaxed);
        }
    }

    /// Slots, as a sequence distance.
    #[inline(always)]
    pub fn size(&self) -> u64 {
        1 << self.shift
    }

    #[inline(always)]
    fn slot(&self, sequence: u64) -> usize {
        (sequence & (self.size() - 1)) as usize
    }

    #[inline(always)]
    fn lap(&self, sequence: u64) -> u64 {
        sequence >> self.shift
    }

    #[inline(always)]
    fn stamp(&self, sequence: u64, order: Ordering) -> Stamp {
        Stamp(self.stamps[self.slot(sequence)].load(order))
    }

    fn staged(&self, owner: u8, index: usize) -> Words {
        load_words(&self.staging, usize::from(owner) * STAGING_CELLS + index * 4)
    }

    /// Add to a counter; never on the fast path.
    #[cold]
    pub fn count(&self, counter: Counter, by: u64) {
        self.control[COUNTERS + counter as usize].fetch_add(by, Ordering::Relaxed);
    }

    /// Value of a counter.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.control[COUNTERS + counter as usize].load(Ordering::Relaxed)
    }

    /// Say that events of these types may follow. A producer calls this before it first appends one.
    #[cold]
    pub fn announce_types(&self, types: &[u64; 4]) {
        for (cell, types) in self.control[TYPES..].iter().zip(types) {
            // Ordered before the append by that one's SeqCst swap.
            cell.fetch_or(*types, Ordering::SeqCst);
        }
    }

    /// The types any event before a [`Lane::tail`] read earlier can have.
    pub fn types(&self) -> [u64; 4] {
        std::array::from_fn(|i| self.control[TYPES + i].load(Ordering::SeqCst))
    }

    /// Publish `count` events (at most [`MAX_CLAIM`]; fewer when fewer fit) as `owner`.
    ///
    /// `local_tail` is the owner's own memory of where the lane ends; `reserve` is how many of the
    /// slots of a gated lane this append must leave free.
    ///
    /// Only one thread at a time may append as `owner`: the staging area has room for one claim.
    #[inline(always)]
    pub fn append(
        &self,
        owner: u8,
        local_tail: &mut u64,
        count: usize,
        reserve: u64,
        words: impl Fn(usize) -> Words,
    ) -> Result<Claim, Blocked> {
        debug_assert!((1..=MAX_CLAIM).contains(&count));
        // A reader that still sees our previous claim's stamp may be reading our staging area:
        // the release fence puts that claim's done before the writes below, so that its re-check
        // (after an acquire fence) finds the stamp changed. No instruction on x86.
        fence(Ordering::Release);
        let base = usize::from(owner) * STAGING_CELLS;
        store_all(&self.staging[base..base + count * 4], &words);

        // A hint: it may lag, it is never ahead, and only ever the end of a claim.
        let mut next = (*local_tail).max(self.control[TAIL].load(Ordering::Acquire));
        let claim = loop {
            let seen = self.stamp(next, Ordering::Acquire);
            let lap = self.lap(next);
            if seen == Stamp::done_before(lap) {
                let mut len = if count == 1 { 1 } else { self.free_run(next, count) };
                len = len.min(self.room(next, reserve));
                if len == 0 {
                    *local_tail = next;
                    return Err(Blocked::Full { sequence: next });
                }
                // SeqCst on success: the store-load barrier between this publication and the
                // publisher's look at who sleeps (`wake.rs`). On x86 the same instruction.
                let swapped = self.stamps[self.slot(next)].compare_exchange(
                    seen.0,
                    Stamp::head(lap, owner, len).0,
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                );
                if swapped.is_ok() {
                    break Claim { first: next, len };
                }
            } else if seen.laps() <= lap {
                let owner = seen.owner().unwrap_or(0);
                *local_tail = next;
                return Err(Blocked::Unfinished {
                    owner,
                    sequence: next.saturating_sub(self.size()),
                });
            } else {
                // Somebody published here, maybe laps ago: go on behind it.
                next = ((seen.laps() - 1) << self.shift | self.slot(next) as u64) + seen.stride();
            }
        };
        *local_tail = claim.first + claim.len as u64;
        self.finish(owner, claim, &words);
        Ok(claim)
    }

    /// Copy a claim into its slots; the claim's events are published already.
    #[inline(always)]
    fn finish(&self, owner: u8, claim: Claim, words: &impl Fn(usize) -> Words) {
        let end = claim.first + claim.len as u64;
        // Racy on purpose: a hint that goes backwards costs the next producer a few steps.
        if self.control[TAIL].load(Ordering::Relaxed) < end {
            self.control[TAIL].store(end, Ordering::Release);
        }
        // A claim does not go round the end of the ring, so all of it is in one lap.
        let lap = self.lap(claim.first);
        let slot = self.slot(claim.first);
        let stamps = &self.stamps[slot..slot + claim.len];
        // Release stores, here and below: whoever sees one also sees the ones before it, the later
        // marks of the same claim, or the event itself. Pairs with the Acquire loads of `stamp`.
        for (i, stamp) in stamps.iter().enumerate().skip(1).rev() {
            stamp.store(Stamp::body(lap, owner, i).0, Ordering::Release);
        }
        // Marks before events: a reader that copied a mix of old and new finds the mark on its
        // re-check. Pairs with the acquire fence in `read`.
        fence(Ordering::Release);
        store_all(&self.events[slot * 4..(slot + claim.len) * 4], words);
        for stamp in stamps.iter().rev() {
            stamp.store(Stamp::done(lap).0, Ordering::Release);
        }
    }

    /// How many slots from `next` on, at most `count` and not round the end of the ring, are
    /// finished with their previous lap. They stay so until somebody claims `next`, because claims
    /// are strictly in order.
    #[inline]
    fn free_run(&self, next: u64, count: usize) -> usize {
        let slot = self.slot(next);
        let end = (slot + count).min(self.stamps.len());
        let free = Stamp::done_before(self.lap(next)).0;
        let is_free = |stamp: &&AtomicU64| stamp.load(Ordering::Acquire) == free;
        1 + self.stamps[slot + 1..end].iter().take_while(is_free).count()
    }

    #[inline(always)]
    fn room(&self, next: u64, reserve: u64) -> usize {
        // Acquire: pairs with the gate's release, so the slot's last reader has finished with it.
        match self.control[GATE].load(Ordering::Acquire) {
            NO_GATE => usize::MAX,
            gate => (gate - 1 + self.size()).saturating_sub(next + reserve) as usize,
        }
    }

    /// Keep what is at `acked` and later until the gate is raised.
    pub fn close_gate(&self, acked: u64) {
        self.control[GATE].store(acked + 1, Ordering::SeqCst);
    }

    /// Wait for nobody any more.
    pub fn open_gate(&self) {
        self.control[GATE].store(NO_GATE, Ordering::SeqCst);
    }

    /// Move the gate, if there is one, up to `acked`, the lowest cursor of all gating readers; never
    /// down.
    pub fn raise_gate(&self, acked: u64) {
        let up = |gate| (gate != NO_GATE && gate <= acked).then_some(acked + 1);
        // Not raised: there is no gate, or it is there already.
        let _ = self.control[GATE].fetch_update(Ordering::SeqCst, Ordering::SeqCst, up);
    }

    /// Everything before this sequence has been seen by every gating reader; `None` without a gate.
    pub fn gate(&self) -> Option<u64> {
        self.control[GATE].load(Ordering::SeqCst).checked_sub(1)
    }

    /// Hide events from `visible` on from subscribers, until told otherwise.
    pub fn hold(&self, visible: u64) {
        self.control[HELD].store(visible + 1, Ordering::SeqCst);
    }

    /// Hide nothing any more.
    pub fn release(&self) {
        self.control[HELD].store(NOT_HELD, Ordering::SeqCst);
    }

    /// Whether subscribers may see the event at `sequence`, once it is there.
    #[inline(always)]
    pub fn is_visible(&self, sequence: u64) -> bool {
        let held = self.control[HELD].load(Ordering::SeqCst);
        held == NOT_HELD || sequence < held - 1
    }

    /// First sequence that subscribers cannot see yet, now.
    pub fn end(&self) -> u64 {
        match self.control[HELD].load(Ordering::SeqCst) {
            NOT_HELD => self.tail(),
            held => held - 1,
        }
    }

    /// First sequence not published yet, now.
    pub fn tail(&self) -> u64 {
        let mut next = self.control[TAIL].load(Ordering::Acquire);
        loop {
            let seen = self.stamp(next, Ordering::SeqCst);
            if seen.laps() <= self.lap(next) {
                return next;
            }
            next = ((seen.laps() - 1) << self.shift | self.slot(next) as u64) + seen.stride();
        }
    }

    /// Whether the claim that wrote `sequence` has been completed.
    pub fn is_finished(&self, sequence: u64) -> bool {
        let seen = self.stamp(sequence, Ordering::Acquire);
        seen.laps() > self.lap(sequence) + 1
            || (seen.laps() == self.lap(sequence) + 1 && seen.is_done())
    }

    /// The sequence this lane began with.
    pub fn origin(&self) -> u64 {
        self.control[ORIGIN].load(Ordering::Relaxed)
    }

    /// Oldest sequence that can still be read, now.
    pub fn oldest(&self) -> u64 {
        self.tail().saturating_sub(self.size()).max(self.origin())
    }

    /// The event at `sequence`, if it is there.
    #[inline(always)]
    pub fn read(&self, sequence: u64) -> Peek {
        let done = Stamp::done(self.lap(sequence));
        if self.stamp(sequence, Ordering::Acquire) == done {
            let words = load_words(&self.events, self.slot(sequence) * 4);
            // The acquire fence orders the copy before the re-check; an acquire *load* would not.
            fence(Ordering::Acquire);
            if self.stamp(sequence, Ordering::Relaxed) == done {
                return Peek::Event(words);
            }
        }
        self.read_unusual(sequence)
    }

    #[cold]
    #[inline(never)]
    fn read_unusual(&self, sequence: u64) -> Peek {
        loop {
            let seen = self.stamp(sequence, Ordering::SeqCst);
            let lap = self.lap(sequence);
            if seen.laps() > lap + 1 {
                let tail = self.tail();
                return Peek::Lapped { oldest: tail.saturating_sub(self.size()).max(sequence + 1) };
            }
            let (witness, state) = if seen.laps() == lap + 1 {
                (sequence, seen.state())
            } else {
                match self.covering_head(sequence) {
                    Some((head, state)) => (head, state),
                    // Between the two looks the claim may have been marked, or finished.
                    None if self.stamp(sequence, Ordering::SeqCst) != seen => continue,
                    None => return Peek::Empty,
                }
            };
            let words = match state {
                State::Done => load_words(&self.events, self.slot(sequence) * 4),
                State::Head { owner, .. } => self.staged(owner, (sequence - witness) as usize),
                State::Body { owner, index } => self.staged(owner, index),
            };
            fence(Ordering::Acquire);
            let expected = self.restamp(witness, state);
            if self.stamp(witness, Ordering::Relaxed) == expected {
                return Peek::Event(words);
            }
        }
    }

    /// The stamp that `state` at `sequence` was read from.
    fn restamp(&self, sequence: u64, state: State) -> Stamp {
        let lap = self.lap(sequence);
        match state {
            State::Done => Stamp::done(lap),
            State::Head { owner, len } => Stamp::head(lap, owner, len as usize),
            State::Body { owner, index } => Stamp::body(lap, owner, index),
        }
    }

    /// The head of an unmarked claim that `sequence` belongs to: its owner is between the claim and
    /// the marks, for nanoseconds if it runs, for ever if it was killed there.
    fn covering_head(&self, sequence: u64) -> Option<(u64, State)> {
        let first = sequence.saturating_sub(MAX_CLAIM as u64 - 1);
        for head in (first..sequence).rev() {
            let seen = self.stamp(head, Ordering::SeqCst);
            if seen.laps() != self.lap(head) + 1 {
                continue;
            }
            return match seen.state() {
                State::Head { len, .. } if head + len > sequence => Some((head, seen.state())),
                // The nearest published slot before us ends our search: claims do not nest.
                _ => None,
            };
        }
        None
    }

    /// Copy events from `first` on into `out` while they are there and done, at most to the end of
    /// the ring; how many. Zero says nothing: ask [`Lane::read`] why.
    #[inline]
    pub fn read_run<T>(&self, first: u64, out: &mut [T], from: impl Fn(u64, Words) -> T) -> usize {
        let done = Stamp::done(self.lap(first));
        let slot = self.slot(first);
        let end = (slot + out.len()).min(self.stamps.len());
        let stamps = self.stamps[slot..end].iter();
        let events = self.events[slot * 4..end * 4].chunks_exact(4);
        let mut copied = 0;
        for (place, (stamp, event)) in out.iter_mut().zip(stamps.zip(events)) {
            if stamp.load(Ordering::Acquire) != done.0 {
                break;
            }
            *place = from(first + copied as u64, load_words(event, 0));
            copied += 1;
        }
        // Each slot is vouched for by its own stamp: its mark precedes its event. The first one's
        // would not do for all: it may be an interior that its claimant has yet to mark, while the
        // owner of the next claim is already writing (`tests/loom_ring.rs` has the case).
        fence(Ordering::Acquire);
        let unchanged = |stamp: &&AtomicU64| stamp.load(Ordering::Relaxed) == done.0;
        self.stamps[slot..slot + copied].iter().take_while(unchanged).count()
    }

    /// Finish the claim of a dead producer that `sequence` belongs to.
    ///
    /// The caller holds the bus's admin lock and has proof that `owner` is dead. Every step may be
    /// done twice: a repairer that dies is repaired in the same way.
    pub fn repair(&self, owner: u8, sequence: u64) -> bool {
        let first = sequence.saturating_sub(MAX_CLAIM as u64 - 1);
        for head in (first..=sequence).rev() {
            let seen = self.stamp(head, Ordering::Acquire);
            if seen.laps() != self.lap(head) + 1 {
                continue;
            }
            match seen.state() {
                State::Head { owner: of, len } if of == owner && head + len > sequence => {
                    let claim = Claim { first: head, len: len as usize };
                    self.finish(owner, claim, &|i| self.staged(owner, i));
                    self.count(Counter::Repaired, 1);
                    return true;
                }
                State::Head { .. } => return false,
                State::Done | State::Body { .. } => {}
            }
        }
        false
    }

    /// Finish whatever a dead producer left unfinished anywhere in the lane; same conditions.
    pub fn repair_all(&self, owner: u8) {
        for slot in 0..self.size() {
            let seen = Stamp(self.stamps[slot as usize].load(Ordering::Acquire));
            if let State::Head { owner: of, .. } = seen.state()
                && of == owner
            {
                self.repair(owner, (seen.laps() - 1) << self.shift | slot);
            }
        }
    }
}
