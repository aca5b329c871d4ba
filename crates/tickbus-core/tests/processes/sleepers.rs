//! Sleeping readers in other processes: no call is lost, whenever it comes; a publisher that dies
//! owing one delays it, by the longest nap at most; and the dead are called without harm.

use super::stage::{Chance, Child, HANGING, Orders, Role, SIZES, Stage, Times, spin, stay};
use super::stage::{stress, strike_self, until};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tickbus_core::Event;
use tickbus_core::bus::Bus;
use tickbus_core::lane::layout::SLEEPING;
use tickbus_core::lane::memory::Cells;
use tickbus_core::open::Absent;
use tickbus_core::producer::Producer;
use tickbus_core::subscription::{Start, Subscription};
use tickbus_core::sys::{named_pipe, now_ns, open_waker};
use tickbus_core::waiting::{STRATEGIES, Sleeper, wait};
use tickbus_core::wake::LONGEST_SLEEP;

pub const ROLES: &[Role] = &[
    Role { name: "sleep", play: sleep_and_answer },
    Role { name: "wait", play: wait_and_answer },
    Role { name: "doze", play: doze },
    Role { name: "owe", play: owe_a_call },
];

/// What readers wait for, and what they answer.
const CALL: u8 = 0;
const ANSWER: u8 = 32;
/// Strategies that sleep, by their place among all.
const ASLEEP: usize = 2;
const ADAPTIVE: usize = 3;
/// Longer than any machine lets a process wait that has been woken.
const LOST: Duration = Duration::from_secs(10);

fn call(number: u32) -> Event {
    let timestamp = now_ns();
    Event { timestamp, event_type: CALL, priority: 1, symbol: number, ..Event::default() }
}

/// A reader's answer to a call: which, whose, and something about it.
fn answer(number: u32, source: u64, metadata: u64) -> Event {
    let source = source as u16;
    Event { timestamp: 1, event_type: ANSWER, source, symbol: number, metadata, ..Event::default() }
}

/// The bus's header, to see and to change what only the bus itself should.
struct Header(Cells);

impl Header {
    fn of(name: &str) -> Header {
        let opened =
            tickbus_core::open::named(name, SIZES, &[None; 4], [0; 3], Absent::Create).unwrap();
        Header(opened.memory.cells(opened.layout.header.at, opened.layout.header.len))
    }

    /// A bit for each reader that has announced its sleep.
    fn sleeping(&self) -> u64 {
        self.0[SLEEPING].load(Ordering::SeqCst)
    }
}

/// Sleep without ever looking on one's own: what is not called for is slept through, and said so.
fn sleep_and_answer(orders: &Orders) {
    let bus = orders.open();
    let mut reader = Subscription::new(&bus, &["market.>"], Start::Latest, false).unwrap();
    let mut producer = Producer::of_handle(&bus);
    let sleeper = Sleeper::new(&bus).unwrap();
    let limit = Timespec { tv_sec: LOST.as_secs() as i64, tv_nsec: 0 };
    orders.say("here");
    loop {
        let mut slept_through = 0;
        let called = loop {
            if let Some(called) = reader.poll() {
                break called;
            }
            if sleeper.arm(&reader.wishes(), || reader.has_pending()) {
                let fd = sleeper.fd();
                let called =
                    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit));
                sleeper.disarm();
                slept_through = u64::from(called == Ok(0));
            }
        };
        let answer = answer(called.event.symbol, orders.arguments[0], slept_through);
        producer.publish(&answer, HANGING).unwrap();
    }
}

/// Wait as subscriptions do, and answer with the time that a call took.
fn wait_and_answer(orders: &Orders) {
    let strategy = STRATEGIES[orders.arguments[1] as usize].1;
    let bus = orders.open();
    let mut reader = Subscription::new(&bus, &["market.>"], Start::Latest, false).unwrap();
    let mut producer = Producer::of_handle(&bus);
    let mut sleeper = None;
    orders.say("here");
    loop {
        if let Some(called) = wait(&mut reader, &mut sleeper, strategy, None).unwrap() {
            let took_ns = now_ns() - called.event.timestamp;
            let answer = answer(called.event.symbol, orders.arguments[0], took_ns);
            producer.publish(&answer, HANGING).unwrap();
        }
    }
}

/// Fall asleep, and stay so.
fn doze(orders: &Orders) {
    let bus = orders.open();
    let reader = Subscription::new(&bus, &["market.>"], Start::Latest, false).unwrap();
    let sleeper = Sleeper::new(&bus).unwrap();
    assert!(sleeper.arm(&reader.wishes(), || reader.has_pending()));
    orders.say("asleep");
    stay();
}

/// Publish when somebody sleeps, and die owing the call: before it is noticed that somebody sleeps,
/// or after this reader's bit was taken, which was a promise to call it.
fn owe_a_call(orders: &Orders) {
    let bus = orders.open();
    let header = Header::of(&orders.bus);
    orders.say("here");
    orders.hear();
    until("somebody to sleep", || header.sleeping() != 0);
    let words = call(orders.arguments[1] as u32).to_words();
    bus.lanes()[1].append(bus.number(), &mut 0, 1, 0, |_| words).unwrap();
    if orders.arguments[0] == 1 {
        header.0[SLEEPING].store(0, Ordering::SeqCst);
    }
    strike_self(Signal::KILL);
    stay();
}

