//! What one frame says, collected before any of it is told: a frame is decoded whole or not at all.

use super::json::Fault;
use super::number::Decimal;
use super::symbol::Symbols;
use crate::quote::{self, Quote};
use crate::taxonomy::{PRICE_UPDATE, TOP_OF_BOOK};

/// One event to be.
#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub event_type: u8,
    pub instrument: u32,
    pub value: f64,
    pub metadata: u64,
    pub venue_time_ns: Option<u64>,
    pub trade_id: Option<u64>,
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
    pub trade_id: Option<u64>,
}

/// One side of a top of book: price and size.
pub type Level = (Decimal, Decimal);

/// The records of the frame in hand. Kept between frames, so that a warm decoder allocates nothing.
#[derive(Debug)]
pub struct Batch {
    pub symbols: Symbols,
    pub records: Vec<Record>,
    /// Trades from before the subscription: news to nobody.
    pub history: u64,
    /// Quotes that have no packed form, see [`crate::quote`].
    pub unpackable: u64,
}

impl Batch {
    pub fn new(symbols: Symbols) -> Batch {
        Batch { symbols, records: Vec::new(), history: 0, unpackable: 0 }
    }

    pub fn clear(&mut self) {
        self.records.clear();
        self.history = 0;
        self.unpackable = 0;
    }

    pub fn trade(&mut self, trade: Trade) -> Result<(), Fault> {
        let instrument = self.symbols.number(trade.wire_symbol)?;
        let size = self.base_units(instrument, trade.price, trade.size);
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
        });
        Ok(())
    }

    pub fn top_of_book(
        &mut self,
        wire_symbol: &str,
        (bid, bid_size): Level,
        (ask, ask_size): Level,
        venue_time_ns: Option<u64>,
    ) -> Result<(), Fault> {
        let instrument = self.symbols.number(wire_symbol)?;
        let quote = Quote {
            bid: bid.value,
            ask: ask.value,
            bid_size: self.base_units(instrument, bid, bid_size),
            ask_size: self.base_units(instrument, ask, ask_size),
        };
        match quote::pack(&quote, bid.decimals.max(ask.decimals)) {
            Ok((value, metadata)) => self.records.push(Record {
                event_type: TOP_OF_BOOK,
                instrument,
                value,
                metadata,
                venue_time_ns,
                trade_id: None,
            }),
            Err(_) => self.unpackable += 1,
        }
        Ok(())
    }

    /// A size in units of the base asset: inverse futures are sized in contracts of fixed value.
    fn base_units(&self, instrument: u32, price: Decimal, size: Decimal) -> f64 {
        match self.symbols.instrument(instrument).contract_value {
            Some(value) if price.value > 0.0 => size.value * value / price.value,
            _ => size.value,
        }
    }
}
