//! Order books of one connection, and whether they can be trusted.
//!
//! ```text
//! decoder ── depths ── Books ── Stream ── rules: does this message follow the last one?
//!                        │         ├───── Book: levels as integers, checksum
//!                        │         ├───── SharedTop ── Aggregate, of several venues
//!                        │         └───── Watch: events from thresholds
//!                        └── changes: integrity, a snapshot is needed
//! ```
//!
//! **Promises.** A book that is `verified` has every change the venue told since its snapshot, by the
//! venue's own numbers or checksums, and is not crossed. What breaks that makes it `suspect` before
//! anybody can read it, and asks for one snapshot, once. Nothing is sorted out silently: messages
//! skipped, dropped or kept for later are counted.
//!
//! Costs: see `docs/parts/books.md` and `cargo bench -p tickbus-core --bench books`. What it does not
//! do: ask venues for anything (that is the connection's), and orders behind a level.

mod aggregate;
mod books;
mod buffer;
mod checksum;
mod integrity;
pub mod measure;
mod rules;
mod shared;
mod side;
mod stream;
mod watch;

pub use aggregate::{Aggregate, Contributor, Crossing, Level as AggregateLevel, Net};
pub use books::{Books, Settings};
pub use integrity::{Change, Counts, Integrity, Reason, What};
pub use shared::{SharedTop, TopView};
pub use side::Cell;
pub use stream::Stream;
pub use watch::{Signal, Threshold, Thresholds, Watch};

use super::depth::{DepthLevel, Exact};
use side::Side;

/// A price of the message has no whole number of ticks that fits 64 bits beside the book's others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceRange;

/// 10 to the power of the index; finer factors do not fit 64 bits.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// Sides of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookSide {
    Bid,
    Ask,
}

/// Price levels of one instrument at one venue.
///
/// Prices are integers: units of the finest decimal seen so far, all told anew when a finer one
/// appears. Sizes and prices are kept as written, which checksums are computed from.
#[derive(Debug, Clone)]
pub struct Book {
    bids: Side,
    asks: Side,
    /// Decimals of a tick.
    scale: u8,
    /// Text a checksum is computed from.
    text: Vec<u8>,
}

impl Default for Book {
    fn default() -> Book {
        Book::new()
    }
}

impl Book {
    pub fn new() -> Book {
        Book { bids: Side::bids(), asks: Side::asks(), scale: 0, text: Vec::new() }
    }

    /// Decimals of a tick: a price is `ticks / 10^scale`.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// Levels of a side.
    pub fn len(&self, side: BookSide) -> usize {
        self.side(side).len()
    }

    pub fn is_empty(&self) -> bool {
        self.bids.len() + self.asks.len() == 0
    }

    /// Ticks of a side's best price.
    pub fn best(&self, side: BookSide) -> Option<u64> {
        self.side(side).best()
    }

