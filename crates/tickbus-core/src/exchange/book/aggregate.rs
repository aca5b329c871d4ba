//! One book of several venues: their best levels merged by price, with what each contributes.
//!
//! It reads what the feeds share ([`SharedTop`]) and asks nothing of them. A venue that is not trusted,
//! or was silent for too long by the reader's own clock, is not in the next build. Prices of different
//! venues meet as doubles: equal decimals of up to 15 digits are equal doubles, different ones differ.

use super::BookSide;
use super::integrity::Integrity;
use super::shared::{SharedTop, TopView};
use std::sync::Arc;

/// A venue's book in the aggregate.
#[derive(Debug)]
pub struct Contributor {
    pub name: Box<str>,
    /// Share of the price that taking there costs.
    pub taker_fee: f64,
    top: Arc<SharedTop>,
    view: TopView,
    absent: Option<&'static str>,
}

/// A price, and the size there over all venues.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub price: f64,
    pub size: f64,
    /// How many venues have it.
    pub venues: u32,
}

/// A best price after the fee for taking it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Net {
    pub venue: usize,
    pub price: f64,
    pub net: f64,
}

/// One venue would buy for at least what another sells for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    pub bid_venue: usize,
    pub ask_venue: usize,
    /// What selling to the one and buying from the other earns a unit, after fees; may be negative.
    pub net: f64,
    /// Base units that both have.
    pub size: f64,
    /// Whether both were heard lately: else the older one's quote is probably gone.
    pub is_fresh: bool,
}

/// The merged book as last built.
#[derive(Debug, Default)]
pub struct Aggregate {
    contributors: Vec<Contributor>,
    fresh_ns: u64,
    stale_ns: u64,
    sides: [Merged; 2],
    cursors: Vec<Cursor>,
    built_ns: u64,
}

#[derive(Debug, Default)]
struct Merged {
    levels: Vec<Level>,
    /// Size per level and contributor.
    sizes: Vec<f64>,
}

/// Where the merge stands in one venue's side.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    venue: usize,
    next: usize,
    len: usize,
    /// Turned round for asks, so that the greatest is always the best.
    rank: f64,
    price: f64,
    size: f64,
}

impl Aggregate {
    /// Args: how long ago both venues of a crossing may have been heard for it to be an opportunity;
    /// how long a venue may be silent and stay.
    pub fn new(fresh_ns: u64, stale_ns: u64) -> Aggregate {
        Aggregate { fresh_ns, stale_ns, ..Aggregate::default() }
    }

    /// Add a venue's book; returns its number.
    pub fn add(&mut self, name: &str, top: Arc<SharedTop>, taker_fee: f64) -> usize {
        let view = TopView::default();
        let absent = Some("not built");
        self.contributors
            .push(Contributor { name: name.into(), taker_fee, top, view, absent });
        self.contributors.len() - 1
    }

    pub fn contributors(&self) -> &[Contributor] {
        &self.contributors
    }

    /// When it was last built.
    pub fn built_ns(&self) -> u64 {
        self.built_ns
    }

    /// Merge the best `levels` a side as they are now.
    pub fn build(&mut self, levels: usize, now_ns: u64) {
        self.built_ns = now_ns;
        for contributor in &mut self.contributors {
            contributor.look(now_ns, self.stale_ns);
        }
        self.merge(BookSide::Bid, levels);
        self.merge(BookSide::Ask, levels);
    }

    /// Best first.
    pub fn levels(&self, side: BookSide) -> &[Level] {
        &self.sides[side as usize].levels
    }

    /// What each contributor has at each level: rows of as many numbers as there are contributors.
    pub fn sizes(&self, side: BookSide) -> &[f64] {
        &self.sides[side as usize].sizes
    }

    /// The best price to trade against, fees paid, and whose it is.
    pub fn best_after_fees(&self, side: BookSide) -> Option<Net> {
        let present = self.contributors.iter().enumerate();
        let nets = present.filter_map(|(venue, contributor)| {
            let (price, _) = contributor.best(side)?;
            let net = match side {
                BookSide::Bid => price * (1.0 - contributor.taker_fee),
                BookSide::Ask => price * (1.0 + contributor.taker_fee),
            };
            Some(Net { venue, price, net })
        });
        match side {
            BookSide::Bid => nets.max_by(|one, other| one.net.total_cmp(&other.net)),
            BookSide::Ask => nets.min_by(|one, other| one.net.total_cmp(&other.net)),
        }
    }

