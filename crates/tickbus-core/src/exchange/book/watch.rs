//! Events that follow from thresholds on a book and its trades.
//!
//! - **order_book_imbalance**: `(B - A) / (B + A)` over the sizes of the best levels (queue imbalance:
//!   Gould and Bonart, 2016, "Queue Imbalance as a One-Tick-Ahead Price Predictor", there of one level).
//! - **spread_widening**: the spread, in basis points of the mid, over its exponential mean in time
//!   (Eckner, 2012, "Algorithms for Unevenly Spaced Time Series", EMA of the last value).
//! - **volume_spike**: what was traded in the running window over the exponential mean of the windows
//!   before, empty ones counted.
//!
//! Each fires where its figure reaches `on` and is silent until it has been below `off`: a figure that
//! trembles at the threshold is one event. An imbalance that turns to the other side is another.

use super::integrity::Integrity;
use super::{Book, BookSide};
use crate::exchange::symbol::Contract;
use crate::taxonomy::{ORDER_BOOK_IMBALANCE, SPREAD_WIDENING, VOLUME_SPIKE};

/// An event to be, as [`crate::taxonomy`] describes its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signal {
    pub event_type: u8,
    pub value: f64,
    pub metadata: f64,
}

/// Where a figure becomes an event, and below what it may again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    pub on: f64,
    pub off: f64,
}

/// What is watched for; `None` is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Levels a side that an imbalance is of.
    pub levels: usize,
    /// Of the absolute imbalance, 0 to 1.
    pub imbalance: Option<Threshold>,
    /// Of the spread, in times the usual one.
    pub spread: Option<Threshold>,
    /// After so long a spread counts half in the usual one.
    pub spread_half_life_ns: u64,
    /// Of the volume in a window, in times the usual one.
    pub volume: Option<Threshold>,
    pub volume_window_ns: u64,
    /// After so many windows a volume counts half in the usual one.
    pub volume_half_life: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            levels: 10,
            imbalance: Some(Threshold { on: 0.8, off: 0.6 }),
            spread: Some(Threshold { on: 3.0, off: 1.5 }),
            spread_half_life_ns: 60_000_000_000,
            volume: Some(Threshold { on: 5.0, off: 2.0 }),
            volume_window_ns: 1_000_000_000,
            volume_half_life: 60.0,
        }
    }
}

/// Windows that have to be over before a volume can be unusual.
const WINDOWS_BEFORE: u64 = 10;

/// What was seen of one instrument.
#[derive(Debug, Clone)]
pub struct Watch {
    thresholds: Thresholds,
    /// Side of the imbalance that was told: its sign, 0 for none.
    imbalance_told: f64,
    spread_told: bool,
    spread: Option<Spread>,
    volume_told: bool,
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Spread {
    begin_ns: u64,
    last_ns: u64,
    last: f64,
    usual: f64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    number: u64,
    volume: f64,
    usual: f64,
    seen: u64,
}

impl Watch {
    pub fn new(thresholds: Thresholds) -> Watch {
        Watch {
            thresholds,
            imbalance_told: 0.0,
            spread_told: false,
            spread: None,
            volume_told: false,
            window: None,
        }
    }

    /// Look at a book after a change. One that is not trusted says nothing, and is not remembered.
    pub fn book(
        &mut self,
        book: &Book,
        integrity: Integrity,
        contract: Contract,
        now_ns: u64,
        signals: &mut Vec<Signal>,
    ) {
        if !integrity.is_trusted() {
            self.spread = None;
            return;
        }
        let best = |side| book.numbers(side).next();
        let (Some((bid, _)), Some((ask, _))) = (best(BookSide::Bid), best(BookSide::Ask)) else {
            return;
        };
        if let Some(threshold) = self.thresholds.imbalance {
            signals.extend(self.imbalance(book, contract, threshold));
        }
        if let Some(threshold) = self.thresholds.spread {
            signals.extend(self.widening(bid, ask, now_ns, threshold));
        }
    }

    fn imbalance(
        &mut self,
        book: &Book,
        contract: Contract,
        threshold: Threshold,
    ) -> Option<Signal> {
        let [bids, asks] = [BookSide::Bid, BookSide::Ask].map(|side| {
            let sizes = book.numbers(side).take(self.thresholds.levels);
            sizes
                .map(|(price, size)| contract.base_units(price, size).unwrap_or(size))
                .sum::<f64>()
        });
        let depth = bids + asks;
        if depth <= 0.0 {
            return None;
        }
        let value = (bids - asks) / depth;
        if value.abs() >= threshold.on && self.imbalance_told != value.signum() {
            self.imbalance_told = value.signum();
            return Some(Signal { event_type: ORDER_BOOK_IMBALANCE, value, metadata: depth });
        }
        if value.abs() < threshold.off {
            self.imbalance_told = 0.0;
        }
        None
    }

    fn widening(
        &mut self,
        bid: f64,
        ask: f64,
        now_ns: u64,
        threshold: Threshold,
    ) -> Option<Signal> {
        let value = (ask - bid) / ((ask + bid) / 2.0) * 10_000.0;
        let half_life_ns = self.thresholds.spread_half_life_ns;
        let Some(seen) = &mut self.spread else {
            self.spread =
                Some(Spread { begin_ns: now_ns, last_ns: now_ns, last: value, usual: value });
            return None;
        };
        let passed = now_ns.saturating_sub(seen.last_ns) as f64;
        let kept = (-passed / half_life_ns as f64).exp2();
        seen.usual = seen.last + (seen.usual - seen.last) * kept;
        (seen.last, seen.last_ns) = (value, seen.last_ns.max(now_ns));
        if now_ns.saturating_sub(seen.begin_ns) < half_life_ns || seen.usual <= 0.0 {
            return None;
        }
        let ratio = value / seen.usual;
        if ratio >= threshold.on && !self.spread_told {
            self.spread_told = true;
            return Some(Signal { event_type: SPREAD_WIDENING, value, metadata: ratio });
        }
        self.spread_told &= ratio >= threshold.off;
        None
    }

    /// Look at a trade of so many base units, sold or bought.
    pub fn trade(&mut self, base_units: f64, now_ns: u64, signals: &mut Vec<Signal>) {
        let Some(threshold) = self.thresholds.volume else {
            return;
        };
        let number = now_ns / self.thresholds.volume_window_ns.max(1);
        let half_life = self.thresholds.volume_half_life;
        let window = self.window.get_or_insert(Window { number, volume: 0.0, usual: 0.0, seen: 0 });
        if number > window.number {
            let over = number - window.number;
            if window.usual > 0.0 {
                self.volume_told &= window.volume / window.usual >= threshold.off && over == 1;
            }
            window.close(over, half_life);
            window.number = number;
        }
        window.volume += base_units.abs();
        if window.seen < WINDOWS_BEFORE || window.usual <= 0.0 || self.volume_told {
            return;
        }
        let value = window.volume / window.usual;
        if value >= threshold.on {
            self.volume_told = true;
            signals.push(Signal { event_type: VOLUME_SPIKE, value, metadata: window.volume });
        }
    }
}

impl Window {
    /// The window is over, and `over - 1` empty ones after it.
    fn close(&mut self, over: u64, half_life: f64) {
        let kept = (-1.0 / half_life).exp2();
        // The first windows are a plain mean: an exponential one would begin at zero.
        let share = (1.0 - kept).max(1.0 / (self.seen + 1) as f64);
        self.usual += (self.volume - self.usual) * share;
        let empty = over - 1;
        self.usual *= (-(empty as f64) / half_life).exp2();
        self.seen = self.seen.saturating_add(over);
        self.volume = 0.0;
    }
}
