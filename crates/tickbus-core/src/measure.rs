//! How fast the lanes are by themselves, without an interpreter: for `tickbus bench` and
//! `benches/lane.rs`.

use crate::bus::Bus;
use crate::error::BusError;
use crate::event::Event;
use crate::exchange::{Decoder, Market};
use crate::lane::layout::Sizes;
use crate::producer::{Batch, Producer};
use crate::subscription::{Start, Subscription};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What [`lane`] found.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Claim, write and publish one event; nobody reads.
    pub publish_ns: f64,
    /// The same while a reader on another core follows.
    pub publish_followed_ns: f64,
    /// Share of those events that the reader got; it may be overtaken.
    pub followed_share: f64,
    /// Publish in batches of 1,024, per event.
    pub publish_batch_ns: f64,
    /// Read one event that is there.
    pub poll_ns: f64,
    /// Read in batches of 1,024, per event.
    pub read_batch_ns: f64,
}

const SIZES: Sizes = Sizes { lanes: [1 << 16; 3], payload_cells: 1 << 10 };
const BATCH: usize = 1024;

fn event(value: u64) -> Event {
    Event {
        timestamp: 1,
        event_type: 0,
        priority: 1,
        source: 1,
        symbol: 1,
        value: value as f64,
        metadata: value,
    }
}

/// Measure with `events` events each.
pub fn lane(events: u64) -> Result<Figures, BusError> {
    let bus = Bus::private(SIZES)?;
    let mut producer = Producer::of_handle(&bus);
    let per_event = |began: Instant, count: u64| began.elapsed().as_nanos() as f64 / count as f64;

    // One lap first, so that no page is touched for the first time.
    for i in 0..1 << 17 {
        let _ = black_box(producer.try_publish(&event(i), 0));
    }
    let began = Instant::now();
    for i in 0..events {
        let _ = black_box(producer.try_publish(&event(i), 0));
    }
    let publish_ns = per_event(began, events);

    let batch: Vec<Event> = (0..BATCH as u64).map(event).collect();
    let began = Instant::now();
    for _ in 0..events / BATCH as u64 {
        let batch = Batch { lane: 1, events: &batch, types: [1, 0, 0, 0], now: 1 };
        black_box(producer.try_publish_batch(&batch, 0));
    }
    let publish_batch_ns = per_event(began, events / BATCH as u64 * BATCH as u64);

    let (poll_ns, read_batch_ns) = reading(&bus, &mut producer)?;
    let (publish_followed_ns, followed_share) = followed(&bus, &mut producer, events)?;
    Ok(Figures {
        publish_ns,
        publish_followed_ns,
        followed_share,
        publish_batch_ns,
        poll_ns,
        read_batch_ns,
    })
}

fn reading(bus: &Arc<Bus>, producer: &mut Producer) -> Result<(f64, f64), BusError> {
    const EVENTS: u64 = 1 << 15;
    let mut one = Subscription::new(bus, &[">"], Start::Latest, false)?;
    let mut many = Subscription::new(bus, &[">"], Start::Latest, false)?;
    for i in 0..EVENTS {
        let _ = black_box(producer.try_publish(&event(i), 0));
    }
    let began = Instant::now();
    while let Some(delivered) = one.poll() {
        black_box(delivered);
    }
    let poll_ns = began.elapsed().as_nanos() as f64 / EVENTS as f64;
    let mut out = vec![Event::default(); BATCH];
    let began = Instant::now();
    while many.read_batch(&mut out, |_, event| event) > 0 {
        black_box(&out);
    }
    Ok((poll_ns, began.elapsed().as_nanos() as f64 / EVENTS as f64))
}

fn followed(bus: &Arc<Bus>, producer: &mut Producer, events: u64) -> Result<(f64, f64), BusError> {
    let mut reader = Subscription::new(bus, &[">"], Start::Latest, false)?;
    let done = AtomicBool::new(false);
    let ready = AtomicBool::new(false);
    let mut publish_ns = 0.0;
    let share = std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let mut backoff = crate::backoff::Backoff::default();
            ready.store(true, Ordering::Release);
            loop {
                match reader.poll() {
                    Some(delivered) => {
                        black_box(delivered);
                        backoff.reset();
                    }
                    None if done.load(Ordering::Acquire) => break,
                    None => backoff.pause(),
                }
            }
            let ledger = reader.ledger(1);
            ledger.delivered as f64 / ledger.published as f64
        });
        while !ready.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        for i in 0..events {
            let _ = black_box(producer.try_publish(&event(i), 0));
        }
        publish_ns = began.elapsed().as_nanos() as f64 / events as f64;
        done.store(true, Ordering::Release);
        follower.join().expect("the follower only reads")
    });
    Ok((publish_ns, share))
}
/// Nanoseconds a frame to decode `frames`, which go round `rounds` times: of the fastest round, as
/// the others were disturbed.
pub fn decode(market: Market, frames: &[&[u8]], rounds: u32) -> f64 {
    let mut decoder = Decoder::of_market(market);
    let mut fastest = f64::INFINITY;
    for _ in 0..rounds {
        let begin = Instant::now();
        for frame in frames {
            decoder.decode(black_box(frame), &mut |event| {
                black_box(event);
            });
            black_box(decoder.levels());
        }
        fastest = fastest.min(begin.elapsed().as_nanos() as f64);
    }
    fastest / frames.len().max(1) as f64
}
