//! The one table of event types: number, name, and what `value` and `metadata` mean.
//!
//! `EventType` in Python, the accessors of `Event` (`event.price`, `event.side`), the reference
//! table in the docs and the venue decoders are all made from [`TABLE`]; nothing is copied by hand.
//!
//! | range   | category | default priority |
//! |---------|----------|------------------|
//! | 0–31    | market   | high             |
//! | 32–63   | trading  | normal           |
//! | 64–95   | risk     | critical         |
//! | 96–127  | system   | normal           |
//! | 128–255 | critical | critical         |

use crate::event::Priority;

/// What the 64 bits of `metadata` hold. The event's type decides, never the event itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not used by this type; a publisher may still put a number or a payload reference there.
    Unused,
    /// A plain unsigned number: an id, a count, a duration.
    U64,
    /// The bits of an `f64`.
    F64,
    /// The bits of an `f64` whose sign is the side: positive bought, negative sold.
    /// For a trade that is the *taker's* side.
    SignedQuantity,
    /// Spread, two sizes and the number of decimals, see [`crate::quote`].
    Quote,
}

impl Encoding {
    /// The name under which Python and the docs know the encoding.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Unused => "unused",
            Encoding::U64 => "u64",
            Encoding::F64 => "f64",
            Encoding::SignedQuantity => "signed_quantity",
            Encoding::Quote => "quote",
        }
    }

    /// The encoding called `name`, or `None`.
    pub fn from_name(name: &str) -> Option<Encoding> {
        ALL_ENCODINGS.into_iter().find(|e| e.name() == name)
    }
}

/// Every encoding, in the order their codes are stored in shared memory.
pub const ALL_ENCODINGS: [Encoding; 5] = [
    Encoding::Unused,
    Encoding::U64,
    Encoding::F64,
    Encoding::SignedQuantity,
    Encoding::Quote,
];

/// The five ranges of type numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Market,
    Trading,
    Risk,
    System,
    Critical,
}

/// Every category, in the order of their number ranges.
pub const CATEGORIES: [Category; 5] = [
    Category::Market,
    Category::Trading,
    Category::Risk,
    Category::System,
    Category::Critical,
];

impl Category {
    /// The category a type number belongs to.
    pub const fn of(event_type: u8) -> Category {
        match event_type {
            0..=31 => Category::Market,
            32..=63 => Category::Trading,
            64..=95 => Category::Risk,
            96..=127 => Category::System,
            128..=255 => Category::Critical,
        }
    }

    /// First level of a topic.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Market => "market",
            Category::Trading => "trading",
            Category::Risk => "risk",
            Category::System => "system",
            Category::Critical => "critical",
        }
    }

    /// The lane an event of this category takes when its publisher does not say.
    pub const fn default_priority(self) -> Priority {
        match self {
            Category::Market => Priority::High,
            Category::Trading | Category::System => Priority::Normal,
            Category::Risk | Category::Critical => Priority::Critical,
        }
    }
}

/// One row of the taxonomy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeInfo {
    pub number: u8,
    /// Second level of a topic, lower case.
    pub name: &'static str,
    /// Name and unit of `value`.
    pub value: &'static str,
    pub value_unit: &'static str,
    /// Name and unit of `metadata`; empty when unused.
    pub metadata: &'static str,
    pub metadata_unit: &'static str,
    pub encoding: Encoding,
}

const fn row(
    number: u8,
    name: &'static str,
    (value, value_unit): (&'static str, &'static str),
    (metadata, metadata_unit): (&'static str, &'static str),
    encoding: Encoding,
) -> TypeInfo {
    TypeInfo { number, name, value, value_unit, metadata, metadata_unit, encoding }
}

pub const PRICE_UPDATE: u8 = 0;
pub const VOLUME_SPIKE: u8 = 1;
pub const ORDER_BOOK_IMBALANCE: u8 = 2;
pub const SPREAD_WIDENING: u8 = 3;
pub const TOP_OF_BOOK: u8 = 4;
pub const EMERGENCY_STOP: u8 = 128;

use Encoding::{F64, Quote, SignedQuantity, U64, Unused};

