//! Names given by many processes at once: one text, one number, everywhere and for ever; and whoever
//! dies in the middle of naming leaves a name or none, and the lock.

use super::stage::{Chance, Child, Orders, Role, Stage, Times, mixed, spin, stay, stress, until};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tickbus_core::bus::Bus;
use tickbus_core::lane::layout::MAX_NAME;
use tickbus_core::names::{NamingError, TypeRow};
use tickbus_core::taxonomy::Encoding;

pub const ROLES: &[Role] = &[
    Role { name: "name", play: name_all },
    Role { name: "name-for-ever", play: name_for_ever },
    Role { name: "register", play: register },
];

/// Names that all processes give, of every length and alphabet.
const NAMES: u64 = 600;

fn symbol(number: u64) -> String {
    let padding = ["", "é", "長い名前", "-PERP", "0123456789"][number as usize % 5];
    let mut name = format!("S{number}-");
    while name.len() + padding.len() <= (number as usize * 7) % MAX_NAME && !padding.is_empty() {
        name += padding;
    }
    name
}

/// Fewer than symbols: a bus has room for 4,095.
fn source(number: u64) -> String {
    format!("source-{}", number % 4000)
}

/// Both numbers of a name, as one.
fn numbers(bus: &Bus, name: u64) -> u64 {
    let symbol = bus.names().symbol(&symbol(name)).unwrap();
    let source = bus.names().source(&source(name)).unwrap();
    u64::from(symbol) << 16 | u64::from(source)
}

/// Give all names in an order of one's own, and say what became of them.
fn name_all(orders: &Orders) {
    let stride = [7, 11, 13, 17, 19, 23][orders.arguments[0] as usize % 6];
    let bus = orders.open();
    orders.say("here");
    orders.hear();
    let mut all = vec![0; NAMES as usize];
    for step in 0..NAMES {
        let name = (step * stride + orders.arguments[0]) % NAMES;
        all[name as usize] = numbers(&bus, name);
    }
    orders.say(&digest(&all).to_string());
}

fn digest(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |digest, number| mixed(digest ^ number))
}

/// Give new names, and old ones again, until killed.
fn name_for_ever(orders: &Orders) {
    let bus = orders.open();
    orders.say("here");
    for name in orders.arguments[0].. {
        if name < orders.arguments[0] + 1000 {
            numbers(&bus, name);
        } else {
            stay();
        }
    }
}

fn row(number: u64, meaning: u64) -> TypeRow {
    TypeRow {
        number: 200 + number as u8,
        name: format!("type_{meaning}"),
        value: format!("value_{meaning}"),
        metadata: format!("metadata_{meaning}"),
        encoding: Encoding::U64,
    }
}

/// Give types a meaning of one's own; say for how many one was the first.
fn register(orders: &Orders) {
    let bus = orders.open();
    orders.say("here");
    orders.hear();
    let mut first = 0;
    for number in 0..20 {
        let meaning = 100 * orders.arguments[0] + number;
        match bus.names().register_type(&row(number, meaning)) {
            Ok(()) => first += 1,
            Err(NamingError::TypeTaken { number: taken, .. }) => {
                let holder = bus.names().type_row(taken).expect("it is taken");
                assert_eq!(holder, row(number, whose(&holder) * 100 + number), "a torn row");
            }
            Err(why) => panic!("{why:?}"),
        }
    }
    orders.say(&first.to_string());
}

/// The process whose meaning a type has.
fn whose(row: &TypeRow) -> u64 {
    row.name.strip_prefix("type_").expect("whole").parse::<u64>().expect("whole") / 100
}

fn start_all(stage: &Stage, role: &str, count: u64) -> Vec<Child> {
    let mut all: Vec<Child> = (0..count).map(|number| stage.start(role, &[number])).collect();
    all.iter_mut().for_each(|child| assert_eq!(child.hear(), "here"));
    all.iter_mut().for_each(|child| child.tell("go"));
    all
}

/// Every number up to the count stands for one whole name, and that name for it.
fn check_tables(bus: &Arc<Bus>, mut is_whole: impl FnMut(&str)) {
    let (symbols, sources) = bus.names().counts();
    let mut seen = HashSet::new();
    for number in 1..=symbols as u32 {
        let name = bus.names().symbol_text(number).expect("counted");
        is_whole(&name);
        assert_eq!(bus.names().symbol(&name), Ok(number));
        assert!(seen.insert(name), "two numbers for one name");
    }
    for number in 1..=sources as u16 {
        let name = bus.names().source_text(number).expect("counted");
        assert_eq!(bus.names().source(&name), Ok(number));
        assert!(seen.insert(name), "two numbers for one name");
    }
    assert_eq!(bus.names().counts(), (symbols, sources), "asking has made none");
}

#[test]
fn a_name_has_one_number_whoever_gives_it_first() {
    for _ in 0..stress().div_ceil(4) {
        let stage = Stage::new();
        let bus = stage.open();
        let mut all = start_all(&stage, "name", 6);
        let digests: Vec<u64> = all.iter_mut().map(Child::hear_number).collect();
        all.into_iter().for_each(Child::finish);

        let ours: Vec<u64> = (0..NAMES).map(|name| numbers(&bus, name)).collect();

        assert_eq!(digests, [digest(&ours); 6]);
        assert_eq!(bus.names().counts(), (NAMES, NAMES));
        check_tables(&bus, |_| ());
    }
}

#[test]
fn killed_while_naming_leave_whole_names_and_the_lock() {
    let (stage, mut chance, mut times) = (Stage::new(), Chance::new(), Times::default());
    let bus = stage.open();
    // Two of the same names, so that one finds the other's half-made.
    for round in 0..30 * stress().min(3) as u64 {
        let mut all = [0, 0, 30].map(|more| stage.start("name-for-ever", &[100 * round + more]));
        all.iter_mut().for_each(|child| assert_eq!(child.hear(), "here"));
        spin(chance.up_to(Duration::from_micros(1500)));
        all.into_iter().for_each(Child::kill);
        times.measure(|| bus.names().symbol(&format!("OURS-{round}")).unwrap());
    }
    times.keep_the_promise();
    println!("{:?} names", bus.names().counts());
    let whole: HashSet<String> = (0..20_000).map(symbol).collect();
    check_tables(&bus, |name| assert!(whole.contains(name) || name.starts_with("OURS"), "{name}"));
    bus.reap().unwrap();
    assert_eq!(bus.population(), (1, 0));
}

#[test]
fn a_type_has_one_meaning_whoever_gives_it_first() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut all = start_all(&stage, "register", 6);
    let first: u64 = all.iter_mut().map(Child::hear_number).sum();
    all.into_iter().for_each(Child::finish);

    assert_eq!(first, 20, "one for each type");
    for number in 0..20 {
        let row_there = bus.names().type_row(200 + number as u8).expect("registered");
        assert_eq!(row_there, row(number, whose(&row_there) * 100 + number));
    }
}

/// A number can be met before its name: in an event of a process that has just given it.
#[test]
fn a_number_met_before_its_name_is_looked_up() {
    let stage = Stage::new();
    let bus = stage.open();
    assert_eq!(bus.names().symbol_text(1), None);
    let all = start_all(&stage, "name", 1);
    until("a name", || bus.names().counts().0 > 0);

    assert_eq!(bus.names().symbol_text(1).as_deref(), Some(&*symbol(0)));
    all.into_iter().for_each(Child::finish);
}
