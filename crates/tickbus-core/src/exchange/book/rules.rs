//! What a venue numbers, and whether a message follows the one before.
//!
//! | venue | an update follows if | a snapshot comes |
//! |---|---|---|
//! | Binance spot | `U` <= last `u` + 1 <= `u` | by request (REST `lastUpdateId`) |
//! | Binance futures | `pu` = last `u`; the first: `pu` <= `lastUpdateId` <= `u` | by request |
//! | Coinbase Advanced | the connection's `sequence_num` has no gap | in band |
//! | Coinbase Exchange | nothing tells | in band |
//! | Kraken | checksum of the best ten, time not backwards | in band |
//! | OKX | `prevSeqId` = last `seqId`; before ids: signed checksum, time not backwards | in band |
//! | Bybit | `u` = last `u` + 1; `u` = 1 is a snapshot | in band, `orderbook.full` by request |
//!
//! An id at or below the last one is a duplicate, unless the venue says that it follows: OKX numbers
//! from below after maintenance, with `prevSeqId` still right, and repeats an id on its idle messages.

use crate::exchange::depth::{Depth, DepthKind};
use crate::exchange::market::{Market, Venue};

/// The venue's way of numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    BinanceSpot,
    BinanceFutures,
    Coinbase,
    Kraken,
    Okx,
    Bybit,
}

/// Where a book stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    pub last_id: Option<u64>,
    pub venue_time_ns: Option<u64>,
    /// Whether an update has followed the snapshot: futures bridge by another rule than they chain.
    pub is_chained: bool,
}

/// What a message is to the book before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its number says that nothing is between.
    Follows,
    /// It has no number; its checksum may tell.
    Unnumbered,
    /// It is in the book already.
    Duplicate,
    Gap,
    /// It is older than the last, and has no number that says what it changes.
    Backwards,
}

impl Rule {
    pub const fn of(market: Market) -> Rule {
        match market {
            Market::BinanceSpot | Market::BinanceUs => Rule::BinanceSpot,
            Market::BinanceUsdM | Market::BinanceCoinM => Rule::BinanceFutures,
            other => match other.venue() {
                Venue::Coinbase => Rule::Coinbase,
                Venue::Kraken => Rule::Kraken,
                Venue::Okx => Rule::Okx,
                Venue::Bybit | Venue::Binance => Rule::Bybit,
            },
        }
    }

    /// Whether a book with that limit is told whole each time, by snapshots only.
    pub fn is_whole(self, limit: Option<u32>) -> bool {
        match self {
            Rule::BinanceSpot | Rule::BinanceFutures => limit.is_some(),
            Rule::Okx => limit == Some(5),
            _ => false,
        }
    }

    /// Whether updates come first, and a snapshot by request: then they are kept for it.
    pub fn is_by_request(self, limit: Option<u32>) -> bool {
        match self {
            Rule::BinanceSpot | Rule::BinanceFutures => limit.is_none(),
            Rule::Bybit => limit.is_none(),
            _ => false,
        }
    }

    /// Whether a lost message would show by the number of the next one.
    pub fn is_numbered(self, position: &Position) -> bool {
        match self {
            Rule::Coinbase | Rule::Kraken => false,
            Rule::Okx => position.last_id.is_some(),
            _ => true,
        }
    }

    /// What an update is to a book that stands at `position`.
    #[inline]
    pub fn step(self, position: &Position, depth: &Depth) -> Step {
        debug_assert_eq!(depth.kind, DepthKind::Update);
        let (Some(last), Some(id)) = (position.last_id, depth.last_id) else {
            return Rule::unnumbered(position, depth);
        };
        match self {
            Rule::BinanceSpot => match depth.first_id {
                _ if id <= last => Step::Duplicate,
                Some(first) if first <= last.saturating_add(1) => Step::Follows,
                _ => Step::Gap,
            },
            Rule::BinanceFutures => futures(position, last, id, depth),
            Rule::Okx => match depth.previous_id {
                Some(previous) if previous == last => Step::Follows,
                _ if id == last => Step::Duplicate,
                Some(previous) if id < last && previous < last => Step::Duplicate,
                _ => Step::Gap,
            },
            Rule::Bybit if id <= last => Step::Duplicate,
            Rule::Bybit if id == last + 1 => Step::Follows,
            Rule::Bybit => Step::Gap,
            Rule::Coinbase | Rule::Kraken => Rule::unnumbered(position, depth),
        }
    }

