//! Publishing and reading allocate nothing once everything has been used once.

#![cfg(not(loom))]

use tickbus_core::Event;
use tickbus_core::bus::Bus;
use tickbus_core::lane::layout::Sizes;
use tickbus_core::producer::{Batch, Producer};
use tickbus_core::subscription::{Start, Subscription};

const TYPES: [u64; 4] = [1, 0, 0, 0];

fn event(number: u64) -> Event {
    Event {
        timestamp: 1,
        priority: 1,
        symbol: 1 + (number % 7) as u32,
        value: 1.5,
        ..Event::default()
    }
}

/// The same work three times: once to warm up, then counted.
fn allocations(mut work: impl FnMut()) -> u64 {
    work();
    allocation_counter::measure(|| {
        work();
        work();
    })
    .count_total
}

#[test]
fn to_publish_one_by_one_and_in_batches() {
    let bus = Bus::private(Sizes { lanes: [1024; 3], payload_cells: 64 }).unwrap();
    let mut producer = Producer::of_handle(&bus);
    let events: Vec<Event> = (0..500).map(event).collect();

    let found = allocations(|| {
        for event in &events {
            producer.try_publish(event, 0).unwrap();
        }
        let batch = Batch { lane: 1, events: &events, types: TYPES, now: 1 };
        assert_eq!(producer.try_publish_batch(&batch, 0), (500, None));
    });

    assert_eq!(found, 0);
}

#[test]
fn to_match_poll_and_read_batches_also_when_overtaken() {
    let bus = Bus::private(Sizes { lanes: [256; 3], payload_cells: 64 }).unwrap();
    for name in ["A-1", "A-2", "B-1", "B-2", "C-1", "C-2", "D-1"] {
        bus.names().symbol(name).unwrap();
    }
    let mut producer = Producer::of_handle(&bus);
    let patterns = ["market.*.*.A-*", "market.price_update.*.D-1"];
    let mut one = Subscription::new(&bus, &patterns, Start::Latest, false).unwrap();
    let mut many = Subscription::new(&bus, &[">"], Start::Latest, false).unwrap();
    let mut out = [Event::default(); 64];

    let mut delivered = 0;
    let found = allocations(|| {
        for number in 0..1000 {
            producer.try_publish(&event(number), 0).unwrap();
        }
        while one.poll().is_some() {
            delivered += 1;
        }
        while many.read_batch(&mut out, |_, event| event) > 0 {}
    });

    assert_eq!(found, 0);
    assert!(delivered > 0 && one.ledger(1).missed > 0 && many.ledger(1).missed > 0);
}
