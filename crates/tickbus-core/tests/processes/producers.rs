//! Producers killed while they publish, at random instants and at each step of a claim.

use super::stage::{Chance, Child, HANGING, Orders, Role, SIZES, Stage, Times};
use super::stage::{spin, stress, strike_self};
use super::story::{Auditor, EVEN, Teller, counted, event, go_on, tell_for_ever, types};
use rustix::process::Signal;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickbus_core::bus::Bus;
use tickbus_core::lane::counter::Counter;

pub const ROLES: &[Role] = &[
    Role { name: "tell", play: tell_for_ever },
    Role { name: "strike", play: strike },
];

/// Publish one claim and be struck by a signal while handing over its `at`th event: first all are
/// asked for to be staged, then, when the claim stands, again to be copied into their slots.
fn strike(orders: &Orders) {
    let [lane, story, count, at, signal] = orders.arguments[..] else {
        panic!("five numbers")
    };
    let (bus, lane) = (orders.open(), lane as usize);
    let asked = Cell::new(0);
    let words = |i: usize| {
        if asked.replace(asked.get() + 1) == at {
            strike_self(Signal::from_named_raw(signal as i32).expect("a signal"));
            // A signal may reach another thread of the process first, and this one a little later.
            orders.hear();
        }
        event(lane, story, i as u64).to_words()
    };
    bus.lanes()[lane].announce_types(&types(lane));
    let claim = bus.lanes()[lane].append(bus.number(), &mut 0, count as usize, 0, words);
    assert_eq!(claim.expect("room").len, count as usize);
    orders.say("done");
    orders.hear();
}

/// A claim in which its owner is struck.
#[derive(Clone, Copy)]
pub struct Struck {
    pub lane: usize,
    pub story: u64,
    pub count: u64,
    pub at: u64,
}

impl Struck {
    /// Start the child that makes it.
    pub fn start(self, stage: &Stage, signal: Signal) -> Child {
        let Struck { lane, story, count, at } = self;
        stage.start("strike", &[lane as u64, story, count, at, signal.as_raw() as u64])
    }

    /// Its events that are published, which is all or none of them.
    pub fn published(self) -> u64 {
        if self.at < self.count { 0 } else { self.count }
    }
}

/// The story of the test itself.
pub const OURS: u64 = 10_000;

/// Events a claim of a random test has.
const AT_A_TIME: [u64; 4] = [1, 64, 7, 37];

/// Kill one of two producers again and again; how many claims others had to finish.
fn kill_at_random(lane: usize, pattern: &str) -> u64 {
    let (stage, mut chance, mut times) = (Stage::new(), Chance::new(), Times::default());
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, lane, pattern);
    let mut ours = Teller::new(&bus, lane, OURS);
    let mut alive: Vec<(u64, Child)> = Vec::new();
    let rounds = 50 * stress() as u64;
    for round in 0..rounds {
        while alive.len() < 2 {
            // Both kinds at a time: one by one and in batches.
            let story = round * 2 + alive.len() as u64;
            let count = AT_A_TIME[story as usize % AT_A_TIME.len()];
            alive.push((story, stage.start("tell", &[lane as u64, story, count])));
            auditor.look_for_news_of([&story]);
        }
        auditor.look_for(chance.up_to(Duration::from_millis(2)));
        let (_, victim) = alive.swap_remove(chance.one_of(&alive));
        victim.kill();

        // A lap of our own meets every slot that somebody dead may have left unfinished.
        times.measure(|| {
            let survivors: Vec<&Child> = alive.iter().map(|(_, child)| child).collect();
            let lap = SIZES.lanes[lane] as u64;
            let last = go_on(&mut ours, &mut auditor, lap, &survivors);
            auditor.look_past(last);
            auditor.look_for_news_of(alive.iter().map(|(story, _)| story));
        });
    }
    alive.into_iter().for_each(|(_, child)| child.kill());

    bus.reap().unwrap();
    assert_eq!(bus.population(), (1, 1));
    times.keep_the_promise();
    match pattern {
        ">" => auditor.close_the_books_of_everything(),
        _ => auditor.close_the_books(),
    }
    counted(&bus, lane, Counter::Repaired)
}

#[test]
fn killed_at_random_in_the_critical_lane_leave_every_event_whole_and_in_place() {
    kill_at_random(2, ">");
}

