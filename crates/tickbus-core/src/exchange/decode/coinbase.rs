//! Coinbase: the Exchange (once Pro) feed and Advanced Trade.
//!
//! On both, the `side` of a trade is the **maker's**, so the taker did the opposite. Exchange says
//! so in its documentation. For Advanced Trade accounts differ; the recording of 2026-08-09 decides:
//! of 71 live trades at a touch of the same connection's book, all 48 "SELL" were at the ask and
//! all 23 "BUY" at the bid (`tests/exchanges/test_captures.py` repeats the count).
//!
//! `last_match` and the `snapshot` of `market_trades` repeat trades from before the subscription:
//! history. A `ticker` becomes a top of book where it has sizes; Pro's of 2021 has none.
//!
//! Books: Exchange `snapshot` and `l2update` (`level2`, `level2_batch`), which nothing numbers;
//! Advanced `l2_data`, whose frames count in the connection's `sequence_num` like all others.
//! Exchange's `sequence` is per product and skips what the channel does not carry; its `heartbeat`
//! names the last trade, by which alone a lost one is noticed.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Heartbeat, Side, Taker, Top, Trade};
use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::identity::trade_id as identity;
use crate::exchange::json::{
    BAD_FIELD, Fault, Raw, Value, each, is_empty_text, object, row, tag, text,
};
use crate::exchange::number::{decimal, integer};
use crate::exchange::time::rfc3339;

object!(
    /// A frame of either feed. Advanced has `channel` and `events`, Exchange has `type`.
    Frame {
        channel: b"channel",
        timestamp: b"timestamp",
        sequence_num: b"sequence_num",
        events: b"events",
        kind: b"type",
        product_id: b"product_id",
        price: b"price",
        size: b"size",
        side: b"side",
        time: b"time",
        trade_id: b"trade_id",
        best_bid: b"best_bid",
        best_bid_size: b"best_bid_size",
        best_ask: b"best_ask",
        best_ask_size: b"best_ask_size",
        sequence: b"sequence",
        last_trade_id: b"last_trade_id",
        bids: b"bids",
        asks: b"asks",
        changes: b"changes",
    }
);

object!(
    /// One element of Advanced Trade's `events`.
    Event {
        kind: b"type",
        trades: b"trades",
        tickers: b"tickers",
        product_id: b"product_id",
        updates: b"updates",
    }
);

object!(
    /// One level of `l2_data`. The other side of "bid" is called "offer".
    LevelUpdate {
        side: b"side",
        price_level: b"price_level",
        new_quantity: b"new_quantity",
    }
);

object!(Match {
    product_id: b"product_id",
    price: b"price",
    size: b"size",
    side: b"side",
    time: b"time",
    trade_id: b"trade_id",
});

object!(Ticker {
    product_id: b"product_id",
    best_bid: b"best_bid",
    best_bid_quantity: b"best_bid_quantity",
    best_ask: b"best_ask",
    best_ask_quantity: b"best_ask_quantity",
});

/// Decode one frame into `batch`.
pub fn decode(frame: Value, batch: &mut Batch) -> Decoding {
    let frame = Frame::read(frame)?;
    if frame.channel.is_some() {
        batch.connection_sequence = frame.sequence_num.map(|id| integer(Some(id))).transpose()?;
        advanced(&frame, batch)
    } else {
        exchange(&frame, batch)
    }
}