/// The 22 types of the specification at their given numbers, and `top_of_book`: a quote has four
/// numbers where a trade has two, so it cannot share `price_update`.
#[rustfmt::skip] // a table reads better as one
pub const TABLE: [TypeInfo; 23] = [
    row(PRICE_UPDATE, "price_update", ("price", "quote currency"), ("quantity", "base units, + taker bought, - taker sold"), SignedQuantity),
    row(VOLUME_SPIKE, "volume_spike", ("ratio", "times the usual volume"), ("volume", "base units"), F64),
    row(ORDER_BOOK_IMBALANCE, "order_book_imbalance", ("imbalance", "-1 all asks .. 1 all bids"), ("depth", "base units"), F64),
    row(SPREAD_WIDENING, "spread_widening", ("spread", "basis points of the mid"), ("ratio", "times the usual spread"), F64),
    row(TOP_OF_BOOK, "top_of_book", ("bid", "quote currency"), ("quote", "ask, bid_size and ask_size, packed"), Quote),
    row(32, "signal_generated", ("strength", "-1 sell .. 1 buy"), ("signal_id", "strategy's own"), U64),
    row(33, "order_placed", ("price", "quote currency"), ("quantity", "base units, + buy, - sell"), SignedQuantity),
    row(34, "order_filled", ("price", "quote currency"), ("quantity", "base units, + bought, - sold"), SignedQuantity),
    row(35, "order_cancelled", ("price", "quote currency"), ("quantity", "base units left, + buy, - sell"), SignedQuantity),
    row(36, "position_opened", ("price", "quote currency, average entry"), ("quantity", "base units, + long, - short"), SignedQuantity),
    row(37, "position_closed", ("pnl", "quote currency, realised"), ("quantity", "base units, + was long, - was short"), SignedQuantity),
    row(64, "risk_limit_approached", ("utilisation", "share of the limit, 1 = at it"), ("limit_id", "desk's own"), U64),
    row(65, "stop_loss_triggered", ("price", "quote currency"), ("quantity", "base units to trade, + buy, - sell"), SignedQuantity),
    row(66, "drawdown_alert", ("drawdown", "share of the peak, 0 .. 1"), ("equity", "account currency"), F64),
    row(67, "correlation_spike", ("correlation", "-1 .. 1"), ("other_symbol", "symbol id"), U64),
    row(96, "strategy_started", ("version", "strategy's own"), ("pid", "process id"), U64),
    row(97, "strategy_paused", ("reason", "strategy's own code"), ("pid", "process id"), U64),
    row(98, "system_overload", ("load", "share of capacity, 1 = full"), ("lag", "events"), U64),
    row(99, "connection_lost", ("silence", "seconds since the last message"), ("connection_id", "feed's own"), U64),
    row(EMERGENCY_STOP, "emergency_stop", ("level", "what tripped it, strategy's own"), ("", ""), Unused),
    row(129, "market_manipulation", ("score", "0 .. 1"), ("", ""), Unused),
    row(130, "black_swan_detected", ("move", "standard deviations"), ("window", "nanoseconds"), U64),
    row(131, "circuit_breaker", ("price", "quote currency"), ("duration", "nanoseconds"), U64),
];

/// The row of a built-in type, or `None` for a free number.
pub fn builtin(event_type: u8) -> Option<&'static TypeInfo> {
    ROWS[usize::from(event_type)].map(|row| &TABLE[usize::from(row)])
}

/// Row of each number, found at compile time.
static ROWS: [Option<u8>; 256] = {
    let mut rows = [None; 256];
    let mut row = 0;
    while row < TABLE.len() {
        rows[TABLE[row].number as usize] = Some(row as u8);
        row += 1;
    }
    rows
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].number < pair[1].number));
    }

    #[test]
    fn an_unused_metadata_has_no_name() {
        for info in &TABLE {
            assert_eq!(
                info.metadata.is_empty(),
                info.encoding == Encoding::Unused,
                "{}",
                info.name
            );
        }
    }

    #[test]
    fn encodings_are_found_by_their_own_name() {
        for encoding in ALL_ENCODINGS {
            assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
        }
        assert_eq!(Encoding::from_name("nonsense"), None);
    }
}
