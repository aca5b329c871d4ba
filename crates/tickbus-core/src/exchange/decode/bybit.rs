//! Bybit v5, public: `publicTrade`, `orderbook.N` and, of derivatives, the top of book in `tickers`.
//!
//! `S` is the taker's side. A trade is identified by `i`, a number on spot and a UUID elsewhere;
//! several trades, and several frames, share one `seq`. Nothing in a frame says which market it is
//! from: topics have the same names on each. The keys come in another order on spot.
//!
//! `orderbook.1` is a top of book. The deeper ones have a snapshot and then changes, numbered by `u`
//! per topic; `u` = 1 is a snapshot whatever the type says, because the service started again. `seq`
//! orders a book among other channels and is not consecutive. Tickers of derivatives tell only what
//! changed, so the rest is kept here; those of spot have no top of book.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Taker, Top, Trade};
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::identity::trade_id;
use crate::exchange::json::{
    BAD_FIELD, Fault, Raw, Value, each, flag, is_empty_text, object, row, tag, text,
};
use crate::exchange::number::{Decimal, decimal, digits, integer};
use crate::exchange::scan::Kind;
use crate::exchange::time::epoch;

object!(Frame {
    topic: b"topic",
    kind: b"type",
    data: b"data",
    time: b"ts",
    engine_time: b"cts",
    cross_sequence: b"cs",
    op: b"op",
    success: b"success",
    message: b"ret_msg",
});

object!(TradeFields {
    symbol: b"s",
    side: b"S",
    price: b"p",
    size: b"v",
    id: b"i",
    time: b"T",
    is_block: b"BT",
    sequence: b"seq",
});

object!(Book { symbol: b"s", bids: b"b", asks: b"a", update: b"u", sequence: b"seq" });

object!(Ticker {
    symbol: b"symbol",
    bid: b"bid1Price",
    bid_size: b"bid1Size",
    ask: b"ask1Price",
    ask_size: b"ask1Size",
});

const NO_QUOTE: Verdict = Verdict::Ignored("one_sided_quote");

