//! The lane's own code under loom: every reordering the memory model allows, tiny rings.
//!
//! `ring_model.rs` argues the protocol step by step in sequentially consistent memory; here the
//! fences and orderings of `src/lane/ring.rs` are on trial: taking out a fence of append, finish or
//! read fails a test. Two threads preempt each other anywhere, three once an execution unless
//! `LOOM_MAX_PREEMPTIONS` allows more. loom takes SeqCst accesses for acquire-release ones, which
//! errs on the safe side.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p tickbus-core --release --test loom_ring`
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed as StdRelaxed};
use tickbus_core::event::Words;
use tickbus_core::lane::memory::{Cells, Memory};
use tickbus_core::lane::ring::{Blocked, CONTROL_CELLS, Claim, Lane, Peek, STAGING_CELLS};
use tickbus_core::lane::stamp::Stamp;
use tickbus_core::sync::Ordering::Relaxed;

/// Owner numbers; the second one's staging area ends the staging memory early, to keep loom's
/// bookkeeping small.
const FIRST: u8 = 0;
const SECOND: u8 = 1;
const STAGED: usize = 2;

fn run(threads: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    if model.preemption_bound.is_none() {
        model.preemption_bound = (threads > 2).then_some(1);
    }
    let executions = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&executions);
    model.check(move || {
        count.fetch_add(1, StdRelaxed);
        test();
    });
    println!("{} executions", executions.load(StdRelaxed));
}

fn cells(len: usize) -> Cells {
    Memory::private(len).expect("loom's memory is always there").cells(0, len)
}

struct Parts {
    lane: Lane,
    stamps: Cells,
    staging: Cells,
}

fn parts(slots: usize, gated: bool) -> Parts {
    let stamps = cells(slots);
    let staging = cells(STAGING_CELLS + STAGED * 4);
    let lane = Lane::new(cells(CONTROL_CELLS), stamps.clone(), cells(slots * 4), staging.clone());
    if gated {
        lane.close_gate(0);
    }
    Parts { lane, stamps, staging }
}

fn lane(slots: usize, gated: bool) -> Arc<Lane> {
    Arc::new(parts(slots, gated).lane)
}

/// An event whose four words are the same, so that a mix of two events shows.
fn words(id: u64) -> Words {
    [id; 4]
}

/// Publish `count` events from `id` on; again as long as something is in the way.
fn publish(lane: &Lane, owner: u8, tail: &mut u64, count: usize, id: u64) -> u64 {
    let mut published = 0;
    let mut first = None;
    while published < count {
        let from = id + published as u64;
        match lane.append(owner, tail, count - published, 0, |i| words(from + i as u64)) {
            Ok(Claim { first: at, len }) => {
                first.get_or_insert(at);
                published += len;
            }
            Err(Blocked::Full { .. } | Blocked::Unfinished { .. }) => thread::yield_now(),
        }
    }
    first.expect("count is not zero")
}

/// What is at `sequence`; whole, or this panics.
fn whole(lane: &Lane, sequence: u64) -> Option<u64> {
    match lane.read(sequence) {
        Peek::Event(found) => {
            assert_eq!(found, words(found[0]), "torn at {sequence}");
            Some(found[0])
        }
        Peek::Empty | Peek::Lapped { .. } => None,
    }
}

/// A thread that looks while the main thread changes something. In this order, because loom
/// tries a store before an earlier load only if nothing but loads of others came between, and
/// every append looks at a stamp before it swaps it; a load it tries before every earlier store.
fn reader(lane: &Arc<Lane>, read: impl Fn(&Lane) + Send + 'static) -> thread::JoinHandle<()> {
    let lane = Arc::clone(lane);
    thread::spawn(move || read(&lane))
}

#[test]
fn an_event_that_is_overwritten_while_it_is_read_is_not_delivered() {
    run(2, || {
        let lane = lane(1, false);
        let mut tail = 0;
        publish(&lane, FIRST, &mut tail, 1, 10);
        let reader = reader(&lane, |lane| assert!(matches!(whole(lane, 0), None | Some(10))));
        publish(&lane, FIRST, &mut tail, 1, 11);
        reader.join().expect("reader");
        assert_eq!(whole(&lane, 1), Some(11));
    });
}

#[test]
fn an_event_is_readable_from_its_claim_on() {
    run(2, || {
        let lane = lane(2, false);
        let reader = reader(&lane, |lane| {
            // The second one is there as soon as the first is: they are one claim.
            let seen = [whole(lane, 0), whole(lane, 1)];
            assert!(matches!(seen, [None, None | Some(11)] | [Some(10), Some(11)]), "{seen:?}");
        });
        publish(&lane, FIRST, &mut 0, 2, 10);
        reader.join().expect("reader");
        assert_eq!([whole(&lane, 0), whole(&lane, 1)], [Some(10), Some(11)]);
    });
}

#[test]
fn a_staging_area_written_again_is_not_taken_for_the_event_before() {
    run(2, || {
        let lane = lane(2, false);
        let reader = reader(&lane, |lane| assert!(matches!(whole(lane, 0), None | Some(10))));
        let mut tail = 0;
        publish(&lane, FIRST, &mut tail, 1, 10);
        publish(&lane, FIRST, &mut tail, 1, 11);
        reader.join().expect("reader");
        assert_eq!([whole(&lane, 0), whole(&lane, 1)], [Some(10), Some(11)]);
    });
}

