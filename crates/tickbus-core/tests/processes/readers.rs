//! Readers killed: a dead one holds no critical event back, and every place it had is free again.

use super::producers::OURS;
use super::stage::{
    Chance, Child, HANGING, Orders, Role, SIZES, Stage, Times, stay, stress, until,
};
use super::story::{Auditor, EVEN, Teller, counted, go_on};
use rustix::process::Signal;
use std::time::Duration;
use tickbus_core::Event;
use tickbus_core::bus::CRITICAL;
use tickbus_core::error::BusError;
use tickbus_core::lane::counter::Counter;
use tickbus_core::lane::layout::{PARTICIPANTS, READERS, SLEEPERS};
use tickbus_core::producer::{Producer, Refused};
use tickbus_core::subscription::{Start, Subscription};
use tickbus_core::waiting::{Sleeper, Strategy, wait};

pub const ROLES: &[Role] = &[
    Role { name: "gate", play: gate },
    Role { name: "read", play: read_for_ever },
    Role { name: "fill", play: fill },
];

/// Read so and so many critical events with so many gating subscriptions, and then no more.
fn gate(orders: &Orders) {
    let [events, subscriptions] = orders.arguments[..] else {
        panic!("two numbers")
    };
    let bus = orders.open();
    let subscribe = |_| Subscription::new(&bus, &["risk.>"], Start::Latest, true).unwrap();
    let mut kept: Vec<Subscription> = (0..subscriptions).map(subscribe).collect();
    orders.say("subscribed");
    for reader in &mut kept {
        for _ in 0..events {
            until("an event", || reader.poll().is_some());
        }
    }
    orders.say("read");
    stay();
}

/// Ways to read once; whether there was anything.
const WAYS: [fn(&mut Subscription, &mut Option<Sleeper>) -> bool; 3] = [
    |reader, _| reader.poll().is_some(),
    |reader, _| reader.read_batch(&mut [Event::default(); 32], |_, event| event) > 0,
    |reader, sleeper| wait(reader, sleeper, Strategy::Sleep, None).unwrap().is_some(),
];

/// Read critical events for ever, one way or another, gating them; join and leave now and then.
fn read_for_ever(orders: &Orders) {
    let way = WAYS[orders.arguments[0] as usize];
    let bus = orders.open();
    orders.say("here");
    loop {
        let mut reader = Subscription::new(&bus, &["risk.>"], Start::Latest, true).unwrap();
        let mut sleeper = None;
        for _ in 0..20 {
            way(&mut reader, &mut sleeper);
        }
    }
}

/// Take places until there are none, or a share of each kind; say how many, and keep them.
fn fill(orders: &Orders) {
    let bus = orders.open();
    let share = |places: usize| places.div_ceil(orders.arguments[0] as usize);
    fn take<T>(most: usize, place: impl Fn() -> Result<T, BusError>) -> Vec<T> {
        let until_full = |place| match place {
            Ok(place) => Some(place),
            Err(BusError::Capacity { .. }) => None,
            Err(why) => panic!("{why:?}"),
        };
        std::iter::repeat_with(place).map_while(until_full).take(most).collect()
    }
    let producers = take(share(PARTICIPANTS) - 1, || Producer::new(&bus));
    let sleepers = take(share(SLEEPERS), || Sleeper::new(&bus));
    let readers =
        take(share(READERS), || Subscription::new(&bus, &["risk.>"], Start::Latest, true));
    for taken in [1 + producers.len(), sleepers.len(), readers.len()] {
        orders.say(&taken.to_string());
    }
    stay();
}

#[test]
fn killed_while_they_hold_the_critical_gate_hold_it_no_more() {
    let mut times = Times::default();
    for round in 0..6 {
        let stage = Stage::new();
        let bus = stage.open();
        let mut ours = Teller::new(&bus, CRITICAL, OURS);
        let mut readers = [round, 0].map(|events| stage.start("gate", &[events, 3]));
        readers.iter_mut().for_each(|reader| assert_eq!(reader.hear(), "subscribed"));
        let room = SIZES.lanes[CRITICAL] as u64;
        ours.tell(room, Duration::ZERO).unwrap();
        readers.iter_mut().for_each(|reader| assert_eq!(reader.hear(), "read"));
        // What one has read the other has not, so nothing is free.
        let refused = ours.tell(1, Duration::ZERO);
        assert!(matches!(refused, Err(Refused::Backpressure { .. })));

        readers.into_iter().for_each(Child::kill);
        times.measure(|| ours.tell(1, HANGING).unwrap());

        assert_eq!(bus.population(), (1, 0));
        ours.tell(3 * room, Duration::ZERO).unwrap();
        assert_eq!(counted(&bus, CRITICAL, Counter::Refused), 1);
    }
    times.keep_the_promise();
}

