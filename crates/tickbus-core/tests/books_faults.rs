//! Whatever happens to a valid stream of book messages: a book that says it is verified is the venue's,
//! and it is again once the venue is heard. `PROPTEST_CASES` says how many streams are damaged.

mod venue_model;

use proptest::prelude::*;
use std::collections::VecDeque;
use tickbus_core::exchange::book::{BookSide, Books, Integrity, Settings, Stream, What};
use tickbus_core::exchange::{Decoder, Market};
use venue_model::{KRAKEN_LEVELS, Move, Server, View};

const MARKETS: [Market; 6] = [
    Market::BinanceSpot,
    Market::BinanceUsdM,
    Market::Coinbase,
    Market::Kraken,
    Market::Okx,
    Market::BybitSpot,
];

/// What happens to a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Lost,
    Twice,
    /// Also sent again so many frames later.
    Again(usize),
    /// Changes places with the next one.
    Late,
    /// Only so many of 64 parts of it arrive.
    Cut(usize),
    /// A byte becomes another that no text has. (One that leaves the frame readable is a lie that only
    /// a checksum tells; connections are encrypted, so that it cannot come about on the way.)
    Garbled(usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Twice),
        1 => (1usize..6).prop_map(Fault::Again),
        1 => Just(Fault::Late),
        1 => (0usize..64).prop_map(Fault::Cut),
        1 => (0usize..64).prop_map(Fault::Garbled),
    ]
}

fn step() -> impl Strategy<Value = Move> {
    let change = (any::<bool>(), 0u64..12, 0u64..6);
    (-2i64..=2, prop::collection::vec(change, 1..5))
        .prop_map(|(mid, changes)| Move { mid, changes })
}

/// A client of the venue, which gets snapshots as it is told to.
struct Client {
    decoder: Decoder,
    books: Books,
    market: Market,
    clock_ns: u64,
    /// Frames until the snapshot that was asked for is sent.
    wanted: Option<usize>,
}

impl Client {
    fn new(market: Market) -> Client {
        let mut decoder = Decoder::of_market(market);
        // Binance's REST answer does not say what it is of.
        decoder.assume(Some("BTCUSDT"));
        if market == Market::Kraken {
            let reply = format!(
                r#"{{"method":"subscribe","result":{{"channel":"book","depth":{KRAKEN_LEVELS},"symbol":"BTC/USD"}},"success":true}}"#
            );
            decoder.decode(reply.as_bytes(), &mut |_| ());
        }
        let books = Books::new(market, Settings::default());
        Client { decoder, books, market, clock_ns: 1, wanted: None }
    }

    fn receive(&mut self, frame: &[u8], delay: usize) {
        let outcome = self.decoder.decode(frame, &mut |_| ());
        self.clock_ns += 1_000;
        let mut asked = 0;
        for change in self.books.update(&self.decoder, outcome, self.clock_ns) {
            asked += usize::from(matches!(change.what, What::NeedSnapshot { .. }));
        }
        assert!(asked <= 1, "one request at a time");
        if asked == 1 {
            assert!(self.wanted.is_none(), "a snapshot is on its way already");
            self.wanted = Some(delay);
        }
    }

    /// Whether the snapshot is to be sent now.
    fn is_due(&mut self) -> bool {
        match self.wanted {
            Some(0) => true,
            Some(frames) => {
                self.wanted = Some(frames - 1);
                false
            }
            None => false,
        }
    }

    fn stream(&self) -> Option<&Stream> {
        self.books.streams().first()
    }
}

fn seen(stream: &Stream) -> View {
    let levels = |side| {
        stream
            .book()
            .levels(side)
            .map(|(ticks, cell)| (ticks, cell.size_units))
            .collect()
    };
    View { bids: levels(BookSide::Bid), asks: levels(BookSide::Ask) }
}

/// Where the book says it stands, if the venue numbers that; Kraken's time has the number here.
fn position(market: Market, stream: &Stream) -> Option<u64> {
    match market {
        Market::Kraken => stream.venue_time_ns().map(|time| time / 1_000 % 1_000_000),
        _ => stream.last_id(),
    }
}

