//! The bytes of the log: segment headers, batch headers, records. `docs/parts/journal.md` has the
//! tables; the constants and the round-trip tests here hold them.
//!
//! Everything is little-endian and moved by value, so that a damaged file can be wrong but never
//! unsound. A checksum covers the salt of its segment and the position it was written for: bytes of
//! a recycled file, or bytes that landed elsewhere, are as invalid as torn ones.

use crc32c::{crc32c, crc32c_append};

/// Size of a slot, the unit of positions: an event, or a batch header.
pub const SLOT: usize = 32;
/// What a device writes as a whole at best, and a synced commit is padded to.
pub const BLOCK: usize = 4096;
pub const SLOTS_A_BLOCK: u64 = (BLOCK / SLOT) as u64;
/// Size of a segment header, in front of the slots.
pub const HEADER: usize = BLOCK;
/// Most payload slots of a batch of events, so that readers can bound their memory.
pub const BATCH_EVENTS: usize = 65_535;
pub const LANES: usize = 3;

const SEGMENT_MAGIC: [u8; 7] = *b"TBJRNL\0";
/// The format this code writes, the last byte of a segment's magic.
pub const VERSION: u8 = 1;
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"TBB1");
const EVENT_SIZE: u32 = SLOT as u32;

pub type JournalId = [u8; 16];
/// Next sequence of each lane, by priority number.
pub type Sequences = [u64; LANES];

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Name of the segment file that starts at a position.
pub fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The first position a segment file is called after; `None` for any other file.
pub fn segment_first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// What a segment file says of itself in its first 4,096 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    pub id: JournalId,
    /// Position of the first slot behind the header.
    pub first: u64,
    /// Capacity in slots; the next segment starts at `first + slots`.
    pub slots: u64,
    /// Before the first batch.
    pub next: Sequences,
    pub created_ns: u64,
    pub salt: u32,
    /// Checksum of the last batch before this segment.
    pub chain: u32,
}

/// What the first 4,096 bytes of a segment file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderState {
    Whole(SegmentHeader),
    /// Zeros: prepared, not begun.
    Blank,
    /// Torn or damaged.
    Broken,
    /// Whole, but of another format.
    Version(u8),
    /// No segment of a journal at all.
    Foreign,
}

impl SegmentHeader {
    pub fn end(&self) -> u64 {
        self.first + self.slots
    }

    /// Bytes from the start of the file to a position.
    pub fn offset_of(&self, position: u64) -> u64 {
        HEADER as u64 + (position - self.first) * SLOT as u64
    }

    pub fn file_len(&self) -> u64 {
        self.offset_of(self.end())
    }

    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..7].copy_from_slice(&SEGMENT_MAGIC);
        bytes[7] = VERSION;
        bytes[8..24].copy_from_slice(&self.id);
        let [normal, high, critical] = self.next;
        let words = [
            self.first,
            self.slots,
            normal,
            high,
            critical,
            self.created_ns,
        ];
        for (chunk, word) in bytes[24..72].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        for (chunk, word) in
            bytes[72..84].chunks_exact_mut(4).zip([self.salt, self.chain, EVENT_SIZE])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let sum = crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn fields(bytes: &[u8; HEADER]) -> Option<SegmentHeader> {
        let header = SegmentHeader {
            id: bytes[8..24].try_into().expect("16 bytes"),
            first: u64_at(bytes, 24),
            slots: u64_at(bytes, 32),
            next: [u64_at(bytes, 40), u64_at(bytes, 48), u64_at(bytes, 56)],
            created_ns: u64_at(bytes, 64),
            salt: u32_at(bytes, 72),
            chain: u32_at(bytes, 76),
        };
        let whole_blocks = header.slots > 0 && header.slots.is_multiple_of(SLOTS_A_BLOCK);
        let counts = header.slots < 1 << 40 && header.first < 1 << 60;
        (u32_at(bytes, 80) == EVENT_SIZE && whole_blocks && counts).then_some(header)
    }

    pub fn decode(bytes: &[u8; HEADER]) -> HeaderState {
        if bytes.iter().all(|&byte| byte == 0) {
            return HeaderState::Blank;
        }
        let sum = u32_at(bytes, HEADER - 4);
        if sum == crc32c(&bytes[..HEADER - 4]) {
            return match (bytes[..7] == SEGMENT_MAGIC, bytes[7]) {
                (false, _) => HeaderState::Foreign,
                (true, VERSION) => {
                    Self::fields(bytes).map_or(HeaderState::Broken, HeaderState::Whole)
                }
                (true, version) => HeaderState::Version(version),
            };
        }
        // A few flipped bits in the magic, or a lost sector, is damage; else it is another's file.
        let differing = bytes.iter().zip(SEGMENT_MAGIC).map(|(a, b)| (a ^ b).count_ones());
        let ours = differing.sum::<u32>() <= 8 || bytes[..8] == [0; 8];
        if ours { HeaderState::Broken } else { HeaderState::Foreign }
    }
}

