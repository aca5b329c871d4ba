//! Threads on one lane, and nothing around it: small enough for Miri, which checks every access of the
//! memory's `unsafe` and tries reorderings that this machine never shows (`./dev sanitize`).

#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use tickbus_core::event::Words;
use tickbus_core::lane::memory::Memory;
use tickbus_core::lane::ring::{Blocked, CONTROL_CELLS, Lane, Peek, STAGING_CELLS};

const SLOTS: usize = 8;
const PRODUCERS: u8 = 3;
const CLAIMS: u64 = if cfg!(miri) { 10 } else { 20_000 };

fn lane(gated: bool) -> Lane {
    let staging = STAGING_CELLS * (1 + usize::from(PRODUCERS));
    let memory = Memory::private(CONTROL_CELLS + SLOTS * 5 + staging).unwrap();
    let mut end = 0;
    let mut cells = |len| {
        end += len;
        memory.cells(end - len, len)
    };
    let lane = Lane::new(cells(CONTROL_CELLS), cells(SLOTS), cells(SLOTS * 4), cells(staging));
    if gated {
        lane.close_gate(0);
    }
    lane
}

/// A producer's event number so and so; each word follows from both.
fn event(producer: u8, number: u64) -> Words {
    let word = u64::from(producer) << 32 | number;
    [
        word,
        !word,
        word.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        word.rotate_left(17),
    ]
}

fn is_whole(words: Words) -> bool {
    words == event((words[0] >> 32) as u8, words[0] & 0xffff_ffff)
}

/// Publish claims of one to three events; how many events that was.
fn publish(lane: &Lane, producer: u8) -> u64 {
    let (mut tail, mut number) = (0, 0);
    for claim in 0..CLAIMS {
        let count = 1 + (claim + u64::from(producer)) as usize % 3;
        loop {
            let words = |i: usize| event(producer, number + i as u64);
            match lane.append(producer, &mut tail, count, 0, words) {
                Ok(claim) => {
                    number += claim.len as u64;
                    break;
                }
                Err(Blocked::Full { .. } | Blocked::Unfinished { .. }) => thread::yield_now(),
            }
        }
    }
    number
}

/// Read until `end` (once it is known) and count what was read and what was missed.
fn read(lane: &Lane, end: &AtomicU64, in_runs: bool, seen: impl Fn(u64)) -> (u64, u64) {
    let (mut next, mut read, mut missed) = (0, 0, 0);
    let mut run = [[0; 4]; 5];
    while next < end.load(Ordering::Acquire) {
        let copied = if in_runs { lane.read_run(next, &mut run, |_, words| words) } else { 0 };
        assert!(run[..copied].iter().all(|words| is_whole(*words)), "torn: {run:?}");
        (next, read) = (next + copied as u64, read + copied as u64);
        if copied == 0 {
            match lane.read(next) {
                Peek::Event(words) => {
                    assert!(is_whole(words), "torn: {words:?}");
                    (next, read) = (next + 1, read + 1);
                }
                Peek::Empty => thread::yield_now(),
                Peek::Lapped { oldest } => (next, missed) = (oldest, missed + oldest - next),
            }
        }
        seen(next);
    }
    (read, missed)
}

fn run(gated: bool) {
    let lane = &lane(gated);
    let end = &AtomicU64::new(u64::MAX);
    thread::scope(|scope| {
        let readers = [false, true].map(|in_runs| {
            // The second gates the lane alone: the first may be overtaken.
            let gate = move |next| {
                if gated && in_runs {
                    lane.raise_gate(next);
                }
            };
            scope.spawn(move || read(lane, end, in_runs, gate))
        });
        let producers: Vec<_> = (1..=PRODUCERS)
            .map(|number| scope.spawn(move || publish(lane, number)))
            .collect();
        let told: Vec<_> = producers.into_iter().map(|one| one.join()).collect();
        // Before a failure is reported, or the readers would wait for the rest of it.
        let published = lane.tail();
        end.store(published, Ordering::Release);
        assert_eq!(told.into_iter().map(Result::unwrap).sum::<u64>(), published);
        let counted = readers.map(|reader| reader.join().unwrap());
        counted.iter().for_each(|(read, missed)| assert_eq!(read + missed, published));
        if gated {
            assert_eq!(counted[1], (published, 0), "the gating reader misses nothing");
        }
    });
}

#[test]
fn read_whole_events_and_count_the_rest_in_a_lane_that_overwrites() {
    run(false);
}

#[test]
fn read_every_event_of_a_gated_lane() {
    run(true);
}
