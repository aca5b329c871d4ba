//! Reading: a cursor for each lane, a filter, and a ledger that adds up.
//!
//! Critical events come first, always: the critical lane is looked at before every event of
//! another. Between high and normal, normal is guaranteed one event in [`HIGH_SHARE`] + 1.
//!
//! **The ledger is exact**: a cursor moves over every sequence once, and each move is counted as
//! delivered, filtered or missed, so `published = delivered + filtered + missed + pending` holds
//! for each lane at any time, where published and pending count from the subscription's start.
//! A lane in which no type it wants was ever published is passed over as a whole, as filtered, so a
//! reader of risk events misses nothing when market data overtakes it.

use crate::bus::{Bus, CRITICAL};
use crate::error::BusError;
use crate::event::Event;
use crate::history::HistoryError;
use crate::lane::ring::{Lane, Peek};
use crate::ledger::{Ledger, Observer};
use crate::past::{Found, Past};
use crate::registry::Fate;
use crate::sync::{Ordering, fence};
use crate::topic::Matcher;
use crate::wake::Wishes;
use std::sync::Arc;

/// High events a reader takes before a waiting normal one gets its turn.
pub const HIGH_SHARE: u32 = 7;
/// Events a batch takes from one lane before it looks at the critical lane again.
const CHUNK: usize = 512;
const HIGH: usize = 1;
const NORMAL: usize = 0;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Latest,
    /// With the oldest event still in each lane.
    Earliest,
    /// With this sequence of one lane, and the next event of the others.
    At { lane: usize, sequence: u64 },
    /// With these sequences, by lane.
    Each([u64; 3]),
    /// With the first event of each lane that has at least this timestamp; from a journal.
    Time(u64),
}

impl Start {
    /// Refuse a start that has not been published yet.
    pub fn check(self, bus: &Bus) -> Result<(), BusError> {
        match self {
            Start::At { lane, sequence } if sequence > bus.lanes[lane].tail() => {
                Err(BusError::Start { lane, sequence, tail: bus.lanes[lane].tail() })
            }
            Start::Each(sequences) => {
                (0..3).try_for_each(|lane| Start::At { lane, sequence: sequences[lane] }.check(bus))
            }
            Start::At { .. } | Start::Latest | Start::Earliest | Start::Time(_) => Ok(()),
        }
    }
}

/// An event with its place in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    pub sequence: u64,
    pub event: Event,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    next: u64,
    /// How often in a row the reader was overtaken without reading an event.
    overtaken: u32,
}

/// A reader of all lanes.
pub struct Subscription {
    bus: Arc<Bus>,
    matcher: Matcher,
    cursors: [Cursor; 3],
    number: usize,
    /// High events since the last normal one.
    high_run: u32,
    unfiltered: bool,
    /// Lanes in which it reads the bus's history, a bit each, because the lane has overwritten what
    /// comes next.
    behind: u8,
    past: Past,
    trouble: Option<HistoryError>,
}

impl Subscription {
    /// Subscribe. A `gating` reader holds back publishers of the critical lane until it has read.
    pub fn new(
        bus: &Arc<Bus>,
        patterns: &[&str],
        start: Start,
        gating: bool,
    ) -> Result<Subscription, BusError> {
        // Before patterns give names numbers: what is refused changes nothing.
        start.check(bus)?;
        let matcher = Matcher::compile(patterns, bus.names().as_ref())?;
        let number = {
            let _guard = bus.admin.lock()?;
            // Holding the gate where it is; raised to the true start below.
            let held = [0, 0, bus.lanes[CRITICAL].gate().unwrap_or(0)];
            // A journal that was killed has left its number, and whoever took that would be taken for it.
            let journal = bus.persistence().reader();
            bus.readers.enter(bus.number(), u64::from(gating) << CRITICAL, held, journal)?
        };
        let unfiltered = patterns.contains(&">");
        let mut subscription = Subscription {
            bus: Arc::clone(bus),
            matcher,
            cursors: [Cursor::default(); 3],
            number,
            high_run: 0,
            unfiltered,
            behind: 0,
            past: Past::default(),
            trouble: None,
        };
        for lane in 0..bus.lanes.len() {
            let first = subscription.first_of(lane, start)?;
            // Whoever looked for room before we registered may have moved the gate meanwhile; it is
            // at most the tail we have just read.
            subscription.cursors[lane] = Cursor { next: first, overtaken: 0 };
            subscription.behind |= u8::from(first < bus.lanes[lane].oldest()) << lane;
            bus.readers.start(number, lane, first);
        }
        Ok(subscription)
    }

