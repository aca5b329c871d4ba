//! The best levels of a book where other threads can read them, without a lock on the feed.
//!
//! One writer, any readers: the version is odd while the writer is at it, and a reader whose version
//! changed meanwhile reads again (a sequence lock; all words are atomics, so that a torn read is a
//! wrong value at worst, and is thrown away). The writer never waits.

use super::integrity::Integrity;
use super::{Book, BookSide, number};
use crate::exchange::symbol::Contract;
use crate::sync::{AtomicU64, Ordering, fence, relax};

/// Ticks share a word with the decimals of the size.
const TICKS_BITS: u32 = 56;
const TICKS_MASK: u64 = (1 << TICKS_BITS) - 1;

/// Words in front of the levels: integrity and counts; decimals of a tick; kind of contract; its value.
const HEAD: usize = 4;

/// Versions a reader tries before it lets others run: the writer may have been interrupted.
const TRIES: u32 = 64;

/// Best levels of one book, and what is known of them.
#[derive(Debug)]
pub struct SharedTop {
    version: AtomicU64,
    heard_ns: AtomicU64,
    levels: usize,
    words: Box<[AtomicU64]>,
}

/// What a reader saw; kept by it for its memory.
#[derive(Debug, Clone, Default)]
pub struct TopView {
    words: Vec<u64>,
    pub heard_ns: u64,
}

impl SharedTop {
    /// Room for so many levels a side.
    pub(super) fn new(levels: usize) -> SharedTop {
        let words = (0..HEAD + 4 * levels).map(|_| AtomicU64::new(0)).collect();
        SharedTop { version: AtomicU64::new(0), heard_ns: AtomicU64::new(0), levels, words }
    }

    /// Levels a side there is room for.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// Only one stream has this, and is taken by `&mut` when it calls: one writer at a time.
    pub(super) fn publish(&self, book: &Book, integrity: Integrity, contract: Contract) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let mut counts = [0; 2];
        // A book that is not trusted shows nothing to be misread.
        if integrity.is_trusted() {
            for (side, at) in [(BookSide::Bid, 0), (BookSide::Ask, 1)] {
                let begin = HEAD + 2 * at * self.levels;
                let words = self.words[begin..begin + 2 * self.levels].chunks_exact(2);
                for (pair, (ticks, cell)) in words.zip(book.levels(side)) {
                    if ticks > TICKS_MASK {
                        break;
                    }
                    let packed = ticks | u64::from(cell.size_scale) << TICKS_BITS;
                    pair[0].store(packed, Ordering::Relaxed);
                    pair[1].store(cell.size_units, Ordering::Relaxed);
                    counts[at] += 1;
                }
            }
        }
        let (kind, value) = match contract {
            Contract::Unit => (0, 1.0),
            Contract::Base(units) => (1, units),
            Contract::Quote(value) => (2, value),
            Contract::Unknown => (3, 0.0),
        };
        let state = integrity as u64 | counts[0] << 8 | counts[1] << 32;
        let head = [state, u64::from(book.scale()), kind, f64::to_bits(value)];
        for (word, value) in self.words.iter().zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// When the book's venue was last heard; apart from the levels, because it changes more often.
    pub(super) fn heard(&self, heard_ns: u64) {
        self.heard_ns.store(heard_ns, Ordering::Relaxed);
    }

    /// Everything as it was at one moment, into `view`.
    pub fn read(&self, view: &mut TopView) {
        let mut tries = 0;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version & 1 == 0 {
                view.words.clear();
                view.words.extend(self.words.iter().map(|word| word.load(Ordering::Relaxed)));
                view.heard_ns = self.heard_ns.load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return;
                }
            }
            tries += 1;
            if tries % TRIES == 0 {
                std::thread::yield_now();
            }
            relax();
        }
    }
}

impl TopView {
    pub fn integrity(&self) -> Integrity {
        let number = self.words.first().map_or(0, |state| *state as u8);
        Integrity::ALL[usize::from(number)]
    }

    pub fn len(&self, side: BookSide) -> usize {
        let state = self.words.first().copied().unwrap_or(0);
        match side {
            BookSide::Bid => (state >> 8) as usize & 0xff_ffff,
            BookSide::Ask => (state >> 32) as usize,
        }
    }

    /// Whether sizes can be told in the base asset.
    pub fn has_sizes(&self) -> bool {
        self.words.get(2) != Some(&3)
    }

    /// Price, and size in the base asset, of a level that is there.
    #[inline]
    pub fn level(&self, side: BookSide, at: usize) -> (f64, f64) {
        let levels = (self.words.len() - HEAD) / 4;
        let begin = HEAD + 2 * (at + if side == BookSide::Ask { levels } else { 0 });
        let (packed, units) = (self.words[begin], self.words[begin + 1]);
        let price = number(packed & TICKS_MASK, self.words[1] as u8);
        let size = number(units, (packed >> TICKS_BITS) as u8);
        let value = f64::from_bits(self.words[3]);
        let base = match self.words[2] {
            0 => size,
            1 => size * value,
            _ if price > 0.0 => size * value / price,
            _ => size,
        };
        (price, base)
    }
}