    /// Levels of a side from the best outwards: ticks, and what stands there.
    pub fn levels(&self, side: BookSide) -> impl Iterator<Item = (u64, Cell)> + '_ {
        self.side(side).iter()
    }

    /// The same as they were written: price and size.
    pub fn exact(&self, side: BookSide) -> impl Iterator<Item = DepthLevel> + '_ {
        let scale = self.scale;
        self.side(side).iter().map(move |(ticks, cell)| DepthLevel {
            price: written(ticks, cell.price_scale, scale),
            size: Exact { units: cell.size_units, scale: cell.size_scale },
        })
    }

    /// The same as numbers: price and size, the doubles nearest to them.
    pub fn numbers(&self, side: BookSide) -> impl Iterator<Item = (f64, f64)> + '_ {
        let scale = self.scale;
        self.side(side).iter().map(move |(ticks, cell)| {
            (number(ticks, scale), number(cell.size_units, cell.size_scale))
        })
    }

    /// Whether somebody would buy for at least what somebody sells for.
    #[inline]
    pub fn is_crossed(&self) -> bool {
        matches!((self.bids.best(), self.asks.best()), (Some(bid), Some(ask)) if bid >= ask)
    }

    /// What now stands at a price; a size of zero takes it away, also if it is not there.
    #[inline]
    pub fn set(&mut self, side: BookSide, level: &DepthLevel) -> Result<(), PriceRange> {
        let (ticks, price_scale) = self.ticks(level.price)?;
        let side = self.side_mut(side);
        if level.size.units == 0 {
            side.take(ticks);
        } else {
            let (size_units, size_scale) = (level.size.units, level.size.scale);
            side.put(ticks, Cell { size_units, size_scale, price_scale });
        }
        Ok(())
    }

    /// All that changed, told at once.
    #[inline]
    pub fn update(&mut self, bids: &[DepthLevel], asks: &[DepthLevel]) -> Result<(), PriceRange> {
        for level in bids {
            self.set(BookSide::Bid, level)?;
        }
        for level in asks {
            self.set(BookSide::Ask, level)?;
        }
        Ok(())
    }

    /// All there is. On an error the book is empty.
    pub fn replace(&mut self, bids: &[DepthLevel], asks: &[DepthLevel]) -> Result<(), PriceRange> {
        self.clear();
        self.scale = 0;
        for (side, levels) in [(BookSide::Bid, bids), (BookSide::Ask, asks)] {
            // The finest scale first, or every level would be told anew for each finer one.
            let finest = levels.iter().map(|level| level.price.scale).max().unwrap_or(0);
            if finest > self.scale && finest <= 18 {
                self.refine(finest);
            }
            for level in levels.iter().filter(|level| level.size.units > 0) {
                let (ticks, price_scale) = match self.ticks(level.price) {
                    Ok(found) => found,
                    Err(error) => {
                        self.clear();
                        return Err(error);
                    }
                };
                let (size_units, size_scale) = (level.size.units, level.size.scale);
                self.side_mut(side).add(ticks, Cell { size_units, size_scale, price_scale });
            }
            self.side_mut(side).replace();
        }
        Ok(())
    }

    /// Keep the best `limit` levels a side.
    #[inline]
    pub fn cut(&mut self, limit: u32) {
        self.bids.cut(limit as usize);
        self.asks.cut(limit as usize);
    }

    pub fn clear(&mut self) {
        for side in [&mut self.bids, &mut self.asks] {
            side.clear();
            side.forget();
        }
    }

    /// CRC-32 as Kraken computes it: ten asks, then ten bids.
    pub fn checksum_kraken(&mut self) -> i64 {
        let mut text = std::mem::take(&mut self.text);
        let checksum = checksum::kraken(self, &mut text);
        self.text = text;
        i64::from(checksum)
    }

    /// CRC-32 as OKX computed it: 25 bids and asks in turn; signed.
    pub fn checksum_okx(&mut self) -> i64 {
        let mut text = std::mem::take(&mut self.text);
        let checksum = checksum::okx(self, &mut text);
        self.text = text;
        i64::from(checksum)
    }

    fn side(&self, side: BookSide) -> &Side {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    #[inline]
    fn side_mut(&mut self, side: BookSide) -> &mut Side {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }

    /// A price in ticks, and the decimals it is kept with.
    #[inline]
    fn ticks(&mut self, price: Exact) -> Result<(u64, u8), PriceRange> {
        if price.scale == self.scale {
            return Ok((price.units, price.scale));
        }
        self.ticks_of_other_scale(price)
    }

    fn ticks_of_other_scale(&mut self, price: Exact) -> Result<(u64, u8), PriceRange> {
        let mut price = price;
        if price.scale > self.scale && !self.refine(price.scale) {
            // Too fine for what else is here; but zeros at the end are no precision.
            while price.scale > self.scale && price.units.is_multiple_of(10) {
                price = Exact { units: price.units / 10, scale: price.scale - 1 };
            }
            if price.scale > self.scale {
                return Err(PriceRange);
            }
        }
        let factor = POWERS.get(usize::from(self.scale - price.scale)).ok_or(PriceRange)?;
        let ticks = price.units.checked_mul(*factor).ok_or(PriceRange)?;
        Ok((ticks, price.scale))
    }

    /// Whether ticks can have `scale` decimals; told anew, if they can.
    #[cold]
    fn refine(&mut self, scale: u8) -> bool {
        let Some(&factor) = POWERS.get(usize::from(scale - self.scale)) else {
            // Nothing here yet: any scale will do.
            let is_blank = self.bids.is_blank() && self.asks.is_blank();
            if is_blank {
                self.scale = scale;
            }
            return is_blank;
        };
        if !self.bids.refine(factor) {
            return false;
        }
        if !self.asks.refine(factor) {
            self.bids.coarsen(factor);
            return false;
        }
        self.scale = scale;
        true
    }
}

/// A price as written, of its ticks.
fn written(ticks: u64, price_scale: u8, scale: u8) -> Exact {
    Exact { units: ticks / POWERS[usize::from(scale - price_scale)], scale: price_scale }
}

/// The double nearest to `units / 10^scale`: both are exact, so that one rounding does it, unless there
/// are more digits than a double has.
#[inline]
pub(crate) fn number(units: u64, scale: u8) -> f64 {
    if units < 1 << 53 && usize::from(scale) < POWERS.len() {
        return units as f64 / POWERS[usize::from(scale)] as f64;
    }
    format!("{units}e-{scale}").parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests;