    /// Where the books of a lane begin.
    fn first_of(&mut self, lane: usize, start: Start) -> Result<u64, BusError> {
        let ring = &self.bus.lanes[lane];
        let history = self.past.history(&self.bus);
        let damaged = |error: HistoryError| BusError::History(error);
        Ok(match (start, history) {
            (Start::At { lane: of, sequence }, _) if of == lane => sequence,
            (Start::Each(sequences), _) => sequences[lane],
            (Start::At { .. } | Start::Latest, _) => ring.end(),
            (Start::Earliest, None) => ring.oldest(),
            (Start::Earliest, Some(history)) => {
                history.first(lane).map_err(damaged)?.min(ring.oldest())
            }
            (Start::Time(_), None) => return Err(BusError::NoHistory),
            (Start::Time(ns), Some(history)) => history.at(lane, ns).map_err(damaged)?,
        })
    }

    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// What went wrong with the history since this was last asked. The books have what it cost.
    pub fn take_trouble(&mut self) -> Option<HistoryError> {
        self.trouble.take()
    }

    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// The next event, or `None` when there is none now. Never waits.
    #[inline(always)]
    pub fn poll(&mut self) -> Option<Delivered> {
        loop {
            let critical = self.take(CRITICAL);
            if let Taken::Event(event) = critical {
                return Some(event);
            }
            let normal_first = self.high_run >= HIGH_SHARE;
            let order = if normal_first { [NORMAL, HIGH] } else { [HIGH, NORMAL] };
            let mut skipped = matches!(critical, Taken::Skipped);
            for lane in order {
                match self.take(lane) {
                    Taken::Event(event) => return Some(event),
                    // Not wanted; look at the critical lane before the next one.
                    Taken::Skipped => {
                        skipped = true;
                        break;
                    }
                    Taken::Nothing => {}
                }
            }
            if !skipped {
                return None;
            }
        }
    }

    #[inline(always)]
    fn take(&mut self, lane: usize) -> Taken {
        if self.behind != 0 && self.behind >> lane & 1 != 0 {
            return self.take_past(lane);
        }
        let sequence = self.cursors[lane].next;
        let ring = &self.bus.lanes[lane];
        // Only the critical lane is ever held: its events are persisted before they are seen.
        if lane == CRITICAL && !ring.is_visible(sequence) {
            return Taken::Nothing;
        }
        match ring.read(sequence) {
            Peek::Event(words) => self.pass(lane, sequence, Event::from_words(words)),
            Peek::Empty => Taken::Nothing,
            Peek::Lapped { oldest } => self.lapped(lane, oldest),
        }
    }

    /// Find another way to what the lane has overwritten, or count it.
    #[cold]
    #[inline(never)]
    fn lapped(&mut self, lane: usize, oldest: u64) -> Taken {
        if self.is_foreign(lane) {
            self.skip_foreign(lane);
        } else if self.past.history(&self.bus).is_some() {
            self.behind |= 1 << lane;
        } else {
            self.skip_to(lane, oldest);
        }
        Taken::Skipped
    }

    /// Pass over an event, entering it in the books.
    #[inline(always)]
    fn pass(&mut self, lane: usize, sequence: u64, event: Event) -> Taken {
        let cursor = &mut self.cursors[lane];
        cursor.next = sequence + 1;
        cursor.overtaken = 0;
        let wanted = self.unfiltered
            || self.matcher.matches(
                event.event_type,
                event.source,
                event.symbol,
                self.bus.names().as_ref(),
            );
        let fate = if wanted { Fate::Delivered } else { Fate::Filtered };
        self.bus.readers.enter_fate(self.number, lane, fate, 1);
        self.bus.readers.set_cursor(self.number, lane, sequence + 1);
        if !wanted && self.is_foreign(lane) {
            self.skip_foreign(lane);
        }
        self.high_run = if lane == NORMAL { 0 } else { self.high_run + u32::from(lane == HIGH) };
        if wanted {
            Taken::Event(Delivered { sequence, event })
        } else {
            Taken::Skipped
        }
    }

