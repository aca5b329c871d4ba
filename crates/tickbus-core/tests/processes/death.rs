//! Proof of death: whoever lives is never taken for dead, whatever else is wrong, and whoever is dead
//! holds neither places nor the lock.

use super::producers::{OURS, Struck};
use super::stage::{Child, ENTRY, HANGING, ORDERS, Orders, Role, Stage, Times, open, stay, until};
use super::story::{Auditor, Teller};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use tickbus_core::bus::CRITICAL;
use tickbus_core::error::BusError;
use tickbus_core::names::NamingError;
use tickbus_core::producer::Refused;
use tickbus_core::subscription::{Start, Subscription};

pub const ROLES: &[Role] = &[
    Role { name: "attend", play: attend },
    Role { name: "judge", play: judge_without_files },
    Role { name: "join", play: join_with_few_files },
    Role { name: "restart", play: become_another_program },
    Role { name: "lock", play: lock },
];

/// Be on the bus.
fn attend(orders: &Orders) {
    let _bus = orders.open();
    orders.say("here");
    orders.hear();
}

/// Use up every file descriptor this process may have.
fn use_up_files() -> Vec<File> {
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Look for the dead without being able to open a file, and publish on.
fn judge_without_files(orders: &Orders) {
    let bus = orders.open();
    let mut teller = Teller::new(&bus, 1, OURS);
    let _files = use_up_files();
    orders.say(&bus.reap().unwrap().to_string());
    let stalled = (0..100).any(|_| matches!(teller.tell(1, HANGING), Err(Refused::Stalled { .. })));
    orders.say(if stalled { "held up" } else { "went over a living producer's claim" });
}

/// Attach with as many file descriptors left as that needs at least, and say how many that is.
fn join_with_few_files(orders: &Orders) {
    let mut files = use_up_files();
    loop {
        match open(&orders.bus) {
            Err(BusError::Io { error, .. }) => {
                assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
                files.pop();
            }
            joined => {
                let _bus = joined.expect("the reason is told");
                orders.say("here");
                orders.hear();
                return;
            }
        }
    }
}

/// Hold the critical gate, and become another program: a restart that a strategy does itself.
fn become_another_program(orders: &Orders) {
    let bus = orders.open();
    let _gate = Subscription::new(&bus, &["risk.>"], Start::Latest, true).unwrap();
    orders.say("here");
    orders.hear();
    let this_program = std::env::current_exe().unwrap();
    let orders = format!("attend {}", orders.bus);
    panic!("{}", Command::new(this_program).args(ENTRY).env(ORDERS, orders).exec());
}

/// Take the bus's lock and keep it.
fn lock(orders: &Orders) {
    let bus = orders.open();
    let file = File::open(tickbus_core::open::path_of(&orders.bus)).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    orders.say("locked");
    let _held = (bus, file);
    stay();
}

#[test]
fn the_living_are_not_taken_for_dead_by_somebody_out_of_file_descriptors() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut auditor = Auditor::new(&bus, 1, ">");
    let mut stopped = Struck { lane: 1, story: 1, count: 4, at: 6 }.start(&stage, Signal::STOP);
    stopped.wait_for_stop();

    let mut judge = stage.start("judge", &[]);

    assert_eq!(judge.hear(), "0", "nobody is dead");
    assert_eq!(judge.hear(), "held up");
    judge.finish();
    stopped.go_on();
    stopped.tell("go on");
    assert_eq!(stopped.hear(), "done");
    auditor.close_the_books_of_everything();
}

#[test]
fn the_living_who_attached_with_their_last_file_descriptor_are_known_for_who_they_are() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut child = stage.start("join", &[]);
    child.hear();

    assert_eq!(bus.reap().unwrap(), 0);
    assert_eq!(bus.population().0, 2);

    child.kill();
    assert_eq!(bus.reap().unwrap(), 1);
}

/// PID and start time are the same, and the program that was on the bus is gone all the same.
#[test]
fn a_program_that_became_another_is_dead_and_its_process_is_not() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut ours = Teller::new(&bus, CRITICAL, OURS);
    let mut child = stage.start("restart", &[]);
    child.hear();
    assert_eq!((bus.reap().unwrap(), bus.population()), (0, (2, 1)));

    child.tell("now");

    // It has attached again, as somebody else.
    assert_eq!(child.hear(), "here");
    ours.tell(3 * bus.lanes()[CRITICAL].size(), Duration::ZERO).unwrap();
    assert_eq!((bus.reap().unwrap(), bus.population()), (0, (2, 0)));
    child.tell("leave");
    child.finish();
    assert_eq!(bus.population(), (1, 0));
}

#[test]
fn the_stopped_are_not_taken_for_dead() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut child = stage.start("attend", &[]);
    child.hear();
    child.stop();

    assert_eq!(bus.reap().unwrap(), 0);

    child.go_on();
    child.tell("leave");
    child.finish();
    assert_eq!(bus.population(), (1, 0));
}

/// Its parent may be busy, or never wait for it at all.
#[test]
fn the_dead_are_dead_before_their_parent_has_waited_for_them() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut child = stage.start("attend", &[]);
    child.hear();

    child.strike(Signal::KILL);

    until("proof", || bus.reap().unwrap() == 1);
}

#[test]
fn a_living_holder_of_the_lock_is_reported_and_a_dead_one_holds_it_no_more() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut teller = Teller::new(&bus, 1, OURS);
    let mut auditor = Auditor::new(&bus, 1, ">");
    let mut holder = stage.start("lock", &[]);
    holder.hear();
    holder.stop();

    // Both wait the same two seconds; events pass meanwhile.
    std::thread::scope(|scope| {
        let attaching = scope.spawn(|| open(&stage.name).err());
        let naming = scope.spawn(|| bus.names().symbol("NEW").err());
        let begin = Instant::now();
        while !(attaching.is_finished() && naming.is_finished()) {
            assert!(begin.elapsed() < HANGING);
            teller.tell(64, HANGING).unwrap();
            auditor.look();
        }
        assert!(matches!(attaching.join().unwrap(), Some(BusError::Lock(_))));
        assert!(matches!(naming.join().unwrap(), Some(NamingError::Lock(_))));
    });
    assert_eq!(bus.names().counts(), (0, 0));

    let mut times = Times::default();
    holder.kill();
    times.measure(|| bus.names().symbol("NEW").unwrap());
    times.measure(|| Child::finish(attending(&stage)));
    times.keep_the_promise();
    auditor.close_the_books_of_everything();
    assert_eq!(bus.population(), (1, 1));
}

fn attending(stage: &Stage) -> Child {
    let mut child = stage.start("attend", &[]);
    child.hear();
    child.tell("leave");
    child
}
