//! OKX v5: `trades`, `trades-all`, `tickers`, `bbo-tbt` and the books, of every kind of instrument.
//!
//! The side of a trade is the taker's. Everything but spot is sized in contracts, and only the
//! venue's instrument list says what one is: its REST answer (`/api/v5/public/instruments`) or the
//! channel `instruments` are taken like any frame and remembered. Trades and quotes of a contract of
//! unknown size are counted and not told; books are told as written, in contracts.
//!
//! `books` and its tick-by-tick kinds number their messages per instrument: `seqId`, and the one
//! before as `prevSeqId` (-1 on a snapshot). Recordings of 2021 and 2022 have no numbers, but a
//! signed checksum; today it is 0, which is none. The first `trades` message after a subscription
//! repeats the last trade from before it, and nothing in it says so.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Level, Taker, Top, Trade};
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::identity::trade_id;
use crate::exchange::json::{
    BAD_FIELD, Fault, Raw, Value, each, is_empty_text, object, row, tag, text,
};
use crate::exchange::number::{decimal, signed};
use crate::exchange::symbol::Contract;
use crate::exchange::time::epoch;

object!(Frame { event: b"event", arg: b"arg", action: b"action", data: b"data", op: b"op" });

object!(Arg { channel: b"channel", inst_id: b"instId" });

object!(TradeFields {
    inst_id: b"instId",
    trade_id: b"tradeId",
    price: b"px",
    size: b"sz",
    side: b"side",
    time: b"ts",
    sequence: b"seqId",
});

object!(Ticker {
    inst_id: b"instId",
    bid: b"bidPx",
    bid_size: b"bidSz",
    ask: b"askPx",
    ask_size: b"askSz",
    time: b"ts",
});

object!(Book {
    bids: b"bids",
    asks: b"asks",
    time: b"ts",
    checksum: b"checksum",
    sequence: b"seqId",
    previous: b"prevSeqId",
});

object!(InstrumentFields {
    inst_id: b"instId",
    value: b"ctVal",
    multiplier: b"ctMult",
    value_currency: b"ctValCcy",
});

const NO_QUOTE: Verdict = Verdict::Ignored("one_sided_quote");

/// What keeps a silent connection open: the only frames that are no JSON.
pub fn is_heartbeat(frame: &str) -> bool {
    matches!(frame, "ping" | "pong")
}

