//! Kraken spot: WebSocket v1 (arrays with channel name and pair at the end) and v2 (objects).
//!
//! The side of a trade is the taker's in both. v1 trades have a time but no id, v1 tickers have
//! neither; v2 writes prices as JSON numbers, taken from their text like the quoted ones. A v2
//! trade `snapshot` is history; a ticker `snapshot` is the top of book as it stands: an event.
//!
//! Books have checksums and no numbers. v1 names the depth in the channel (`book-1000`) and sends an
//! update of both sides as two objects; v2 names it in the reply to the subscription only, which is
//! remembered. Both expect the book to be cut to that depth after every message.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Level, Side, Taker, Top, Trade};
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::identity::trade_id;
use crate::exchange::json::{BAD_FIELD, Fault, Raw, Value, each, object, row, tag, text};
use crate::exchange::number::{decimal, integer};
use crate::exchange::scan::Kind;
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
        result: b"result",
    }
);

object!(
    /// What a v2 subscription came to.
    Subscribed {
        channel: b"channel",
        symbol: b"symbol",
        depth: b"depth",
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

object!(
    /// A v1 book, or one side of its update.
    BookV1 {
        bids: b"bs",
        asks: b"as",
        changed_bids: b"b",
        changed_asks: b"a",
        checksum: b"c",
    }
);

object!(BookV2 {
    symbol: b"symbol",
    bids: b"bids",
    asks: b"asks",
    checksum: b"checksum",
    timestamp: b"timestamp",
});

object!(LevelV2 { price: b"price", qty: b"qty" });

/// Decode one frame into `batch`.
pub fn decode(frame: Value, batch: &mut Batch) -> Decoding {
    if frame.kind() == Kind::Array {
        v1(frame, batch)
    } else {
        v2(&Frame::read(frame)?, batch)
    }
}

/// `[channelID, data, channelName, pair]`, a book with two `data`; private channels have no pair.
fn v1(frame: Value, batch: &mut Batch) -> Decoding {
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
            batch.top_of_book(Top {
                wire_symbol: &pair,
                bid: level_v1(ticker.b)?,
                ask: level_v1(ticker.a)?,
                venue_time_ns: None,
                sequence: None,
            })?;
            Ok(Verdict::Decoded)
        }
        "book" => {
            let limit = channel.strip_prefix("book-").map(|depth| depth.parse());
            let limit = limit.transpose().map_err(|_| BAD_FIELD)?;
            book_v1(&cells[1..len - 2], &pair, limit, batch)
        }
        "ohlc" => Ok(Verdict::Ignored("candle")),
        "spread" => Ok(Verdict::Ignored("spread")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

/// `[price, volume, time, side, order type, misc]`
fn trade_v1(trade: Value, pair: &str, batch: &mut Batch) -> Result<(), Fault> {
    let ([price, volume, time, side], _) = row(trade)?;
    batch.trade(Trade {
        wire_symbol: pair,
        price: decimal(price)?,
        size: decimal(volume)?,
        taker: taker(side)?,
        venue_time_ns: Some(seconds(time)?),
        trade_id: None,
        sequence: None,
    })
}

/// One object, or one a side.
fn book_v1(parts: &[Raw], pair: &str, limit: Option<u32>, batch: &mut Batch) -> Decoding {
    let mut depth = Depth::new(batch.symbols.number(pair)?, DepthKind::Update);
    depth.limit = limit;
    let mut latest = 0;
    for part in parts {
        let part = BookV1::read(part.ok_or(BAD_FIELD)?)?;
        if part.bids.is_some() && part.asks.is_some() {
            depth.kind = DepthKind::Snapshot;
        } else if part.changed_bids.is_none() && part.changed_asks.is_none() {
            return Err(BAD_FIELD);
        }
        // A level's third value is its time; a fourth says that it is told again.
        let mut time = |cell: Value| {
            if tag(Some(cell)) != "r" {
                latest = seconds(Some(cell))?.max(latest);
            }
            Ok(())
        };
        for side in [part.bids, part.changed_bids].into_iter().flatten() {
            depth.bids = batch.side_with(Some(side), &mut time)?;
        }
        for side in [part.asks, part.changed_asks].into_iter().flatten() {
            depth.asks = batch.side_with(Some(side), &mut time)?;
        }
        if let Some(checksum) = part.checksum {
            depth.checksum = Some(crc32(checksum)?);
        }
    }
    depth.venue_time_ns = (latest > 0).then_some(latest);
    batch.depths.push(depth);
    Ok(Verdict::Decoded)
}

fn crc32(raw: Value) -> Result<i64, Fault> {
    u32::try_from(integer(Some(raw))?).map(i64::from).map_err(|_| BAD_FIELD)
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
        "" => {
            remember_depth(frame, batch)?;
            Ok(notice(frame))
        }
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
        "book" => {
            let kind = match tag(frame.kind) {
                "snapshot" => DepthKind::Snapshot,
                "update" => DepthKind::Update,
                _ => return Err(BAD_FIELD),
            };
            each(frame.data, |book| book_v2(&BookV2::read(book)?, kind, batch))?;
            Ok(Verdict::Decoded)
        }
        "level3" => Ok(Verdict::Ignored("order")),
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

/// A reply that says how deep a book is subscribed: no message of that book does.
fn remember_depth(frame: &Frame, batch: &mut Batch) -> Result<(), Fault> {
    let Some(result) = frame.result.filter(|_| tag(frame.method) == "subscribe") else {
        return Ok(());
    };
    let subscribed = Subscribed::read(result)?;
    if tag(subscribed.channel) == "book" && subscribed.depth.is_some() {
        let depth = u32::try_from(integer(subscribed.depth)?).map_err(|_| BAD_FIELD)?;
        batch.symbols.set_limit(&text(subscribed.symbol)?, depth)?;
    }
    Ok(())
}

fn book_v2(book: &BookV2, kind: DepthKind, batch: &mut Batch) -> Result<(), Fault> {
    let instrument = batch.symbols.number(&text(book.symbol)?)?;
    let mut depth = Depth::new(instrument, kind);
    depth.limit = batch.symbols.instrument(instrument).limit;
    depth.checksum = book.checksum.map(crc32).transpose()?;
    depth.venue_time_ns = book.timestamp.map(|time| rfc3339(Some(time))).transpose()?;
    let begin = batch.levels.len();
    for (side, levels) in [(Side::Bid, book.bids), (Side::Ask, book.asks)] {
        each(levels, |level| {
            let level = LevelV2::read(level)?;
            batch.level(side, level.price, level.qty)
        })?;
    }
    (depth.bids, depth.asks) = batch.split(begin);
    batch.depths.push(depth);
    Ok(())
}

fn trade_v2(trade: &TradeV2, batch: &mut Batch) -> Result<(), Fault> {
    batch.trade(Trade {
        wire_symbol: &text(trade.symbol)?,
        price: decimal(trade.price)?,
        size: decimal(trade.qty)?,
        taker: taker(trade.side)?,
        venue_time_ns: Some(rfc3339(trade.timestamp)?),
        trade_id: Some(trade_id(trade.trade_id)?),
        sequence: None,
    })
}

fn ticker_v2(ticker: &TickerV2, batch: &mut Batch) -> Result<(), Fault> {
    let bid = (decimal(ticker.bid)?, decimal(ticker.bid_qty)?);
    let ask = (decimal(ticker.ask)?, decimal(ticker.ask_qty)?);
    batch.top_of_book(Top {
        wire_symbol: &text(ticker.symbol)?,
        bid,
        ask,
        venue_time_ns: ticker.timestamp.map(|time| rfc3339(Some(time))).transpose()?,
        sequence: None,
    })
}