#[test]
fn an_interior_slot_is_marked_before_its_event_changes() {
    run(2, || {
        let lane = lane(2, false);
        let mut tail = 0;
        publish(&lane, FIRST, &mut tail, 2, 10);
        let reader = reader(&lane, |lane| assert!(matches!(whole(lane, 1), None | Some(11))));
        publish(&lane, FIRST, &mut tail, 2, 20);
        reader.join().expect("reader");
        assert_eq!([whole(&lane, 2), whole(&lane, 3)], [Some(20), Some(21)]);
    });
}

#[test]
fn claims_of_two_producers_stand_side_by_side() {
    run(2, || {
        let lane = lane(4, false);
        let other = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || publish(&lane, SECOND, &mut 0, 2, 20))
        };
        let mine = publish(&lane, FIRST, &mut 0, 1, 10);
        let other = other.join().expect("other");
        assert_eq!(lane.tail(), 3);
        assert_eq!(whole(&lane, mine), Some(10));
        assert_eq!([whole(&lane, other), whole(&lane, other + 1)], [Some(20), Some(21)]);
    });
}

#[test]
fn a_producer_waits_for_the_claim_a_lap_ago() {
    run(2, || {
        let lane = lane(1, false);
        let other = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || publish(&lane, SECOND, &mut 0, 1, 20))
        };
        let mine = publish(&lane, FIRST, &mut 0, 1, 10);
        let other = other.join().expect("other");
        assert_eq!(mine + other, 1);
        assert_eq!(whole(&lane, 1), Some(if mine == 1 { 10 } else { 20 }));
        assert!(matches!(lane.read(0), Peek::Lapped { oldest: 1 }));
    });
}

/// Copy a run from sequence 1 on, of a lane that began with the events 100, 101, ...
fn whole_run(lane: &Lane) {
    let mut out = [[0; 4]; 2];
    let copied = lane.read_run(1, &mut out, |_, words| words);
    for (i, found) in out[..copied].iter().enumerate() {
        assert_eq!(*found, words(101 + i as u64));
    }
}

#[test]
fn a_run_is_whole_though_its_first_slot_is_claimed_and_not_marked() {
    run(2, || {
        let Parts { lane, stamps, .. } = parts(4, false);
        publish(&lane, FIRST, &mut 0, 2, 100);
        publish(&lane, FIRST, &mut 0, 2, 102);
        // Stopped after its swap: slot 1 still shows the lap before, and stands in for nobody.
        stamps[0].store(Stamp::head(1, SECOND, 2).0, Relaxed);
        let lane = Arc::new(lane);
        let reader = reader(&lane, whole_run);
        assert_eq!(publish(&lane, FIRST, &mut 4, 1, 200), 6);
        reader.join().expect("reader");
    });
}

#[test]
fn a_run_is_whole_though_two_producers_overwrite_it() {
    run(3, || {
        let lane = lane(4, false);
        publish(&lane, FIRST, &mut 0, 2, 100);
        publish(&lane, FIRST, &mut 0, 2, 102);
        let reader = reader(&lane, whole_run);
        let other = {
            let lane = Arc::clone(&lane);
            thread::spawn(move || publish(&lane, SECOND, &mut 4, 1, 200))
        };
        publish(&lane, FIRST, &mut 4, 2, 200);
        reader.join().expect("reader");
        other.join().expect("other");
    });
}

#[test]
fn a_gated_event_stays_until_it_is_acknowledged() {
    run(2, || {
        let lane = lane(1, true);
        let mut tail = 0;
        publish(&lane, FIRST, &mut tail, 1, 10);
        let reader = reader(&lane, |lane| {
            assert_eq!(whole(lane, 0), Some(10));
            lane.raise_gate(1);
        });
        publish(&lane, FIRST, &mut tail, 1, 11);
        reader.join().expect("reader");
        assert_eq!(whole(&lane, 1), Some(11));
    });
}

/// A claim of two events as a producer leaves it that was killed right after the swap, or (`marked`)
/// somewhere in its copy: the interior done already.
fn abandoned(marked: bool) -> Arc<Lane> {
    let Parts { lane, stamps, staging } = parts(2, false);
    for (i, id) in [10, 11].into_iter().enumerate() {
        for word in 0..4 {
            staging[STAGING_CELLS + i * 4 + word].store(id, Relaxed);
        }
    }
    stamps[0].store(Stamp::head(0, SECOND, 2).0, Relaxed);
    if marked {
        stamps[1].store(Stamp::body(0, SECOND, 1).0, Relaxed);
    }
    Arc::new(lane)
}

#[test]
fn a_dead_producers_claim_is_read_while_it_is_repaired() {
    for marked in [false, true] {
        run(2, move || {
            let lane = abandoned(marked);
            let reader = reader(&lane, |lane| {
                assert_eq!([whole(lane, 0), whole(lane, 1)], [Some(10), Some(11)]);
            });
            lane.repair_all(SECOND);
            reader.join().expect("reader");
            assert_eq!([whole(&lane, 0), whole(&lane, 1)], [Some(10), Some(11)]);
        });
    }
}

#[test]
fn a_repaired_claim_gives_way_to_the_next_lap() {
    run(2, || {
        let lane = abandoned(false);
        let other = reader(&lane, |lane| assert_eq!(publish(lane, FIRST, &mut 0, 2, 20), 2));
        lane.repair_all(SECOND);
        other.join().expect("other");
        assert_eq!([whole(&lane, 2), whole(&lane, 3)], [Some(20), Some(21)]);
    });
}