/// A test's side of calls and answers.
struct Caller {
    producer: Producer,
    answers: Subscription,
    calls: u32,
}

impl Caller {
    fn new(bus: &Arc<Bus>) -> Caller {
        let answers = Subscription::new(bus, &["trading.>"], Start::Latest, false).unwrap();
        Caller { producer: Producer::of_handle(bus), answers, calls: 0 }
    }

    /// Call once, and wait for so many answers; the largest figure among them.
    fn call(&mut self, readers: usize) -> u64 {
        self.calls += 1;
        self.producer.publish(&call(self.calls), HANGING).unwrap();
        let mut figures = Vec::new();
        let begin = Instant::now();
        while figures.len() < readers {
            assert!(begin.elapsed() < HANGING, "no answer");
            if let Some(answer) = self.answers.poll() {
                assert_eq!(answer.event.symbol, self.calls, "one answer to each call");
                figures.push(answer.event.metadata);
            }
        }
        figures.into_iter().max().expect("a reader")
    }
}

fn start_readers(stage: &Stage, role: &str, argument: u64) -> [Child; 2] {
    let mut readers = [1, 2].map(|number| stage.start(role, &[number, argument]));
    readers.iter_mut().for_each(|reader| assert_eq!(reader.hear(), "here"));
    readers
}

#[test]
fn are_woken_by_every_call_whenever_it_comes() {
    let (stage, mut chance) = (Stage::new(), Chance::new());
    let bus = stage.open();
    let mut caller = Caller::new(&bus);
    let header = Header::of(&stage.name);
    let readers = start_readers(&stage, "sleep", 0);
    let mut slept_through = 0;
    for _ in 0..20_000 * stress() {
        match chance.below(4) {
            // While they are on their way to sleep: one of the two looks has to find the call.
            0 => {}
            1 => spin(chance.up_to(Duration::from_micros(20))),
            // The moment the first of them, or both, have announced it.
            2 => until("somebody to sleep", || header.sleeping() != 0),
            _ => until("both to sleep", || header.sleeping().count_ones() == 2),
        }
        slept_through += caller.call(readers.len());
    }
    assert_eq!(slept_through, 0, "calls that nobody heard");
}

/// The same through `wait`, which looks after a nap in any case. It must not be what wakes.
#[test]
fn that_nap_hardly_ever_wake_by_the_clock() {
    for strategy in [ASLEEP, ADAPTIVE] {
        let (stage, mut chance) = (Stage::new(), Chance::new());
        let bus = stage.open();
        let mut caller = Caller::new(&bus);
        let readers = start_readers(&stage, "wait", strategy as u64);
        let (mut by_the_clock, rounds) = (0, 500 * stress());
        for _ in 0..rounds {
            spin(chance.up_to(Duration::from_micros(60)));
            let took = Duration::from_nanos(caller.call(readers.len()));
            by_the_clock += usize::from(took + Duration::from_millis(5) > LONGEST_SLEEP);
        }
        // A machine that is busy for so long looks the same, now and then.
        assert!(by_the_clock * 50 <= rounds);
    }
}

#[test]
fn sleep_a_nap_at_most_when_the_publisher_died_owing_the_call() {
    let (stage, mut times) = (Stage::new(), Times::default());
    let bus = stage.open();
    let mut reader = Subscription::new(&bus, &["market.>"], Start::Latest, false).unwrap();
    let mut sleeper = None;
    let (_, asleep) = STRATEGIES[ASLEEP];
    for number in 0..8 {
        let mut publisher = stage.start("owe", &[number % 2, number]);
        publisher.hear();
        publisher.tell("now");
        let called = loop {
            if let Some(called) = wait(&mut reader, &mut sleeper, asleep, None).unwrap() {
                break called.event;
            }
        };
        // It was published before the death.
        let took_ns = now_ns() - called.timestamp;
        publisher.bury();
        assert_eq!(u64::from(called.symbol), number);
        times.took(Duration::from_nanos(took_ns));
    }
    times.keep_the_promise();
}

/// A pipe without a reader would send its writer SIGPIPE, which ends programs that do not ignore it:
/// a reader's death would be its publisher's.
#[test]
fn gone_are_called_without_breaking_a_pipe() {
    let stage = Stage::new();
    let path = format!("{}.wake.0.1", stage.path());
    let sleeper = named_pipe(&path).unwrap();
    let waker = open_waker(&path).unwrap();
    drop(sleeper);

    assert_eq!(rustix::io::write(&waker, &[1; 8]), Ok(8));
}

#[test]
fn killed_asleep_are_called_without_harm_and_leave_no_pipe() {
    let stage = Stage::new();
    let bus = stage.open();
    let mut caller = Caller::new(&bus);
    let awake = start_readers(&stage, "sleep", 0);
    for _ in 0..10 {
        let mut reader = stage.start("doze", &[]);
        assert_eq!(reader.hear(), "asleep");
        // The publisher has its pipe open from now on.
        assert_eq!(caller.call(awake.len()), 0);
        reader.kill();
        for _ in 0..3 {
            assert_eq!(caller.call(awake.len()), 0);
        }
    }
    let mut last = stage.start("doze", &[]);
    last.hear();
    last.kill();
    awake.into_iter().for_each(Child::kill);
    drop(caller);
    drop(bus);

    assert_eq!(stage.files(), [""; 0], "the last to leave tidies up for the dead");
}
