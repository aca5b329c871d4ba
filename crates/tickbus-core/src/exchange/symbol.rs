//! One name per instrument over all venues: `BTC-USDT`, `BTC-USD`, `BTC-USDT-PERP`, `ETH-USD-210924`.
//!
//! | venue, market | on the wire | here |
//! |---|---|---|
//! | binance spot, spot-us | `BTCUSDT`, `HNTUSD` | `BTC-USDT`, `HNT-USD` |
//! | binance usdm | `BTCUSDT`, `BTCUSDT_240927` | `BTC-USDT-PERP`, `BTC-USDT-240927` |
//! | binance coinm | `BTCUSD_PERP`, `ETHUSD_210924` | `BTC-USD-PERP`, `ETH-USD-210924` |
//! | coinbase | `BTC-USD` | `BTC-USD` |
//! | kraken | `XBT/USD`, `XDG/EUR`, `BTC/USD` | `BTC-USD`, `DOGE-EUR`, `BTC-USD` |
//! | okx | `BTC-USDT`, `BTC-USD-SWAP`, `ETH-USD-210924-4000-C` | `BTC-USDT`, `BTC-USD-PERP`, as it is |
//! | bybit spot | `BTCUSDT` | `BTC-USDT` |
//! | bybit linear | `BTCUSDT`, `BTCPERP`, `BTCUSDT-26DEC25`, `BTC-26DEC25` | `BTC-USDT-PERP`, `BTC-USDC-PERP`, `BTC-USDT-251226`, `BTC-USDC-251226` |
//! | bybit inverse | `BTCUSD`, `BTCUSDZ25` | `BTC-USD-PERP`, `BTC-USD-Z25` |
//!
//! Binance and Bybit write base and quote without a border; it is found by the longest known quote
//! currency at the end. A name that ends in none of them stays as the venue wrote it. Each name is worked
//! out once and then looked up: no allocation after an instrument's first frame.

use super::Market;
use super::json::Fault;
use crate::lane::layout::MAX_NAME;
use crate::topic::valid_name;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use xxhash_rust::xxh3::xxh3_64_with_seed;

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

const BYBIT_QUOTES: &[&str] = &[
    "USDT", "USDC", "USDE", "USD1", "DAI", "BTC", "ETH", "EUR", "BRL", "PLN", "TRY", "MNT", "SOL",
];
const BYBIT_LINEAR_QUOTES: &[&str] = &["USDT", "USDC"];
const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];

/// What a size of 1 is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contract {
    /// One unit of the base asset.
    Unit,
    /// So much of the base asset.
    Base(f64),
    /// As much of the base asset as so much quote currency buys.
    Quote(f64),
    /// A contract whose size nobody has told yet.
    Unknown,
}

impl Contract {
    /// `size` in units of the base asset.
    pub fn base_units(self, price: f64, size: f64) -> Option<f64> {
        match self {
            Contract::Unit => Some(size),
            Contract::Base(units) => Some(size * units),
            Contract::Quote(value) if price > 0.0 => Some(size * value / price),
            Contract::Quote(_) => Some(size),
            Contract::Unknown => None,
        }
    }
}

/// An instrument as this decoder knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instrument {
    pub symbol: Box<str>,
    pub contract: Contract,
    /// Levels a side that its book keeps, where the venue said so once.
    pub limit: Option<u32>,
}

/// Hashes a venue's name in a few nanoseconds; the standard hasher takes twenty.
#[derive(Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    /// What ends a text; names are hashed whole.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The instruments seen so far, by the venue's name for them.
#[derive(Debug)]
pub struct Symbols {
    market: Market,
    numbers: HashMap<Box<str>, u32, BuildHasherDefault<NameHasher>>,
    instruments: Vec<Instrument>,
    /// By the venue's name, from its list of instruments.
    contracts: HashMap<Box<str>, Contract>,
}

impl Symbols {
    pub fn new(market: Market) -> Symbols {
        Symbols {
            market,
            numbers: HashMap::default(),
            instruments: Vec::new(),
            contracts: HashMap::new(),
        }
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
        let contract = match self.contracts.get(wire) {
            Some(&told) => told,
            None => usual_contract(self.market, &symbol),
        };
        let number = self.instruments.len() as u32;
        self.instruments
            .push(Instrument { symbol: symbol.into(), contract, limit: None });
        self.numbers.insert(wire.into(), number);
        Ok(number)
    }

    /// The same, of a name that stands there in lower case.
    pub fn number_of_lower(&mut self, wire: &str) -> Result<u32, Fault> {
        let mut upper = [0; 4 * MAX_NAME];
        let upper = upper.get_mut(..wire.len()).ok_or(BAD_SYMBOL)?;
        upper.copy_from_slice(wire.as_bytes());
        upper.make_ascii_uppercase();
        self.number(std::str::from_utf8(upper).map_err(|_| BAD_SYMBOL)?)
    }

    pub fn instrument(&self, number: u32) -> &Instrument {
        &self.instruments[number as usize]
    }

    /// How many there are; they are numbered from 0.
    pub fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Learn what a contract of the instrument that the venue calls `wire` is.
    pub fn set_contract(&mut self, wire: &str, contract: Contract) -> Result<(), Fault> {
        if let Some(known) = self.contracts.get_mut(wire) {
            *known = contract;
        } else if self.contracts.len() == SYMBOLS_MAX {
            return Err(TOO_MANY_SYMBOLS);
        } else {
            self.contracts.insert(wire.into(), contract);
        }
        if let Some(&number) = self.numbers.get(wire) {
            self.instruments[number as usize].contract = contract;
        }
        Ok(())
    }