/// What a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Events = 1,
    Record = 2,
    Padding = 3,
    /// Nothing follows in this segment.
    End = 4,
    Gap = 5,
}

impl Kind {
    const fn from_number(number: u8) -> Option<Kind> {
        match number {
            1 => Some(Kind::Events),
            2 => Some(Kind::Record),
            3 => Some(Kind::Padding),
            4 => Some(Kind::End),
            5 => Some(Kind::Gap),
            _ => None,
        }
    }
}

/// Record kinds of the journal itself; 16 to 31 belong to delivery.
pub mod record {
    pub const SYMBOL: u32 = 1;
    pub const SOURCE: u32 = 2;
    pub const EVENT_TYPE: u32 = 3;
    pub const PAYLOAD: u32 = 4;
    /// PID u32, boot id u64, bus name.
    pub const OPENED: u32 = 5;
    /// Everything before is durable.
    pub const CLOSED: u32 = 6;
    /// Which bus is journaled: its id, u64.
    pub const BUS: u32 = 7;
    /// At the head of a segment: so many records of names follow, u32, which repeat all before.
    pub const NAMES: u32 = 8;
    /// In sealed segments only, after each *opened*: the next sequence of each lane there, 3 × u64.
    pub const SEQUENCES: u32 = 9;
}

/// The slot in front of a batch's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub kind: Kind,
    /// Priority number, of events and gaps; else 0.
    pub lane: u8,
    /// Sequence of the first event; of a record its kind (high half) and length (low half).
    pub first: u64,
    /// Payload slots that follow.
    pub slots: u32,
    /// Positions between what was known to be on the disk and this header. `u32::MAX`: nothing was.
    pub lag: u32,
    /// Checksum of the batch before.
    pub chain: u32,
    pub sum: u32,
}

/// The checksum that everything a batch at `position` says of itself goes on from.
fn seed(salt: u32, position: u64) -> u32 {
    crc32c_append(salt, &position.to_le_bytes())
}

impl BatchHeader {
    /// Lag to write at `position` when everything before `durable` is on the disk.
    pub fn lag(position: u64, durable: u64) -> u32 {
        u32::try_from(position - durable).unwrap_or(u32::MAX)
    }

    /// Everything before the result was on the disk when this batch was written.
    pub fn durable(&self, position: u64) -> u64 {
        match self.lag {
            u32::MAX => 0,
            lag => position.saturating_sub(u64::from(lag)),
        }
    }

    pub fn record_kind(&self) -> u32 {
        (self.first >> 32) as u32
    }

    pub fn record_len(&self) -> usize {
        self.first as u32 as usize
    }