fn exchange(frame: &Frame, batch: &mut Batch) -> Decoding {
    let (product_id, price, size, side) = (frame.product_id, frame.price, frame.size, frame.side);
    let (time, trade_id) = (frame.time, frame.trade_id);
    match tag(frame.kind) {
        "match" => {
            let sequence = sequence(frame)?;
            add_trade(&Match { product_id, price, size, side, time, trade_id }, sequence, batch)?;
            Ok(Verdict::Decoded)
        }
        "last_match" => {
            batch.history += 1;
            Ok(Verdict::Decoded)
        }
        "ticker" => {
            let ticker = Ticker {
                product_id,
                best_bid: frame.best_bid,
                best_bid_quantity: frame.best_bid_size,
                best_ask: frame.best_ask,
                best_ask_quantity: frame.best_ask_size,
            };
            let time = time.map(|time| rfc3339(Some(time))).transpose()?;
            let told = add_ticker(&ticker, time, sequence(frame)?, batch)?;
            Ok(if told { Verdict::Decoded } else { NO_SIZES })
        }
        "snapshot" => book(frame, DepthKind::Snapshot, batch),
        "l2update" => book(frame, DepthKind::Update, batch),
        "subscriptions" => Ok(Verdict::Ignored("ack")),
        "heartbeat" => {
            batch.heartbeat = Some(Heartbeat {
                instrument: batch.symbols.number(&text(product_id)?)?,
                sequence: integer(frame.sequence)?,
                last_trade_id: identity(frame.last_trade_id)?,
            });
            Ok(Verdict::Ignored("heartbeat"))
        }
        "error" => Ok(Verdict::Ignored("error_reply")),
        "status" => Ok(Verdict::Ignored("status")),
        "received" | "open" | "done" | "change" | "activate" => Ok(Verdict::Ignored("order")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn sequence(frame: &Frame) -> Result<Option<u64>, Fault> {
    frame.sequence.map(|number| integer(Some(number))).transpose()
}

/// A snapshot has both sides, an update a list of `[side, price, size]`.
fn book(frame: &Frame, kind: DepthKind, batch: &mut Batch) -> Decoding {
    let mut depth = Depth::new(batch.symbols.number(&text(frame.product_id)?)?, kind);
    depth.venue_time_ns = frame.time.map(|time| rfc3339(Some(time))).transpose()?;
    if kind == DepthKind::Snapshot {
        depth.bids = batch.side(frame.bids)?;
        depth.asks = batch.side(frame.asks)?;
    } else {
        let begin = batch.levels.len();
        each(frame.changes, |change| {
            let ([side, price, size], _) = row(change)?;
            batch.level(book_side(side)?, price, size)
        })?;
        (depth.bids, depth.asks) = batch.split(begin);
    }
    batch.depths.push(depth);
    Ok(Verdict::Decoded)
}

fn book_side(side: Raw) -> Result<Side, Fault> {
    match tag(side) {
        "buy" | "bid" => Ok(Side::Bid),
        "sell" | "offer" | "ask" => Ok(Side::Ask),
        _ => Err(BAD_FIELD),
    }
}

const NO_SIZES: Verdict = Verdict::Ignored("ticker_without_sizes");

fn advanced(frame: &Frame, batch: &mut Batch) -> Decoding {
    match tag(frame.channel) {
        "market_trades" => {
            each(frame.events, |event| market_trades(&Event::read(event)?, batch))?;
            Ok(Verdict::Decoded)
        }
        "ticker" | "ticker_batch" => {
            let time = frame.timestamp.map(|time| rfc3339(Some(time))).transpose()?;
            let mut sized = 0;
            each(frame.events, |event| {
                each(Event::read(event)?.tickers, |ticker| {
                    sized += usize::from(add_ticker(&Ticker::read(ticker)?, time, None, batch)?);
                    Ok(())
                })?;
                Ok(())
            })?;
            Ok(if sized > 0 { Verdict::Decoded } else { NO_SIZES })
        }
        "l2_data" => {
            let time = frame.timestamp.map(|time| rfc3339(Some(time))).transpose()?;
            each(frame.events, |event| l2_data(&Event::read(event)?, time, batch))?;
            Ok(Verdict::Decoded)
        }
        "candles" => Ok(Verdict::Ignored("candle")),
        "heartbeats" => Ok(Verdict::Ignored("heartbeat")),
        "subscriptions" => Ok(Verdict::Ignored("ack")),
        "status" => Ok(Verdict::Ignored("status")),
        "user" | "futures_balance_summary" => Ok(Verdict::Ignored("private")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn l2_data(event: &Event, time: Option<u64>, batch: &mut Batch) -> Result<(), Fault> {
    let kind = match tag(event.kind) {
        "snapshot" => DepthKind::Snapshot,
        "update" => DepthKind::Update,
        _ => return Err(BAD_FIELD),
    };
    let mut depth = Depth::new(batch.symbols.number(&text(event.product_id)?)?, kind);
    depth.venue_time_ns = time;
    let begin = batch.levels.len();
    each(event.updates, |update| {
        let update = LevelUpdate::read(update)?;
        batch.level(book_side(update.side)?, update.price_level, update.new_quantity)
    })?;
    (depth.bids, depth.asks) = batch.split(begin);
    batch.depths.push(depth);
    Ok(())
}

fn market_trades(event: &Event, batch: &mut Batch) -> Result<(), Fault> {
    if tag(event.kind) == "update" {
        each(event.trades, |trade| add_trade(&Match::read(trade)?, None, batch))?;
    } else {
        batch.history += each(event.trades, |trade| Match::read(trade).map(drop))? as u64;
    }
    Ok(())
}

fn add_trade(trade: &Match, sequence: Option<u64>, batch: &mut Batch) -> Result<(), Fault> {
    batch.trade(Trade {
        wire_symbol: &text(trade.product_id)?,
        price: decimal(trade.price)?,
        size: decimal(trade.size)?,
        // The maker's side, turned round.
        taker: match tag(trade.side) {
            "sell" | "SELL" => Taker::Bought,
            "buy" | "BUY" => Taker::Sold,
            _ => return Err(BAD_FIELD),
        },
        venue_time_ns: Some(rfc3339(trade.time)?),
        trade_id: Some(identity(trade.trade_id)?),
        sequence,
    })
}

/// Whether the ticker had a whole top of book.
fn add_ticker(
    ticker: &Ticker,
    venue_time_ns: Option<u64>,
    sequence: Option<u64>,
    batch: &mut Batch,
) -> Result<bool, Fault> {
    let fields = [
        ticker.best_bid,
        ticker.best_bid_quantity,
        ticker.best_ask,
        ticker.best_ask_quantity,
    ];
    // An empty text is how a product without orders has no price.
    if fields.iter().any(|field| field.is_none_or(is_empty_text)) {
        return Ok(false);
    }
    let bid = (decimal(ticker.best_bid)?, decimal(ticker.best_bid_quantity)?);
    let ask = (decimal(ticker.best_ask)?, decimal(ticker.best_ask_quantity)?);
    let wire_symbol = &text(ticker.product_id)?;
    batch.top_of_book(Top { wire_symbol, bid, ask, venue_time_ns, sequence })?;
    Ok(true)
}
