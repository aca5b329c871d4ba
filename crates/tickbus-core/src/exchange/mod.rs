//! Venue frames to events: the bytes a venue sends, as trades, tops of book and order book messages,
//! with one name per instrument and the taker's side.
//!
//! ```text
//! frame ── UTF-8? ── JSON? ── decode/<venue> ── batch ── sink, one Decoded per event
//!                                  │              └───── depths() and levels(), until the next frame
//!                                  │ fault: nothing of the frame is told
//!                                  └ reason: a healthy frame about something else
//! ```
//!
//! **Promises.** No bytes make it panic, and every frame comes to exactly one [`Outcome`], counted
//! by name. A frame is told whole or not at all. Prices are the nearest `f64` to their text. After
//! an instrument's first frame nothing is allocated. A decoder never keeps a frame: whoever needs
//! the exact text, or what is ignored here, still has the bytes.
//!
//! Costs half a microsecond for a trade or quote frame (Coinbase Advanced, with more around it, one),
//! and some 3 ns a byte of what is ignored, as nothing is trusted to be JSON before it was looked at
//! (`cargo bench -p tickbus-core --bench decode`). Sequence checks, deduplication and books are
//! built on what is told here.

mod batch;
pub mod book;
mod counters;
mod decode;
pub mod dedup;
mod depth;
mod identity;
mod json;
mod levels;
mod market;
mod number;
mod scan;
mod symbol;
mod time;

pub use batch::Heartbeat;
pub use counters::{Counters, Tally};
pub use depth::{Depth, DepthKind, DepthLevel, Exact, SCALE_MAX};
pub use market::{MARKETS, Market, VENUES, Venue};
pub use symbol::Contract;

use batch::Batch;
use decode::{Verdict, binance, bybit, coinbase, kraken, okx};
use json::Document;
use scan::Tape;
use symbol::Symbols;

/// Longest frame taken, in bytes: ten times a venue's largest book snapshot.
pub const FRAME_LEN_MAX: usize = 64 << 20;

/// One event of a frame. `value` and `metadata` mean what [`crate::taxonomy`] says of the type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded<'a> {
    pub event_type: u8,
    /// Number of the instrument among the decoder's; the same for as long as the decoder lives.
    pub instrument: u32,
    pub symbol: &'a str,
    pub value: f64,
    pub metadata: u64,
    /// The venue's own time, where the frame has one; its clock is not ours.
    pub venue_time_ns: Option<u64>,
    /// What the venue says identifies a trade, unique per instrument and channel: a number as
    /// itself, a UUID as its 128 bits, any other text as its 128-bit hash.
    pub trade_id: Option<u128>,
    /// What orders the message among others of its instrument, where the venue says: Binance `u` of
    /// a bookTicker, Coinbase Exchange `sequence`, OKX `seqId`, Bybit `seq` or `cs`. Not unique:
    /// several trades may share one.
    pub sequence: Option<u64>,
}