#[test]
fn killed_at_random_in_a_lane_that_overwrites_leave_whole_events_and_exact_counts() {
    let repaired = kill_at_random(1, ">") + kill_at_random(0, ">");
    println!("{repaired} claims repaired");
    // About one in six dies in the middle of a claim. If none did, this test would show nothing.
    assert!(repaired > 0);
}

#[test]
fn killed_at_random_leave_exact_counts_to_a_reader_that_filters() {
    for lane in [1, 2] {
        kill_at_random(lane, EVEN[lane]);
    }
}

fn kill_at(struck: Struck, repaired_first: bool, times: &mut Times) {
    let (stage, lane) = (Stage::new(), struck.lane);
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, lane, ">");
    let mut ours = Teller::new(&bus, lane, OURS);
    ours.tell(5, HANGING).unwrap();

    struck.start(&stage, Signal::KILL).bury();

    assert_eq!(bus.lanes()[lane].tail(), 5 + struck.published());
    if !repaired_first {
        times.measure(|| auditor.look_at_all());
        assert_eq!(auditor.next_of(struck.story), struck.published(), "read what is only staged");
    }
    let end = times.measure(|| go_on(&mut ours, &mut auditor, SIZES.lanes[lane] as u64, &[]));
    auditor.look_past(end);
    assert_eq!(counted(&bus, lane, Counter::Repaired), u64::from(struck.published() > 0));
    bus.reap().unwrap(); // one that has published nothing was in nobody's way
    assert_eq!(bus.population(), (1, 1));
    auditor.close_the_books_of_everything();
}

#[test]
fn killed_at_each_event_of_a_claim_have_published_all_of_it_or_nothing() {
    let mut times = Times::default();
    for (count, lane) in [(1, 1), (3, 0), (4, 2)] {
        for at in 0..2 * count {
            kill_at(Struck { lane, story: 1, count, at }, at % 2 == 0, &mut times);
        }
    }
    // The longest claim there is, at both ends and in the middle of its copy.
    for at in [0, 63, 64, 65, 100, 127] {
        kill_at(Struck { lane: 2, story: 1, count: 64, at }, false, &mut times);
    }
    times.keep_the_promise();
}

/// One child after the other finds a dead one's claim in its way and is killed itself, at a random
/// instant: while it looks for proof, takes the lock, repairs or goes on.
#[test]
fn killed_while_repairing_another_are_repaired_as_well() {
    let (stage, mut chance, mut times) = (Stage::new(), Chance::new(), Times::default());
    let bus = stage.open();
    let lane = 1;
    let mut auditor = Auditor::new(&bus, lane, ">");
    let mut ours = Teller::new(&bus, lane, OURS);
    for round in 0..12 * stress() as u64 {
        // A claim does not go round the end of the ring, so it begins where it has room.
        let to_the_end =
            bus.lanes()[lane].size() - bus.lanes()[lane].tail() % bus.lanes()[lane].size();
        go_on(&mut ours, &mut auditor, to_the_end, &[]);
        let struck = Struck { lane, story: round * 3, count: 30, at: 30 + chance.below(30) };
        let struck = struck.start(&stage, Signal::STOP);
        struck.wait_for_stop();
        // Both run into the stopped one's claim within a lap.
        let repairers = [(1, 1), (2, 64)];
        let repairers = repairers.map(|(i, n)| stage.start("tell", &[1, round * 3 + i, n]));
        let stalled = counted(&bus, lane, Counter::Stalled);
        wait_for_stalls(&bus, lane, stalled + 2, &mut auditor);

        struck.kill();
        spin(chance.up_to(Duration::from_micros(300)));
        repairers.into_iter().for_each(Child::kill);
        times.measure(|| {
            let end = go_on(&mut ours, &mut auditor, SIZES.lanes[lane] as u64, &[]);
            auditor.look_past(end);
        });
        bus.reap().unwrap();
        assert_eq!(bus.population(), (1, 1));
    }
    times.keep_the_promise();
    auditor.close_the_books();
}

fn wait_for_stalls(bus: &Arc<Bus>, lane: usize, stalls: u64, auditor: &mut Auditor) {
    let begin = Instant::now();
    while counted(bus, lane, Counter::Stalled) < stalls {
        assert!(begin.elapsed() < HANGING, "nobody is held up");
        auditor.look_for(Duration::from_millis(1));
    }
}
