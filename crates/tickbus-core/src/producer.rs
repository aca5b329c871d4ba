//! Publishing: one event or many, by one thread at a time.

use crate::bus::{Bus, CRITICAL, STALL_PATIENCE};
use crate::error::BusError;
use crate::event::{Event, Words};
use crate::lane::counter::Counter;
use crate::lane::ring::Blocked;
use crate::lane::stamp::MAX_CLAIM;
use crate::persistence::{State, Unpersisted};
use crate::wake::Wishes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a publisher waits for a journal that is a whole lane behind: as long as a slow device
/// may take for a sync.
pub const JOURNAL_PATIENCE: Duration = Duration::from_secs(30);

/// Why an event was not published. It was not: not now, and not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The critical lane and its reserve are full of events that a gating reader has not read.
    Backpressure { waited: Duration },
    /// A live producer has stopped in the middle of a publish, a lap ago.
    Stalled { owner: u8 },
    /// The lane is full of events that the journal has not taken.
    Unpersisted(Unpersisted),
}

/// Number of a lane and the events that go to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    pub lane: usize,
    pub events: &'a [Event],
    /// At least the types of these events, as a bit set.
    pub types: [u64; 4],
    /// Given to events whose timestamp is 0.
    pub now: u64,
}

/// A handle that publishes. Each has a staging area of its own in the bus's memory.
pub struct Producer {
    bus: Arc<Bus>,
    number: u8,
    tails: [u64; 3],
    /// Types this producer has announced to each lane.
    announced: [[u64; 4]; 3],
}

impl Producer {
    /// The producer of a bus handle itself. There must be only one for each handle.
    pub fn of_handle(bus: &Arc<Bus>) -> Producer {
        Producer {
            bus: Arc::clone(bus),
            number: bus.number(),
            tails: [0; 3],
            announced: [[0; 4]; 3],
        }
    }

    /// One more producer, for another thread.
    pub fn new(bus: &Arc<Bus>) -> Result<Producer, BusError> {
        Ok(Producer {
            bus: Arc::clone(bus),
            number: bus.enter()?,
            tails: [0; 3],
            announced: [[0; 4]; 3],
        })
    }

    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// Where this producer's last claim in a lane ended.
    pub fn tail(&self, lane: usize) -> u64 {
        self.tails[lane]
    }

    /// Publish one event to the lane its priority says; its sequence there. Never waits.
    ///
    /// # Panics
    /// When `event.priority` is no priority: callers have checked that.
    #[inline(always)]
    pub fn try_publish(&mut self, event: &Event, reserve: u64) -> Result<u64, Blocked> {
        let lane = usize::from(event.priority);
        let words = event.to_words();
        let (word, bit) = (usize::from(event.event_type >> 6), 1 << (event.event_type & 63));
        if self.announced[lane][word] & bit == 0 {
            let mut types = [0; 4];
            types[word] = bit;
            self.announce(lane, &types);
        }
        let claim =
            self.bus.lanes[lane]
                .append(self.number, &mut self.tails[lane], 1, reserve, |_| words)?;
        if self.bus.sleepers.any() && !self.bus.is_held(lane, claim.first) {
            self.bus.sleepers.wake(event.event_type, event.symbol);
        }
        Ok(claim.first)
    }

    #[cold]
    fn announce(&mut self, lane: usize, types: &[u64; 4]) {
        self.bus.lanes[lane].announce_types(types);
        for (announced, types) in self.announced[lane].iter_mut().zip(types) {
            *announced |= types;
        }
    }

    /// Publish one event, waiting as the lane's policy says.
    pub fn publish(&mut self, event: &Event, patience: Duration) -> Result<u64, Refused> {
        let lane = usize::from(event.priority);
        match self.try_publish(event, self.bus.reserve(lane)) {
            Ok(sequence) => Ok(sequence),
            Err(blocked) => {
                let mut wait = Wait::new(&self.bus, lane, patience);
                let mut blocked = blocked;
                loop {
                    wait.for_room(blocked)?;
                    match self.try_publish(event, wait.reserve) {
                        Ok(sequence) => {
                            wait.done();
                            return Ok(sequence);
                        }
                        Err(again) => blocked = again,
                    }
                }
            }
        }
    }

    /// Publish from the front of `batch`; how many were, before something blocked the rest.
    pub fn try_publish_batch(&mut self, batch: &Batch, reserve: u64) -> (usize, Option<Blocked>) {
        let Batch { lane, events, types, now } = *batch;
        if types
            .iter()
            .zip(self.announced[lane])
            .any(|(types, announced)| types & !announced != 0)
        {
            self.announce(lane, &types);
        }
        let mut published = 0;
        let mut blocked = None;
        let mut last = 0;
        while published < events.len() {
            let rest = &events[published..];
            let count = rest.len().min(MAX_CLAIM);
            let chunk = &rest[..count];
            let words = |i: usize| stamped(&chunk[i], lane, now);
            let ring = &self.bus.lanes[lane];
            match ring.append(self.number, &mut self.tails[lane], count, reserve, words) {
                Ok(claim) => {
                    published += claim.len;
                    last = claim.first + claim.len as u64 - 1;
                }
                Err(why) => {
                    blocked = Some(why);
                    break;
                }
            }
        }
        if published > 0 && self.bus.sleepers.any() && !self.bus.is_held(lane, last) {
            self.wake_for(&events[..published]);
        }
        (published, blocked)
    }

