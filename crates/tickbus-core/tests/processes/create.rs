//! Many processes open, create and leave a bus of the same name at the same moment.

use super::stage::{Chance, Child, HANGING, Orders, Role, SIZES, Stage, open, spin, stress, until};
use super::story::event;
use rustix::process::Signal;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tickbus_core::Event;
use tickbus_core::bus::Bus;
use tickbus_core::error::BusError;
use tickbus_core::lane::layout::Sizes;
use tickbus_core::open::path_of;
use tickbus_core::producer::Producer;
use tickbus_core::subscription::{Delivered, Start, Subscription};
use tickbus_core::sys::now_ns;

pub const ROLES: &[Role] = &[
    Role { name: "meet", play: meet },
    Role { name: "come-and-go", play: come_and_go },
    Role { name: "insist", play: insist },
];

/// Wait for the instant that the parent tells all of them.
fn start_together(orders: &Orders) {
    let instant: u64 = orders.hear().parse().expect("nanoseconds");
    while now_ns() < instant {
        std::hint::spin_loop();
    }
}

/// Tell all an instant soon enough, and late enough for each to be ready.
fn start_all(children: &mut [Child]) {
    let instant = now_ns() + 2_000_000;
    children.iter_mut().for_each(|child| child.tell(instant));
}

/// Open, make oneself heard, wait until all the others have been, and leave; again and again.
fn meet(orders: &Orders) {
    let [number, of] = orders.arguments[..] else {
        panic!("two numbers")
    };
    loop {
        start_together(orders);
        let bus = orders.open();
        let symbol = bus.names().symbol(&format!("PROCESS-{number}")).unwrap();
        let event = Event { timestamp: 1, symbol, metadata: number, ..Event::default() };
        let mut reader = Subscription::new(&bus, &[">"], Start::Earliest, false).unwrap();
        Producer::of_handle(&bus).publish(&event, HANGING).unwrap();
        let mut heard = Vec::new();
        until("the others", || {
            while let Some(event) = reader.poll() {
                let name = bus.names().symbol_text(event.event.symbol).unwrap();
                assert_eq!(*name, format!("PROCESS-{}", event.event.metadata));
                heard.push(event.event.metadata);
            }
            heard.len() as u64 == of
        });
        heard.sort();
        assert_eq!(heard, (0..of).collect::<Vec<_>>(), "each of them once, on one bus");
        assert_eq!(bus.sizes(), SIZES);
        drop((reader, bus));
        orders.say("left");
    }
}

/// Open and leave for a while. As long as one is there, its name stands for its bus.
fn come_and_go(orders: &Orders) {
    let mut chance = Chance::new();
    start_together(orders);
    for _ in 0..orders.arguments[0] {
        let bus = orders.open();
        let here = std::fs::metadata(path_of(&orders.bus)).expect("it stands there").ino();
        bus.names().source("SOMEBODY").unwrap();
        spin(chance.up_to(Duration::from_micros(200)));
        let still = std::fs::metadata(path_of(&orders.bus)).expect("nobody removes it").ino();
        assert_eq!(here, still, "somebody else's bus has taken our name");
        drop(bus);
        spin(chance.up_to(Duration::from_micros(200)));
    }
}

/// Sizes that differ by who asks.
fn sizes_of(number: u64) -> Sizes {
    Sizes { lanes: [64 << number, 64, 64], ..SIZES }
}

/// Open with sizes of one's own, and say which the bus has.
fn insist(orders: &Orders) {
    let number = orders.arguments[0];
    let sizes = sizes_of(number);
    start_together(orders);
    let bus = match Bus::named(&orders.bus, sizes, &[Some(sizes.lanes[0]), None, None, None]) {
        Ok(bus) => {
            assert_eq!(bus.sizes(), sizes);
            orders.say("0");
            bus
        }
        Err(BusError::Sizes { asked, found, .. }) => {
            assert_eq!(asked, sizes.lanes[0]);
            orders.say(&found.to_string());
            orders.open()
        }
        Err(why) => panic!("{why:?}"),
    };
    orders.say(&bus.sizes().lanes[0].to_string());
    orders.hear();
}