    /// Whether the best bid is at or above the best ask; of equal prices, where fees leave most.
    pub fn crossing(&self) -> Option<Crossing> {
        let (bid_venue, bid, bid_size) = self.best(BookSide::Bid)?;
        let (ask_venue, ask, ask_size) = self.best(BookSide::Ask)?;
        if bid < ask {
            return None;
        }
        let (seller, buyer) = (&self.contributors[ask_venue], &self.contributors[bid_venue]);
        let oldest = seller.view.heard_ns.min(buyer.view.heard_ns);
        Some(Crossing {
            bid_venue,
            ask_venue,
            net: bid * (1.0 - buyer.taker_fee) - ask * (1.0 + seller.taker_fee),
            size: bid_size.min(ask_size),
            is_fresh: self.built_ns.saturating_sub(oldest) <= self.fresh_ns,
        })
    }

    /// Venue, price and size of the best level; of equal prices the one with the lowest fee.
    fn best(&self, side: BookSide) -> Option<(usize, f64, f64)> {
        let price = self.levels(side).first()?.price;
        let at_best = self.contributors.iter().enumerate().filter_map(|(venue, contributor)| {
            let (own, size) = contributor.best(side)?;
            (own == price).then_some((venue, size, contributor.taker_fee))
        });
        let (venue, size, _) = at_best.min_by(|one, other| one.2.total_cmp(&other.2))?;
        Some((venue, price, size))
    }

    fn merge(&mut self, side: BookSide, levels: usize) {
        let Aggregate { contributors, sides, cursors, .. } = self;
        let merged = &mut sides[side as usize];
        let venues = contributors.len();
        merged.levels.clear();
        merged.sizes.clear();
        cursors.clear();
        for (venue, contributor) in contributors.iter().enumerate() {
            let len = if contributor.absent.is_some() { 0 } else { contributor.view.len(side) };
            let mut cursor = Cursor { venue, next: 0, len, rank: 0.0, price: 0.0, size: 0.0 };
            if cursor.advance(&contributor.view, side) {
                cursors.push(cursor);
            }
        }
        while merged.levels.len() < levels && !cursors.is_empty() {
            let rank = cursors.iter().fold(f64::NEG_INFINITY, |best, cursor| best.max(cursor.rank));
            let row = merged.sizes.len();
            merged.sizes.resize(row + venues, 0.0);
            let mut level = Level { price: rank.abs(), size: 0.0, venues: 0 };
            cursors.retain_mut(|cursor| {
                if cursor.rank != rank {
                    return true;
                }
                level.price = cursor.price;
                level.size += cursor.size;
                level.venues += 1;
                merged.sizes[row + cursor.venue] = cursor.size;
                cursor.advance(&contributors[cursor.venue].view, side)
            });
            merged.levels.push(level);
        }
    }
}

impl Contributor {
    /// Why the venue is not in the book as last built: its integrity, or "empty"; `None` if it is.
    pub fn absent(&self) -> Option<&'static str> {
        self.absent
    }

    /// When its venue was last heard, as of the last build.
    pub fn heard_ns(&self) -> u64 {
        self.view.heard_ns
    }

    fn look(&mut self, now_ns: u64, stale_ns: u64) {
        self.top.read(&mut self.view);
        let integrity = self.view.integrity();
        self.absent = if !integrity.is_trusted() {
            Some(integrity.name())
        } else if now_ns.saturating_sub(self.view.heard_ns) > stale_ns {
            Some(Integrity::Stale.name())
        } else if !self.view.has_sizes() {
            Some("contract_size_unknown")
        } else if self.view.len(BookSide::Bid) + self.view.len(BookSide::Ask) == 0 {
            Some("empty")
        } else {
            None
        };
    }

    fn best(&self, side: BookSide) -> Option<(f64, f64)> {
        let is_there = self.absent.is_none() && self.view.len(side) > 0;
        is_there.then(|| self.view.level(side, 0))
    }
}

impl Cursor {
    /// Take the next level; `false` if there is none.
    #[inline]
    fn advance(&mut self, view: &TopView, side: BookSide) -> bool {
        if self.next == self.len {
            return false;
        }
        (self.price, self.size) = view.level(side, self.next);
        self.rank = if side == BookSide::Bid { self.price } else { -self.price };
        self.next += 1;
        true
    }
}
