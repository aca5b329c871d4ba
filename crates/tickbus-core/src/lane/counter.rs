//! What can happen to a lane that somebody should hear of.

/// What a lane counts, in the order `bus.stats()` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Publishes given up because a live but stopped producer held the slot.
    Stalled,
    /// Claims of dead producers that others finished.
    Repaired,
    /// Events that entered the critical reserve after their deadline.
    Spilled,
    /// Events refused for want of room; their publishers got an error.
    Refused,
    /// Publishes that had to wait for a reader.
    Waited,
}

/// All counters with their names.
pub const COUNTER_NAMES: [(Counter, &str); 5] = [
    (Counter::Stalled, "stalled"),
    (Counter::Repaired, "repaired"),
    (Counter::Spilled, "spilled"),
    (Counter::Refused, "refused"),
    (Counter::Waited, "waited"),
];
