//! Producers that are stopped, not dead (SIGSTOP, a debugger, a frozen container), in the middle of a
//! publish and anywhere: readers notice nothing, publishers wait a lap later and are told, and a late
//! owner that goes on writes only where nobody else has.

use super::producers::{OURS, Struck};
use super::stage::{Chance, Child, HANGING, SIZES, Stage, Times, stress};
use super::story::{Auditor, Teller, counted};
use rustix::process::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickbus_core::bus::STALL_PATIENCE;
use tickbus_core::lane::counter::Counter;
use tickbus_core::producer::Refused;

/// The lane of the random test.
const LANE: usize = 1;

/// Publish one by one until a stopped producer's claim is in the way; who it is, and how long the
/// publish that was refused took. The auditor reads on.
fn until_stalled(teller: &mut Teller, auditor: &mut Auditor, patience: Duration) -> (u8, Duration) {
    for _ in 0..=SIZES.lanes[2] {
        let begin = Instant::now();
        match teller.tell(1, patience) {
            Err(Refused::Stalled { owner }) => return (owner, begin.elapsed()),
            told => told.expect("only a stopped producer is in the way"),
        }
        auditor.look();
    }
    panic!("went over a stopped producer's claim");
}

/// What holds for each lane with an owner stopped at `at` events into a claim of `count`.
fn stop_at(lane: usize, count: u64, at: u64, then: fn(&mut Child)) {
    let stage = Stage::new();
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, lane, ">");
    let mut ours = Teller::new(&bus, lane, OURS);
    let before = 3;
    ours.tell(before, HANGING).unwrap();
    let mut stopped = Struck { lane, story: 1, count, at }.start(&stage, Signal::STOP);
    stopped.wait_for_stop();

    // It blocks no reader: its claim is published, and read from its staging area.
    auditor.look_at_all();
    assert_eq!(auditor.next_of(1), count);
    // It blocks a publisher that comes round to its claim, not one event earlier.
    let patience = 2 * STALL_PATIENCE;
    let (owner, waited) = until_stalled(&mut ours, &mut auditor, patience);
    assert_eq!(ours.told() + count, before + SIZES.lanes[lane] as u64);
    assert_eq!(bus.pid_of(owner), Some(stopped.id()));
    assert!(waited >= if lane == 2 { patience } else { STALL_PATIENCE });
    let end = bus.lanes()[lane].tail();
    assert!(matches!(ours.tell(1, patience), Err(Refused::Stalled { .. })));
    assert_eq!(bus.lanes()[lane].tail(), end, "refused is not published");
    assert_eq!(counted(&bus, lane, Counter::Stalled), 2);
    assert_eq!(bus.reap().unwrap(), 0, "it is not dead");

    then(&mut stopped);

    // The next publish begins while the late owner may still be writing.
    let begin = Instant::now();
    while ours.told() < 5 * SIZES.lanes[lane] as u64 {
        assert!(begin.elapsed() < HANGING);
        let _ = ours.tell(7, HANGING);
        auditor.look();
    }
    auditor.close_the_books_of_everything();
    assert_eq!(auditor.reader.ledger(lane).missed, 0);
}

fn goes_on(stopped: &mut Child) {
    stopped.go_on();
    stopped.tell("go on");
    assert_eq!(stopped.hear(), "done");
}

fn is_killed(stopped: &mut Child) {
    stopped.strike(Signal::KILL);
}

#[test]
fn stopped_in_a_claim_hold_publishers_up_a_lap_later_and_go_on_unharmed() {
    for (lane, count) in [(0, 1), (1, 40), (2, 61)] {
        for at in [count, 2 * count - 1] {
            stop_at(lane, count, at, goes_on);
        }
    }
}

#[test]
fn stopped_in_a_claim_and_then_killed_hold_up_nobody_any_more() {
    for (lane, count) in [(1, 1), (2, 64), (0, 33)] {
        stop_at(lane, count, count + count / 2, is_killed);
    }
}