    /// As `take`, from the history.
    #[cold]
    #[inline(never)]
    fn take_past(&mut self, lane: usize) -> Taken {
        let sequence = self.cursors[lane].next;
        if self.recall(lane) == 0 {
            return Taken::Skipped;
        }
        let event = self.past.at(lane, sequence)[0];
        self.pass(lane, sequence, event)
    }

    /// Have events of the history at hand; how many. None: the lane itself goes on, or there was a
    /// gap, and now it is in the books.
    fn recall(&mut self, lane: usize) -> usize {
        let sequence = self.cursors[lane].next;
        let at_hand = self.past.at(lane, sequence).len();
        if at_hand > 0 {
            return at_hand;
        }
        let oldest = self.bus.lanes[lane].oldest();
        if sequence >= oldest {
            self.behind &= !(1 << lane);
            return 0;
        }
        match self.past.find(&self.bus, lane, sequence) {
            Ok(Found::Events(count)) => count,
            Ok(Found::Gap { resume }) => {
                // What the lane still has was not missed, whatever the history lacks.
                self.miss(lane, resume.min(oldest));
                0
            }
            Ok(Found::Nothing) => {
                self.skip_to(lane, oldest);
                self.behind &= !(1 << lane);
                0
            }
            Err(trouble) => {
                self.miss(lane, trouble.resume.min(oldest).max(sequence));
                self.trouble = Some(trouble);
                0
            }
        }
    }

    /// Go on at `next`; what lies between was lost.
    fn miss(&mut self, lane: usize, next: u64) {
        let cursor = &mut self.cursors[lane];
        self.bus.readers.enter_fate(self.number, lane, Fate::Missed, next - cursor.next);
        cursor.next = next;
        self.bus.readers.set_cursor(self.number, lane, next);
    }

    /// Whether no event of the lane can match: none of its types ever does.
    fn is_foreign(&self, lane: usize) -> bool {
        let mask = self.matcher.type_mask();
        let ring = &self.bus.lanes[lane];
        // What types there were before this bus began, in its journal, nobody has written down.
        self.cursors[lane].next >= ring.origin()
            && ring.types().iter().zip(mask).all(|(types, wanted)| types & wanted == 0)
    }

    /// Pass over a lane that has nothing for this reader, read or overwritten: all filtered.
    #[cold]
    fn skip_foreign(&mut self, lane: usize) {
        // The end first: types of events before it have been announced before it.
        let tail = self.bus.lanes[lane].end();
        if self.is_foreign(lane) {
            let cursor = &mut self.cursors[lane];
            let passed = tail.saturating_sub(cursor.next);
            cursor.next += passed;
            self.bus.readers.enter_fate(self.number, lane, Fate::Filtered, passed);
            self.bus.readers.set_cursor(self.number, lane, cursor.next);
        }
    }

    /// Move on to `oldest`, counting what is lost. A reader that is overtaken again and again
    /// without reading anything leaves a growing distance, so that it gets hold of something.
    #[cold]
    fn skip_to(&mut self, lane: usize, oldest: u64) {
        let ring = &self.bus.lanes[lane];
        let cursor = &mut self.cursors[lane];
        let slack = ring.size() / 16 * u64::from(cursor.overtaken.min(8));
        let next = (oldest + slack).min(ring.tail()).max(cursor.next + 1);
        cursor.overtaken += 1;
        self.miss(lane, next);
    }

