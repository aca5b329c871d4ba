//! Recorded market data as the events a desk would have published; see the folder's own README.

#![allow(dead_code, reason = "each user takes its part")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tickbus_core::Event;
use tickbus_core::exchange::{Decoder, Market};
use tickbus_core::quote::{Quote, pack};

/// Where the recordings are: `TICKBUS_DATA`, or beside the checkout.
pub fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("TICKBUS_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn lines(folder: &Path, name: &str) -> impl Iterator<Item = String> {
    let file = File::open(folder.join(name)).expect("a recording");
    let text = zstd::stream::read::Decoder::new(file).expect("zstd");
    BufReader::new(text).lines().map(|line| line.expect("UTF-8"))
}

/// Trades and tops of book of a Binance market; the time is when the frame was received.
pub fn binance(folder: &Path, name: &str, market: Market) -> Vec<Event> {
    let mut decoder = Decoder::of_market(market);
    let mut events = Vec::new();
    for line in lines(folder, name) {
        let (timestamp, frame) = line.split_once(' ').expect("a time before the frame");
        let timestamp = timestamp.parse().expect("nanoseconds");
        decoder.decode(frame.as_bytes(), &mut |decoded| {
            let (event_type, value, metadata) =
                (decoded.event_type, decoded.value, decoded.metadata);
            let (source, symbol, priority) = (1, 1, 1);
            events.push(Event { timestamp, event_type, priority, source, symbol, value, metadata });
        });
    }
    events
}

fn trade(timestamp: u64, price: f64, size: f64) -> Event {
    let (value, metadata) = (price, size.to_bits());
    Event { timestamp, event_type: 0, priority: 1, source: 1, symbol: 1, value, metadata }
}

/// E-mini S&P trades: `2013-09-01 17:01:24.420,1640.0,5`.
pub fn es_trades(folder: &Path) -> Vec<Event> {
    let trades = lines(folder, "cme/2013-09-01_es_trade_ticks.csv.zst").skip(1).map(|line| {
        let number = |range| -> u64 {
            let digits: &str = &line[range];
            digits.parse().expect("digits of a time")
        };
        let seconds =
            ((number(8..10) * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19);
        let mut fields = line.split(',');
        let fraction = fields
            .next()
            .and_then(|time| time.split_once('.'))
            .map_or("0", |(_, rest)| rest);
        let ms: u64 = format!("{fraction:0<3}").parse().expect("milliseconds");
        let mut field = || fields.next().and_then(|field| field.parse().ok()).expect("a number");
        trade((seconds * 1_000 + ms) * 1_000_000, field(), field())
    });
    trades.collect()
}

/// E-mini S&P orders by the time of receipt, with their ids instead of their sizes: DBN, records of 56 bytes behind a header of stated length.
pub fn es_orders(folder: &Path) -> Vec<Event> {
    let file = File::open(folder.join("cme/2024-05-08_esm4_mbo.dbn.zst")).expect("a recording");
    let bytes = zstd::stream::decode_all(file).expect("zstd");
    let word =
        |row: &[u8], at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight"));
    let header_len = 8 + (word(&bytes, 0) >> 32) as usize;
    let orders = bytes[header_len..].chunks_exact(56).map(|row| Event {
        event_type: row[38],
        metadata: word(row, 16),
        ..trade(word(row, 40), word(row, 24) as i64 as f64 / 1e9, 0.0)
    });
    orders.collect()
}

/// SPY trades: milliseconds, price × 10,000, size.
pub fn spy_trades(folder: &Path) -> Vec<Event> {
    let trades = lines(folder, "us_equity/2013-10-10_spy_trade_ticks.csv.zst").map(|line| {
        let mut fields = line.split(',').map(|field| field.parse::<f64>().unwrap_or(0.0));
        let mut field = || fields.next().expect("three fields");
        let ms = field() as u64;
        trade(ms * 1_000_000, field() / 10_000.0, field())
    });
    trades.collect()
}

/// XAUUSD quotes: milliseconds with fractions, bid, ask.
pub fn gold_quotes(folder: &Path) -> Vec<Event> {
    let quotes = lines(folder, "oanda/2014-05-02_xauusd_quote_ticks.csv.zst").map(|line| {
        let mut fields = line.split(',').map(|field| field.parse::<f64>().expect("a number"));
        let mut field = || fields.next().expect("three fields");
        let timestamp = (field() * 10_000.0).round() as u64 * 100;
        let quote = Quote { bid: field(), ask: field(), bid_size: 0.0, ask_size: 0.0 };
        let (value, metadata) = pack(&quote, 3).expect("a quote that fits");
        Event { timestamp, event_type: 4, priority: 1, source: 1, symbol: 1, value, metadata }
    });
    quotes.collect()
}

/// Every recording that is used, with its name.
pub fn all(folder: &Path) -> Vec<(&'static str, Vec<Event>)> {
    let binance = |name, market| binance(folder, name, market);
    vec![
        ("ES trades", es_trades(folder)),
        ("ES orders", es_orders(folder)),
        ("SPY trades", spy_trades(folder)),
        ("XAUUSD quotes", gold_quotes(folder)),
        (
            "Binance spot BTCUSDT",
            binance("binance/2024-08-09_spot_btcusdt.tsjson.zst", Market::BinanceSpot),
        ),
        (
            "Binance futures BTCUSDT",
            binance("binance/2024-08-08_usdm_btcusdt.tsjson.zst", Market::BinanceUsdM),
        ),
    ]
}
