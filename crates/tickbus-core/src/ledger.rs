//! The books of a subscription. They stand in the bus's memory, so whoever is on the bus can look.

use crate::bus::Bus;
use crate::event::PRIORITIES;
use crate::lane::layout::READERS;
use std::sync::Arc;

/// What became of a lane's events, for one subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Sequence of the first event that counts.
    pub start: u64,
    pub published: u64,
    pub delivered: u64,
    pub filtered: u64,
    /// Overwritten before they were read.
    pub missed: u64,
    /// Published and not looked at yet.
    pub pending: u64,
}

impl Ledger {
    /// Sequence the reader looks at next.
    pub fn position(&self) -> u64 {
        self.start + self.delivered + self.filtered + self.missed
    }
}

/// Sees a subscription's books while another thread reads with it. They stand in the bus's memory.
#[derive(Clone)]
pub struct Observer {
    bus: Arc<Bus>,
    number: usize,
}

impl Observer {
    /// Of the reader with this number.
    pub(crate) fn new(bus: &Arc<Bus>, number: usize) -> Observer {
        Observer { bus: Arc::clone(bus), number }
    }

    /// The books of one lane, by priority number. They add up also while the reader moves on, since
    /// what is pending is what the counts leave of what was published. Meaningless when the
    /// subscription is gone.
    pub fn ledger(&self, lane: usize) -> Ledger {
        let (start, delivered, filtered, missed) = self.bus.readers.books(self.number, lane);
        let passed = delivered + filtered + missed;
        // The tail after the counts, so that it is not behind them.
        let published = self.bus.lanes[lane].end().saturating_sub(start).max(passed);
        Ledger { start, published, delivered, filtered, missed, pending: published - passed }
    }
}

/// A reader of any process, with its books by priority number.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    pub number: usize,
    /// Its process; `None` when that has just left.
    pub pid: Option<u64>,
    /// Lanes whose publishers wait for it, a bit each.
    pub gating: u64,
    pub books: [Ledger; 3],
}

impl Bus {
    /// Every reader on the bus but the journal's, whichever process it is in.
    pub fn listed(self: &Arc<Bus>) -> Vec<Listed> {
        let journal = self.persistence.reader();
        let listed = |number: usize| {
            let owner = self.readers.owner(number)?;
            let observer = Observer::new(self, number);
            let books = PRIORITIES.map(|priority| observer.ledger(priority as usize));
            let (pid, gating) = (self.pid_of(owner), self.readers.gating(number));
            (journal != Some(number)).then_some(Listed { number, pid, gating, books })
        };
        (0..READERS).filter_map(listed).collect()
    }
}
