//! What a subscription reads of its bus's history: a few thousand events of each lane at a time.

use crate::bus::Bus;
use crate::event::Event;
use crate::history::{History, HistoryError};

/// A run of events of one lane.
#[derive(Default)]
struct Chunk {
    first: u64,
    events: Vec<Event>,
}

/// What there is at a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// So many events, from the sequence on.
    Events(usize),
    /// None before this sequence.
    Gap { resume: u64 },
    /// Nothing from there on, or nobody keeps a history.
    Nothing,
}

/// The history as one subscription reads it.
#[derive(Default)]
pub struct Past {
    history: Option<Box<dyn History>>,
    chunks: [Chunk; 3],
}

impl Past {
    /// The history, opened when first needed.
    pub fn history(&mut self, bus: &Bus) -> Option<&mut (dyn History + 'static)> {
        if self.history.is_none() {
            self.history = bus.history();
        }
        self.history.as_deref_mut()
    }

    /// Have events of `lane` from `sequence` on at hand.
    pub fn find(&mut self, bus: &Bus, lane: usize, sequence: u64) -> Result<Found, HistoryError> {
        let left = self.at(lane, sequence).len();
        if left > 0 {
            return Ok(Found::Events(left));
        }
        let mut events = std::mem::take(&mut self.chunks[lane].events);
        let Some(history) = self.history(bus) else {
            return Ok(Found::Nothing);
        };
        let first = history.read(lane, sequence, &mut events);
        let chunk = &mut self.chunks[lane];
        chunk.events = events;
        match first {
            Ok(first) => {
                chunk.first = first;
                Ok(match chunk.events.len() {
                    0 => Found::Nothing,
                    _ if first > sequence => Found::Gap { resume: first },
                    len => Found::Events(len),
                })
            }
            Err(error) => {
                chunk.events.clear();
                Err(error)
            }
        }
    }

    /// The events at hand from `sequence` on.
    pub fn at(&self, lane: usize, sequence: u64) -> &[Event] {
        let chunk = &self.chunks[lane];
        let from = sequence.checked_sub(chunk.first).map(|from| from as usize);
        from.and_then(|from| chunk.events.get(from..)).unwrap_or_default()
    }
}