/// What a frame came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// So many events were told.
    Events(u64),
    /// So many order book messages stand in [`Decoder::depths`], and no event was told.
    Books(u64),
    /// A healthy frame without news for the bus; why.
    Ignored(&'static str),
    /// So many trades from before the subscription, none told.
    History(u64),
    /// Not what the venue's protocol allows; nothing was told.
    Malformed(&'static str),
}

/// Decodes the frames of one connection to one market.
#[derive(Debug)]
pub struct Decoder {
    market: Market,
    tape: Tape,
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
        Decoder {
            market,
            tape: Tape::default(),
            batch: Batch::new(Symbols::new(market)),
            counters: Counters::default(),
        }
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
                    instrument: record.instrument,
                    symbol: &self.batch.symbols.instrument(record.instrument).symbol,
                    value: record.value,
                    metadata: record.metadata,
                    venue_time_ns: record.venue_time_ns,
                    trade_id: record.trade_id,
                    sequence: record.sequence,
                });
            }
        }
        self.counters.count(outcome, &self.batch);
        outcome
    }

    /// The order book messages of the last frame, in the venue's order; none after a malformed one.
    pub fn depths(&self) -> &[Depth] {
        &self.batch.depths
    }

    /// The events of the last frame.
    pub(crate) fn records(&self) -> &[batch::Record] {
        &self.batch.records
    }

    /// The levels of these messages, which say which are theirs.
    pub fn levels(&self) -> &[DepthLevel] {
        &self.batch.levels
    }

    /// Our name of an instrument that this decoder numbered; an unknown number is `None`.
    pub fn symbol(&self, instrument: u32) -> Option<&str> {
        let known = (instrument as usize) < self.batch.symbols.len();
        known.then(|| &*self.batch.symbols.instrument(instrument).symbol)
    }

    /// What a size of 1 is, in levels of this instrument's book, which are told as written.
    pub fn contract(&self, instrument: u32) -> Option<Contract> {
        let known = (instrument as usize) < self.batch.symbols.len();
        known.then(|| self.batch.symbols.instrument(instrument).contract)
    }

    /// What numbers the last frame on its connection, whatever it was about, where the venue does
    /// that (Coinbase Advanced `sequence_num`): one more than the frame's before, or something is
    /// missing.
    pub fn connection_sequence(&self) -> Option<u64> {
        self.batch.connection_sequence
    }

    /// Where an instrument stands, if the last frame was a heartbeat that says so (Coinbase
    /// Exchange).
    pub fn heartbeat(&self) -> Option<Heartbeat> {
        self.batch.heartbeat
    }

    /// The venue's name of the instrument that frames without one are about: Binance's REST
    /// snapshots, and its raw partial books. `None` leaves such frames untold.
    pub fn assume(&mut self, wire_symbol: Option<&str>) {
        self.batch.assumed = wire_symbol.map(Into::into);
    }

    /// What [`Decoder::assume`] was told.
    pub fn assumed(&self) -> Option<&str> {
        self.batch.assumed.as_deref()
    }

    /// Forget what earlier frames said of values that later ones leave out: a new connection tells
    /// them again. Names, contract sizes and counters stay.
    pub fn reconnected(&mut self) {
        self.batch.tops.clear();
    }

    fn read(&mut self, frame: &[u8]) -> Outcome {
        self.batch.clear();
        if frame.len() > FRAME_LEN_MAX {
            return Outcome::Malformed("too_long");
        }
        let Ok(text) = std::str::from_utf8(frame) else {
            return Outcome::Malformed("not_utf8");
        };
        let venue = self.market.venue();
        if venue == Venue::Okx && okx::is_heartbeat(text) {
            return Outcome::Ignored("heartbeat");
        }
        let document = match Document::of(text, &mut self.tape) {
            Ok(document) => document,
            Err(fault) => return Outcome::Malformed(fault),
        };
        let decode = match venue {
            Venue::Binance => binance::decode,
            Venue::Coinbase => coinbase::decode,
            Venue::Kraken => kraken::decode,
            Venue::Okx => okx::decode,
            Venue::Bybit => bybit::decode,
        };
        match decode(document.root(), &mut self.batch) {
            Err(fault) => {
                self.batch.clear();
                Outcome::Malformed(fault)
            }
            Ok(Verdict::Ignored(reason)) => Outcome::Ignored(reason),
            Ok(Verdict::Decoded) => self.outcome(),
        }
    }

    /// What a frame with something in it came to.
    fn outcome(&self) -> Outcome {
        let batch = &self.batch;
        if !batch.records.is_empty() {
            Outcome::Events(batch.records.len() as u64)
        } else if !batch.depths.is_empty() {
            Outcome::Books(batch.depths.len() as u64)
        } else if batch.history > 0 {
            Outcome::History(batch.history)
        } else if batch.unpackable > 0 {
            Outcome::Ignored("unpackable_quote")
        } else if batch.contracts_unknown > 0 {
            Outcome::Ignored("contract_size_unknown")
        } else if batch.outside_book > 0 {
            Outcome::Ignored("outside_book")
        } else {
            Outcome::Ignored("empty")
        }
    }
}
