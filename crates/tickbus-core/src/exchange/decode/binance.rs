//! Binance: spot, Binance.US, USD-M and COIN-M futures, raw or combined (`{"stream", "data"}`).
//!
//! `trade` and `aggTrade` are trades (subscribe to one of them: they tell the same fills twice);
//! `bookTicker` is the top of book, on spot without a type and a time. `m` says that the *buyer*
//! was the maker: then the taker sold. Futures tell liquidation fills outside the book apart by
//! `X`; those move nobody's quotes and are counted instead of told.
//!
//! Books: `depthUpdate` is what changed, numbered `U` to `u`, on futures with `pu`, the `u` before.
//! `@depth5`, `10` and `20` are the whole top of the book: on futures only the stream's name says so,
//! and a raw one cannot be told from changes. What has `lastUpdateId` is a snapshot, of the stream's
//! instrument or of the one the caller names (`Decoder::assume`): the REST answer does not say.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Taker, Top, Trade};
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::identity::trade_id;
use crate::exchange::json::{Fault, Raw, Value, flag, object, tag, text};
use crate::exchange::number::{decimal, integer};
use crate::exchange::scan::Kind;
use crate::exchange::time::epoch;

object!(
    /// What combined streams put around a message.
    Combined {
        stream: b"stream",
        data: b"data",
    }
);

object!(
    /// Every field of every message read here; the same letter means different things in each.
    Message {
        event: b"e",
        event_time: b"E",
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
        first_id: b"U",
        last_id: b"u",
        previous_id: b"pu",
        last_update_id: b"lastUpdateId",
        symbol: b"symbol",
        bids: b"bids",
        asks: b"asks",
        result: b"result",
        id: b"id",
        code: b"code",
    }
);

/// Decode one frame into `batch`.
pub fn decode(frame: Value, batch: &mut Batch) -> Decoding {
    if frame.kind() == Kind::Array {
        return Ok(ARRAY);
    }
    let combined = Combined::read(frame)?;
    match combined.data {
        Some(data) if data.kind() == Kind::Array => Ok(ARRAY),
        Some(data) => message(&Message::read(data)?, tag(combined.stream), batch),
        None => message(&Message::read(frame)?, "", batch),
    }
}

/// Streams over all instruments (`!ticker@arr`).
const ARRAY: Verdict = Verdict::Ignored("array");

/// What a stream's name says that its messages do not.
struct Stream<'a> {
    /// The instrument, in lower case.
    symbol: &'a str,
    /// Levels a side of a stream that tells the whole top of the book.
    limit: Option<u32>,
    /// With orders that only retail orders trade with; another book than the market's.
    is_retail: bool,
}

impl Stream<'_> {
    /// `btcusdt@depth5@100ms`
    fn of(name: &str) -> Stream<'_> {
        let (symbol, rest) = name.split_once('@').unwrap_or((name, ""));
        let levels = rest.strip_prefix("depth").and_then(|rest| rest.split('@').next());
        Stream {
            symbol,
            limit: levels.and_then(|levels| levels.parse().ok()),
            is_retail: rest.starts_with("rpiDepth"),
        }
    }
}

fn message(message: &Message, stream: &str, batch: &mut Batch) -> Decoding {
    match tag(message.event) {
        "trade" => trade(message, message.t, batch),
        "aggTrade" => trade(message, message.a, batch),
        "bookTicker" => book_ticker(message, batch),
        "depthUpdate" => depth_update(message, &Stream::of(stream), batch),
        "kline" | "continuous_kline" => Ok(Verdict::Ignored("candle")),
        "24hrTicker" | "24hrMiniTicker" | "1hTicker" | "4hTicker" => {
            Ok(Verdict::Ignored("statistics"))
        }
        "markPriceUpdate" => Ok(Verdict::Ignored("mark_price")),
        "forceOrder" => Ok(Verdict::Ignored("liquidation")),
        "serverShutdown" => Ok(Verdict::Ignored("status")),
        _ if message.event.is_some() => Ok(Verdict::Ignored("unknown_event")),
        _ if message.last_update_id.is_some() => {
            depth_snapshot(message, &Stream::of(stream), batch)
        }
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
        batch.outside_book += 1;
        return Ok(Verdict::Decoded);
    }
    let buyer_is_maker = flag(message.m)?;
    batch.trade(Trade {
        wire_symbol: &text(message.s)?,
        price: decimal(message.p)?,
        size: decimal(message.q)?,
        taker: if buyer_is_maker { Taker::Sold } else { Taker::Bought },
        venue_time_ns: Some(epoch(message.time)?),
        trade_id: Some(trade_id(id)?),
        sequence: None,
    })?;
    Ok(Verdict::Decoded)
}

fn book_ticker(message: &Message, batch: &mut Batch) -> Decoding {
    let level =
        |price: Raw, size: Raw| -> Result<_, Fault> { Ok((decimal(price)?, decimal(size)?)) };
    batch.top_of_book(Top {
        wire_symbol: &text(message.s)?,
        bid: level(message.b, message.bid_size)?,
        ask: level(message.a, message.ask_size)?,
        venue_time_ns: message.time.map(|time| epoch(Some(time))).transpose()?,
        sequence: message.last_id.map(|id| integer(Some(id))).transpose()?,
    })?;
    Ok(Verdict::Decoded)
}

fn depth_update(message: &Message, stream: &Stream, batch: &mut Batch) -> Decoding {
    if stream.is_retail {
        return Ok(Verdict::Ignored("retail_book"));
    }
    let instrument = batch.symbols.number(&text(message.s)?)?;
    let mut depth = match stream.limit {
        Some(_) => Depth::new(instrument, DepthKind::Snapshot),
        None => Depth {
            first_id: Some(integer(message.first_id)?),
            previous_id: message.previous_id.map(|id| integer(Some(id))).transpose()?,
            ..Depth::new(instrument, DepthKind::Update)
        },
    };
    depth.limit = stream.limit;
    depth.last_id = Some(integer(message.last_id)?);
    depth.venue_time_ns = time(message)?;
    depth.bids = batch.side(message.b)?;
    depth.asks = batch.side(message.a)?;
    batch.depths.push(depth);
    Ok(Verdict::Decoded)
}

fn depth_snapshot(message: &Message, stream: &Stream, batch: &mut Batch) -> Decoding {
    let instrument = match (message.symbol, &batch.assumed) {
        (Some(_), _) => batch.symbols.number(&text(message.symbol)?)?,
        _ if !stream.symbol.is_empty() => batch.symbols.number_of_lower(stream.symbol)?,
        (None, Some(assumed)) => batch.symbols.number(assumed)?,
        (None, None) => return Ok(Verdict::Ignored("snapshot_of_unknown")),
    };
    let mut depth = Depth::new(instrument, DepthKind::Snapshot);
    depth.limit = stream.limit;
    depth.last_id = Some(integer(message.last_update_id)?);
    depth.venue_time_ns = time(message)?;
    depth.bids = batch.side(message.bids)?;
    depth.asks = batch.side(message.asks)?;
    batch.depths.push(depth);
    Ok(Verdict::Decoded)
}

/// When the book changed, or where that is not said (spot), when it was told.
fn time(message: &Message) -> Result<Option<u64>, Fault> {
    message.time.or(message.event_time).map(|time| epoch(Some(time))).transpose()
}
