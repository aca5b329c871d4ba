//! Which venue, and which of its markets: the same name means different things on each.

/// A venue whose frames can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Venue {
    Binance,
    Coinbase,
    Kraken,
    Okx,
    Bybit,
}

/// Every venue.
pub const VENUES: [Venue; 5] = [
    Venue::Binance,
    Venue::Coinbase,
    Venue::Kraken,
    Venue::Okx,
    Venue::Bybit,
];

impl Venue {
    pub const fn name(self) -> &'static str {
        match self {
            Venue::Binance => "binance",
            Venue::Coinbase => "coinbase",
            Venue::Kraken => "kraken",
            Venue::Okx => "okx",
            Venue::Bybit => "bybit",
        }
    }

    /// The venue called `name`, or `None`.
    pub fn from_name(name: &str) -> Option<Venue> {
        VENUES.into_iter().find(|venue| venue.name() == name)
    }

    /// The market meant when nobody says which.
    pub const fn spot(self) -> Market {
        match self {
            Venue::Binance => Market::BinanceSpot,
            Venue::Coinbase => Market::Coinbase,
            Venue::Kraken => Market::Kraken,
            Venue::Okx => Market::Okx,
            Venue::Bybit => Market::BybitSpot,
        }
    }
}

/// A market of a venue: one protocol, one set of names, one unit of size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Market {
    BinanceSpot,
    /// Binance.US: the protocol of Binance, an exchange and a source of its own.
    BinanceUs,
    /// Futures settled in a stablecoin, sized in the base asset.
    BinanceUsdM,
    /// Inverse futures, sized in contracts of 100 or 10 USD.
    BinanceCoinM,
    Coinbase,
    Kraken,
    /// All instruments of the public feed, which its names tell apart: swaps, futures and options
    /// are sized in contracts that the venue's instrument list explains.
    Okx,
    BybitSpot,
    /// Perpetuals and futures settled in a stablecoin, sized in the base asset.
    BybitLinear,
    /// Inverse futures, sized in contracts of 1 USD.
    BybitInverse,
}

/// Every market.
pub const MARKETS: [Market; 10] = [
    Market::BinanceSpot,
    Market::BinanceUs,
    Market::BinanceUsdM,
    Market::BinanceCoinM,
    Market::Coinbase,
    Market::Kraken,
    Market::Okx,
    Market::BybitSpot,
    Market::BybitLinear,
    Market::BybitInverse,
];

impl Market {
    pub const fn venue(self) -> Venue {
        match self {
            Market::BinanceSpot
            | Market::BinanceUs
            | Market::BinanceUsdM
            | Market::BinanceCoinM => Venue::Binance,
            Market::Coinbase => Venue::Coinbase,
            Market::Kraken => Venue::Kraken,
            Market::Okx => Venue::Okx,
            Market::BybitSpot | Market::BybitLinear | Market::BybitInverse => Venue::Bybit,
        }
    }

    /// Its name within the venue.
    pub const fn name(self) -> &'static str {
        match self {
            Market::BinanceSpot
            | Market::Coinbase
            | Market::Kraken
            | Market::Okx
            | Market::BybitSpot => "spot",
            Market::BinanceUs => "spot-us",
            Market::BinanceUsdM => "usdm",
            Market::BinanceCoinM => "coinm",
            Market::BybitLinear => "linear",
            Market::BybitInverse => "inverse",
        }
    }

    /// The source its events carry.
    pub const fn source(self) -> &'static str {
        match self {
            Market::BinanceUs => "binance_us",
            other => other.venue().name(),
        }
    }

    /// The venue's market called `name`, or `None`.
    pub fn from_name(venue: Venue, name: &str) -> Option<Market> {
        Market::of(venue).find(|market| market.name() == name)
    }

    /// The markets of a venue.
    pub fn of(venue: Venue) -> impl Iterator<Item = Market> {
        MARKETS.into_iter().filter(move |market| market.venue() == venue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for market in MARKETS {
            assert_eq!(Market::from_name(market.venue(), market.name()), Some(market));
        }
        for venue in VENUES {
            assert_eq!(Venue::from_name(venue.name()), Some(venue));
            assert_eq!(venue.spot().name(), "spot");
        }
        assert_eq!(Market::from_name(Venue::Kraken, "usdm"), None);
        assert_eq!(Venue::from_name("mtgox"), None);
    }
}
