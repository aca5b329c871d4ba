//! Payloads: bytes that do not fit an event, kept beside the lanes.
//!
//! A ring of `u64` cells that several processes map. A writer claims room, copies its bytes there
//! and puts the reference it gets into `Event.metadata`; the lane carries it to the readers.
//! Nobody waits for anybody: the oldest bytes are overwritten, and a reader that comes too late
//! gets [`PayloadError::Overwritten`], never somebody else's bytes.
//!
//! ```text
//! cells   │ checksum │ bytes.. │ bytes.. │ checksum │ bytes.. │ oldest, next to go │
//!           ^ position of one payload                           ^ tail, modulo the ring
//! reference = (length + 1) << 44 | low 44 bits of the position
//! ```
//!
//! Positions count words since the ring was made; `tail` is the next one free. A tail of 64 bits
//! does not wrap: at 10 GB/s it would take four centuries. A reference holds 44 of the bits, and the
//! rest follows from the tail, since a readable payload is less than a ring behind it. So a reference
//! is ambiguous only when it is kept unread while exactly a multiple of 2^44 words (128 TiB) pass
//! and a payload of the same length then starts at the same word.
//!
//! Two things guard a read. The tail moves before bytes are overwritten, and the reader looks at
//! it after copying. That fails when a writer is stopped between claim and copy while the others
//! write a whole lap, and then copies into room that has a new owner. The checksum catches this, as
//! it catches everything else: it covers position, length and bytes.
//!
//! Cost: one atomic addition, one xxh3 and a copy on each side; a read also allocates the bytes it
//! returns. No system call, no lock, nothing to repair when a process dies.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::sync::{AtomicU64, Ordering, fence};

const POSITION_BITS: u32 = 44;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
/// The length field holds the length plus one, so that 0, an event's default metadata, and every
/// number below 2^44, such as the ids that others keep in metadata, is no reference.
const LEN_LIMIT: usize = (1 << (u64::BITS - POSITION_BITS)) - 2;
const WORD_BYTES: usize = size_of::<u64>();
const HEADER_WORDS: usize = 1;

/// Why there are no bytes, or no room for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadError {
    /// Refused, nothing was claimed. Both in bytes.
    TooLong { len: usize, max: usize },
    /// The reference may have been good, its bytes are gone. A number that looks like a reference
    /// into the part of the ring now in use, but never was one, is reported so too.
    Overwritten,
    /// No payload of this ring has, or ever had, this reference: its length is none, or its bytes
    /// would lie where nothing has been written yet. (Once 2^44 words have been written there is
    /// no such place any more, and only the length tells.)
    NotAReference,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PayloadError::TooLong { len, max } => {
                write!(f, "payload has {len} bytes; this bus takes at most {max}")
            }
            PayloadError::Overwritten => {
                write!(f, "payload has been overwritten by newer ones")
            }
            PayloadError::NotAReference => {
                write!(f, "metadata is no reference to a payload of this bus")
            }
        }
    }
}

impl std::error::Error for PayloadError {}

/// The ring, over memory that somebody else owns.
#[derive(Clone, Copy)]
pub struct PayloadRing<'a> {
    cells: &'a [AtomicU64],
    tail: &'a AtomicU64,
}

