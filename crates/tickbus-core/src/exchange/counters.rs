//! What a decoder's frames came to: every frame in exactly one place.

use super::Outcome;
use super::batch::Batch;
use crate::taxonomy::PRICE_UPDATE;

/// How often each reason was given. A handful of reasons, so a list beats a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(Vec<(&'static str, u64)>);

impl Tally {
    fn add(&mut self, reason: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.0.push((reason, 1)),
        }
    }

    /// Reasons and their counts, in the order first given.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

/// Frames: `frames = event_frames + book_frames + history_frames + ignored + malformed`, always. And
/// what was in them: `trades`, `quotes`, `books`, `levels`, `history`, `unpackable`, `outside_book`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub frames: u64,
    pub event_frames: u64,
    /// Frames with order book messages and no event.
    pub book_frames: u64,
    pub history_frames: u64,
    pub ignored: Tally,
    pub malformed: Tally,
    /// Events told of type `price_update`.
    pub trades: u64,
    /// Events told of type `top_of_book`.
    pub quotes: u64,
    /// Order book messages, and the levels in them.
    pub books: u64,
    pub levels: u64,
    /// Trades from before the subscription, not told.
    pub history: u64,
    /// Quotes whose bid and ask do not fit one event, not told.
    pub unpackable: u64,
    /// Trades that touched no order book (block trades, liquidations), not told.
    pub outside_book: u64,
}

impl Counters {
    pub(super) fn count(&mut self, outcome: Outcome, batch: &Batch) {
        self.frames += 1;
        self.history += batch.history;
        self.unpackable += batch.unpackable;
        self.outside_book += batch.outside_book;
        self.books += batch.depths.len() as u64;
        self.levels += batch.levels.len() as u64;
        match outcome {
            Outcome::Events(events) => {
                let is_trade = |record: &&super::batch::Record| record.event_type == PRICE_UPDATE;
                let trades = batch.records.iter().filter(is_trade).count() as u64;
                self.event_frames += 1;
                self.trades += trades;
                self.quotes += events - trades;
            }
            Outcome::Books(_) => self.book_frames += 1,
            Outcome::History(_) => self.history_frames += 1,
            Outcome::Ignored(reason) => self.ignored.add(reason),
            Outcome::Malformed(reason) => self.malformed.add(reason),
        }
    }
}
