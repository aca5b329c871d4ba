//! One side of a book: prices sorted with the best last, so that what changes most moves least.
//!
//! A price is a key: its ticks for a bid, their complement for an ask. Both sides are then the same
//! code, ascending to the best. Keys lie apart from sizes, because the search reads keys only.

use std::cmp::Ordering;

/// What stands at a price, as written: the size, and how many decimals both had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub size_units: u64,
    pub size_scale: u8,
    pub price_scale: u8,
}

/// Most updates are to one of so many best levels; a scan beats halving there.
const SCANNED: usize = 16;

/// Room that cut levels may take before it is given back.
const CUT_KEPT: usize = 1024;

#[derive(Debug, Clone)]
pub struct Side {
    /// All zeros for bids, all ones for asks.
    flip: u64,
    keys: Vec<u64>,
    cells: Vec<Cell>,
    /// Levels before this one were cut away.
    start: usize,
    /// A snapshot being sorted.
    incoming: Vec<(u64, Cell)>,
}

impl Side {
    pub fn bids() -> Side {
        Side { flip: 0, keys: Vec::new(), cells: Vec::new(), start: 0, incoming: Vec::new() }
    }

    pub fn asks() -> Side {
        Side { flip: u64::MAX, ..Side::bids() }
    }

    pub fn len(&self) -> usize {
        self.keys.len() - self.start
    }

    /// Whether no level is here, and none is being added.
    pub fn is_blank(&self) -> bool {
        self.len() + self.incoming.len() == 0
    }

    pub fn clear(&mut self) {
        self.keys.clear();
        self.cells.clear();
        self.start = 0;
    }

    /// Ticks of the best price.
    #[inline]
    pub fn best(&self) -> Option<u64> {
        (self.len() > 0).then(|| self.keys[self.keys.len() - 1] ^ self.flip)
    }

