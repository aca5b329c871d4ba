//! Kraken spot: WebSocket v1 (arrays with channel name and pair at the end) and v2 (objects).
//!
//! The side of a trade is the taker's in both. v1 trades have a time but no id, v1 tickers have
//! neither; v2 writes prices as JSON numbers, taken from their text like the quoted ones. A v2
//! trade `snapshot` is history; a ticker `snapshot` is the top of book as it stands: an event.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Level, Taker, Trade};
use crate::exchange::json::{BAD_FIELD, Fault, Raw, each, is_array, object, row, tag, text};
use crate::exchange::number::{decimal, integer};
use crate::exchange::time::{rfc3339, seconds};

object!(
    /// An object frame: v2 data, or a v1 or v2 notice.
    Frame {
        channel: b"channel",
        kind: b"type",
        data: b"data",
        event: b"event",
        method: b"method",
        error: b"error",
    }
);

object!(TradeV2 {
    symbol: b"symbol",
    side: b"side",
    price: b"price",
    qty: b"qty",
    trade_id: b"trade_id",
    timestamp: b"timestamp",
});

object!(TickerV2 {
    symbol: b"symbol",
    bid: b"bid",
    bid_qty: b"bid_qty",
    ask: b"ask",
    ask_qty: b"ask_qty",
    timestamp: b"timestamp",
});

object!(
    /// `a` and `b` are [price, whole lots, lots].
    TickerV1 {
        a: b"a",
        b: b"b",
    }
);

/// Decode one frame into `batch`.
pub fn decode(frame: &str, batch: &mut Batch) -> Decoding {
    if is_array(frame) { v1(frame, batch) } else { v2(&Frame::read(frame)?, batch) }
}

/// `[channelID, data, channelName, pair]`, a book with two `data`; private channels have no pair.
fn v1(frame: &str, batch: &mut Batch) -> Decoding {
    let (cells, len) = row::<6>(frame)?;
    if !(4..=6).contains(&len) {
        return Ok(Verdict::Ignored(if len == 3 { "private" } else { "unknown" }));
    }
    let (data, channel) = (cells[1], tag(cells[len - 2]));
    let pair = text(cells[len - 1])?;
    match channel.split('-').next().unwrap_or("") {
        "trade" => {
            each(data, |trade| trade_v1(trade, &pair, batch))?;
            Ok(Verdict::Decoded)
        }
        "ticker" => {
            let ticker = TickerV1::read(data.ok_or(BAD_FIELD)?)?;
            batch.top_of_book(&pair, level_v1(ticker.b)?, level_v1(ticker.a)?, None)?;
            Ok(Verdict::Decoded)
        }
        "book" => Ok(Verdict::Ignored("depth")),
        "ohlc" => Ok(Verdict::Ignored("candle")),
        "spread" => Ok(Verdict::Ignored("spread")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

/// `[price, volume, time, side, order type, misc]`
fn trade_v1(trade: &str, pair: &str, batch: &mut Batch) -> Result<(), Fault> {
    let ([price, volume, time, side], _) = row(trade)?;
    batch.trade(Trade {
        wire_symbol: pair,
        price: decimal(price)?,
        size: decimal(volume)?,
        taker: taker(side)?,
        venue_time_ns: Some(seconds(time)?),
        trade_id: None,
    })
}

fn level_v1(raw: Raw) -> Result<Level, Fault> {
    let ([price, _, lots], _) = row(raw.ok_or(BAD_FIELD)?)?;
    Ok((decimal(price)?, decimal(lots)?))
}

fn taker(side: Raw) -> Result<Taker, Fault> {
    match tag(side) {
        "b" | "buy" => Ok(Taker::Bought),
        "s" | "sell" => Ok(Taker::Sold),
        _ => Err(BAD_FIELD),
    }
}

fn v2(frame: &Frame, batch: &mut Batch) -> Decoding {
    match tag(frame.channel) {
        "" => Ok(notice(frame)),
        "trade" if tag(frame.kind) == "update" => {
            each(frame.data, |trade| trade_v2(&TradeV2::read(trade)?, batch))?;
            Ok(Verdict::Decoded)
        }
        "trade" => {
            batch.history += each(frame.data, |trade| TradeV2::read(trade).map(drop))? as u64;
            Ok(Verdict::Decoded)
        }
        "ticker" => {
            each(frame.data, |ticker| ticker_v2(&TickerV2::read(ticker)?, batch))?;
            Ok(Verdict::Decoded)
        }
        "book" | "level3" => Ok(Verdict::Ignored("depth")),
        "ohlc" => Ok(Verdict::Ignored("candle")),
        "heartbeat" => Ok(Verdict::Ignored("heartbeat")),
        "status" => Ok(Verdict::Ignored("status")),
        "instrument" => Ok(Verdict::Ignored("instrument")),
        "executions" | "balances" => Ok(Verdict::Ignored("private")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn notice(frame: &Frame) -> Verdict {
    let reason = match tag(frame.event) {
        "heartbeat" => "heartbeat",
        "systemStatus" => "status",
        "subscriptionStatus" | "pong" => "ack",
        "error" => "error_reply",
        _ if frame.error.is_some() => "error_reply",
        _ if frame.method.is_some() => "ack",
        _ => "unknown",
    };
    Verdict::Ignored(reason)
}

fn trade_v2(trade: &TradeV2, batch: &mut Batch) -> Result<(), Fault> {
    batch.trade(Trade {
        wire_symbol: &text(trade.symbol)?,
        price: decimal(trade.price)?,
        size: decimal(trade.qty)?,
        taker: taker(trade.side)?,
        venue_time_ns: Some(rfc3339(trade.timestamp)?),
        trade_id: Some(integer(trade.trade_id)?),
    })
}

fn ticker_v2(ticker: &TickerV2, batch: &mut Batch) -> Result<(), Fault> {
    let bid = (decimal(ticker.bid)?, decimal(ticker.bid_qty)?);
    let ask = (decimal(ticker.ask)?, decimal(ticker.ask_qty)?);
    let time = ticker.timestamp.map(|time| rfc3339(Some(time))).transpose()?;
    batch.top_of_book(&text(ticker.symbol)?, bid, ask, time)
}
