//! A hundred threads publish at once, and every event is accounted for: delivered whole and in its
//! publisher's order, or counted as missed.

#![cfg(not(loom))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use tickbus_core::Event;
use tickbus_core::bus::Bus;
use tickbus_core::lane::layout::Sizes;
use tickbus_core::producer::{Batch, Producer, Refused};
use tickbus_core::subscription::{Start, Subscription};

const THREADS: u64 = 100;
const EVENTS: u64 = 1_000;
/// Types whose default lanes are normal, high and critical.
const TYPES: [u8; 3] = [32, 0, 65];

/// An event that shows whether it is whole: every word follows from publisher and number.
fn event(publisher: u64, number: u64, lane: usize) -> Event {
    Event {
        timestamp: 1 + publisher * EVENTS + number,
        event_type: TYPES[lane],
        priority: lane as u8,
        source: publisher as u16,
        symbol: number as u32,
        value: (publisher * EVENTS + number) as f64,
        metadata: (publisher << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    }
}

fn assert_whole(found: &Event) {
    let expected = event(found.source.into(), found.symbol.into(), found.priority.into());
    assert_eq!(*found, expected, "a torn or foreign event");
}

/// Read until `done` and everything has been looked at; the events by lane.
fn read_all(mut reader: Subscription, done: &AtomicBool, batches: bool) -> [Vec<Event>; 3] {
    let mut seen = [const { Vec::new() }; 3];
    let mut batch = [Event::default(); 256];
    loop {
        let finished = done.load(Ordering::Acquire);
        let found = if batches {
            reader.read_batch(&mut batch, |_, event| event)
        } else {
            reader.poll().map_or(0, |delivered| {
                batch[0] = delivered.event;
                1
            })
        };
        for event in &batch[..found] {
            assert_whole(event);
            seen[usize::from(event.priority)].push(*event);
        }
        if found == 0 && finished {
            for (lane, seen) in seen.iter().enumerate() {
                let ledger = reader.ledger(lane);
                assert_eq!(ledger.delivered, seen.len() as u64);
                assert_eq!(ledger.pending, 0);
                assert_eq!(ledger.published, ledger.delivered + ledger.filtered + ledger.missed);
            }
            return seen;
        }
        if found == 0 {
            thread::yield_now();
        }
    }
}

/// Publish from a hundred threads at once while four readers read; what each of them saw.
fn run(size: usize) -> (Arc<Bus>, Vec<[Vec<Event>; 3]>) {
    // The critical lane has to take all: nobody reads it as a gating reader here.
    let bus = Bus::private(Sizes { lanes: [size; 3], payload_cells: 64 }).unwrap();
    let barrier = Barrier::new(THREADS as usize);
    let done = AtomicBool::new(false);
    let readers: Vec<Subscription> = (0..4)
        .map(|_| Subscription::new(&bus, &[">"], Start::Latest, false).unwrap())
        .collect();
    let seen = thread::scope(|scope| {
        let readers: Vec<_> = readers
            .into_iter()
            .enumerate()
            .map(|(i, reader)| {
                let done = &done;
                scope.spawn(move || read_all(reader, done, i % 2 == 0))
            })
            .collect();
        let publishers: Vec<_> = (0..THREADS)
            .map(|publisher| {
                let (bus, barrier) = (&bus, &barrier);
                scope.spawn(move || {
                    let mut producer = Producer::new(bus).unwrap();
                    barrier.wait();
                    publish(&mut producer, publisher);
                })
            })
            .collect();
        let ended: Vec<_> = publishers.into_iter().map(|publisher| publisher.join()).collect();
        // Before a failure is reported, or the readers would wait for the rest of it.
        done.store(true, Ordering::Release);
        ended.into_iter().for_each(Result::unwrap);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    (bus, seen)
}

/// A thread's events: every fourth publisher in batches, the others one by one; lanes in turn.
///
/// With a hundred threads on few processors one may be off its processor for long in the middle of a
/// claim. Then the others are told so, and what they are told was not published is published again.
fn publish(producer: &mut Producer, publisher: u64) {
    let lane = (publisher % 3) as usize;
    let patience = std::time::Duration::from_secs(10);
    let events: Vec<Event> = (0..EVENTS).map(|number| event(publisher, number, lane)).collect();
    let at_a_time = if publisher.is_multiple_of(4) { 97 } else { 1 };
    for events in events.chunks(at_a_time) {
        let mut left = events;
        while !left.is_empty() {
            let published = match left {
                [event] => producer.publish(event, patience).map(|_| ()).map_err(|why| (0, why)),
                _ => {
                    let mut types = [0; 4];
                    types[usize::from(TYPES[lane] >> 6)] = 1 << (TYPES[lane] & 63);
                    let batch = Batch { lane, events: left, types, now: 1 };
                    producer.publish_batch(&batch, patience)
                }
            };
            left = match published {
                Ok(()) => &[],
                Err((count, Refused::Stalled { .. })) => &left[count..],
                Err((_, why)) => panic!("{why:?}"),
            };
        }
    }
}

fn assert_in_order(seen: &[Vec<Event>; 3]) {
    let mut last = vec![None; THREADS as usize];
    for event in seen.iter().flatten() {
        let last = &mut last[usize::from(event.source)];
        assert!(last.is_none_or(|last| last < event.symbol), "a publisher's events out of order");
        *last = Some(event.symbol);
    }
}

#[test]
fn every_event_of_100_threads_arrives_when_the_lanes_have_room() {
    let (bus, seen) = run(1 << 17);

    let published: u64 = bus.lanes().iter().map(|lane| lane.tail()).sum();
    assert_eq!(published, THREADS * EVENTS);
    for seen in &seen {
        assert_eq!(seen.iter().map(Vec::len).sum::<usize>() as u64, THREADS * EVENTS);
        assert_in_order(seen);
    }
    for lane in 0..3 {
        // One total order, the same for all readers.
        assert!(seen.windows(2).all(|pair| pair[0][lane] == pair[1][lane]));
    }
}

#[test]
fn what_tiny_lanes_overwrite_is_counted_and_the_rest_is_whole() {
    let (bus, seen) = run(64);

    let published: u64 = bus.lanes().iter().map(|lane| lane.tail()).sum();
    assert_eq!(published, THREADS * EVENTS);
    seen.iter().for_each(assert_in_order);
}
