//! A bus with a history: subscriptions go on behind a lane's oldest event, and see nothing that is
//! held back. The history is a list here; the journal is another part.

#![cfg(not(loom))]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tickbus_core::Event;
use tickbus_core::bus::{Bus, CRITICAL};
use tickbus_core::history::{History, HistoryError};
use tickbus_core::lane::layout::Sizes;
use tickbus_core::persistence::Unpersisted;
use tickbus_core::producer::Producer;
use tickbus_core::subscription::{Start, Subscription};

const SIZES: Sizes = Sizes { lanes: [64; 3], payload_cells: 64 };
const HIGH: usize = 1;
const TYPES: [u8; 3] = [32, 0, 65];

fn event(number: u64, lane: usize) -> Event {
    Event {
        timestamp: 1000 + number,
        event_type: TYPES[lane],
        priority: lane as u8,
        source: 0,
        symbol: (number % 3) as u32,
        value: number as f64,
        metadata: number,
    }
}

/// All events of the high lane, with holes and damage where the test wants them.
#[derive(Clone, Default)]
struct Kept {
    events: Arc<Mutex<Vec<(u64, Event)>>>,
    damaged: Option<(u64, u64)>,
}

impl Kept {
    fn keep(&self, sequence: u64, event: Event) {
        self.events.lock().unwrap().push((sequence, event));
    }
}