    #[cold]
    fn wake_for(&self, events: &[Event]) {
        let mut wishes = Wishes::default();
        for event in events {
            wishes.types[usize::from(event.event_type >> 6)] |= 1 << (event.event_type & 63);
            wishes.symbols |= 1 << (event.symbol & 63);
        }
        self.bus.sleepers.wake_for(&wishes);
    }

    /// Publish a batch in order, waiting as the lane's policy says; how many were published before
    /// the first that was refused.
    pub fn publish_batch(
        &mut self,
        batch: &Batch,
        patience: Duration,
    ) -> Result<(), (usize, Refused)> {
        let mut published = 0;
        let mut wait: Option<Wait> = None;
        let bus = Arc::clone(&self.bus);
        loop {
            let rest = Batch { events: &batch.events[published..], ..*batch };
            let reserve = wait.as_ref().map_or(bus.reserve(batch.lane), |wait| wait.reserve);
            let (count, blocked) = self.try_publish_batch(&rest, reserve);
            published += count;
            let Some(blocked) = blocked else {
                if let Some(wait) = wait {
                    wait.done();
                }
                return Ok(());
            };
            let wait = wait.get_or_insert_with(|| Wait::new(&bus, batch.lane, patience));
            wait.for_room(blocked).map_err(|refused| (published, refused))?;
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.number != self.bus.number() && self.bus.holds_places() {
            self.bus.participants.leave(self.number);
        }
    }
}

#[inline(always)]
fn stamped(event: &Event, lane: usize, now: u64) -> Words {
    let mut words = event.to_words();
    if words[0] == 0 {
        words[0] = now;
    }
    words[1] = words[1] & !0xff00 | (lane as u64) << 8;
    words
}

/// The waiting half of a publish that was blocked: patience, then the reserve, then refusal.
pub struct Wait {
    bus: Arc<Bus>,
    lane: usize,
    began: Instant,
    patience: Duration,
    /// What the next attempt has to leave free.
    pub reserve: u64,
}

impl Wait {
    pub fn new(bus: &Arc<Bus>, lane: usize, patience: Duration) -> Wait {
        let patience = if lane == CRITICAL { patience } else { STALL_PATIENCE };
        bus.count(lane, Counter::Waited, 1);
        let reserve = bus.reserve(lane);
        Wait { bus: Arc::clone(bus), lane, began: Instant::now(), patience, reserve }
    }

    /// Wait until another attempt makes sense; an error when none does any more.
    pub fn for_room(&mut self, blocked: Blocked) -> Result<(), Refused> {
        let persistence = self.bus.persistence();
        if matches!(blocked, Blocked::Full { .. }) && persistence.is_on() {
            let deadline = self.began + self.patience.max(JOURNAL_PATIENCE);
            return self.for_journal(blocked, deadline);
        }
        let full_with_reserve = matches!(blocked, Blocked::Full { .. }) && self.reserve > 0;
        if full_with_reserve && self.bus.is_stuck() {
            self.reserve = 0;
            return Ok(());
        }
        if self.bus.unblock(self.lane, blocked, self.reserve, self.began + self.patience) {
            return Ok(());
        }
        match blocked {
            Blocked::Full { .. } if self.reserve > 0 => {
                self.bus.set_stuck();
                self.reserve = 0;
                Ok(())
            }
            Blocked::Full { .. } => {
                self.bus.count(self.lane, Counter::Refused, 1);
                Err(Refused::Backpressure { waited: self.began.elapsed() })
            }
            Blocked::Unfinished { owner, .. } => {
                self.bus.count(self.lane, Counter::Stalled, 1);
                Err(Refused::Stalled { owner })
            }
        }
    }

    /// Wait for the journal, whose lane this is as long as there is one: nobody else holds it back.
    fn for_journal(&mut self, blocked: Blocked, deadline: Instant) -> Result<(), Refused> {
        // There is no reserve for what the journal only has to take.
        self.reserve = 0;
        let why = loop {
            let slice = deadline.min(Instant::now() + STALL_PATIENCE);
            if self.bus.unblock(self.lane, blocked, 0, slice) {
                return Ok(());
            }
            match self.bus.persistence().state() {
                State::Full => break Unpersisted::Full,
                State::Failed => break Unpersisted::Failed,
                State::None => return Ok(()),
                State::Live if Instant::now() < deadline => {}
                State::Live => break Unpersisted::Late { pid: self.bus.journal_pid() },
            }
        };
        self.bus.count(self.lane, Counter::Refused, 1);
        Err(Refused::Unpersisted(why))
    }

    /// The attempt succeeded.
    pub fn done(&self) {
        if self.reserve < self.bus.reserve(self.lane) && !self.bus.persistence().is_on() {
            self.bus.count(self.lane, Counter::Spilled, 1);
        }
    }
}
