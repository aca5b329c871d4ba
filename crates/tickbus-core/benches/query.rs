//! Sealing, packing and asking: `cargo bench -p tickbus-core --bench query`.
//!
//! `TICKBUS_BENCH_EVENTS` (default 10 million) events in segments of 2 million, in a folder below
//! `TMPDIR` that is removed afterwards; 32 bytes an event while they are sealed. Ascending time, 50
//! symbols, 2 % of one type. The query asks for that type in a hundredth of the time of 100 million.
//! With `TICKBUS_BENCH_FOLDER` they are written there and stay, the older half packed: a journal for
//! other measurements. `TICKBUS_BENCH_ASK` asks the journal in a folder instead of making one.

use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tickbus_core::journal::archive::Archive;
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::Directory;
use tickbus_core::journal::packed::{Packed, pack};
use tickbus_core::journal::query::{Query, Rows, Segment};
use tickbus_core::journal::sealed::{Sealed, seal};
use tickbus_core::journal::segment::{Identity, Piece, Source};
use tickbus_core::{Event, Priority};

const SEGMENT_EVENTS: u64 = 2 << 20;
const PIECE_EVENTS: u64 = 4096;
const NS_AN_EVENT: u64 = 1_000;
/// One in so many events is of the type that is asked for.
const RARE: u64 = 50;
const HITS: u64 = 20_000;
const QUERIES: usize = 21;

/// A log segment of made-up ticks.
struct Ticks {
    first: u64,
    count: u64,
    told: u64,
    noise: u64,
    cents: [u64; 50],
    piece: Vec<Event>,
}

impl Ticks {
    fn new(first: u64, count: u64) -> Ticks {
        let cents = std::array::from_fn(|symbol| 5_000 + 977 * symbol as u64);
        Ticks { first, count, told: 0, noise: first | 1, cents, piece: Vec::new() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 11) % below
    }

    fn event(&mut self, number: u64) -> Event {
        let symbol = self.random(50) as usize;
        self.cents[symbol] = (self.cents[symbol] + self.random(5)).saturating_sub(2).max(1);
        Event {
            timestamp: number * NS_AN_EVENT + self.random(500),
            event_type: if number.is_multiple_of(RARE) { 34 } else { 0 },
            priority: 1,
            source: 1 + symbol as u16 % 4,
            symbol: 1 + symbol as u32,
            value: self.cents[symbol] as f64 / 100.0,
            metadata: (self.random(1_000) as f64 / 1_000.0).to_bits(),
        }
    }
}

impl Source for Ticks {
    fn identity(&self) -> Identity {
        let first_sequence = [0, self.first, 0];
        let (first_position, slots) = (self.first, SEGMENT_EVENTS);
        Identity { journal: [7; 16], first_position, slots, first_sequence, created_ns: 1 }
    }

    fn counts(&self) -> [u64; 3] {
        [0, self.count, 0]
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError> {
        let first = self.first + self.told;
        let events = PIECE_EVENTS.min(self.count - self.told);
        self.told += events;
        self.piece.clear();
        for number in first..first + events {
            let event = self.event(number);
            self.piece.push(event);
        }
        let piece = Piece::Events { lane: Priority::High, first, events: &self.piece };
        Ok((events > 0).then_some(piece))
    }
}

/// This thread's own time, which leaves out what else runs on the machine.
fn thread_us() -> u128 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u128 * 1_000_000 + time.tv_nsec as u128 / 1_000
}

fn ask(name: &str, query: &Query, segments: &[Arc<dyn Segment>]) {
    let mut rows = Rows::default();
    let (mut runs_us, mut own_us) = (Vec::new(), Vec::new());
    for _ in 0..QUERIES {
        rows.clear();
        let (begin, own_begin) = (Instant::now(), thread_us());
        let mut results = query.run(segments).expect("ordered segments");
        while results.read(&mut rows, 65_536).expect("whole segments") > 0 {}
        runs_us.push(begin.elapsed().as_micros());
        own_us.push(thread_us() - own_begin);
    }
    let first = runs_us.remove(0);
    runs_us.sort_unstable();
    own_us.sort_unstable();
    let (least, median, own) = (runs_us[0], runs_us[QUERIES / 2], own_us[QUERIES / 2]);
    let hits = rows.len();
    println!(
        "{name:30} {hits:6} hits, us: first {first}, then least {least}, median {median} ({own} of CPU)"
    );
}