/// Before its claim, a producer is in nobody's way however long it is stopped, and its late claim
/// goes to the lane's end of then.
#[test]
fn stopped_before_their_claim_hold_up_nobody_and_publish_later() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, 1, ">");
    let mut ours = Teller::new(&bus, 1, OURS);
    let mut stopped = Struck { lane: 1, story: 1, count: 9, at: 5 }.start(&stage, Signal::STOP);
    stopped.wait_for_stop();

    for _ in 0..300 {
        ours.tell(1, HANGING).unwrap();
        auditor.look();
    }
    assert_eq!(bus.lanes()[1].tail(), 300);
    goes_on(&mut stopped);

    auditor.close_the_books_of_everything();
    assert_eq!((auditor.next_of(1), bus.lanes()[1].tail()), (9, 309));
}

/// Publishers that wait for a stopped owner go on as soon as it is dead.
#[test]
fn a_publisher_held_up_goes_on_within_the_bound_when_the_stopped_owner_is_killed() {
    let mut times = Times::default();
    for _ in 0..8 {
        let stage = Stage::new();
        let bus = stage.open();
        let struck = Struck { lane: 2, story: 1, count: 8, at: 12 };
        let mut stopped = struck.start(&stage, Signal::STOP);
        stopped.wait_for_stop();
        let mut ours = Teller::new(&bus, 2, OURS);
        // Nobody gates the lane, so what blocks is the stopped claim alone.
        ours.tell(SIZES.lanes[2] as u64 - 8, HANGING).unwrap();

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ours.tell(1, HANGING));
            while counted(&bus, 2, Counter::Waited) == 0 {
                std::thread::yield_now();
            }
            stopped.strike(Signal::KILL);
            stopped.bury();
            times.measure(|| waiting.join().unwrap().unwrap());
        });
        assert_eq!(counted(&bus, 2, Counter::Repaired), 1);
    }
    times.keep_the_promise();
}

/// Go round a lap beside a stopped producer: it is in the way, or not, and is named as it is.
fn is_in_the_way(stopped: &Child, ours: &mut Teller, auditor: &mut Auditor) -> bool {
    let bus = Arc::clone(ours.producer.bus());
    let lane = &bus.lanes()[LANE];
    let (before, end) = (lane.counted(Counter::Stalled), lane.tail() + lane.size());
    let mut refused = 0;
    while lane.tail() < end && refused == 0 {
        if let Err(why) = ours.tell(1, HANGING) {
            let Refused::Stalled { owner } = why else {
                panic!("{why:?}")
            };
            assert_eq!(bus.pid_of(owner), Some(stopped.id()));
            refused += 1;
        }
    }
    assert_eq!(lane.counted(Counter::Stalled), before + refused);
    // Read everything there is, also what lies in the claim of the one that is stopped.
    auditor.look_past(lane.tail() - 1);
    refused > 0
}

#[test]
fn stopped_at_random_are_survived_as_promised_and_come_back() {
    for (count, wanted) in [(1, 3), (64, 6)] {
        let (stage, mut chance) = (Stage::new(), Chance::new());
        let bus = stage.open();
        let mut auditor = Auditor::new(&bus, LANE, ">");
        let mut ours = Teller::new(&bus, LANE, OURS);
        let producer = stage.start("tell", &[LANE as u64, 1, count]);
        let (mut in_a_claim, mut stops) = (0, 0);
        while in_a_claim < wanted * stress() {
            auditor.look_for_news_of([&1]);
            auditor.look_for(chance.up_to(Duration::from_micros(500)));
            producer.stop();
            in_a_claim += usize::from(is_in_the_way(&producer, &mut ours, &mut auditor));
            stops += 1;
            assert!(stops < 2000 * stress(), "never stopped in a claim");
            producer.go_on();
        }
        println!("{in_a_claim} of {stops} stops were in a claim");
        producer.kill();
        assert_eq!(bus.reap().unwrap(), 1);
        auditor.close_the_books_of_everything();
    }
}