/// Decode one frame into `batch`.
pub fn decode(frame: Value, batch: &mut Batch) -> Decoding {
    let frame = Frame::read(frame)?;
    let Some(arg) = frame.arg.filter(|_| frame.event.is_none()) else {
        return notice(&frame, batch);
    };
    let arg = Arg::read(arg)?;
    let channel = tag(arg.channel);
    match channel {
        "trades" | "trades-all" => {
            each(frame.data, |trade| add_trade(&TradeFields::read(trade)?, batch))?;
            Ok(Verdict::Decoded)
        }
        "books5" => books(&frame, &arg, 5, batch),
        "books50-l2-tbt" => books(&frame, &arg, 50, batch),
        "books" | "books-l2-tbt" => books(&frame, &arg, 400, batch),
        "bbo-tbt" => {
            let mut told = false;
            each(frame.data, |book| {
                told |= add_best(&Book::read(book)?, &text(arg.inst_id)?, batch)?;
                Ok(())
            })?;
            Ok(if told { Verdict::Decoded } else { NO_QUOTE })
        }
        "tickers" => {
            let mut told = false;
            each(frame.data, |ticker| {
                told |= add_ticker(&Ticker::read(ticker)?, batch)?;
                Ok(())
            })?;
            Ok(if told { Verdict::Decoded } else { NO_QUOTE })
        }
        "instruments" => {
            each(frame.data, |one| learn(&InstrumentFields::read(one)?, batch))?;
            Ok(Verdict::Ignored("instrument"))
        }
        "index-tickers" | "open-interest" | "funding-rate" | "price-limit" | "estimated-price" => {
            Ok(Verdict::Ignored("statistics"))
        }
        "mark-price" => Ok(Verdict::Ignored("mark_price")),
        "liquidation-orders" => Ok(Verdict::Ignored("liquidation")),
        "status" => Ok(Verdict::Ignored("status")),
        "account" | "orders" | "positions" | "balance_and_position" | "fills" => {
            Ok(Verdict::Ignored("private"))
        }
        _ if channel.contains("candle") => Ok(Verdict::Ignored("candle")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

/// A reply, a notice, or what REST answered.
fn notice(frame: &Frame, batch: &mut Batch) -> Decoding {
    let reason = match tag(frame.event) {
        "subscribe" | "unsubscribe" | "login" | "channel-conn-count" => "ack",
        "error" | "channel-conn-count-error" => "error_reply",
        "notice" => "status",
        "" if frame.data.is_some() && frame.op.is_none() => {
            let mut learnt = 0;
            each(frame.data, |one| {
                let fields = InstrumentFields::read(one)?;
                learnt += usize::from(fields.value.is_some());
                learn(&fields, batch)
            })?;
            if learnt > 0 { "instrument" } else { "unknown" }
        }
        _ => "unknown",
    };
    Ok(Verdict::Ignored(reason))
}

/// What one contract is: so much of an asset, or worth so many USD.
fn learn(fields: &InstrumentFields, batch: &mut Batch) -> Result<(), Fault> {
    // Spot instruments have the fields, empty.
    if fields.value.is_none_or(is_empty_text) {
        return Ok(());
    }
    let multiplier = match fields.multiplier {
        Some(value) if !is_empty_text(value) => decimal(Some(value))?.value,
        _ => 1.0,
    };
    let value = decimal(fields.value)?.value * multiplier;
    let contract = match tag(fields.value_currency) {
        "USD" => Contract::Quote(value),
        _ => Contract::Base(value),
    };
    batch.symbols.set_contract(&text(fields.inst_id)?, contract)
}

fn add_trade(trade: &TradeFields, batch: &mut Batch) -> Result<(), Fault> {
    batch.trade(Trade {
        wire_symbol: &text(trade.inst_id)?,
        price: decimal(trade.price)?,
        size: decimal(trade.size)?,
        taker: match tag(trade.side) {
            "buy" => Taker::Bought,
            "sell" => Taker::Sold,
            _ => return Err(BAD_FIELD),
        },
        venue_time_ns: Some(epoch(trade.time)?),
        trade_id: Some(trade_id(trade.trade_id)?),
        sequence: id(trade.sequence)?,
    })
}

/// An id, where there is one: -1 stands for none.
fn id(raw: Raw) -> Result<Option<u64>, Fault> {
    Ok(match raw {
        None => None,
        raw => u64::try_from(signed(raw)?).ok(),
    })
}

/// Whether the ticker had both sides.
fn add_ticker(ticker: &Ticker, batch: &mut Batch) -> Result<bool, Fault> {
    let fields = [ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size];
    if fields.iter().any(|field| field.is_none_or(is_empty_text)) {
        return Ok(false);
    }
    batch.top_of_book(Top {
        wire_symbol: &text(ticker.inst_id)?,
        bid: (decimal(ticker.bid)?, decimal(ticker.bid_size)?),
        ask: (decimal(ticker.ask)?, decimal(ticker.ask_size)?),
        venue_time_ns: Some(epoch(ticker.time)?),
        sequence: None,
    })?;
    Ok(true)
}

/// Whether the best of both sides was there.
fn add_best(book: &Book, wire_symbol: &str, batch: &mut Batch) -> Result<bool, Fault> {
    let (Some(bid), Some(ask)) = (best(book.bids)?, best(book.asks)?) else {
        return Ok(false);
    };
    batch.top_of_book(Top {
        wire_symbol,
        bid,
        ask,
        venue_time_ns: Some(epoch(book.time)?),
        sequence: id(book.sequence)?,
    })?;
    Ok(true)
}

fn best(side: Raw) -> Result<Option<Level>, Fault> {
    let mut first = None;
    each(side, |level| {
        if first.is_none() {
            let ([price, size], _) = row(level)?;
            first = Some((decimal(price)?, decimal(size)?));
        }
        Ok(())
    })?;
    Ok(first)
}

fn books(frame: &Frame, arg: &Arg, limit: u32, batch: &mut Batch) -> Decoding {
    // `books5` is a whole top of book each time, and says so by having no action.
    let kind = match tag(frame.action) {
        "snapshot" => DepthKind::Snapshot,
        "update" => DepthKind::Update,
        "" if limit == 5 => DepthKind::Snapshot,
        _ => return Err(BAD_FIELD),
    };
    let instrument = batch.symbols.number(&text(arg.inst_id)?)?;
    each(frame.data, |book| {
        let book = Book::read(book)?;
        let mut depth = Depth::new(instrument, kind);
        depth.limit = Some(limit);
        depth.last_id = id(book.sequence)?;
        depth.previous_id = id(book.previous)?;
        depth.checksum = match book.checksum {
            None => None,
            raw => Some(signed(raw)?).filter(|&checksum| checksum != 0),
        };
        depth.venue_time_ns = Some(epoch(book.time)?);
        depth.bids = batch.side(book.bids)?;
        depth.asks = batch.side(book.asks)?;
        batch.depths.push(depth);
        Ok(())
    })?;
    Ok(Verdict::Decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::json::tests::of;

    #[test]
    fn minus_one_is_no_id() {
        assert_eq!(of("-1", id), Ok(None));
        assert_eq!(of("\"12\"", id), Ok(Some(12)));
        assert_eq!(id(None), Ok(None));
        assert!(of("1.5", id).is_err());
    }
}
