//! Events that a lane has overwritten, from whoever kept them.
//!
//! The bus owns this trait and the journal implements it, so that a subscription can go on behind a
//! lane's oldest event without the bus knowing what a journal is.

use crate::event::Event;
use std::fmt;

/// Why events cannot be had, although somebody should have kept them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryError {
    pub lane: usize,
    /// The first sequence that can be had after what cannot.
    pub resume: u64,
    pub message: String,
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HistoryError {}

/// What was kept of a bus's lanes.
pub trait History: Send {
    /// Replace `out` by events of `lane`, one after the other from `sequence` on or, when those were
    /// not kept, from the first later ones; the sequence of the first. Empty: nothing from there on
    /// has been kept yet.
    fn read(
        &mut self,
        lane: usize,
        sequence: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, HistoryError>;

    /// The first sequence of a lane that was kept.
    fn first(&mut self, lane: usize) -> Result<u64, HistoryError>;

    /// The payload that the event at `sequence` refers to; `None` when it was not kept.
    fn payload(
        &mut self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, HistoryError>;

    /// The first sequence of a lane with a timestamp of at least `timestamp`, or the next to be kept.
    fn at(&mut self, lane: usize, timestamp: u64) -> Result<u64, HistoryError>;
}