    /// Learn how many levels a side the book of `wire` keeps.
    pub fn set_limit(&mut self, wire: &str, limit: u32) -> Result<(), Fault> {
        let number = self.number(wire)?;
        self.instruments[number as usize].limit = Some(limit);
        Ok(())
    }
}

/// What a contract is where the market alone says it.
fn usual_contract(market: Market, symbol: &str) -> Contract {
    match market {
        // Binance, "COIN-M contract specifications": 100 USD for bitcoin, 10 USD for all others.
        Market::BinanceCoinM if symbol.starts_with("BTC-") => Contract::Quote(100.0),
        Market::BinanceCoinM => Contract::Quote(10.0),
        Market::BybitInverse => Contract::Quote(1.0),
        // OKX sizes everything but spot in contracts, and each has its own.
        Market::Okx if symbol.split('-').count() != 2 => Contract::Unknown,
        _ => Contract::Unit,
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
        Market::Okx => match wire.strip_suffix("-SWAP") {
            Some(pair) => format!("{pair}-PERP"),
            None => wire,
        },
        Market::BybitSpot => split(&wire, BYBIT_QUOTES).unwrap_or(wire),
        Market::BybitLinear => bybit_linear(wire),
        Market::BybitInverse => bybit_inverse(wire),
    }
}

/// `BTCPERP` and `BTC-26DEC25` are in USDC; in USDT they say so.
fn bybit_linear(wire: String) -> String {
    if let Some(base) = wire.strip_suffix("PERP").filter(|base| !base.is_empty()) {
        return format!("{base}-USDC-PERP");
    }
    match wire.split_once('-') {
        Some((base, day)) => match expiry(day) {
            Some(day) => {
                let pair = split(base, BYBIT_LINEAR_QUOTES);
                pair.map_or_else(|| format!("{base}-USDC-{day}"), |pair| format!("{pair}-{day}"))
            }
            None => wire,
        },
        None => split(&wire, BYBIT_LINEAR_QUOTES).map_or(wire, |pair| format!("{pair}-PERP")),
    }
}

/// `26DEC25` as `251226`.
fn expiry(day: &str) -> Option<String> {
    let year = day.get(day.len().checked_sub(2)?..)?;
    let month = day.get(day.len().checked_sub(5)?..day.len() - 2)?;
    let day_of_month: u32 = day.get(..day.len() - 5)?.parse().ok()?;
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let year: u32 = year.parse().ok()?;
    (1..=31)
        .contains(&day_of_month)
        .then(|| format!("{year:02}{month:02}{day_of_month:02}"))
}

/// `BTCUSD` is the perpetual; `BTCUSDZ25` ends with the exchanges' letter of the month and the year.
fn bybit_inverse(wire: String) -> String {
    if let Some(base) = wire.strip_suffix("USD").filter(|base| !base.is_empty()) {
        return format!("{base}-USD-PERP");
    }
    match wire.rsplit_once("USD") {
        Some((base, code)) if !base.is_empty() && code.len() == 3 => format!("{base}-USD-{code}"),
        _ => wire,
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
            (Market::Okx, "BTC-USDT", "BTC-USDT"),
            (Market::Okx, "UNI-USD-SWAP", "UNI-USD-PERP"),
            (Market::Okx, "TRX-USDT-210924", "TRX-USDT-210924"),
            (Market::Okx, "BTC-USD-210924-66000-C", "BTC-USD-210924-66000-C"),
            (Market::BybitSpot, "BTCUSDT", "BTC-USDT"),
            (Market::BybitSpot, "METHETH", "METH-ETH"),
            (Market::BybitLinear, "BTCUSDT", "BTC-USDT-PERP"),
            (Market::BybitLinear, "1000PEPEUSDT", "1000PEPE-USDT-PERP"),
            (Market::BybitLinear, "BTCPERP", "BTC-USDC-PERP"),
            (Market::BybitLinear, "BTC-26DEC25", "BTC-USDC-251226"),
            (Market::BybitLinear, "BTCUSDT-2JAN26", "BTC-USDT-260102"),
            (Market::BybitLinear, "BTCUSDT-2JÄN26", "BTCUSDT-2JÄN26"),
            (Market::BybitInverse, "BTCUSD", "BTC-USD-PERP"),
            (Market::BybitInverse, "BTCUSDZ25", "BTC-USD-Z25"),
            (Market::BybitInverse, "USD", "USD"),
        ] {
            let mut symbols = Symbols::new(market);
            let number = symbols.number(wire).unwrap();
            assert_eq!(&*symbols.instrument(number).symbol, expected);
            assert_eq!(symbols.number(wire), Ok(number), "the second time it is known");
        }
    }

    #[test]
    fn contracts_are_what_the_venue_says() {
        let mut symbols = Symbols::new(Market::Okx);
        let swap = symbols.number("BTC-USDT-SWAP").unwrap();
        let spot = symbols.number("BTC-USDT").unwrap();
        let base_units = |symbols: &Symbols, number| {
            symbols.instrument(number).contract.base_units(50_000.0, 4.0)
        };
        assert_eq!((base_units(&symbols, swap), base_units(&symbols, spot)), (None, Some(4.0)));

        symbols.set_contract("BTC-USDT-SWAP", Contract::Base(0.01)).unwrap();
        symbols.set_contract("BTC-USD-SWAP", Contract::Quote(100.0)).unwrap();
        let inverse = symbols.number("BTC-USD-SWAP").unwrap();

        assert_eq!(base_units(&symbols, swap), Some(0.04));
        assert_eq!(base_units(&symbols, inverse), Some(0.008));
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
