//! Books, aggregate and duplicates: `cargo bench -p tickbus-core --bench books [FILTER]`.
//!
//! Updates are made up in the shape of recorded ones: mostly near the best price, every third takes a
//! level away or brings one. Times are of slices of a hundred, so that the clock does not count.

use std::hint::black_box;
use std::time::Instant;
use tickbus_core::exchange::book::{Aggregate, Book, BookSide, Books, Settings};
use tickbus_core::exchange::dedup::Dedup;
use tickbus_core::exchange::{Decoder, Depth, DepthKind, DepthLevel, Exact, Market};

const SLICE: usize = 100;
const MID: u64 = 6_500_000;

/// A name, and nanoseconds a piece of work by slices.
type Bench = (&'static str, fn() -> Vec<f64>);

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let filter = filter.unwrap_or_default();
    let benches: [Bench; 10] = [
        ("book.level", level),
        ("book.message_of_4", || message(0)),
        ("book.message_of_4_shared", || message(20)),
        ("book.checksum_kraken", checksum),
        ("dedup.new_consecutive", || dedup(|at| u128::from(at / 8))),
        ("dedup.new_random", || dedup(random_id)),
        ("dedup.new_in_cache", || dedup_of(1_000, random_id)),
        ("dedup.duplicate_random", duplicates),
        ("aggregate.5_venues_20_levels", || aggregate(20)),
        ("aggregate.5_venues_5_levels", || aggregate(5)),
    ];
    for (name, run) in benches.into_iter().filter(|(name, _)| name.contains(&filter)) {
        let mut times = run();
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "{name:32} {:8.1} ns median, {:8.1} p99, {:8.1} max of slices",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// Nanoseconds a piece of work, by slices.
fn slices(count: usize, mut work: impl FnMut(usize)) -> Vec<f64> {
    (0..count / SLICE)
        .map(|slice| {
            let begin = Instant::now();
            for at in 0..SLICE {
                work(slice * SLICE + at);
            }
            begin.elapsed().as_nanos() as f64 / SLICE as f64
        })
        .collect()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn at(ticks: u64, size: u64) -> DepthLevel {
    DepthLevel { price: Exact { units: ticks, scale: 2 }, size: Exact { units: size, scale: 8 } }
}

/// A thousand levels a side around `mid`.
fn full(mid: u64) -> (Vec<DepthLevel>, Vec<DepthLevel>) {
    let bids = (0..1000).map(|level| at(mid - 1 - 2 * level, 100_000_000 + level));
    let asks = (0..1000).map(|level| at(mid + 1 + 2 * level, 100_000_000 + level));
    (bids.collect(), asks.collect())
}

/// What changes: a side and a level, half of them within eight ticks of the best.
fn changes(count: usize, mid: u64, random: &mut Random) -> Vec<(BookSide, DepthLevel)> {
    (0..count)
        .map(|_| {
            let near = random.next().trailing_zeros().min(7);
            let away = 1 + random.next() % (8 << near.min(7));
            let size = if random.next().is_multiple_of(3) {
                0
            } else {
                1 + random.next() % 1_000_000_000
            };
            match random.next() % 2 {
                0 => (BookSide::Bid, at(mid - away, size)),
                _ => (BookSide::Ask, at(mid + away, size)),
            }
        })
        .collect()
}

fn level() -> Vec<f64> {
    let (bids, asks) = full(MID);
    let mut book = Book::new();
    book.replace(&bids, &asks).expect("prices fit");
    let changes = changes(200_000, MID, &mut Random(1));
    slices(changes.len(), |at| {
        let (side, level) = &changes[at];
        book.set(*side, black_box(level)).expect("prices fit");
    })
}

/// A decoder that knows one instrument, as number 0.
fn decoder(market: Market) -> Decoder {
    let mut decoder = Decoder::of_market(market);
    let trade = br#"{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}"#;
    decoder.decode(trade, &mut |_| ());
    decoder
}

fn feed(books: &mut Books, decoder: &Decoder, mid: u64, shared: usize) {
    let (bids, asks) = full(mid);
    let mut depth = Depth::new(0, DepthKind::Snapshot);
    depth.last_id = Some(0);
    (depth.bids, depth.asks) = (0..1000, 1000..2000);
    let levels = [bids, asks].concat();
    books.take_depth(decoder, &depth, &levels, 0);
    if shared > 0 {
        books.share(0, shared);
    }
}

fn message(shared: usize) -> Vec<f64> {
    let decoder = decoder(Market::BinanceUsdM);
    let mut books = Books::new(Market::BinanceUsdM, Settings::default());
    feed(&mut books, &decoder, MID, shared);
    let mut random = Random(2);
    let messages: Vec<(Depth, Vec<DepthLevel>)> = (0..50_000u64)
        .map(|number| {
            let mut depth = Depth::new(0, DepthKind::Update);
            (depth.first_id, depth.last_id) = (Some(number + 1), Some(number + 1));
            depth.previous_id = Some(number);
            let changed = changes(4, MID, &mut random);
            let of = |wanted| changed.iter().filter(move |(side, _)| *side == wanted);
            let bids = of(BookSide::Bid).count() as u32;
            (depth.bids, depth.asks) = (0..bids, bids..4);
            let levels = of(BookSide::Bid).chain(of(BookSide::Ask)).map(|(_, level)| *level);
            (depth, levels.collect())
        })
        .collect();
    slices(messages.len(), |at| {
        let (depth, levels) = &messages[at];
        black_box(books.take_depth(&decoder, depth, levels, at as u64));
    })
}

fn checksum() -> Vec<f64> {
    let (bids, asks) = full(MID);
    let mut book = Book::new();
    book.replace(&bids, &asks).expect("prices fit");
    slices(20_000, |_| {
        black_box(book.checksum_kraken());
    })
}

fn random_id(at: u64) -> u128 {
    let mut random = Random(at);
    u128::from(random.next()) << 64 | u128::from(random.next())
}

/// New keys, a microsecond apart and known for a second: a million are live, and as many expire.
fn dedup(id: fn(u64) -> u128) -> Vec<f64> {
    dedup_of(1_000_000, id)
}

/// The same with so many live.
fn dedup_of(live: u64, id: fn(u64) -> u128) -> Vec<f64> {
    let mut dedup = Dedup::new((live + live / 32) as usize, live * 1_000);
    let streams = |at: u64| (at % 8) as u32;
    for at in 0..1_500_000 {
        assert!(dedup.is_first(streams(at), id(at), at * 1_000));
    }
    let ids: Vec<u128> = (1_500_000..2_500_000).map(id).collect();
    let times = slices(ids.len(), |at| {
        let now = 1_500_000 + at as u64;
        black_box(dedup.is_first(streams(now), ids[at], now * 1_000));
    });
    assert!(dedup.len() as u64 > live * 99 / 100, "{}", dedup.len());
    times
}

/// Copies of any of a million live keys.
fn duplicates() -> Vec<f64> {
    let mut dedup = Dedup::new(1 << 20, 1_000_000_000);
    for at in 0..1_000_000 {
        dedup.is_first(0, random_id(at), 0);
    }
    let mut random = Random(5);
    let ids: Vec<u128> = (0..500_000).map(|_| random_id(random.next() % 1_000_000)).collect();
    let times = slices(ids.len(), |at| {
        black_box(dedup.is_first(0, ids[at], 1));
    });
    assert_eq!(dedup.counts().duplicates, 500_000);
    times
}

fn aggregate(levels: usize) -> Vec<f64> {
    let decoder = decoder(Market::BinanceSpot);
    let mut aggregate = Aggregate::new(1_000_000_000, 1_000_000_000);
    for venue in 0..5 {
        let mut books = Books::new(Market::BinanceSpot, Settings::default());
        feed(&mut books, &decoder, MID + venue, 0);
        let top = books.share(0, levels).expect("the snapshot made it");
        aggregate.add(&venue.to_string(), top, 0.001);
    }
    let times = slices(50_000, |at| {
        aggregate.build(levels, at as u64);
        black_box(aggregate.crossing());
    });
    assert_eq!(aggregate.levels(BookSide::Bid).len(), levels);
    times
}