#[test]
fn all_who_create_a_bus_at_once_are_on_the_same() {
    let stage = Stage::new();
    let count = 6;
    let mut all: Vec<Child> = (0..count).map(|i| stage.start("meet", &[i, count])).collect();
    for _ in 0..25 * stress() {
        start_all(&mut all);
        all.iter_mut().for_each(|child| assert_eq!(child.hear(), "left"));
        // The last to leave has removed it, so that the next round creates it again.
        assert_eq!(stage.files(), [""; 0]);
    }
}

#[test]
fn a_name_stands_for_one_bus_as_long_as_somebody_is_there() {
    let stage = Stage::new();
    let times = 200 * stress() as u64;
    let mut all: Vec<Child> = (0..4).map(|_| stage.start("come-and-go", &[times])).collect();
    start_all(&mut all);
    all.into_iter().for_each(Child::finish);
    assert_eq!(stage.files(), [""; 0]);
}

/// Killed anywhere between creating and leaving: what is left is a bus, and the next one's.
#[test]
fn killed_while_coming_and_going_leave_a_bus_to_the_next() {
    let (stage, mut chance) = (Stage::new(), Chance::new());
    for _ in 0..40 * stress() {
        let mut all: Vec<Child> = (0..2).map(|_| stage.start("come-and-go", &[u64::MAX])).collect();
        start_all(&mut all);
        spin(Duration::from_millis(2) + chance.up_to(Duration::from_millis(3)));
        all.into_iter().for_each(Child::kill);
        let bus = open(&stage.name).unwrap();
        assert_eq!(bus.population(), (1, 0));
        assert!(["SOMEBODY", ""].contains(&&*bus.names().source_text(1).unwrap_or_default()));
        drop(bus);
        assert_eq!(stage.files(), [""; 0]);
    }
}

#[test]
fn of_those_who_ask_for_different_sizes_one_gets_them_and_the_others_are_told() {
    for _ in 0..5 * stress() {
        let stage = Stage::new();
        let mut all: Vec<Child> = (0..5).map(|number| stage.start("insist", &[number])).collect();
        start_all(&mut all);
        let told: Vec<u64> = all.iter_mut().map(Child::hear_number).collect();
        let sizes: Vec<u64> = all.iter_mut().map(Child::hear_number).collect();

        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        let won = told.iter().position(|size| *size == 0).expect("one of them");
        assert_eq!(sizes[0], sizes_of(won as u64).lanes[0] as u64);
        let others = told.iter().enumerate().filter(|(number, _)| *number != won);
        others.for_each(|(_, told)| assert_eq!(*told, sizes[0]));
        all.iter_mut().for_each(|child| child.tell("leave"));
        all.into_iter().for_each(Child::finish);
    }
}

/// After a crash of all the bus is as they left it, with what they published last.
#[test]
fn a_bus_that_everybody_left_by_dying_goes_on() {
    for _ in 0..5 * stress() {
        let stage = Stage::new();
        let mut all = [1, 64].map(|count| stage.start("tell", &[1, count, count]));
        let begin = stage.open();
        until("both to publish", || begin.lanes()[1].tail() > 1000);
        drop(begin);
        all.iter_mut().for_each(|child| child.strike(Signal::KILL));
        all.iter_mut().for_each(Child::bury);

        let bus = stage.open();

        assert_eq!(bus.population(), (1, 0));
        let lane = &bus.lanes()[1];
        let left = lane.size();
        let mut reader = Subscription::new(&bus, &[">"], Start::Earliest, false).unwrap();
        for sequence in lane.tail() - left..lane.tail() {
            let Delivered { sequence: of, event: found } = reader.poll().expect("still there");
            let whole = event(1, found.source.into(), found.symbol.into());
            assert_eq!((of, found), (sequence, whole));
        }
        assert_eq!(reader.poll(), None);
        drop((reader, bus));
        assert_eq!(stage.files(), [""; 0]);
    }
}
