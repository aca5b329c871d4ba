//! Coinbase: the Exchange (once Pro) feed and Advanced Trade.
//!
//! On both, the `side` of a trade is the **maker's**, so the taker did the opposite. Exchange says
//! so in its documentation. For Advanced Trade accounts differ; the recording of 2026-08-09 decides:
//! of 71 live trades at a touch of the same connection's book, all 48 "SELL" were at the ask and
//! all 23 "BUY" at the bid (`tests/exchanges/test_captures.py` repeats the count).
//!
//! `last_match` and the `snapshot` of `market_trades` repeat trades from before the subscription:
//! history. A `ticker` becomes a top of book where it has sizes; Pro's of 2021 has none.

use super::{Decoding, Verdict};
use crate::exchange::batch::{Batch, Taker, Trade};
use crate::exchange::json::{BAD_FIELD, Fault, each, object, tag, text};
use crate::exchange::number::{decimal, integer};
use crate::exchange::time::rfc3339;

object!(
    /// A frame of either feed. Advanced has `channel` and `events`, Exchange has `type`.
    Frame {
        channel: b"channel",
        timestamp: b"timestamp",
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
    }
);

object!(
    /// One element of Advanced Trade's `events`.
    Event {
        kind: b"type",
        trades: b"trades",
        tickers: b"tickers",
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
pub fn decode(frame: &str, batch: &mut Batch) -> Decoding {
    let frame = Frame::read(frame)?;
    if frame.channel.is_some() {
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
            add_trade(&Match { product_id, price, size, side, time, trade_id }, batch)?;
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
            Ok(if add_ticker(&ticker, time, batch)? { Verdict::Decoded } else { NO_SIZES })
        }
        "snapshot" => Ok(Verdict::Ignored("depth_snapshot")),
        "l2update" => Ok(Verdict::Ignored("depth")),
        "subscriptions" => Ok(Verdict::Ignored("ack")),
        "heartbeat" => Ok(Verdict::Ignored("heartbeat")),
        "error" => Ok(Verdict::Ignored("error_reply")),
        "status" => Ok(Verdict::Ignored("status")),
        "received" | "open" | "done" | "change" | "activate" => Ok(Verdict::Ignored("order")),
        _ => Ok(Verdict::Ignored("unknown")),
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
                    sized += usize::from(add_ticker(&Ticker::read(ticker)?, time, batch)?);
                    Ok(())
                })?;
                Ok(())
            })?;
            Ok(if sized > 0 { Verdict::Decoded } else { NO_SIZES })
        }
        "l2_data" => Ok(Verdict::Ignored("depth")),
        "candles" => Ok(Verdict::Ignored("candle")),
        "heartbeats" => Ok(Verdict::Ignored("heartbeat")),
        "subscriptions" => Ok(Verdict::Ignored("ack")),
        "status" => Ok(Verdict::Ignored("status")),
        "user" | "futures_balance_summary" => Ok(Verdict::Ignored("private")),
        _ => Ok(Verdict::Ignored("unknown")),
    }
}

fn market_trades(event: &Event, batch: &mut Batch) -> Result<(), Fault> {
    if tag(event.kind) == "update" {
        each(event.trades, |trade| add_trade(&Match::read(trade)?, batch))?;
    } else {
        batch.history += each(event.trades, |trade| Match::read(trade).map(drop))? as u64;
    }
    Ok(())
}

fn add_trade(trade: &Match, batch: &mut Batch) -> Result<(), Fault> {
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
        trade_id: Some(integer(trade.trade_id)?),
    })
}

/// Whether the ticker had a whole top of book.
fn add_ticker(ticker: &Ticker, time: Option<u64>, batch: &mut Batch) -> Result<bool, Fault> {
    let fields = [
        ticker.best_bid,
        ticker.best_bid_quantity,
        ticker.best_ask,
        ticker.best_ask_quantity,
    ];
    // An empty text is how a product without orders has no price.
    if fields
        .iter()
        .any(|&field| field.is_none() || field.is_some_and(|raw| raw == "\"\""))
    {
        return Ok(false);
    }
    let bid = (decimal(ticker.best_bid)?, decimal(ticker.best_bid_quantity)?);
    let ask = (decimal(ticker.best_ask)?, decimal(ticker.best_ask_quantity)?);
    batch.top_of_book(&text(ticker.product_id)?, bid, ask, time)?;
    Ok(true)
}