/// Decode one frame into `batch`.
pub fn decode(frame: Value, batch: &mut Batch) -> Decoding {
    let frame = Frame::read(frame)?;
    let topic = tag(frame.topic);
    let (channel, rest) = topic.split_once('.').unwrap_or((topic, ""));
    match channel {
        "publicTrade" => {
            each(frame.data, |trade| add_trade(&TradeFields::read(trade)?, batch))?;
            Ok(Verdict::Decoded)
        }
        "orderbook" => match rest.split_once('.') {
            Some(("1", _)) => best(&frame, batch),
            Some(("rpi", _)) => Ok(Verdict::Ignored("retail_book")),
            Some(("full", _)) => book(&frame, None, batch),
            Some((levels, _)) => {
                let limit =
                    digits(levels.as_bytes()).ok().and_then(|levels| u32::try_from(levels).ok());
                book(&frame, Some(limit.ok_or(BAD_FIELD)?), batch)
            }
            None => Ok(Verdict::Ignored("unknown")),
        },
        "tickers" => ticker(&frame, batch),
        "kline" | "kline_lt" => Ok(Verdict::Ignored("candle")),
        "liquidation" | "allLiquidation" => Ok(Verdict::Ignored("liquidation")),
        "priceLimit" | "insurance" | "adlAlert" | "tickers_lt" => {
            Ok(Verdict::Ignored("statistics"))
        }
        "order" | "execution" | "position" | "wallet" | "greeks" => Ok(Verdict::Ignored("private")),
        "" => Ok(Verdict::Ignored(reply(&frame))),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn reply(frame: &Frame) -> &'static str {
    match (tag(frame.op), frame.success.map(Value::kind)) {
        (_, Some(Kind::False)) => "error_reply",
        ("ping" | "pong", _) => "heartbeat",
        _ if tag(frame.message) == "pong" => "heartbeat",
        ("subscribe" | "unsubscribe" | "auth", _) | (_, Some(Kind::True)) => "ack",
        _ => "unknown",
    }
}

fn add_trade(trade: &TradeFields, batch: &mut Batch) -> Result<(), Fault> {
    if trade.is_block.is_some() && flag(trade.is_block)? {
        batch.outside_book += 1;
        return Ok(());
    }
    batch.trade(Trade {
        wire_symbol: &text(trade.symbol)?,
        price: decimal(trade.price)?,
        size: decimal(trade.size)?,
        taker: match tag(trade.side) {
            "Buy" => Taker::Bought,
            "Sell" => Taker::Sold,
            _ => return Err(BAD_FIELD),
        },
        venue_time_ns: Some(epoch(trade.time)?),
        trade_id: Some(trade_id(trade.id)?),
        sequence: trade.sequence.map(|id| integer(Some(id))).transpose()?,
    })
}

/// When the engine changed the book, or where that is not said, when it was told.
fn time(frame: &Frame) -> Result<Option<u64>, Fault> {
    frame.engine_time.or(frame.time).map(|time| epoch(Some(time))).transpose()
}

fn book(frame: &Frame, limit: Option<u32>, batch: &mut Batch) -> Decoding {
    let book = Book::read(frame.data.ok_or(BAD_FIELD)?)?;
    let update = integer(book.update)?;
    let kind = match tag(frame.kind) {
        "snapshot" => DepthKind::Snapshot,
        "delta" if update == 1 => DepthKind::Snapshot,
        "delta" => DepthKind::Update,
        _ => return Err(BAD_FIELD),
    };
    let mut depth = Depth::new(batch.symbols.number(&text(book.symbol)?)?, kind);
    depth.limit = limit;
    depth.last_id = Some(update);
    depth.sequence = book.sequence.map(|id| integer(Some(id))).transpose()?;
    depth.venue_time_ns = time(frame)?;
    depth.bids = batch.side(book.bids)?;
    depth.asks = batch.side(book.asks)?;
    batch.depths.push(depth);
    Ok(Verdict::Decoded)
}

/// `orderbook.1`: price and size of each side, or nothing where there is no order.
fn best(frame: &Frame, batch: &mut Batch) -> Decoding {
    let book = Book::read(frame.data.ok_or(BAD_FIELD)?)?;
    let ([bid, bid_size], [ask, ask_size]) = (level(book.bids)?, level(book.asks)?);
    let sequence = book.sequence.map(|id| integer(Some(id))).transpose()?;
    tell([bid, bid_size, ask, ask_size], &text(book.symbol)?, sequence, frame, batch)
}

/// Price and size of the one level a side has, if it has one.
fn level(side: Raw) -> Result<[Option<Decimal>; 2], Fault> {
    let mut first = [None; 2];
    each(side, |level| {
        let ([price, size], _) = row(level)?;
        first = [Some(decimal(price)?), Some(decimal(size)?)];
        Ok(())
    })?;
    Ok(first)
}

/// Latest value of each field: a message without it says that it did not change, an empty one that
/// there is none.
fn ticker(frame: &Frame, batch: &mut Batch) -> Decoding {
    let ticker = Ticker::read(frame.data.ok_or(BAD_FIELD)?)?;
    let fields = [ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size];
    let is_snapshot = tag(frame.kind) == "snapshot";
    if fields.iter().all(Option::is_none) {
        return Ok(Verdict::Ignored("ticker_without_quote"));
    }
    let wire_symbol = text(ticker.symbol)?;
    let number = batch.symbols.number(&wire_symbol)? as usize;
    if batch.tops.len() <= number {
        batch.tops.resize(number + 1, [None; 4]);
    }
    let mut top = if is_snapshot { [None; 4] } else { batch.tops[number] };
    for (latest, field) in top.iter_mut().zip(fields) {
        *latest = match field {
            None => *latest,
            Some(value) if is_empty_text(value) => None,
            raw => Some(decimal(raw)?),
        };
    }
    let sequence = frame.cross_sequence.map(|id| integer(Some(id))).transpose()?;
    let verdict = tell(top, &wire_symbol, sequence, frame, batch)?;
    // Last, so that a frame that is refused has changed nothing.
    batch.tops[number] = top;
    Ok(verdict)
}

fn tell(
    [bid, bid_size, ask, ask_size]: [Option<Decimal>; 4],
    wire_symbol: &str,
    sequence: Option<u64>,
    frame: &Frame,
    batch: &mut Batch,
) -> Decoding {
    let (Some(bid), Some(bid_size), Some(ask), Some(ask_size)) = (bid, bid_size, ask, ask_size)
    else {
        return Ok(NO_QUOTE);
    };
    let (bid, ask, venue_time_ns) = ((bid, bid_size), (ask, ask_size), time(frame)?);
    batch.top_of_book(Top { wire_symbol, bid, ask, venue_time_ns, sequence })?;
    Ok(Verdict::Decoded)
}
