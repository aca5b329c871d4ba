//! Venue frames to events: the bytes a venue sends, as trades and tops of book with one name per
//! instrument and the taker's side.
//!
//! ```text
//! frame ── UTF-8? ── decode/<venue> ── batch ── sink, one Decoded per event
//!                         │ fault: nothing of the frame is told
//!                         └ reason: a healthy frame about something else
//! ```
//!
//! **Promises.** No bytes make it panic, and every frame comes to exactly one [`Outcome`], counted
//! by name. A frame is told whole or not at all. Prices are the nearest `f64` to their text. After
//! an instrument's first frame nothing is allocated. A decoder never keeps a frame: whoever needs
//! the exact text, or what is ignored here, still has the bytes.
//!
//! Costs half a microsecond for a trade or quote frame (Coinbase Advanced, with more around it, one),
//! and some 3 ns a byte of what is ignored, as nothing is trusted to be JSON before it was looked at
//! (`cargo bench -p tickbus-core --bench decode`). Sequence checks, deduplication and books are not
//! here yet.

mod batch;
mod counters;
mod decode;
mod depth;
mod json;
mod market;
mod number;
mod scan;
mod symbol;
mod time;

pub use counters::{Counters, Tally};
pub use depth::{Depth, DepthKind, DepthLevel, Exact};
pub use market::{MARKETS, Market, VENUES, Venue};

use batch::Batch;
use decode::{Verdict, binance, coinbase, kraken};
use symbol::Symbols;

/// Longest frame taken, in bytes: ten times a venue's largest book snapshot.
pub const FRAME_LEN_MAX: usize = 64 << 20;

/// One event of a frame. `value` and `metadata` mean what [`crate::taxonomy`] says of the type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded<'a> {
    pub event_type: u8,
    pub symbol: &'a str,
    pub value: f64,
    pub metadata: u64,
    /// The venue's own time, where the frame has one; its clock is not ours.
    pub venue_time_ns: Option<u64>,
    pub trade_id: Option<u64>,
}

/// What a frame came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many events were told.
    Events(u64),
    /// A healthy frame without news for the bus; why.
    Ignored(&'static str),
    /// So many trades from before the subscription, none told.
    History(u64),
    /// Not what the venue's protocol allows; nothing was told.
    Malformed(&'static str),
}

/// Decodes the frames of one connection, or of several to the same market.
#[derive(Debug)]
pub struct Decoder {
    market: Market,
    batch: Batch,
    counters: Counters,
}

impl Decoder {
    /// A decoder of the venue's spot market.
    pub fn new(venue: Venue) -> Decoder {
        Decoder::of_market(venue.spot())
    }

    /// A decoder of one of the venue's markets: names alone do not tell them apart.
    pub fn of_market(market: Market) -> Decoder {
        Decoder { market, batch: Batch::new(Symbols::new(market)), counters: Counters::default() }
    }

    pub fn market(&self) -> Market {
        self.market
    }

    /// What all frames came to so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Decode one frame and hand its events to `sink`, in the venue's order.
    pub fn decode(&mut self, frame: &[u8], sink: &mut impl FnMut(Decoded<'_>)) -> Outcome {
        let outcome = self.read(frame);
        if let Outcome::Events(_) = outcome {
            for record in &self.batch.records {
                sink(Decoded {
                    event_type: record.event_type,
                    symbol: &self.batch.symbols.instrument(record.instrument).symbol,
                    value: record.value,
                    metadata: record.metadata,
                    venue_time_ns: record.venue_time_ns,
                    trade_id: record.trade_id,
                });
            }
        }
        self.counters.count(outcome, &self.batch);
        outcome
    }

    fn read(&mut self, frame: &[u8]) -> Outcome {
        self.batch.clear();
        if frame.len() > FRAME_LEN_MAX {
            return Outcome::Malformed("too_long");
        }
        let Ok(text) = std::str::from_utf8(frame) else {
            return Outcome::Malformed("not_utf8");
        };
        let decoding = match self.market.venue() {
            Venue::Binance => binance::decode(text, &mut self.batch),
            Venue::Coinbase => coinbase::decode(text, &mut self.batch),
            Venue::Kraken => kraken::decode(text, &mut self.batch),
        };
        match decoding {
            Err(fault) => {
                self.batch.clear();
                Outcome::Malformed(fault)
            }
            Ok(Verdict::Ignored(reason)) => Outcome::Ignored(reason),
            Ok(Verdict::Decoded) if !self.batch.records.is_empty() => {
                Outcome::Events(self.batch.records.len() as u64)
            }
            Ok(Verdict::Decoded) if self.batch.history > 0 => Outcome::History(self.batch.history),
            Ok(Verdict::Decoded) if self.batch.unpackable > 0 => {
                Outcome::Ignored("unpackable_quote")
            }
            Ok(Verdict::Decoded) => Outcome::Ignored("empty"),
        }
    }
}
