//! How fast a book is by itself, without an interpreter and without decoding: for `tickbus bench`.

use super::{Books, Settings};
use crate::exchange::{Decoder, Depth, DepthKind, DepthLevel, Exact, Market};
use std::hint::black_box;
use std::time::Instant;

const MID: u64 = 6_500_000;
const SLICES: usize = 20;
const CHANGED: u32 = 4;

fn level(ticks: u64, size: u64) -> DepthLevel {
    DepthLevel { price: Exact { units: ticks, scale: 2 }, size: Exact { units: size, scale: 1 } }
}

/// Nanoseconds a message of four levels takes, of `messages` of them: sequence check and book, two
/// thousand levels deep. Half of the changes are within eight ticks of the best, every third takes a level
/// away. The fastest of twenty slices counts.
pub fn message_ns(messages: usize) -> f64 {
    let decoder = Decoder::of_market(Market::BinanceUsdM);
    let mut books = Books::new(Market::BinanceUsdM, Settings::default());
    let mut snapshot = Depth::new(0, DepthKind::Snapshot);
    snapshot.last_id = Some(0);
    (snapshot.bids, snapshot.asks) = (0..1000, 1000..2000);
    let bids = (0..1000).map(|at| level(MID - 1 - 2 * at, 10 + at));
    let asks = (0..1000).map(|at| level(MID + 1 + 2 * at, 10 + at));
    books.take_depth(&decoder, &snapshot, &bids.chain(asks).collect::<Vec<_>>(), 0);

    let mut state = 1u64;
    let mut draw = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let updates: Vec<(Depth, Vec<DepthLevel>)> = (1..=messages.max(SLICES) as u64)
        .map(|number| {
            let mut depth = Depth::new(0, DepthKind::Update);
            (depth.first_id, depth.last_id) = (Some(number), Some(number));
            depth.previous_id = Some(number - 1);
            (depth.bids, depth.asks) = (0..CHANGED / 2, CHANGED / 2..CHANGED);
            let levels = (0..CHANGED).map(|at| {
                let near = draw().trailing_zeros().min(7);
                let away = 1 + draw() % (8 << near);
                let size = if draw().is_multiple_of(3) { 0 } else { 1 + draw() % 50_000 };
                let ticks = if at < CHANGED / 2 { MID - away } else { MID + away };
                level(ticks, size)
            });
            (depth, levels.collect())
        })
        .collect();
    let slice = updates.len() / SLICES;
    let times = updates.chunks_exact(slice).map(|chunk| {
        let begin = Instant::now();
        for (depth, levels) in chunk {
            black_box(books.take_depth(&decoder, depth, levels, 1));
        }
        begin.elapsed().as_nanos() as f64 / slice as f64
    });
    times.fold(f64::INFINITY, f64::min)
}