    /// Levels from the best outwards.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Cell)> + '_ {
        let flip = self.flip;
        let keys = self.keys[self.start..].iter().rev();
        keys.zip(self.cells[self.start..].iter().rev())
            .map(move |(key, cell)| (key ^ flip, *cell))
    }

    /// Put `cell` at a price, or replace what stands there.
    #[inline]
    pub fn put(&mut self, ticks: u64, cell: Cell) {
        let key = ticks ^ self.flip;
        match self.find(key) {
            Ok(at) => self.cells[at] = cell,
            Err(at) => {
                self.keys.insert(at, key);
                self.cells.insert(at, cell);
            }
        }
    }

    /// Take a price away; whether it was there.
    #[inline]
    pub fn take(&mut self, ticks: u64) -> bool {
        let found = self.find(ticks ^ self.flip);
        if let Ok(at) = found {
            self.keys.remove(at);
            self.cells.remove(at);
        }
        found.is_ok()
    }

    /// Where `key` is, or where it belongs.
    #[inline]
    fn find(&self, key: u64) -> Result<usize, usize> {
        let mut at = self.keys.len();
        let stop = self.start.max(at.saturating_sub(SCANNED));
        while at > stop {
            match self.keys[at - 1].cmp(&key) {
                Ordering::Greater => at -= 1,
                Ordering::Equal => return Ok(at - 1),
                Ordering::Less => return Err(at),
            }
        }
        match self.keys[self.start..at].binary_search(&key) {
            Ok(found) => Ok(self.start + found),
            Err(place) => Err(self.start + place),
        }
    }

    /// Begin a snapshot; [`Side::add`] its levels, then [`Side::replace`] what stands here.
    pub fn add(&mut self, ticks: u64, cell: Cell) {
        self.incoming.push((ticks ^ self.flip, cell));
    }

    /// Forget what was added.
    pub fn forget(&mut self) {
        self.incoming.clear();
    }

    /// The levels added since are all there are now. Of several for one price the last counts.
    pub fn replace(&mut self) {
        self.clear();
        if self.incoming.is_sorted_by(|left, right| left.0 > right.0) {
            // Best first, as most venues send it.
            self.incoming.reverse();
        } else {
            self.incoming.sort_by_key(|&(key, _)| key);
            self.incoming.reverse();
            // Stable and turned round: the last that was told is the first of its price.
            self.incoming.dedup_by_key(|&mut (key, _)| key);
            self.incoming.reverse();
        }
        self.keys.extend(self.incoming.iter().map(|&(key, _)| key));
        self.cells.extend(self.incoming.iter().map(|&(_, cell)| cell));
        self.incoming = Vec::new();
    }

    /// Keep the best `limit` levels.
    #[inline]
    pub fn cut(&mut self, limit: usize) {
        if self.len() <= limit {
            return;
        }
        self.start = self.keys.len() - limit;
        if self.start > CUT_KEPT {
            self.keys.drain(..self.start);
            self.cells.drain(..self.start);
            self.start = 0;
        }
    }

    /// Whether all prices can be told in units `factor` times finer; told so, if they can.
    pub fn refine(&mut self, factor: u64) -> bool {
        let flip = self.flip;
        let live = &self.keys[self.start..];
        if live.iter().any(|key| (key ^ flip).checked_mul(factor).is_none()) {
            return false;
        }
        let incoming = &mut self.incoming;
        if incoming.iter().any(|(key, _)| (key ^ flip).checked_mul(factor).is_none()) {
            return false;
        }
        for key in self.keys[self.start..]
            .iter_mut()
            .chain(incoming.iter_mut().map(|(key, _)| key))
        {
            *key = ((*key ^ flip) * factor) ^ flip;
        }
        true
    }

    /// Take a [`Side::refine`] back.
    pub fn coarsen(&mut self, factor: u64) {
        let flip = self.flip;
        let incoming = self.incoming.iter_mut().map(|(key, _)| key);
        for key in self.keys[self.start..].iter_mut().chain(incoming) {
            *key = ((*key ^ flip) / factor) ^ flip;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(size_units: u64) -> Cell {
        Cell { size_units, size_scale: 0, price_scale: 0 }
    }

    fn prices(side: &Side) -> Vec<u64> {
        side.iter().map(|(ticks, _)| ticks).collect()
    }

    #[test]
    fn the_best_comes_first_on_both_sides() {
        let (mut bids, mut asks) = (Side::bids(), Side::asks());
        for ticks in [5, 1, 9, 7, 3] {
            bids.put(ticks, cell(1));
            asks.put(ticks, cell(1));
        }

        assert_eq!(prices(&bids), [9, 7, 5, 3, 1]);
        assert_eq!(prices(&asks), [1, 3, 5, 7, 9]);
        assert_eq!((bids.best(), asks.best()), (Some(9), Some(1)));
    }

    #[test]
    fn a_cut_side_keeps_its_best_and_takes_new_ones() {
        let mut asks = Side::asks();
        for ticks in 0..5_000 {
            asks.put(ticks * 2, cell(ticks));
            asks.cut(3);
        }
        assert_eq!(prices(&asks), [0, 2, 4]);

        asks.put(3, cell(9));
        asks.cut(3);
        assert_eq!(prices(&asks), [0, 2, 3]);
        assert!(!asks.take(4), "what was cut is gone");
        assert!(asks.take(0));
        assert_eq!(prices(&asks), [2, 3]);
    }

    #[test]
    fn a_snapshot_in_any_order_is_sorted_and_its_last_word_counts() {
        let mut bids = Side::bids();
        bids.put(100, cell(7));
        for (ticks, size) in [(5, 1), (9, 2), (5, 3), (7, 4)] {
            bids.add(ticks, cell(size));
        }
        bids.replace();
        let levels: Vec<_> = bids.iter().map(|(ticks, cell)| (ticks, cell.size_units)).collect();
        assert_eq!(levels, [(9, 2), (7, 4), (5, 3)]);
    }
}
