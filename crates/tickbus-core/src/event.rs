//! The event: 32 bytes, one layout everywhere.
//!
//! The same bytes are the lane slot, the NumPy row, the Arrow row and the wire record, so nothing
//! is re-encoded on the way. Lanes move an event as four `u64` words ([`Event::to_words`]), because
//! memory that other processes write may only be touched through atomics of one size.

use std::mem::{offset_of, size_of};

/// Which lane an event takes. Order is urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    Normal = 0,
    High = 1,
    Critical = 2,
}

/// Every priority, least urgent first: index = number.
pub const PRIORITIES: [Priority; 3] = [Priority::Normal, Priority::High, Priority::Critical];

impl Priority {
    /// The priority with this number, or `None`.
    pub const fn from_number(number: u8) -> Option<Priority> {
        match number {
            0 => Some(Priority::Normal),
            1 => Some(Priority::High),
            2 => Some(Priority::Critical),
            _ => None,
        }
    }

    /// Lower-case name, as in `bus.stats()`.
    pub const fn name(self) -> &'static str {
        match self {
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Critical => "critical",
        }
    }
}

/// One thing that happened. `value` and `metadata` mean what [`crate::taxonomy::TABLE`] says of
/// the type.
///
/// `priority` is a plain byte, not [`Priority`]: an event may come from a file or an array, and a
/// byte that is no priority has to be representable until it is refused.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds since the Unix epoch, UTC: when this desk learnt it. 0: stamp me at publish.
    pub timestamp: u64,
    pub event_type: u8,
    pub priority: u8,
    /// Interned exchange, strategy or service; 0 is "none".
    pub source: u16,
    /// Interned instrument; 0 is "none".
    pub symbol: u32,
    pub value: f64,
    pub metadata: u64,
}

// These offsets are a file format: lanes and recordings are read with this struct.
const _: () = assert!(size_of::<Event>() == 32);
const _: () = assert!(offset_of!(Event, timestamp) == 0);
const _: () = assert!(offset_of!(Event, event_type) == 8);
const _: () = assert!(offset_of!(Event, priority) == 9);
const _: () = assert!(offset_of!(Event, source) == 10);
const _: () = assert!(offset_of!(Event, symbol) == 12);
const _: () = assert!(offset_of!(Event, value) == 16);
const _: () = assert!(offset_of!(Event, metadata) == 24);
const _: () = assert!(cfg!(target_endian = "little"), "the byte layout is little-endian");

/// An event as the lanes store it.
pub type Words = [u64; 4];

impl Event {
    /// The 32 bytes as four little-endian words.
    #[inline]
    pub const fn to_words(&self) -> Words {
        [
            self.timestamp,
            self.event_type as u64
                | (self.priority as u64) << 8
                | (self.source as u64) << 16
                | (self.symbol as u64) << 32,
            self.value.to_bits(),
            self.metadata,
        ]
    }

    /// The inverse of [`Event::to_words`]; every bit pattern is an event.
    #[inline]
    pub const fn from_words(words: Words) -> Event {
        Event {
            timestamp: words[0],
            event_type: words[1] as u8,
            priority: (words[1] >> 8) as u8,
            source: (words[1] >> 16) as u16,
            symbol: (words[1] >> 32) as u32,
            value: f64::from_bits(words[2]),
            metadata: words[3],
        }
    }

    /// The 32 bytes, as in a file or on the wire.
    pub fn to_bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.to_words()) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The inverse of [`Event::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Event {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        }
        Event::from_words(words)
    }
}

/// Bit for bit, so that NaN equals itself and 0.0 differs from -0.0: an event is its bytes.
impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.to_words() == other.to_words()
    }
}

impl Eq for Event {}

impl std::hash::Hash for Event {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.to_words().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_32_bytes_are_an_event_and_come_back(bytes: [u8; 32]) {
            prop_assert_eq!(Event::from_bytes(&bytes).to_bytes(), bytes);
        }

        #[test]
        fn words_and_fields_agree(timestamp: u64, event_type: u8, priority: u8, source: u16,
                                  symbol: u32, value: f64, metadata: u64) {
            let event = Event { timestamp, event_type, priority, source, symbol, value, metadata };
            prop_assert_eq!(Event::from_words(event.to_words()), event);
        }
    }

    #[test]
    fn priorities_are_their_numbers() {
        for (number, priority) in PRIORITIES.into_iter().enumerate() {
            assert_eq!(Priority::from_number(number as u8), Some(priority));
            assert_eq!(priority as usize, number);
        }
        assert_eq!(Priority::from_number(3), None);
    }
}