    /// Fill in the first slot of `batch`, whose payload is complete; `sum` is computed and returned.
    pub fn seal(&self, salt: u32, position: u64, batch: &mut [u8]) -> u32 {
        batch[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        batch[4] = self.kind as u8;
        batch[5] = self.lane;
        batch[6..8].fill(0);
        batch[8..16].copy_from_slice(&self.first.to_le_bytes());
        for (chunk, word) in
            batch[16..28].chunks_exact_mut(4).zip([self.slots, self.lag, self.chain])
        {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let seed = seed(salt, position);
        let check = crc32c_append(seed, &batch[..28]) as u16;
        batch[6..8].copy_from_slice(&check.to_le_bytes());
        let sum = crc32c_append(crc32c_append(seed, &batch[..28]), &batch[SLOT..]);
        batch[28..32].copy_from_slice(&sum.to_le_bytes());
        sum
    }

    /// The header in a slot, if its own check holds: it was written for this segment and position,
    /// and its length can be trusted. The payload is another matter ([`BatchHeader::verify`]).
    pub fn decode(slot: &[u8], salt: u32, position: u64) -> Option<BatchHeader> {
        if u32_at(slot, 0) != BATCH_MAGIC {
            return None;
        }
        let header = BatchHeader {
            kind: Kind::from_number(slot[4])?,
            lane: slot[5],
            first: u64_at(slot, 8),
            slots: u32_at(slot, 16),
            lag: u32_at(slot, 20),
            chain: u32_at(slot, 24),
            sum: u32_at(slot, 28),
        };
        let mut unchecked: [u8; 28] = slot[..28].try_into().expect("28 bytes");
        unchecked[6..8].fill(0);
        let check = crc32c_append(seed(salt, position), &unchecked) as u16;
        (check == u16_at(slot, 6) && header.makes_sense()).then_some(header)
    }

    fn makes_sense(&self) -> bool {
        let lane = usize::from(self.lane);
        let slots = self.slots as usize;
        match self.kind {
            Kind::Events => lane < LANES && (1..=BATCH_EVENTS).contains(&slots),
            Kind::Gap => lane < LANES && slots == 1,
            Kind::Record => slots == self.record_len().div_ceil(SLOT),
            Kind::Padding => slots < SLOTS_A_BLOCK as usize,
            Kind::End => slots == 0,
        }
    }

    /// Whether `batch`, header slot and payload, is what was written.
    pub fn verify(batch: &[u8], salt: u32, position: u64) -> bool {
        let head = crc32c_append(seed(salt, position), &batch[..28]);
        crc32c_append(head, &batch[SLOT..]) == u32_at(batch, 28)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            id: *b"0123456789abcdef",
            first: 2048,
            slots: 256,
            next: [7, 8, 9],
            created_ns: 5,
            salt: 77,
            chain: 78,
        }
    }

    proptest! {
        #[test]
        fn a_batch_comes_back_and_only_where_it_was_written(
            first: u64, lag: u32, chain: u32, salt: u32, position in 0u64..1 << 50,
            payload in proptest::collection::vec(any::<[u8; 32]>(), 1..40),
        ) {
            let slots = payload.len() as u32;
            let said = BatchHeader { kind: Kind::Events, lane: 2, first, slots, lag, chain, sum: 0 };
            let mut batch = vec![0; SLOT];
            batch.extend(payload.concat());

            let sum = said.seal(salt, position, &mut batch);

            let read = BatchHeader::decode(&batch[..SLOT], salt, position);
            prop_assert_eq!(read, Some(BatchHeader { sum, ..said }));
            prop_assert!(BatchHeader::verify(&batch, salt, position));
            prop_assert!(!BatchHeader::verify(&batch, salt, position + 1));
            prop_assert!(!BatchHeader::verify(&batch, salt ^ 1, position));
        }

        #[test]
        fn any_bytes_can_be_tried_as_headers(bytes: [u8; 32], salt: u32, position: u64) {
            let mut magic = bytes;
            magic[..4].copy_from_slice(b"TBB1");
            // A header that passes by chance has a length that makes sense.
            for slot in [bytes, magic] {
                if let Some(header) = BatchHeader::decode(&slot, salt, position) {
                    prop_assert!(header.makes_sense());
                }
            }
        }
    }

    #[test]
    fn a_segment_header_comes_back() {
        assert_eq!(SegmentHeader::decode(&header().encode()), HeaderState::Whole(header()));
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let whole = header().encode();
        for bit in 0..HEADER * 8 {
            let mut bytes = whole;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), HeaderState::Broken, "bit {bit}");
        }
    }

    #[test]
    fn only_segments_are_called_like_segments() {
        assert_eq!(segment_first(&segment_name(12_345)), Some(12_345));
        for name in [
            "LOCK",
            "1.log",
            "00000000000000000000.seg",
            "+0000000000000000001.log",
        ] {
            assert_eq!(segment_first(name), None, "{name}");
        }
    }
}
