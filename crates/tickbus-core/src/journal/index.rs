//! What a block of 4,096 events can contain, in 96 bytes: enough to pass over it unread.
//!
//! | offset | field |
//! |---|---|
//! | 0 | least and greatest timestamp, and the greatest up to here in this segment, 3 × u64 |
//! | 24 | event types, 4 × u64 as a bit set |
//! | 56 | symbols, 128 bits: bit `number % 128` |
//! | 72 | sources, 64 bits: bit `number % 64` |
//! | 80 | CRC32C of the block's events, u32; zeros to 96 |
//!
//! Symbols and sources are interned, so their numbers are dense and small: taken modulo the width
//! they are told apart exactly up to 128 symbols and 64 sources, and a hash would do worse.
//!
//! Timestamps need not ascend. *Greatest up to here* ascends, and so does the least from a block on,
//! which is computed when the index is loaded: two binary searches bound the blocks of a time range,
//! and a single wild timestamp costs unread entries, not blocks.

use std::ops::Range;

/// Events a block.
pub const BLOCK_EVENTS: usize = 4096;
/// Bytes an event.
pub const EVENT_LEN: usize = 32;
/// Bytes a full block.
pub const BLOCK_LEN: usize = BLOCK_EVENTS * EVENT_LEN;
/// Bytes an entry.
pub const ENTRY_LEN: usize = 96;

/// A set of event types, a bit each.
pub type Types = [u64; 4];

/// All event types.
pub const ALL_TYPES: Types = [u64::MAX; 4];

/// The bit of a symbol in an entry.
#[inline]
pub fn symbol_bit(symbol: u32) -> u128 {
    1 << (symbol % 128)
}

/// The bit of a source in an entry.
#[inline]
pub fn source_bit(source: u16) -> u64 {
    1 << (source % 64)
}

/// The four words of an event's 32 bytes.
#[inline]
pub fn words(row: &[u8]) -> [u64; 4] {
    let word = |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8), word(16), word(24)]
}

/// What is said about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub least: u64,
    pub greatest: u64,
    /// The greatest timestamp of this block and all before it in the segment.
    pub greatest_so_far: u64,
    pub types: Types,
    pub symbols: u128,
    pub sources: u64,
    pub crc: u32,
}

impl Entry {
    /// The entry of a block with these events, after blocks whose greatest timestamp is given.
    pub fn of(rows: &[u8], greatest_before: u64) -> Entry {
        let mut entry = Entry::after(greatest_before);
        entry.extend(rows);
        entry
    }

    /// The entry of a block that has no events yet.
    pub fn after(greatest_before: u64) -> Entry {
        let (least, greatest, greatest_so_far) = (u64::MAX, 0, greatest_before);
        Entry { least, greatest, greatest_so_far, types: [0; 4], symbols: 0, sources: 0, crc: 0 }
    }

    /// Take in the events that the block goes on with.
    pub fn extend(&mut self, rows: &[u8]) {
        let Entry { mut least, mut greatest, mut types, mut symbols, mut sources, .. } = *self;
        for row in rows.chunks_exact(EVENT_LEN) {
            let [timestamp, kind, ..] = words(row);
            least = least.min(timestamp);
            greatest = greatest.max(timestamp);
            types[usize::from(kind as u8 >> 6)] |= 1 << (kind & 63);
            sources |= source_bit((kind >> 16) as u16);
            symbols |= symbol_bit((kind >> 32) as u32);
        }
        let greatest_so_far = greatest.max(self.greatest_so_far);
        let crc = crc32c::crc32c_append(self.crc, rows);
        *self = Entry { least, greatest, greatest_so_far, types, symbols, sources, crc };
    }

