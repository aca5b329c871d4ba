//! Books read from other threads, and what a warm book allocates.

mod venue_model;

use std::sync::atomic::{AtomicBool, Ordering};
use tickbus_core::exchange::book::{BookSide, Books, Settings, TopView};
use tickbus_core::exchange::{Decoder, Depth, DepthKind, DepthLevel, Exact, Market};
use venue_model::{Move, Server};

const LEVELS: u32 = 20;

fn level(ticks: u64, size: u64) -> DepthLevel {
    DepthLevel { price: Exact { units: ticks, scale: 0 }, size: Exact { units: size, scale: 0 } }
}

/// A decoder that has one instrument, and a book of it all whose sizes are `size`.
fn write(books: &mut Books, decoder: &Decoder, size: u64) {
    let mut depth = Depth::new(0, DepthKind::Update);
    (depth.first_id, depth.last_id) = (Some(size), Some(size));
    if size == 1 {
        depth.kind = DepthKind::Snapshot;
    }
    (depth.bids, depth.asks) = (0..LEVELS, LEVELS..2 * LEVELS);
    let bids = (0..LEVELS).map(|at| level(1_000 - u64::from(at), size));
    let asks = (0..LEVELS).map(|at| level(2_000 + u64::from(at), size));
    books.take_depth(decoder, &depth, &bids.chain(asks).collect::<Vec<_>>(), size);
}

#[test]
fn a_reader_sees_a_book_of_one_moment() {
    let mut decoder = Decoder::of_market(Market::BinanceSpot);
    decoder.assume(Some("BTCUSDT"));
    decoder.decode(br#"{"lastUpdateId":0,"bids":[],"asks":[]}"#, &mut |_| ());
    let mut books = Books::new(Market::BinanceSpot, Settings::default());
    write(&mut books, &decoder, 1);
    let shared = books.share(0, LEVELS as usize).expect("there is a book");
    let done = AtomicBool::new(false);

    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut view, mut newest, mut reads) = (TopView::default(), 0.0, 0);
            while !done.load(Ordering::Relaxed) || reads == 0 {
                shared.read(&mut view);
                reads += 1;
                let sides = [BookSide::Bid, BookSide::Ask];
                let sizes =
                    sides.iter().flat_map(|&side| (0..view.len(side)).map(move |at| (side, at)));
                let sizes: Vec<f64> = sizes.map(|(side, at)| view.level(side, at).1).collect();
                assert_eq!(sizes.len(), 2 * LEVELS as usize);
                assert!(sizes.iter().all(|size| *size == sizes[0]), "torn: {sizes:?}");
                assert!(sizes[0] >= newest, "older than before");
                newest = sizes[0];
            }
        });
        for size in 2..50_000 {
            write(&mut books, &decoder, size);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("every read was whole");
    });
}

#[test]
fn a_warm_book_allocates_nothing() {
    for market in [
        Market::BinanceUsdM,
        Market::Kraken,
        Market::Okx,
        Market::BybitSpot,
    ] {
        let (mut server, mut decoder) = (Server::new(market), Decoder::of_market(market));
        decoder.assume(Some("BTCUSDT"));
        let mut books = Books::new(market, Settings::default());
        let mut frames = vec![server.snapshot()];
        let step =
            |at: u64| Move { mid: 0, changes: vec![(at.is_multiple_of(2), at % 12, at % 5)] };
        frames.extend((0..400).map(|at| server.update(&step(at))));
        let mut take = |frame: &String| {
            let outcome = decoder.decode(frame.as_bytes(), &mut |_| ());
            books.update(&decoder, outcome, 1);
        };
        frames[..200].iter().for_each(&mut take);

        let allocations = allocation_counter::measure(|| frames[200..].iter().for_each(&mut take));

        assert_eq!(allocations.count_total, 0, "{market:?}");
        assert_eq!(books.streams()[0].counts().failures, 0, "{market:?}");
        assert_eq!(books.streams()[0].counts().messages, 401, "{market:?}");
    }
}
