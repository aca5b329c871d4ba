//! Events that show whether they are whole, who published them and which of theirs they are; a
//! producer that tells them one after the other, and a reader that checks what it is told.

use super::stage::{Child, HANGING, Orders, mixed};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickbus_core::Event;
use tickbus_core::bus::{Bus, CRITICAL};
use tickbus_core::lane::counter::Counter;
use tickbus_core::producer::{Batch, Producer, Refused};
use tickbus_core::subscription::{Delivered, Start, Subscription};

/// Two types of each lane, taken in turn.
const TYPES: [[u8; 2]; 3] = [[32, 33], [0, 1], [65, 66]];
/// A pattern for the first of them.
pub const EVEN: [&str; 3] = [
    "trading.signal_generated.>",
    "market.price_update.>",
    "risk.stop_loss_triggered.>",
];

/// Both types of a lane, as a bit set.
pub fn types(lane: usize) -> [u64; 4] {
    let mut types = [0; 4];
    for number in TYPES[lane] {
        types[usize::from(number >> 6)] |= 1 << (number & 63);
    }
    types
}

/// A producer's event number so and so. Every word of it follows from lane, producer and number.
pub fn event(lane: usize, producer: u64, number: u64) -> Event {
    let word = mixed(producer << 32 | number);
    Event {
        timestamp: word | 1,
        event_type: TYPES[lane][number as usize & 1],
        priority: lane as u8,
        source: producer as u16,
        symbol: number as u32,
        value: (word >> 12) as f64,
        metadata: !word,
    }
}

/// Tells a producer's story.
pub struct Teller {
    pub producer: Producer,
    lane: usize,
    number: u64,
    next: u64,
}

impl Teller {
    /// Tell story `number` on a lane.
    pub fn new(bus: &Arc<Bus>, lane: usize, number: u64) -> Teller {
        Teller { producer: Producer::of_handle(bus), lane, number, next: 0 }
    }

    /// Publish the next `count` events at once. What is refused is the next to be published.
    pub fn tell(&mut self, count: u64, patience: Duration) -> Result<(), Refused> {
        let events: Vec<Event> = (self.next..self.next + count)
            .map(|number| event(self.lane, self.number, number))
            .collect();
        let told = match &events[..] {
            [event] => self.producer.publish(event, patience).map(drop).map_err(|why| (0, why)),
            events => {
                let batch = Batch { lane: self.lane, events, types: types(self.lane), now: 1 };
                self.producer.publish_batch(&batch, patience)
            }
        };
        match told {
            Ok(()) => self.next += count,
            Err((published, _)) => self.next += published as u64,
        }
        told.map_err(|(_, why)| why)
    }

    /// How many events have been published.
    pub fn told(&self) -> u64 {
        self.next
    }
}

/// The role of a producer that publishes for ever: lane, story, events at a time.
pub fn tell_for_ever(orders: &Orders) {
    let [lane, number, count] = orders.arguments[..] else {
        panic!("lane, story, count")
    };
    let mut teller = Teller::new(&orders.open(), lane as usize, number);
    loop {
        // Refused is refused: the same event is told again, and must not be told twice.
        let _ = teller.tell(count, HANGING);
    }
}

/// Reads one lane and checks everything: no torn event, each producer's in order and without a gap
/// that is not counted, and the books.
pub struct Auditor {
    pub reader: Subscription,
    lane: usize,
    start: u64,
    /// Sequence after the last event that was delivered.
    end: u64,
    delivered: u64,
    /// Of each producer: the next number, and the sequence it has at least.
    next: HashMap<u64, (u64, u64)>,
    batch: Vec<Delivered>,
    turn: u64,
}

impl Auditor {
    /// Read a lane from now on; the critical one as a gating reader.
    pub fn new(bus: &Arc<Bus>, lane: usize, pattern: &str) -> Auditor {
        let start = bus.lanes()[lane].tail();
        let reader = Subscription::new(bus, &[pattern], Start::Latest, lane == CRITICAL).unwrap();
        let batch = vec![Delivered { sequence: 0, event: Event::default() }; 48];
        let (delivered, next, turn) = (0, HashMap::new(), 0);
        Auditor { reader, lane, start, end: start, delivered, next, batch, turn }
    }

    /// Read what is there, at most a batch, one way or the other; how many events it was.
    pub fn look(&mut self) -> usize {
        self.turn += 1;
        let found = if self.turn.is_multiple_of(2) {
            let make = |sequence, event| Delivered { sequence, event };
            self.reader.read_batch(&mut self.batch, make)
        } else {
            let events = std::iter::from_fn(|| self.reader.poll());
            let places = self.batch.iter_mut().zip(events);
            places.map(|(place, event)| *place = event).count()
        };
        for at in 0..found {
            self.check(self.batch[at]);
        }
        let ledger = self.reader.ledger(self.lane);
        assert_eq!(ledger.delivered, self.delivered, "delivered as often as handed out");
        found
    }