/// A journal of sealed and packed segments that stays.
fn make_journal(folder: &Path, count: u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    let directory = Directory(folder.into());
    for first in (0..count).step_by(SEGMENT_EVENTS as usize) {
        seal(&directory, &mut Ticks::new(first, SEGMENT_EVENTS.min(count - first)))
            .expect("room for the segments");
        if first < count / 2 {
            let sealed = Sealed::open(folder, first).expect("a sealed segment");
            pack(&directory, &sealed).expect("room for the segments");
        }
    }
}

/// Everything that a journal holds, whatever its form, through the archive.
fn ask_journal(folder: &Path) {
    let begin = Instant::now();
    let archive = Archive::open(folder).expect("a journal");
    println!("open                               {:7} us", begin.elapsed().as_micros());
    for _ in 0..3 {
        let begin = Instant::now();
        let mut answer =
            archive.query(&Query::of_time(0, u64::MAX), false).expect("a whole journal");
        let (mut rows, mut count) = (Rows::default(), 0);
        while answer.read(&mut rows, 65_536).expect("whole segments") > 0 {
            count += rows.len();
            rows.clear();
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64() / 1e6;
        println!("all {count} events                {rate:7.1} M events/s");
    }
}

fn main() {
    let count = std::env::var("TICKBUS_BENCH_EVENTS");
    let count: u64 = count.map_or(10_000_000, |text| text.parse().expect("a number of events"));
    if let Some(folder) = std::env::var_os("TICKBUS_BENCH_ASK") {
        return ask_journal(Path::new(&folder));
    }
    if let Some(folder) = std::env::var_os("TICKBUS_BENCH_FOLDER") {
        return make_journal(Path::new(&folder), count);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let directory = Directory(folder.path().into());
    let firsts: Vec<u64> = (0..count).step_by(SEGMENT_EVENTS as usize).collect();

    let begin = Instant::now();
    for first in &firsts {
        let mut ticks = Ticks::new(*first, SEGMENT_EVENTS.min(count - first));
        seal(&directory, &mut ticks).expect("room for the segments");
    }
    let rate = |seconds: f64| count as f64 / seconds / 1e6;
    println!(
        "seal, making the events included   {:7.1} M events/s",
        rate(begin.elapsed().as_secs_f64())
    );

    let begin = Instant::now();
    let open = |first: &u64| Sealed::open(folder.path(), *first).expect("a sealed segment");
    let segments: Vec<Arc<dyn Segment>> =
        firsts.iter().map(|first| Arc::new(open(first)) as Arc<dyn Segment>).collect();
    println!(
        "open {:4} sealed segments          {:7} us",
        firsts.len(),
        begin.elapsed().as_micros()
    );
    let window_ns = (HITS * RARE * NS_AN_EVENT).min(count * NS_AN_EVENT);
    let start = (count * NS_AN_EVENT - window_ns) / 2;
    let time = Query::of_time(start, start + window_ns - 1);
    let rare = Query { types: [1 << 34, 0, 0, 0], ..time.clone() };
    let narrow = Query::of_time(start, start + HITS * NS_AN_EVENT - 1);
    let symbol = Query { symbols: Some(vec![17]), ..time.clone() };
    ask("sealed: everything of a time", &narrow, &segments);
    ask("sealed: one of 50 symbols", &symbol, &segments);
    ask("sealed: a type, one in 50", &rare, &segments);
    drop(segments);

    let begin = Instant::now();
    for first in &firsts {
        pack(&directory, &open(first)).expect("room for the segments");
    }
    println!(
        "pack, compared and synced          {:7.1} M events/s",
        rate(begin.elapsed().as_secs_f64())
    );
    let open = |first: &u64| Packed::open(folder.path(), *first).expect("a packed segment");
    let packed: Vec<Packed> = firsts.iter().map(open).collect();
    let bytes: u64 = packed.iter().map(|segment| segment.opened().layout().file_len).sum();
    println!(
        "packed size                        {:7.2} bytes an event",
        bytes as f64 / count as f64
    );
    let segments: Vec<Arc<dyn Segment>> = packed
        .into_iter()
        .map(|segment| Arc::new(segment) as Arc<dyn Segment>)
        .collect();
    ask("packed: everything of a time", &narrow, &segments);
    ask("packed: a type, one in 50", &rare, &segments);
}