/// A verified book is one that the venue had, and not crossed.
fn check(client: &Client, server: &Server) -> Result<(), TestCaseError> {
    let Some(stream) = client.stream().filter(|one| one.integrity() == Integrity::Verified) else {
        return Ok(());
    };
    prop_assert!(!stream.book().is_crossed());
    let found = seen(stream);
    match position(client.market, stream) {
        Some(id) => prop_assert_eq!(Some(&found), server.history.get(&id), "at {}", id),
        // The frames are numbered, not the books: it is the latest, or there was none since.
        None => prop_assert!(server.history.values().any(|view| *view == found)),
    }
    Ok(())
}

fn run(market: Market, steps: &[(Move, Fault)], delay: usize) -> Result<(), TestCaseError> {
    let mut server = Server::new(market);
    let mut client = Client::new(market);
    let mut again: VecDeque<(usize, String)> = VecDeque::new();
    let mut late: Option<String> = None;
    let is_in_band = !matches!(market, Market::BinanceSpot | Market::BinanceUsdM);
    if is_in_band {
        let first = server.snapshot();
        client.receive(first.as_bytes(), delay);
        check(&client, &server)?;
    }
    for (step, fault) in steps {
        let frame = server.update(step);
        let held = late.take();
        let part = |share: usize| frame.as_bytes()[..frame.len() * share / 64].to_vec();
        match *fault {
            Fault::None => client.receive(frame.as_bytes(), delay),
            Fault::Lost => (),
            Fault::Twice => {
                client.receive(frame.as_bytes(), delay);
                check(&client, &server)?;
                client.receive(frame.as_bytes(), delay);
            }
            Fault::Again(frames) => {
                client.receive(frame.as_bytes(), delay);
                again.push_back((frames, frame.clone()));
            }
            Fault::Late => late = Some(frame.clone()),
            Fault::Cut(share) => client.receive(&part(share), delay),
            Fault::Garbled(share) => {
                let mut bytes = frame.clone().into_bytes();
                let at = (bytes.len() - 1) * share / 64;
                bytes[at] = 0xff;
                client.receive(&bytes, delay);
            }
        }
        check(&client, &server)?;
        if let Some(held) = held {
            client.receive(held.as_bytes(), delay);
            check(&client, &server)?;
        }
        for _ in 0..again.len() {
            let (frames, frame) = again.pop_front().expect("as many as there are");
            if frames == 0 {
                client.receive(frame.as_bytes(), delay);
                check(&client, &server)?;
            } else {
                again.push_back((frames - 1, frame));
            }
        }
        answer(&mut client, &mut server, delay)?;
    }
    heal(&mut client, &mut server)
}

fn answer(client: &mut Client, server: &mut Server, delay: usize) -> Result<(), TestCaseError> {
    if client.is_due() {
        client.wanted = None;
        let snapshot = server.snapshot();
        client.receive(snapshot.as_bytes(), delay);
        check(client, server)?;
    }
    Ok(())
}

/// Nothing is damaged any more: the book is the venue's.
fn heal(client: &mut Client, server: &mut Server) -> Result<(), TestCaseError> {
    let quiet = Move { mid: 0, changes: vec![(true, 1, 3), (false, 1, 4)] };
    for round in 0..12 {
        let mut step = quiet.clone();
        step.changes[0].2 += round % 2;
        let frame = server.update(&step);
        client.receive(frame.as_bytes(), 0);
        check(client, server)?;
        answer(client, server, 0)?;
    }
    let stream = client.stream().expect("messages came");
    prop_assert_eq!(stream.integrity(), Integrity::Verified);
    prop_assert_eq!(seen(stream), server.view());
    let counts = stream.counts();
    let sum = counts.snapshots + counts.updates + counts.duplicates + counts.dropped + counts.kept;
    prop_assert_eq!(counts.messages, sum);
    Ok(())
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(40)
}

#[test]
fn a_damaged_stream_is_flagged_and_heals() {
    for market in MARKETS {
        let steps = prop::collection::vec((step(), fault()), 1..60);
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: cases(),
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        runner
            .run(&(steps, 0usize..5), |(steps, delay)| run(market, &steps, delay))
            .unwrap_or_else(|error| panic!("{market:?}: {error}"));
    }
}