impl<'a> PayloadRing<'a> {
    /// A view of `cells`, which all users of the ring see with the same length, and of its tail.
    /// A new ring starts with zeros in both.
    ///
    /// # Panics
    /// When the number of cells is no power of two or below 4. Who maps foreign memory checks its
    /// layout first.
    pub fn new(cells: &'a [AtomicU64], tail: &'a AtomicU64) -> PayloadRing<'a> {
        assert!(
            cells.len().is_power_of_two() && cells.len() >= 4,
            "a payload ring of {} cells; it takes a power of two, at least 4",
            cells.len()
        );
        PayloadRing { cells, tail }
    }

    /// The longest payload in bytes: a quarter of the ring, so that a payload outlives at least the
    /// next two, and at most what a reference can say, 1 MiB less two bytes.
    pub fn len_max(&self) -> usize {
        (self.cells.len() * WORD_BYTES / 4).min(LEN_LIMIT)
    }

    /// Store `bytes`; returns the reference for `Event.metadata`, which is never 0.
    ///
    /// The reference has to reach readers through something that orders memory (a lane does), or
    /// they may find the bytes not there yet and take them for overwritten.
    ///
    /// # Errors
    /// [`PayloadError::TooLong`]; the ring is as it was.
    pub fn write(&self, bytes: &[u8]) -> Result<u64, PayloadError> {
        let max = self.len_max();
        if bytes.len() > max {
            return Err(PayloadError::TooLong { len: bytes.len(), max });
        }
        // Relaxed: the addition only hands out room. What it has to order, the fence does.
        let position = self.tail.fetch_add(words_for(bytes.len()) as u64, Ordering::Relaxed);
        // Release: whoever sees one of the stores below, also sees that the tail has moved. Pairs
        // with the acquire fence in `copy`. Costs no instruction on x86.
        fence(Ordering::Release);
        let mut cells = self.cells_from(position);
        let words = std::iter::once(checksum(position, bytes)).chain(words_of(bytes));
        for (word, cell) in words.zip(&mut cells) {
            // Relaxed: the reference is what publishes these, see above.
            cell.store(word, Ordering::Relaxed);
        }
        Ok(reference(position, bytes.len()))
    }

    /// The bytes behind `reference`, any `u64`.
    ///
    /// # Errors
    /// [`PayloadError::Overwritten`] or [`PayloadError::NotAReference`], which see.
    pub fn read(&self, reference: u64) -> Result<Vec<u8>, PayloadError> {
        let len = match (reference >> POSITION_BITS).checked_sub(1) {
            Some(len) if len <= self.len_max() as u64 => len as usize,
            _ => return Err(PayloadError::NotAReference),
        };
        let words = words_for(len);
        // Relaxed: the reference came to us after the claim that moved the tail past it.
        let tail = self.tail.load(Ordering::Relaxed);
        let behind = tail.wrapping_sub(reference) & POSITION_MASK;
        if behind < words as u64 || behind > tail {
            return Err(PayloadError::NotAReference);
        }
        let position = tail - behind;
        let (header, mut bytes) = self.copy(position, words).ok_or(PayloadError::Overwritten)?;
        bytes.truncate(len);
        if header != checksum(position, &bytes) {
            return Err(PayloadError::Overwritten);
        }
        Ok(bytes)
    }

    /// The header and the bytes, padded to whole words, at `position`; `None` when somebody else has
    /// claimed any of these cells since.
    fn copy(&self, position: u64, words: usize) -> Option<(u64, Vec<u8>)> {
        if !self.holds(position) {
            return None; // most late readers, without copying first
        }
        // Relaxed: a word may be anybody's, the fence and the second look at the tail tell.
        let mut loaded = self.cells_from(position).map(|cell| cell.load(Ordering::Relaxed));
        let header = loaded.next()?;
        let mut bytes = Vec::with_capacity((words - HEADER_WORDS) * WORD_BYTES);
        for word in loaded.take(words - HEADER_WORDS) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        // Acquire: if a load above saw a word of a later payload, then the load of the tail below
        // sees the claim that went before it. Pairs with the release fence in `write`.
        fence(Ordering::Acquire);
        self.holds(position).then_some((header, bytes))
    }

    /// Whether nobody has claimed the cell of `position`, or any after it, a second time.
    fn holds(&self, position: u64) -> bool {
        // Relaxed: `copy` has the fence where one is needed.
        self.tail.load(Ordering::Relaxed).wrapping_sub(position) <= self.cells.len() as u64
    }

    /// The cells of the ring in their order, once round, from that of `position`.
    fn cells_from(&self, position: u64) -> impl Iterator<Item = &'a AtomicU64> {
        let start = position as usize & (self.cells.len() - 1);
        let (before, from) = self.cells.split_at(start);
        from.iter().chain(before)
    }
}

fn reference(position: u64, len: usize) -> u64 {
    (len as u64 + 1) << POSITION_BITS | position & POSITION_MASK
}

const fn words_for(len: usize) -> usize {
    HEADER_WORDS + len.div_ceil(WORD_BYTES)
}

/// Little-endian words, the last one filled up with zeros.
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks(WORD_BYTES).map(|chunk| {
        let mut word = [0; WORD_BYTES];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

/// Over position, length and bytes. The position makes equal bytes of another lap differ; it is
/// spread first, because xxh3 combines a seed with short inputs by little more than an addition.
fn checksum(position: u64, bytes: &[u8]) -> u64 {
    let spread = position.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    xxh3_64_with_seed(bytes, spread ^ bytes.len() as u64)
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