    pub fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.least.to_le_bytes());
        put(8, &self.greatest.to_le_bytes());
        put(16, &self.greatest_so_far.to_le_bytes());
        for (number, word) in self.types.iter().enumerate() {
            put(24 + number * 8, &word.to_le_bytes());
        }
        put(56, &self.symbols.to_le_bytes());
        put(72, &self.sources.to_le_bytes());
        put(80, &self.crc.to_le_bytes());
        bytes
    }

    /// The inverse of [`Entry::to_bytes`]; the checksum of the whole index vouches for the bytes.
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Entry {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        Entry {
            least: word(0),
            greatest: word(8),
            greatest_so_far: word(16),
            types: [word(24), word(32), word(40), word(48)],
            symbols: u128::from(word(64)) << 64 | u128::from(word(56)),
            sources: word(72),
            crc: word(80) as u32,
        }
    }
}

/// The entries of one lane of one segment.
#[derive(Debug, Default)]
pub struct LaneIndex {
    entries: Vec<Entry>,
    /// Least timestamp of each block and all after it.
    least_from: Vec<u64>,
}

impl LaneIndex {
    pub fn new(entries: Vec<Entry>) -> LaneIndex {
        let mut least_from: Vec<u64> = entries.iter().map(|entry| entry.least).collect();
        for block in (1..least_from.len()).rev() {
            least_from[block - 1] = least_from[block - 1].min(least_from[block]);
        }
        LaneIndex { entries, least_from }
    }

    /// The index of these events, for what is not in a file yet.
    pub fn of(rows: &[u8]) -> LaneIndex {
        let mut greatest = 0;
        let entries = rows.chunks(BLOCK_LEN).map(|block| {
            let entry = Entry::of(block, greatest);
            greatest = entry.greatest_so_far;
            entry
        });
        LaneIndex::new(entries.collect())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Outside of these blocks no timestamp is in `start..=end`; inside, entries have to be asked.
    pub fn blocks_of(&self, start: u64, end: u64) -> Range<usize> {
        let from = self.entries.partition_point(|entry| entry.greatest_so_far < start);
        let to = self.least_from.partition_point(|least| *least <= end);
        from..to.max(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use proptest::prelude::*;

    fn rows(timestamps: &[u64]) -> Vec<u8> {
        let event = |timestamp: &u64| Event { timestamp: *timestamp, ..Event::default() };
        timestamps.iter().flat_map(|timestamp| event(timestamp).to_bytes()).collect()
    }

    fn entry(bytes: [u64; 3], types: Types, symbols: u128, sources: u64, crc: u32) -> Entry {
        let [least, greatest, greatest_so_far] = bytes;
        Entry { least, greatest, greatest_so_far, types, symbols, sources, crc }
    }

    proptest! {
        #[test]
        fn entries_come_back(times: [u64; 3], types: [u64; 4], symbols: u128, sources: u64, crc: u32) {
            let entry = entry(times, types, symbols, sources, crc);
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
        }

        /// Whatever the order of the timestamps, no block with one of the range is left out.
        #[test]
        fn no_block_of_the_range_is_passed_over(
            blocks in prop::collection::vec(prop::collection::vec(0u64..50, 1..4), 0..30),
            start in 0u64..50, length in 0u64..20,
        ) {
            let mut greatest = 0;
            let entries = blocks.iter().map(|block| {
                let entry = Entry::of(&rows(block), greatest);
                greatest = entry.greatest_so_far;
                entry
            });
            let found = LaneIndex::new(entries.collect()).blocks_of(start, start + length);
            for (number, block) in blocks.iter().enumerate() {
                if block.iter().any(|timestamp| (start..=start + length).contains(timestamp)) {
                    prop_assert!(found.contains(&number));
                }
            }
        }
    }

    #[test]
    fn ascending_timestamps_bound_the_blocks_exactly() {
        let timestamps: Vec<u64> = (0..10 * BLOCK_EVENTS as u64).collect();
        let index = LaneIndex::of(&rows(&timestamps));
        assert_eq!(index.entries().len(), 10);
        let block = BLOCK_EVENTS as u64;
        assert_eq!(index.blocks_of(2 * block, 4 * block - 1), 2..4);
        assert_eq!(index.blocks_of(10 * block, u64::MAX), 10..10);
    }
}
