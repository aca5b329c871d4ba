//! One name per instrument over all venues: `BTC-USDT`, `BTC-USD`, `BTC-USDT-PERP`, `ETH-USD-210924`.
//!
//! | venue, market | on the wire | here |
//! |---|---|---|
//! | binance spot, spot-us | `BTCUSDT`, `HNTUSD` | `BTC-USDT`, `HNT-USD` |
//! | binance usdm | `BTCUSDT`, `BTCUSDT_240927` | `BTC-USDT-PERP`, `BTC-USDT-240927` |
//! | binance coinm | `BTCUSD_PERP`, `ETHUSD_210924` | `BTC-USD-PERP`, `ETH-USD-210924` |
//! | coinbase | `BTC-USD` | `BTC-USD` |
//! | kraken | `XBT/USD`, `XDG/EUR`, `BTC/USD` | `BTC-USD`, `DOGE-EUR`, `BTC-USD` |
//!
//! Binance writes base and quote without a border; it is found by the longest known quote currency
//! at the end. A name that ends in none of them stays as the venue wrote it. Each name is worked
//! out once and then looked up: no allocation after an instrument's first frame.

use super::Market;
use super::json::Fault;
use crate::lane::layout::MAX_NAME;
use crate::topic::valid_name;
use std::borrow::Cow;
use std::collections::HashMap;

pub const BAD_SYMBOL: Fault = "bad_symbol";
pub const TOO_MANY_SYMBOLS: Fault = "too_many_symbols";

/// More instruments than any venue lists: frames of noise must not fill the memory.
const SYMBOLS_MAX: usize = 16_384;

/// What Binance quotes in. Plain USD is missing on purpose: Binance itself has no such pairs, and
/// with it `...TUSD` could be read in two ways.
const BINANCE_QUOTES: &[&str] = &[
    "USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USD1", "USDP", "USDS", "DAI", "BTC", "ETH", "BNB",
    "XRP", "TRX", "SOL", "DOGE", "DOT", "EUR", "GBP", "AUD", "BRL", "TRY", "JPY", "MXN", "ARS",
    "COP", "CZK", "PLN", "RON", "RUB", "UAH", "ZAR", "NGN", "IDRT", "BIDR", "BKRW", "BVND", "EURI",
];
/// What Binance.US quotes in: here USD is common and TUSD is not, so `HNTUSD` is HNT in USD.
const BINANCE_US_QUOTES: &[&str] = &[
    "USDT", "USDC", "BUSD", "USD", "USD4", "DAI", "BTC", "ETH", "BNB",
];
const BINANCE_USDM_QUOTES: &[&str] = &["USDT", "USDC", "BUSD", "USD1", "BTC"];
const BINANCE_COINM_QUOTES: &[&str] = &["USD"];

/// An instrument as this decoder knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    pub symbol: Box<str>,
    /// For sizes counted in contracts: how much quote currency one is.
    pub contract_value: Option<f64>,
}

/// The instruments seen so far, by the venue's name for them.
#[derive(Debug)]
pub struct Symbols {
    market: Market,
    numbers: HashMap<Box<str>, u32>,
    instruments: Vec<Instrument>,
}

impl Symbols {
    pub fn new(market: Market) -> Symbols {
        Symbols { market, numbers: HashMap::new(), instruments: Vec::new() }
    }

    /// The number of the instrument that the venue calls `wire`.
    pub fn number(&mut self, wire: &str) -> Result<u32, Fault> {
        if let Some(&number) = self.numbers.get(wire) {
            return Ok(number);
        }
        if self.instruments.len() == SYMBOLS_MAX {
            return Err(TOO_MANY_SYMBOLS);
        }
        let symbol = normal(self.market, wire);
        valid_name(&symbol, MAX_NAME).map_err(|_| BAD_SYMBOL)?;
        // Binance, "COIN-M contract specifications": 100 USD for bitcoin, 10 USD for all others.
        let contract_value = (self.market == Market::BinanceCoinM)
            .then(|| if symbol.starts_with("BTC-") { 100.0 } else { 10.0 });
        let number = self.instruments.len() as u32;
        self.instruments.push(Instrument { symbol: symbol.into(), contract_value });
        self.numbers.insert(wire.into(), number);
        Ok(number)
    }

    pub fn instrument(&self, number: u32) -> &Instrument {
        &self.instruments[number as usize]
    }
}

