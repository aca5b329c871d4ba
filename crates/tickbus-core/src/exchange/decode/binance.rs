//! Binance: spot, Binance.US, USD-M and COIN-M futures, raw or combined (`{"stream", "data"}`).
//!
//! `trade` and `aggTrade` are trades (subscribe to one of them: they tell the same fills twice);
//! `bookTicker` is the top of book, on spot without a type and a time. `m` says that the *buyer*
//! was the maker: then the taker sold. Futures tell liquidation fills outside the book apart by
//! `X`; those move nobody's quotes and are counted instead of told.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Taker, Trade};
use crate::exchange::json::{Fault, Raw, flag, is_array, object, tag, text};
use crate::exchange::number::{decimal, integer};
use crate::exchange::scan::validate;
use crate::exchange::time::epoch;

object!(
    /// Every field of every message read here; the same letter means different things in each.
    Message {
        data: b"data",
        event: b"e",
        s: b"s",
        p: b"p",
        q: b"q",
        m: b"m",
        t: b"t",
        time: b"T",
        execution: b"X",
        b: b"b",
        bid_size: b"B",
        a: b"a",
        ask_size: b"A",
        last_update_id: b"lastUpdateId",
        result: b"result",
        id: b"id",
        code: b"code",
    }
);

/// Decode one frame into `batch`.
pub fn decode(frame: &str, batch: &mut Batch) -> Decoding {
    if is_array(frame) {
        return array(frame);
    }
    let outer = Message::read(frame)?;
    match outer.data {
        Some(data) if is_array(data) => array(data),
        Some(data) => message(&Message::read(data)?, batch),
        None => message(&outer, batch),
    }
}

/// Streams over all symbols (`!ticker@arr`) send arrays: whole, but nothing read here.
fn array(text: &str) -> Decoding {
    validate(text)?;
    Ok(Verdict::Ignored("array"))
}

fn message(message: &Message, batch: &mut Batch) -> Decoding {
    match tag(message.event) {
        "trade" => trade(message, message.t, batch),
        "aggTrade" => trade(message, message.a, batch),
        "bookTicker" => book_ticker(message, batch),
        "depthUpdate" => Ok(Verdict::Ignored("depth")),
        "kline" | "continuous_kline" => Ok(Verdict::Ignored("candle")),
        "24hrTicker" | "24hrMiniTicker" | "1hTicker" | "4hTicker" => {
            Ok(Verdict::Ignored("statistics"))
        }
        "markPriceUpdate" => Ok(Verdict::Ignored("mark_price")),
        "forceOrder" => Ok(Verdict::Ignored("liquidation")),
        "serverShutdown" => Ok(Verdict::Ignored("status")),
        _ if message.event.is_some() => Ok(Verdict::Ignored("unknown_event")),
        _ if message.last_update_id.is_some() => Ok(Verdict::Ignored("depth_snapshot")),
        // Spot's bookTicker names no type; only its keys tell it.
        _ if message.bid_size.is_some() && message.ask_size.is_some() => {
            book_ticker(message, batch)
        }
        _ if message.code.is_some() => Ok(Verdict::Ignored("error_reply")),
        // {"result":null,"id":1}: null reads as absent, so the id has to tell.
        _ if message.id.is_some() || message.result.is_some() => Ok(Verdict::Ignored("ack")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn trade(message: &Message, id: Raw, batch: &mut Batch) -> Decoding {
    if !matches!(tag(message.execution), "" | "MARKET") {
        return Ok(Verdict::Ignored("outside_book"));
    }
    let buyer_is_maker = flag(message.m)?;
    batch.trade(Trade {
        wire_symbol: &text(message.s)?,
        price: decimal(message.p)?,
        size: decimal(message.q)?,
        taker: if buyer_is_maker { Taker::Sold } else { Taker::Bought },
        venue_time_ns: Some(epoch(message.time)?),
        trade_id: Some(integer(id)?),
    })?;
    Ok(Verdict::Decoded)
}

fn book_ticker(message: &Message, batch: &mut Batch) -> Decoding {
    let level =
        |price: Raw, size: Raw| -> Result<_, Fault> { Ok((decimal(price)?, decimal(size)?)) };
    let time = message.time.map(|time| epoch(Some(time))).transpose()?;
    batch.top_of_book(
        &text(message.s)?,
        level(message.b, message.bid_size)?,
        level(message.a, message.ask_size)?,
        time,
    )?;
    Ok(Verdict::Decoded)
}