    fn check(&mut self, Delivered { sequence, event: found }: Delivered) {
        let (producer, number) = (found.source.into(), found.symbol.into());
        assert_eq!(found, event(self.lane, producer, number), "a torn or foreign event");
        assert!(sequence >= self.end, "{sequence} after {}", self.end);
        let next = self.next.insert(producer, (number + 1, sequence + 1));
        let (next, at_least) = next.unwrap_or((0, self.start));
        assert!(number >= next, "{producer}'s {number} came after {next}: twice, or out of order");
        // Events in between were passed over, so there is a sequence for each of them.
        let (told, passed) = (number - next, sequence - at_least);
        assert!(told <= passed, "{told} events of {producer} lost in {passed} sequences");
        (self.end, self.delivered) = (sequence + 1, self.delivered + 1);
    }

    /// Read for some time.
    pub fn look_for(&mut self, time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {
            self.look();
        }
    }

    /// Read everything there is, while nobody publishes.
    pub fn look_at_all(&mut self) {
        while self.look() > 0 {}
    }

    /// Read until an event with this sequence, or a later one, has been passed.
    pub fn look_past(&mut self, sequence: u64) {
        let begin = Instant::now();
        while self.reader.ledger(self.lane).position() <= sequence {
            assert!(begin.elapsed() < HANGING, "nothing at {sequence}");
            self.look();
        }
    }

    /// Read until each of these producers has published something new.
    pub fn look_for_news_of<'a>(&mut self, producers: impl IntoIterator<Item = &'a u64>) {
        let begin = Instant::now();
        for producer in producers {
            let before = self.next_of(*producer);
            while self.next_of(*producer) == before {
                assert!(begin.elapsed() < HANGING, "nothing new of {producer}");
                self.look();
            }
        }
    }

    /// The number after the last one seen of a producer.
    pub fn next_of(&self, producer: u64) -> u64 {
        self.next.get(&producer).map_or(0, |(number, _)| *number)
    }

    /// With everything read and nobody publishing: the books say what really happened.
    ///
    /// What is compared is the sequences that events were handed out with and the lane's end, on one
    /// side, and the counts, on the other.
    pub fn close_the_books(&mut self) {
        self.look_at_all();
        let ledger = self.reader.ledger(self.lane);
        let published = self.reader.bus().lanes()[self.lane].tail() - self.start;
        assert_eq!(ledger.published, published);
        assert_eq!(ledger.pending, 0);
        assert_eq!(ledger.delivered, self.delivered);
        assert_eq!(ledger.delivered + ledger.filtered + ledger.missed, published);
        let passed_over = published - self.delivered;
        assert_eq!(ledger.filtered + ledger.missed, passed_over);
        if self.lane == CRITICAL {
            assert_eq!(ledger.missed, 0, "a gating reader misses nothing");
        }
    }

    /// The same, of a reader of everything: what was passed over was missed, and when nothing was,
    /// no producer's story has a gap.
    pub fn close_the_books_of_everything(&mut self) {
        self.close_the_books();
        let ledger = self.reader.ledger(self.lane);
        let told: u64 = self.next.values().map(|(number, _)| number).sum();
        assert_eq!(ledger.filtered, 0);
        assert!(ledger.delivered <= told && told <= ledger.published, "{told} told: {ledger:?}");
    }
}

/// Publish `count` events beside living producers, reading on meanwhile; the last one's sequence.
///
/// A refusal has to have a reason: nobody is refused because of somebody dead.
pub fn go_on(teller: &mut Teller, auditor: &mut Auditor, count: u64, alive: &[&Child]) -> u64 {
    let bus = Arc::clone(teller.producer.bus());
    let begin = Instant::now();
    let end = teller.told() + count;
    while teller.told() < end {
        assert!(begin.elapsed() < HANGING, "no room");
        // The gate of the critical lane is our own auditor's.
        auditor.look();
        match teller.tell(1, Duration::from_millis(1)) {
            Ok(()) | Err(Refused::Backpressure { .. }) => {}
            Err(refused @ Refused::Unpersisted(_)) => panic!("{refused:?} without a journal"),
            Err(Refused::Stalled { owner }) => {
                let pid = bus.pid_of(owner);
                let living = alive.iter().any(|child| Some(child.id()) == pid);
                assert!(living, "held up by {owner}, process {pid:?}");
            }
        }
    }
    let lane = &bus.lanes()[auditor.lane];
    lane.tail() - 1
}

/// A counter of a lane.
pub fn counted(bus: &Bus, lane: usize, counter: Counter) -> u64 {
    bus.lanes()[lane].counted(counter)
}
