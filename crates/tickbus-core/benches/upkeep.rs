//! What becomes of full segments: `cargo bench -p tickbus-core --bench upkeep [folder]`.
//!
//! How fast a log segment of 64 MiB is sealed and packed, what a synced commit costs while that goes on, and
//! how long it takes to open a journal of many parts whose log was left behind by a kill. Ticks are made
//! up: random steps of a cent, sizes in thousandths, four symbols of two venues.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tickbus_core::event::{Event, Priority};
use tickbus_core::journal::FsDisk;
use tickbus_core::journal::Log;
use tickbus_core::journal::Preparer;
use tickbus_core::journal::catalog::Catalog;
use tickbus_core::journal::compact::compact_old;
use tickbus_core::journal::opening::Opening;
use tickbus_core::journal::upkeep::{Plan, Upkeep};

const SEGMENT: u64 = 64 << 20;
const BATCH: usize = 1024;

/// Endless ticks.
struct Ticks {
    noise: u64,
    now_ns: u64,
    cents: [u64; 4],
}

impl Ticks {
    fn new() -> Ticks {
        let (noise, now_ns) = (88_172_645_463_325_252, 1_786_233_600_000_000_000);
        Ticks { noise, now_ns, cents: [6_183_763, 265_011, 15_512, 58_000] }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise % below
    }

    fn fill(&mut self, out: &mut [Event]) {
        for event in out {
            self.now_ns += 1000 * self.random(2000);
            let symbol = self.random(4) as usize;
            self.cents[symbol] = self.cents[symbol] + self.random(5) - 2;
            *event = Event {
                timestamp: self.now_ns,
                event_type: 0,
                priority: 1,
                source: 1 + self.random(2) as u16,
                symbol: 1 + symbol as u32,
                value: self.cents[symbol] as f64 / 100.0,
                metadata: (self.random(5000) as f64 / 1000.0).to_bits(),
            };
        }
    }
}

fn upkeep_of(path: &Path, log: &Log<FsDisk>) -> Upkeep {
    let disk = std::sync::Arc::clone(log.disk());
    Upkeep::new(Catalog::of(path).expect("a folder"), disk, log.preparer(), Plan::default())
        .expect("a folder")
}

/// Write so many segments full of ticks; seconds.
fn fill(log: &mut Log<FsDisk>, ticks: &mut Ticks, segments: u64) -> f64 {
    let mut events = vec![Event::default(); BATCH];
    let end = log.written() / (SEGMENT / 32) + segments;
    let begin = Instant::now();
    while log.written() / (SEGMENT / 32) < end {
        ticks.fill(&mut events);
        let first = log.next(Priority::High);
        log.append_events(Priority::High, first, &events).expect("in order");
        log.commit(false).expect("space");
    }
    begin.elapsed().as_secs_f64()
}

/// Median and 99th percentile of synced commits of one event, until told to stop.
fn commits(log: &mut Log<FsDisk>, done: impl Fn() -> bool) -> (Duration, Duration, usize) {
    let mut took = Vec::new();
    while !done() {
        let begin = Instant::now();
        let first = log.next(Priority::Critical);
        log.append_events(Priority::Critical, first, &[Event::default()])
            .expect("in order");
        log.commit(true).expect("space");
        took.push(begin.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100], took.len())
}

/// Seal all but the newest full segments, or the newest, and commit meanwhile.
fn sealing(how: &str, upkeep: &Upkeep, preparer: &Preparer<FsDisk>, log: &mut Log<FsDisk>) {
    let done = AtomicBool::new(false);
    let mut rates = Vec::new();
    let (median, tail, count) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let never = AtomicBool::new(false);
            let leave = usize::from(how == "in a hurry");
            while preparer.finished().len() > leave {
                let begin = Instant::now();
                upkeep.seal_oldest(&never).expect("space");
                rates.push(64.0 / begin.elapsed().as_secs_f64());
            }
            done.store(true, Ordering::SeqCst);
        });
        commits(log, || done.load(Ordering::SeqCst))
    });
    println!("sealed {how} at {rates:.0?} MiB/s of log while events were committed");
    println!("synced commits meanwhile: median {median:?}, p99 {tail:?} of {count}");
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let path = Path::new(folder.as_deref().unwrap_or("/tmp")).join("tickbus-bench-upkeep");
    let _ = std::fs::remove_dir_all(&path);
    let Opening { mut log, .. } = Opening::of(&path, SEGMENT).expect("a folder");
    let (upkeep, preparer) = (upkeep_of(&path, &log), log.preparer());
    let mut ticks = Ticks::new();

    let seconds = fill(&mut log, &mut ticks, 4);
    println!("log written at {:.0} MiB/s, not sealed meanwhile", 4.0 * 64.0 / seconds);
    preparer.prepare_next().expect("space");
    let until = Instant::now() + Duration::from_secs(2);
    let (median, tail, count) = commits(&mut log, || Instant::now() > until);
    println!("synced commits at rest: median {median:?}, p99 {tail:?} of {count}");

    for how in ["in a hurry", "at leisure"] {
        sealing(how, &upkeep, &preparer, &mut log);
    }

    let begin = Instant::now();
    let never = AtomicBool::new(false);
    let packed = compact_old(&path, Duration::ZERO, &never, &mut |_, _| {}).expect("space");
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "packed {} events at {:.2} M/s, compared as well: {:.2} bytes an event",
        packed.events,
        packed.events as f64 / seconds / 1e6,
        packed.bytes_after as f64 / packed.events as f64
    );

    // Many parts, and a log segment that is nearly full when the writer is killed.
    let small = 1 << 20;
    let many = path.join("many");
    let Opening { mut log, .. } = Opening::of(&many, small).expect("a folder");
    let upkeep = upkeep_of(&many, &log);
    let mut events = vec![Event::default(); BATCH];
    for _ in 0..150 * small / 32 / 1100 {
        ticks.fill(&mut events);
        let first = log.next(Priority::High);
        log.append_events(Priority::High, first, &events).expect("in order");
        log.commit(false).expect("space");
        log.preparer().prepare_next().expect("space");
        while upkeep.seal_oldest(&never).expect("space") {}
    }
    drop(log);
    let Opening { mut log, .. } = Opening::of(&many, SEGMENT).expect("a folder");
    log.preparer().prepare_next().expect("space");
    let mut left = 62 << 20;
    while left > 0 {
        ticks.fill(&mut events);
        let first = log.next(Priority::High);
        log.append_events(Priority::High, first, &events).expect("in order");
        log.commit(false).expect("space");
        left -= 32 * BATCH as i64;
    }
    // Dropped as a kill leaves it: nothing says that it was closed.
    drop(log);
    let mut took: Vec<_> = (0..5)
        .map(|_| {
            let begin = Instant::now();
            let opening = Opening::of(&many, SEGMENT).expect("whole");
            assert!(!opening.recovered.clean);
            begin.elapsed()
        })
        .collect();
    let cold = took[0];
    took.sort_unstable();
    println!(
        "reopened after a kill, 62 MiB in the log and {} sealed parts: first {cold:?}, median {:?}",
        std::fs::read_dir(&many).expect("a folder").count() - 3,
        took[2]
    );
    let _ = std::fs::remove_dir_all(&path);
}