    fn unnumbered(position: &Position, depth: &Depth) -> Step {
        match (position.venue_time_ns, depth.venue_time_ns) {
            (Some(last), Some(time)) if time < last => Step::Backwards,
            _ => Step::Unnumbered,
        }
    }
}

fn futures(position: &Position, last: u64, id: u64, depth: &Depth) -> Step {
    let previous = depth.previous_id.or(depth.first_id.map(|first| first.saturating_sub(1)));
    match previous {
        _ if id < last || (id == last && position.is_chained) => Step::Duplicate,
        Some(previous) if position.is_chained && previous == last => Step::Follows,
        Some(previous) if !position.is_chained && previous <= last => Step::Follows,
        _ => Step::Gap,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(first: u64, last: u64, previous: Option<u64>) -> Depth {
        let mut depth = Depth::new(0, DepthKind::Update);
        (depth.first_id, depth.last_id, depth.previous_id) = (Some(first), Some(last), previous);
        depth
    }

    fn at(last: u64, is_chained: bool) -> Position {
        Position { last_id: Some(last), venue_time_ns: None, is_chained }
    }

    #[test]
    fn binance_spot_bridges_and_chains_by_first_and_last_id() {
        for (first, last, step) in [
            (90, 100, Step::Duplicate),
            (90, 101, Step::Follows),
            (101, 101, Step::Follows),
            (102, 110, Step::Gap),
        ] {
            let message = update(first, last, None);
            assert_eq!(Rule::BinanceSpot.step(&at(100, true), &message), step, "{first} {last}");
        }
    }

    #[test]
    fn binance_futures_bridge_a_snapshot_and_chain_by_the_previous_id() {
        for (is_chained, last, previous, step) in [
            (false, 99, 90, Step::Duplicate),
            (false, 100, 90, Step::Follows),
            (false, 105, 100, Step::Follows),
            (false, 105, 101, Step::Gap),
            (true, 100, 90, Step::Duplicate),
            (true, 105, 90, Step::Gap),
            (true, 105, 100, Step::Follows),
            (true, 105, 101, Step::Gap),
        ] {
            let message = update(previous + 1, last, Some(previous));
            let found = Rule::BinanceFutures.step(&at(100, is_chained), &message);
            assert_eq!(found, step, "{is_chained} {last} {previous}");
        }
    }

    #[test]
    fn okx_follows_the_previous_id_through_resets_and_idle_messages() {
        for (previous, last, step) in [
            (100, 107, Step::Follows),
            (100, 100, Step::Follows), // idle
            (100, 3, Step::Follows),   // numbered anew
            (93, 100, Step::Duplicate),
            (80, 93, Step::Duplicate),
            (107, 110, Step::Gap),
            (90, 110, Step::Gap),
        ] {
            let message = update(last, last, Some(previous));
            assert_eq!(Rule::Okx.step(&at(100, true), &message), step, "{previous} {last}");
        }
    }

    #[test]
    fn bybit_counts_one_by_one() {
        for (last, step) in [
            (100, Step::Duplicate),
            (101, Step::Follows),
            (102, Step::Gap),
        ] {
            assert_eq!(Rule::Bybit.step(&at(100, true), &update(last, last, None)), step);
        }
    }

    #[test]
    fn what_has_no_number_must_not_go_back_in_time() {
        let position = Position { venue_time_ns: Some(50), ..Position::default() };
        for (time, step) in [
            (49, Step::Backwards),
            (50, Step::Unnumbered),
            (51, Step::Unnumbered),
        ] {
            let mut depth = Depth::new(0, DepthKind::Update);
            depth.venue_time_ns = Some(time);
            assert_eq!(Rule::Kraken.step(&position, &depth), step);
        }
    }
}