    /// Fill `out` with events that are there now; how many. `from` makes what `out` holds.
    pub fn read_batch<T: Copy>(
        &mut self,
        out: &mut [T],
        from: impl Fn(u64, Event) -> T + Copy,
    ) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &mut out[filled..];
            let taken = self.run(CRITICAL, rest, from);
            filled += taken.stored;
            if taken.moved {
                continue;
            }
            // Shares as in `poll`, a chunk at a time.
            let high = rest.len().min(CHUNK / (HIGH_SHARE as usize + 1) * HIGH_SHARE as usize);
            let taken_high = self.run(HIGH, &mut rest[..high], from);
            let rest = &mut rest[taken_high.stored..];
            let normal = rest.len().min(CHUNK / (HIGH_SHARE as usize + 1));
            let normal = if taken_high.moved { normal } else { rest.len().min(CHUNK) };
            let taken_normal = self.run(NORMAL, &mut rest[..normal], from);
            filled += taken_high.stored + taken_normal.stored;
            if !taken_high.moved && !taken_normal.moved {
                break;
            }
        }
        filled
    }

    fn run<T: Copy>(
        &mut self,
        lane: usize,
        out: &mut [T],
        from: impl Fn(u64, Event) -> T + Copy,
    ) -> Run {
        let limit = out.len().min(CHUNK);
        if limit == 0 {
            return Run { stored: 0, moved: false };
        }
        let first = self.cursors[lane].next;
        let behind = self.behind >> lane & 1 != 0;
        let ring = &self.bus.lanes[lane];
        let limit = match lane {
            CRITICAL if !behind => limit.min(ring.end().saturating_sub(first) as usize),
            _ => limit,
        };
        if limit == 0 {
            return Run { stored: 0, moved: false };
        }
        if self.unfiltered && !behind {
            let copied = ring.read_run(first, &mut out[..limit], |sequence, words| {
                from(sequence, Event::from_words(words))
            });
            if copied > 0 {
                self.advance(lane, copied, copied);
                return Run { stored: copied, moved: true };
            }
        } else {
            // Matching needs the events themselves: a small buffer on the stack.
            let mut events = [Event::default(); 64];
            let limit = limit.min(events.len());
            let copied = if behind {
                let copied = self.recall(lane).min(limit);
                events[..copied].copy_from_slice(&self.past.at(lane, first)[..copied]);
                copied
            } else {
                ring.read_run(first, &mut events[..limit], |_, words| Event::from_words(words))
            };
            if copied > 0 {
                let mut stored = 0;
                for (i, event) in events[..copied].iter().enumerate() {
                    let names = self.bus.names().as_ref();
                    if self.matcher.matches(event.event_type, event.source, event.symbol, names) {
                        out[stored] = from(first + i as u64, *event);
                        stored += 1;
                    }
                }
                self.advance(lane, copied, stored);
                if stored == 0 && self.is_foreign(lane) {
                    self.skip_foreign(lane);
                }
                return Run { stored, moved: true };
            }
        }
        // Empty, overtaken, or an event whose producer has not finished its copy.
        match self.take(lane) {
            Taken::Event(Delivered { sequence, event }) => {
                out[0] = from(sequence, event);
                Run { stored: 1, moved: true }
            }
            Taken::Skipped => Run { stored: 0, moved: true },
            Taken::Nothing => Run { stored: 0, moved: false },
        }
    }

    fn advance(&mut self, lane: usize, copied: usize, stored: usize) {
        let cursor = &mut self.cursors[lane];
        cursor.next += copied as u64;
        cursor.overtaken = 0;
        let readers = &self.bus.readers;
        readers.enter_fate(self.number, lane, Fate::Delivered, stored as u64);
        readers.enter_fate(self.number, lane, Fate::Filtered, (copied - stored) as u64);
        self.bus.readers.set_cursor(self.number, lane, cursor.next);
    }

    /// Whether any lane has something this reader has not looked at. Sequentially consistent, so
    /// that a sleeper may ask after announcing itself.
    pub fn has_pending(&self) -> bool {
        fence(Ordering::SeqCst);
        let pending = |(lane, cursor): (&Lane, &Cursor)| {
            lane.is_visible(cursor.next) && lane.read(cursor.next) != Peek::Empty
        };
        self.behind != 0 || self.bus.lanes.iter().zip(&self.cursors).any(pending)
    }

    /// Whether more than one part in `share` of a lane that can hold wanted events is unread.
    pub fn is_crowded(&self, share: u64) -> bool {
        (0..3).any(|lane| {
            let ring = &self.bus.lanes[lane];
            let lag = ring.end().saturating_sub(self.cursors[lane].next);
            lag > ring.size() / share && !self.is_foreign(lane)
        })
    }

    /// What to be woken for.
    pub fn wishes(&self) -> Wishes {
        Wishes { types: self.matcher.type_mask(), symbols: self.matcher.symbol_bloom() }
    }

    /// The books of one lane, by priority number.
    pub fn ledger(&self, lane: usize) -> Ledger {
        self.observer().ledger(lane)
    }

    /// For looking at the books from another thread.
    pub fn observer(&self) -> Observer {
        Observer::new(&self.bus, self.number)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.bus.holds_places() {
            self.bus.readers.leave_of(self.number, self.bus.number());
        }
    }
}

struct Run {
    stored: usize,
    moved: bool,
}

enum Taken {
    Event(Delivered),
    Skipped,
    Nothing,
}
