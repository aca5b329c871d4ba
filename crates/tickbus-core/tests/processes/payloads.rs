//! Payloads of other processes: whole, or reported as overwritten; whatever becomes of their writers.

use super::stage::{Chance, Child, HANGING, Orders, Role, SIZES, Stage, mixed, stress, until};
use std::time::Duration;
use tickbus_core::Event;
use tickbus_core::payload::PayloadError;
use tickbus_core::producer::Producer;
use tickbus_core::subscription::{Start, Subscription};

pub const ROLES: &[Role] = &[Role { name: "write", play: write }];

/// The bytes of a writer's payload number so and so; from none to the longest there may be.
fn payload(writer: u64, number: u64) -> Vec<u8> {
    let longest = SIZES.payload_cells as u64 * 8 / 4;
    let word = mixed(writer << 32 | number);
    // Short ones as a rule, so that many are in the ring at once.
    let len = if number % 50 == 49 { longest } else { word % 700 };
    (0..len.div_ceil(8))
        .flat_map(|i| mixed(word ^ i).to_le_bytes())
        .take(len as usize)
        .collect()
}

/// Write payloads and publish events that refer to them: writer, how many (0: for ever).
fn write(orders: &Orders) {
    let [writer, count] = orders.arguments[..] else {
        panic!("two numbers")
    };
    let bus = orders.open();
    let mut producer = Producer::of_handle(&bus);
    for number in 0.. {
        if count > 0 && number == count {
            break;
        }
        let metadata = bus.payloads().write(&payload(writer, number)).unwrap();
        let (source, symbol) = (writer as u16, number as u32);
        let event =
            Event { timestamp: 1, priority: 1, source, symbol, metadata, ..Event::default() };
        // Held up by one that is stopped: the payload is lost with its event, that is all.
        let _ = producer.publish(&event, HANGING);
    }
}

/// How payloads were found.
#[derive(Default)]
struct Found {
    whole: usize,
    overwritten: usize,
}

/// Read what there is and check each payload, at once or after a while.
fn look(reader: &mut Subscription, late: bool, found: &mut Found) {
    let mut events = [Event::default(); 32];
    let count = reader.read_batch(&mut events, |_, event| event);
    if late {
        std::thread::sleep(Duration::from_micros(100));
    }
    for event in &events[..count] {
        match reader.bus().payloads().read(event.metadata) {
            Ok(bytes) => {
                let expected = payload(event.source.into(), event.symbol.into());
                assert!(bytes == expected, "a torn or foreign payload of {event:?}");
                found.whole += 1;
            }
            Err(PayloadError::Overwritten) => found.overwritten += 1,
            Err(why) => panic!("{why:?}: {event:?}"),
        }
    }
}

#[test]
fn of_fast_writers_killed_and_stopped_at_random_are_whole_or_reported() {
    let (stage, mut chance) = (Stage::new(), Chance::new());
    let bus = stage.open();
    let mut reader = Subscription::new(&bus, &[">"], Start::Latest, false).unwrap();
    let (mut writers, mut born, mut found) = (Vec::<Child>::new(), 0, Found::default());
    for round in 0..60 * stress() {
        while writers.len() < 3 {
            writers.push(stage.start("write", &[born % 60_000, 0]));
            born += 1;
        }
        // One stands still while the others go round the ring, perhaps in the middle of a payload,
        // and then writes on over theirs.
        let stopped = chance.one_of(&writers);
        writers[stopped].stop();
        for _ in 0..chance.below(40) {
            look(&mut reader, round % 4 == 0, &mut found);
        }
        writers[stopped].go_on();
        for _ in 0..chance.below(40) {
            look(&mut reader, round % 4 == 0, &mut found);
        }
        writers.swap_remove(chance.one_of(&writers)).kill();
    }
    println!("{} whole, {} overwritten", found.whole, found.overwritten);
    assert!(found.whole > 0 && found.overwritten > 0, "both were tried");
}

/// What was published before its writer died is there as long as nobody writes over it.
#[test]
fn of_killed_writers_are_there_until_overwritten() {
    for writer in 0..20 * stress() as u64 {
        let stage = Stage::new();
        let bus = stage.open();
        let mut reader = Subscription::new(&bus, &[">"], Start::Latest, false).unwrap();
        let child = stage.start("write", &[writer, 20]);
        until("a payload", || bus.lanes()[1].tail() > writer % 19);
        child.strike_down();

        let mut found = Found::default();
        let published = bus.lanes()[1].tail() as usize;
        while found.whole < published {
            let before = found.whole;
            look(&mut reader, false, &mut found);
            assert!(found.whole > before, "{before} of {published}");
        }
        assert_eq!(found.overwritten, 0, "20 of these fit");
    }
}