impl History for Kept {
    fn read(
        &mut self,
        lane: usize,
        sequence: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, HistoryError> {
        out.clear();
        if let Some((from, resume)) = self.damaged
            && (from..resume).contains(&sequence)
        {
            return Err(HistoryError { lane, resume, message: "damaged".to_owned() });
        }
        let events = self.events.lock().unwrap();
        let mut kept =
            events.iter().skip_while(|(at, _)| lane != HIGH || *at < sequence).peekable();
        let first = kept.peek().map_or(sequence, |(at, _)| *at);
        for (expected, (at, event)) in (first..).zip(kept).take(10) {
            if *at != expected || self.damaged.is_some_and(|(from, _)| *at == from) {
                break;
            }
            out.push(*event);
        }
        Ok(first)
    }

    fn first(&mut self, lane: usize) -> Result<u64, HistoryError> {
        let first = self.events.lock().unwrap().first().map_or(0, |(at, _)| *at);
        Ok(if lane == HIGH { first } else { u64::MAX })
    }

    fn payload(&mut self, _: usize, _: u64, _: u64) -> Result<Option<Vec<u8>>, HistoryError> {
        Ok(None)
    }

    fn at(&mut self, lane: usize, timestamp: u64) -> Result<u64, HistoryError> {
        let events = self.events.lock().unwrap();
        let found = events.iter().find(|(_, event)| lane == HIGH && event.timestamp >= timestamp);
        Ok(found.map_or(events.len() as u64, |(at, _)| *at))
    }
}

fn bus_with(kept: &Kept) -> Arc<Bus> {
    let bus = Bus::private(SIZES).unwrap();
    let kept = kept.clone();
    bus.set_historian(Box::new(move |_| Some(Box::new(kept.clone()))));
    bus
}

fn publish(bus: &Arc<Bus>, kept: Option<&Kept>, numbers: std::ops::Range<u64>) {
    let mut producer = Producer::of_handle(bus);
    for number in numbers {
        let sequence = producer.publish(&event(number, HIGH), Duration::ZERO).unwrap();
        if let Some(kept) = kept {
            kept.keep(sequence, event(number, HIGH));
        }
    }
}

fn numbers(reader: &mut Subscription) -> Vec<u64> {
    std::iter::from_fn(|| reader.poll()).map(|found| found.event.metadata).collect()
}

#[test]
fn a_lapped_reader_misses_nothing() {
    let kept = Kept::default();
    let bus = bus_with(&kept);
    let mut single = Subscription::new(&bus, &[">"], Start::Latest, true).unwrap();
    let mut filtered = Subscription::new(&bus, &["market.>"], Start::Latest, true).unwrap();
    publish(&bus, Some(&kept), 0..1000);
    let mut batch = [Event::default(); 48];
    let mut found = Vec::new();
    while let count @ 1.. = filtered.read_batch(&mut batch, |_, event| event) {
        found.extend(batch[..count].iter().map(|event| event.metadata));
    }
    assert_eq!(found, (0..1000).collect::<Vec<_>>());
    assert_eq!(numbers(&mut single), found);
    for reader in [single, filtered] {
        let ledger = reader.ledger(HIGH);
        assert_eq!((ledger.delivered, ledger.missed, ledger.pending), (1000, 0, 0));
    }
}

#[test]
fn history_and_lane_join_without_gap_or_duplicate_while_both_move() {
    let kept = Kept::default();
    let bus = bus_with(&kept);
    let mut reader = Subscription::new(&bus, &[">"], Start::Latest, true).unwrap();
    let mut found = Vec::new();
    // Bursts around the size of the lane, with a few events read after each.
    for (round, burst) in [3, 63, 64, 65, 200, 1, 127, 130, 64].into_iter().enumerate() {
        let first = kept.events.lock().unwrap().len() as u64;
        publish(&bus, Some(&kept), first..first + burst);
        for _ in 0..round * 17 {
            found.extend(reader.poll().map(|found| found.event.metadata));
        }
    }
    found.extend(numbers(&mut reader));
    assert_eq!(found, (0..kept.events.lock().unwrap().len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_start_in_the_past_is_found() {
    let kept = Kept::default();
    let bus = bus_with(&kept);
    publish(&bus, Some(&kept), 0..500);
    let all: Vec<u64> = (0..500).collect();
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::At { lane: HIGH, sequence: 17 }, 17),
        (Start::Time(1123), 123),
        (Start::Time(0), 0),
        (Start::Time(u64::MAX), 500),
        (Start::Latest, 500),
    ] {
        let mut reader = Subscription::new(&bus, &[">"], start, true).unwrap();
        assert_eq!(numbers(&mut reader), all[first..], "{start:?}");
    }
}

#[test]
fn what_the_history_lacks_is_missed_and_counted() {
    let kept = Kept { damaged: Some((40, 60)), ..Kept::default() };
    let bus = bus_with(&kept);
    publish(&bus, Some(&kept), 0..100);
    publish(&bus, None, 100..120);
    publish(&bus, Some(&kept), 120..300);
    let mut reader = Subscription::new(&bus, &[">"], Start::Earliest, true).unwrap();
    let expected: Vec<u64> = (0..40).chain(60..100).chain(120..300).collect();
    assert_eq!(numbers(&mut reader), expected);
    let ledger = reader.ledger(HIGH);
    assert_eq!((ledger.delivered, ledger.missed, ledger.pending), (260, 40, 0));
    assert_eq!(reader.take_trouble().unwrap().message, "damaged");
    assert_eq!(reader.take_trouble(), None);
}

#[test]
fn a_bus_goes_on_where_a_journal_ends() {
    for origin in [1, 63, 64, 65, 1000, 1 << 40] {
        let bus = Bus::private_from(SIZES, [origin; 3]).unwrap();
        let mut reader = Subscription::new(&bus, &[">"], Start::Earliest, true).unwrap();
        assert_eq!(reader.poll(), None);
        publish(&bus, None, 0..64);
        assert_eq!(bus.lanes()[HIGH].tail(), origin + 64);
        assert_eq!(numbers(&mut reader), (0..64).collect::<Vec<_>>());
        let before = Start::At { lane: HIGH, sequence: origin - 1 };
        let mut late = Subscription::new(&bus, &[">"], before, true).unwrap();
        assert_eq!(numbers(&mut late), (0..64).collect::<Vec<_>>());
        assert_eq!(late.ledger(HIGH).missed, 1);
    }
}

#[test]
fn a_held_event_is_not_seen_in_any_way() {
    let bus = Bus::private(SIZES).unwrap();
    let lane = &bus.lanes()[CRITICAL];
    lane.hold(0);
    let mut reader = Subscription::new(&bus, &[">"], Start::Latest, true).unwrap();
    let mut producer = Producer::of_handle(&bus);
    for number in 0..3 {
        producer.publish(&event(number, CRITICAL), Duration::ZERO).unwrap();
    }
    let mut batch = [Event::default(); 8];
    assert_eq!(reader.poll(), None);
    assert!(!reader.has_pending());
    assert_eq!(reader.read_batch(&mut batch, |_, event| event), 0);
    assert_eq!(reader.ledger(CRITICAL).published, 0);
    let late = bus.await_visible(CRITICAL, 0, Instant::now());
    assert_eq!(late, Err(Unpersisted::Late { pid: None }));

    lane.hold(2);
    assert!(reader.has_pending());
    assert_eq!(bus.await_visible(CRITICAL, 1, Instant::now()), Ok(()));
    assert_eq!(reader.read_batch(&mut batch, |_, event| event), 2);
    assert_eq!(reader.ledger(CRITICAL).published, 2);
    // Somebody who comes now gets what is still held.
    let mut second = Subscription::new(&bus, &[">"], Start::Latest, true).unwrap();
    lane.release();
    assert_eq!(numbers(&mut reader), [2]);
    assert_eq!(numbers(&mut second), [2]);
}

#[test]
fn a_closed_gate_holds_any_lane_and_an_open_one_none() {
    let bus = Bus::private(SIZES).unwrap();
    let lane = &bus.lanes()[HIGH];
    publish(&bus, None, 0..100);
    lane.close_gate(lane.tail());
    publish(&bus, None, 0..64);
    let mut producer = Producer::of_handle(&bus);
    assert!(producer.try_publish(&event(0, HIGH), 0).is_err());
    // Nobody gates the lane, so the first who looks finds room.
    publish(&bus, None, 0..1);
    lane.open_gate();
    lane.raise_gate(0);
    assert_eq!(lane.gate(), None, "an open gate is not raised");
    publish(&bus, None, 0..200);
}
