//! Messages kept until a snapshot bridges them: bounded, and full means empty.

use crate::exchange::depth::{Depth, DepthLevel};

/// More than a venue sends in a minute; a snapshot that takes longer is not coming.
pub const MESSAGES_MAX: usize = 4_096;
pub const LEVELS_MAX: usize = 1 << 17;

#[derive(Debug, Clone, Default)]
pub struct Buffer {
    messages: Vec<Depth>,
    levels: Vec<DepthLevel>,
}

impl Buffer {
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keep a message; returns how many had to go because there was no room. The newest stay out as
    /// well then: a hole in what is kept would look like a gap of the venue's.
    pub fn keep(&mut self, depth: &Depth, levels: &[DepthLevel]) -> usize {
        let bids = &levels[depth.bids.start as usize..depth.bids.end as usize];
        let asks = &levels[depth.asks.start as usize..depth.asks.end as usize];
        let full = self.messages.len() == MESSAGES_MAX
            || self.levels.len() + bids.len() + asks.len() > LEVELS_MAX;
        let lost = if full { self.clear() } else { 0 };
        let mut kept = depth.clone();
        let begin = self.levels.len() as u32;
        self.levels.extend_from_slice(bids);
        let middle = self.levels.len() as u32;
        self.levels.extend_from_slice(asks);
        (kept.bids, kept.asks) = (begin..middle, middle..self.levels.len() as u32);
        self.messages.push(kept);
        lost
    }

    /// Forget everything; returns how many messages that were.
    pub fn clear(&mut self) -> usize {
        let count = self.messages.len();
        self.messages = Vec::new();
        self.levels = Vec::new();
        count
    }

    /// Everything, oldest first, and the levels they refer to.
    pub fn take(&mut self) -> (Vec<Depth>, Vec<DepthLevel>) {
        (std::mem::take(&mut self.messages), std::mem::take(&mut self.levels))
    }
}
