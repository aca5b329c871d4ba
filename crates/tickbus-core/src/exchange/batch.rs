//! What one frame says, collected before any of it is told: a frame is decoded whole or not at all.

use super::depth::{Depth, DepthLevel};
use super::json::{BAD_FIELD, Fault, Raw, Value};
use super::levels;
use super::number::{Decimal, exact};
use super::symbol::Symbols;
use crate::quote::{self, Quote};
use crate::taxonomy::{PRICE_UPDATE, TOP_OF_BOOK};
use std::ops::Range;

/// One event to be.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub event_type: u8,
    pub instrument: u32,
    pub value: f64,
    pub metadata: u64,
    pub venue_time_ns: Option<u64>,
    pub trade_id: Option<u128>,
    pub sequence: Option<u64>,
}

/// Who took. A venue that names the maker is turned round where it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    Bought,
    Sold,
}

/// A trade as a venue tells it.
#[derive(Debug, Clone, Copy)]
pub struct Trade<'a> {
    pub wire_symbol: &'a str,
    pub price: Decimal,
    pub size: Decimal,
    pub taker: Taker,
    pub venue_time_ns: Option<u64>,
    pub trade_id: Option<u128>,
    pub sequence: Option<u64>,
}

/// One side of a top of book: price and size.
pub type Level = (Decimal, Decimal);

/// A top of book as a venue tells it.
#[derive(Debug, Clone, Copy)]
pub struct Top<'a> {
    pub wire_symbol: &'a str,
    pub bid: Level,
    pub ask: Level,
    pub venue_time_ns: Option<u64>,
    pub sequence: Option<u64>,
}

/// Where an instrument stands by a heartbeat: the only way to learn that its last trade was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    pub instrument: u32,
    pub sequence: u64,
    pub last_trade_id: u128,
}

/// Which side a level of a mixed list is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bid,
    Ask,
}

/// Levels that are kept room for between frames: 8 MiB, a full book. A larger frame's are given back.
const LEVELS_KEPT: usize = 1 << 18;

/// The records of the frame in hand. Kept between frames, so that a warm decoder allocates nothing.
#[derive(Debug)]
pub struct Batch {
    pub symbols: Symbols,
    pub records: Vec<Record>,
    pub depths: Vec<Depth>,
    /// The levels of all `depths`, which say where theirs are.
    pub levels: Vec<DepthLevel>,
    /// Asks of a list that mixes both sides, until its bids are complete.
    asks: Vec<DepthLevel>,
    /// What numbers the frame on its connection.
    pub connection_sequence: Option<u64>,
    pub heartbeat: Option<Heartbeat>,
    /// Trades from before the subscription: news to nobody.
    pub history: u64,
    /// Quotes that have no packed form, see [`crate::quote`].
    pub unpackable: u64,
    /// Trades that touched no order book.
    pub outside_book: u64,
    /// Trades and quotes sized in contracts of unknown size.
    pub contracts_unknown: u64,
    /// The venue's name of the instrument that frames without one are about.
    pub assumed: Option<Box<str>>,
    /// Latest bid, bid size, ask, ask size by instrument, of venues that send what changed.
    pub tops: Vec<[Option<Decimal>; 4]>,
}

impl Batch {
    pub fn new(symbols: Symbols) -> Batch {
        Batch {
            symbols,
            records: Vec::new(),
            depths: Vec::new(),
            levels: Vec::new(),
            asks: Vec::new(),
            connection_sequence: None,
            heartbeat: None,
            history: 0,
            unpackable: 0,
            outside_book: 0,
            contracts_unknown: 0,
            assumed: None,
            tops: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.depths.clear();
        for levels in [&mut self.levels, &mut self.asks] {
            levels.clear();
            levels.shrink_to(LEVELS_KEPT.min(levels.capacity()));
        }
        self.connection_sequence = None;
        self.heartbeat = None;
        self.history = 0;
        self.unpackable = 0;
        self.outside_book = 0;
        self.contracts_unknown = 0;
    }

    pub fn trade(&mut self, trade: Trade) -> Result<(), Fault> {
        let instrument = self.symbols.number(trade.wire_symbol)?;
        let Some(size) = self.base_units(instrument, trade.price, trade.size) else {
            self.contracts_unknown += 1;
            return Ok(());
        };
        let signed = match trade.taker {
            Taker::Bought => size,
            Taker::Sold => -size,
        };
        self.records.push(Record {
            event_type: PRICE_UPDATE,
            instrument,
            value: trade.price.value,
            metadata: signed.to_bits(),
            venue_time_ns: trade.venue_time_ns,
            trade_id: trade.trade_id,
            sequence: trade.sequence,
        });
        Ok(())
    }

    pub fn top_of_book(&mut self, top: Top) -> Result<(), Fault> {
        let instrument = self.symbols.number(top.wire_symbol)?;
        let (bid, ask) = (top.bid.0, top.ask.0);
        let bid_size = self.base_units(instrument, bid, top.bid.1);
        let ask_size = self.base_units(instrument, ask, top.ask.1);
        let (Some(bid_size), Some(ask_size)) = (bid_size, ask_size) else {
            self.contracts_unknown += 1;
            return Ok(());
        };
        let quote = Quote { bid: bid.value, ask: ask.value, bid_size, ask_size };
        match quote::pack(&quote, bid.decimals.max(ask.decimals)) {
            Ok((value, metadata)) => self.records.push(Record {
                event_type: TOP_OF_BOOK,
                instrument,
                value,
                metadata,
                venue_time_ns: top.venue_time_ns,
                trade_id: None,
                sequence: top.sequence,
            }),
            Err(_) => self.unpackable += 1,
        }
        Ok(())
    }

    /// The levels of the array of rows `raw`, and where they lie now.
    pub fn side(&mut self, raw: Raw) -> Result<Range<u32>, Fault> {
        self.side_with(raw, |_| Ok(()))
    }

    /// The same; `more` gets what stands in a row behind price and size. A side without changes is
    /// an empty array; one that is missing is a message that was not understood.
    pub fn side_with<'a>(
        &mut self,
        raw: Raw<'a>,
        more: impl FnMut(Value<'a>) -> Result<(), Fault>,
    ) -> Result<Range<u32>, Fault> {
        let begin = self.levels.len();
        levels::read(raw.ok_or(BAD_FIELD)?, &mut self.levels, more)?;
        Ok(begin as u32..self.levels.len() as u32)
    }

    /// Add one level of a list that mixes both sides; [`Batch::split`] says where they lie then.
    pub fn level(&mut self, side: Side, price: Raw, size: Raw) -> Result<(), Fault> {
        let level = DepthLevel { price: exact(price)?, size: exact(size)? };
        match side {
            Side::Bid => self.levels.push(level),
            Side::Ask => self.asks.push(level),
        }
        Ok(())
    }

    /// Bids and asks of the levels added since there were `begin`.
    pub fn split(&mut self, begin: usize) -> (Range<u32>, Range<u32>) {
        let middle = self.levels.len();
        self.levels.append(&mut self.asks);
        (begin as u32..middle as u32, middle as u32..self.levels.len() as u32)
    }

    /// A size in units of the base asset: derivatives are sized in contracts.
    fn base_units(&self, instrument: u32, price: Decimal, size: Decimal) -> Option<f64> {
        self.symbols.instrument(instrument).contract.base_units(price.value, size.value)
    }
}