#[test]
fn a_publisher_waiting_for_a_reader_goes_on_within_the_bound_when_that_is_killed() {
    let mut times = Times::default();
    for _ in 0..8 {
        let stage = Stage::new();
        let bus = stage.open();
        let mut ours = Teller::new(&bus, CRITICAL, OURS);
        let mut reader = stage.start("gate", &[0, 1]);
        reader.hear();
        let unreserved = SIZES.lanes[CRITICAL] as u64 - bus.reserve(CRITICAL);
        ours.tell(unreserved, Duration::ZERO).unwrap();

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ours.tell(1, HANGING));
            until("the publisher to wait", || counted(&bus, CRITICAL, Counter::Waited) > 0);
            reader.strike(Signal::KILL);
            reader.bury();
            times.measure(|| waiting.join().unwrap().unwrap());
        });
        // It had no need of the reserve.
        assert_eq!(counted(&bus, CRITICAL, Counter::Spilled), 0);
    }
    times.keep_the_promise();
}

#[test]
fn killed_at_random_while_reading_joining_or_asleep_hold_back_nobody() {
    let (stage, mut chance, mut times) = (Stage::new(), Chance::new(), Times::default());
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, CRITICAL, ">");
    let mut filtering = Auditor::new(&bus, CRITICAL, EVEN[CRITICAL]);
    let mut ours = Teller::new(&bus, CRITICAL, OURS);
    for round in 0..36 * stress() {
        let mut readers = [0, 1].map(|i| stage.start("read", &[((round + i) % WAYS.len()) as u64]));
        readers.iter_mut().for_each(|reader| assert_eq!(reader.hear(), "here"));
        let some = chance.below(300);
        let alive = [&readers[0], &readers[1]];
        for _ in 0..some {
            go_on(&mut ours, &mut auditor, 1, &alive);
            filtering.look();
        }
        readers.into_iter().for_each(Child::kill);
        times.measure(|| {
            for _ in 0..SIZES.lanes[CRITICAL] {
                go_on(&mut ours, &mut auditor, 1, &[]);
                filtering.look();
            }
        });
    }
    times.keep_the_promise();
    auditor.close_the_books_of_everything();
    filtering.close_the_books();
    assert_eq!(filtering.reader.ledger(CRITICAL).delivered, ours.told().div_ceil(2));
    bus.reap().unwrap();
    assert_eq!(bus.population(), (1, 2));
    assert_eq!(stage.files(), [stage.path()], "pipes of dead sleepers");
}

#[test]
fn killed_with_every_place_taken_leave_them_all_to_the_next() {
    let stage = Stage::new();
    let bus = stage.open();
    // One process takes all, or several share; each time there are as many as ever.
    for processes in [1, 6, 1, 6] {
        let mut taken = [0; 3];
        let mut children = Vec::new();
        for _ in 0..processes {
            let mut child = stage.start("fill", &[processes]);
            taken.iter_mut().for_each(|taken| *taken += child.hear_number());
            children.push(child);
        }
        let all = [PARTICIPANTS - 2, SLEEPERS, READERS].map(|places| places as u64);
        assert_eq!(taken, all, "beside our own handle");
        let full = [
            Producer::new(&bus).err(),
            Sleeper::new(&bus).err(),
            Subscription::new(&bus, &[">"], Start::Latest, false).err(),
            super::stage::open(&stage.name).err(),
        ];
        assert!(full.iter().all(|error| matches!(error, Some(BusError::Capacity { .. }))));
        assert_eq!(bus.reap().unwrap(), 0, "nobody is dead");

        children.into_iter().for_each(Child::kill);

        assert_eq!(bus.reap().unwrap(), PARTICIPANTS - 2);
        assert_eq!(bus.population(), (1, 0));
        assert_eq!(stage.files(), [stage.path()]);
    }
}