/// Our name for what a market calls `wire`.
fn normal(market: Market, wire: &str) -> String {
    // A dot separates the levels of a topic; Kraken has it in staked assets ("ETH2.S").
    let wire = wire.replace('.', "_").to_uppercase();
    match market {
        Market::BinanceSpot => split(&wire, BINANCE_QUOTES).unwrap_or(wire),
        Market::BinanceUs => split(&wire, BINANCE_US_QUOTES).unwrap_or(wire),
        Market::BinanceUsdM => future(&wire, BINANCE_USDM_QUOTES),
        Market::BinanceCoinM => future(&wire, BINANCE_COINM_QUOTES),
        Market::Coinbase => wire,
        Market::Kraken => match wire.split_once('/') {
            Some((base, quote)) => format!("{}-{}", kraken_asset(base), kraken_asset(quote)),
            None => wire,
        },
    }
}

fn split(pair: &str, quotes: &[&str]) -> Option<String> {
    let fits = |quote: &&&str| pair.len() > quote.len() && pair.ends_with(**quote);
    let quote = quotes.iter().filter(fits).max_by_key(|quote| quote.len())?;
    Some(format!("{}-{quote}", pair.strip_suffix(quote)?))
}

/// `PAIR` is the perpetual of USD-M, `PAIR_PERP` that of COIN-M, `PAIR_YYMMDD` a dated future.
fn future(wire: &str, quotes: &[&str]) -> String {
    let (pair, expiry) = wire.split_once('_').unwrap_or((wire, "PERP"));
    let pair = split(pair, quotes).map_or(Cow::Borrowed(pair), Cow::Owned);
    format!("{pair}-{expiry}")
}

fn kraken_asset(asset: &str) -> &str {
    match asset {
        "XBT" => "BTC",
        "XDG" => "DOGE",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_market_names_an_instrument_alike() {
        for (market, wire, expected) in [
            (Market::BinanceSpot, "BTCUSDT", "BTC-USDT"),
            (Market::BinanceSpot, "RENBTCETH", "RENBTC-ETH"),
            (Market::BinanceSpot, "BTCSTUSDT", "BTCST-USDT"),
            (Market::BinanceSpot, "BTCFDUSD", "BTC-FDUSD"),
            (Market::BinanceSpot, "BTCTUSD", "BTC-TUSD"),
            (Market::BinanceSpot, "USDTTRY", "USDT-TRY"),
            (Market::BinanceSpot, "DENTUSDT", "DENT-USDT"),
            (Market::BinanceSpot, "NEWCOIN", "NEWCOIN"),
            (Market::BinanceSpot, "USDT", "USDT"),
            (Market::BinanceSpot, "币安人生USDT", "币安人生-USDT"),
            (Market::BinanceUs, "HNTUSD", "HNT-USD"),
            (Market::BinanceUs, "QTUMUSDT", "QTUM-USDT"),
            (Market::BinanceUsdM, "BTCUSDT", "BTC-USDT-PERP"),
            (Market::BinanceUsdM, "BTCUSDT_240927", "BTC-USDT-240927"),
            (Market::BinanceCoinM, "BTCUSD_PERP", "BTC-USD-PERP"),
            (Market::BinanceCoinM, "ETHUSD_210924", "ETH-USD-210924"),
            (Market::Coinbase, "BTC-USD", "BTC-USD"),
            (Market::Kraken, "XBT/USD", "BTC-USD"),
            (Market::Kraken, "ALGO/XBT", "ALGO-BTC"),
            (Market::Kraken, "XDG/EUR", "DOGE-EUR"),
            (Market::Kraken, "ETH2.S/ETH", "ETH2_S-ETH"),
        ] {
            let mut symbols = Symbols::new(market);
            let number = symbols.number(wire).unwrap();
            assert_eq!(&*symbols.instrument(number).symbol, expected);
            assert_eq!(symbols.number(wire), Ok(number), "the second time it is known");
        }
    }

    #[test]
    fn noise_is_refused_and_does_not_grow() {
        let mut symbols = Symbols::new(Market::Coinbase);
        for wire in ["", "A B", "BTC*", "\u{0}", &"X".repeat(57)] {
            assert_eq!(symbols.number(wire), Err(BAD_SYMBOL), "{wire:?}");
        }
        for i in 0..SYMBOLS_MAX {
            symbols.number(&format!("S{i}")).unwrap();
        }
        assert_eq!(symbols.number("ONE-MORE"), Err(TOO_MANY_SYMBOLS));
        assert_eq!(symbols.number("S7"), Ok(7));
    }
}
