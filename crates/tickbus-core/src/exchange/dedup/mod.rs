//! Messages that came before, by what the venue says identifies them: for redundant connections, and
//! for what venues repeat after a reconnect. The first to arrive is the one that counts.
//!
//! ```text
//! buckets: 64 bytes, 7 slots {32 bits of hash, sequence number}   a check reads one, seldom two
//! ring:    24-byte keys {id, stream, time} by sequence number     what expires next is at its end
//! ```
//!
//! **Promises.** A key is the stream and the venue's id, compared whole: never the content, and never a
//! hash alone, so that equal messages with ids of their own all pass, and nothing is taken for another.
//! A key is known for the time it was asked to be, counted from its first arrival; should more come in
//! that time than there is room for, the oldest are forgotten early, and counted. Memory is fixed from
//! the start, 40 bytes a key: [`Dedup::memory_bytes`].
//!
//! Nothing is scanned and nothing is rehashed. What has expired is not removed: its number is too old,
//! and its slot free for the next. Four consecutive ids of a stream share a bucket, since venues count.

mod frames;

pub use frames::Streams;

use std::hash::{BuildHasher, RandomState};
use xxhash_rust::xxh3::xxh3_128;

/// Expired keys that a new one forgets: more than one, so that they are gone after a pause.
const EXPIRED_AT_ONCE: usize = 2;

/// Slots of a bucket, and the keys it is made for.
const SLOTS: usize = 7;
const KEYS_A_BUCKET: usize = 4;

/// Bits of an id that do not move it to another bucket.
const GROUP_BITS: u32 = 2;

/// Numbers are 32 bits: after so many keys, what is too old is given a younger number that is too old, so
/// that none ever comes round to look young. That takes some milliseconds, once in two thousand million.
const RENEWED_EVERY: u32 = 1 << 31;

const MILLISECOND_NS: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
struct Key {
    id: [u64; 2],
    stream: u32,
    /// Milliseconds since the first key, when it first came.
    time: u32,
}

/// Hash and number of a key; free if that number is too old.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    number: u32,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    /// Number of the last key that found no slot here and went on to the next bucket.
    overflowed: u32,
    slots: [Slot; SLOTS],
}

/// What was seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DedupCounts {
    pub checks: u64,
    pub duplicates: u64,
    /// Keys whose time was over.
    pub expired: u64,
    /// Keys forgotten before their time, for want of room.
    pub early: u64,
}

/// Keys of the last while.
#[derive(Debug)]
pub struct Dedup {
    buckets: Box<[Bucket]>,
    ring: Box<[Key]>,
    /// Number of the next key, and how many before it are held.
    next: u32,
    len: u32,
    ttl_ms: u32,
    begin_ns: Option<u64>,
    seeds: [u64; 2],
    counts: DedupCounts,
}

impl Dedup {
    /// Room for `capacity` keys, rounded up to a power of two (at least 16, at most 2^30), each known
    /// for `ttl_ns` (at most 24 days).
    pub fn new(capacity: usize, ttl_ns: u64) -> Dedup {
        Dedup::numbered_from(1, capacity, ttl_ns)
    }

    fn numbered_from(first: u32, capacity: usize, ttl_ns: u64) -> Dedup {
        let capacity = capacity.clamp(16, 1 << 30).next_power_of_two();
        let free = Bucket {
            overflowed: first.wrapping_sub(1),
            slots: [Slot { tag: 0, number: first.wrapping_sub(1) }; SLOTS],
        };
        let state = RandomState::new();
        Dedup {
            buckets: vec![free; capacity / KEYS_A_BUCKET].into(),
            ring: vec![Key { id: [0; 2], stream: 0, time: 0 }; capacity].into(),
            next: first,
            len: 0,
            ttl_ms: (ttl_ns.div_ceil(MILLISECOND_NS)).min(u64::from(u32::MAX / 2)) as u32,
            begin_ns: None,
            // A venue must not be able to choose ids that all meet in one bucket.
            seeds: [state.hash_one(1), state.hash_one(2)],
            counts: DedupCounts::default(),
        }
    }

    /// Whether this message is the first of its kind: `id` within `stream`, within the time.
    #[inline]
    pub fn is_first(&mut self, stream: u32, id: u128, now_ns: u64) -> bool {
        let begin = *self.begin_ns.get_or_insert(now_ns);
        // Wraps after 49 days, which no comparison spans.
        let time = (now_ns.saturating_sub(begin) / MILLISECOND_NS) as u32;
        let id = [id as u64, (id >> 64) as u64];
        let (home, tag) = self.place(stream, id);
        self.counts.checks += 1;
        let mut at = home;
        loop {
            let bucket = &self.buckets[at];
            for slot in &bucket.slots {
                if slot.tag == tag && self.is_held(slot.number) {
                    let key = &self.ring[slot.number as usize & (self.ring.len() - 1)];
                    let is_same = key.id == id && key.stream == stream;
                    if is_same && !self.is_expired(key, time) {
                        self.counts.duplicates += 1;
                        return false;
                    }
                }
            }
            if !self.is_held(bucket.overflowed) {
                break;
            }
            at = (at + 1) & (self.buckets.len() - 1);
        }
        self.make_room(time);
        self.insert(home, tag, Key { id, stream, time });
        true
    }

    pub fn counts(&self) -> DedupCounts {
        self.counts
    }

    /// Keys held now, the expired ones that are not yet forgotten included.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most keys that are held at a time.
    pub fn capacity(&self) -> usize {
        self.ring.len()
    }

    /// All the memory there is, whatever comes.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.ring)
    }

    /// Bucket and tag of a key: multiply, and fold both halves.
    #[inline]
    fn place(&self, stream: u32, id: [u64; 2]) -> (usize, u32) {
        let [one, two] = self.seeds;
        let first = fold((id[0] >> GROUP_BITS) ^ one, two ^ u64::from(stream));
        let hash = fold(first ^ id[1], 0x9e37_79b9_7f4a_7c15 ^ one);
        let in_group = (id[0] & ((1 << GROUP_BITS) - 1)) as u32;
        let bucket = (hash >> 32) as usize & (self.buckets.len() - 1);
        (bucket, (hash as u32).wrapping_add(in_group))
    }

    /// Whether the key of that number is not forgotten.
    #[inline]
    fn is_held(&self, number: u32) -> bool {
        self.next.wrapping_sub(number).wrapping_sub(1) < self.len
    }

    #[inline]
    fn is_expired(&self, key: &Key, time: u32) -> bool {
        time.wrapping_sub(key.time) as i32 > self.ttl_ms as i32
    }

    /// Forget keys whose time is over, and the oldest if there is no room.
    #[inline]
    fn make_room(&mut self, time: u32) {
        let mask = self.ring.len() - 1;
        for _ in 0..EXPIRED_AT_ONCE {
            let oldest = &self.ring[self.next.wrapping_sub(self.len) as usize & mask];
            if self.len == 0 || !self.is_expired(oldest, time) {
                break;
            }
            self.counts.expired += 1;
            self.len -= 1;
        }
        if self.len as usize == self.ring.len() {
            self.counts.early += 1;
            self.len -= 1;
        }
    }

    /// There are more slots than keys are held, so that one is found.
    #[inline]
    fn insert(&mut self, home: usize, tag: u32, key: Key) {
        let number = self.next;
        let mut at = home;
        loop {
            let free = self.buckets[at].slots.iter().position(|slot| !self.is_held(slot.number));
            if let Some(free) = free {
                self.buckets[at].slots[free] = Slot { tag, number };
                break;
            }
            self.buckets[at].overflowed = number;
            at = (at + 1) & (self.buckets.len() - 1);
        }
        let mask = self.ring.len() - 1;
        self.ring[number as usize & mask] = key;
        self.next = number.wrapping_add(1);
        self.len += 1;
        if self.next.is_multiple_of(RENEWED_EVERY) {
            self.renew();
        }
    }

    #[cold]
    fn renew(&mut self) {
        let (next, len) = (self.next, self.len);
        let is_held = |number: u32| next.wrapping_sub(number).wrapping_sub(1) < len;
        let too_old = next.wrapping_sub(len).wrapping_sub(1);
        for bucket in &mut self.buckets {
            let slots = bucket.slots.iter_mut().map(|slot| &mut slot.number);
            for number in slots.chain([&mut bucket.overflowed]) {
                if !is_held(*number) {
                    *number = too_old;
                }
            }
        }
    }
}

/// A text as an id: itself with its length up to 15 bytes, a 128-bit hash beyond.
pub fn text_id(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    match bytes.get_mut(..text.len()) {
        Some(room) if text.len() < 16 => {
            room.copy_from_slice(text);
            bytes[15] = text.len() as u8;
            u128::from_le_bytes(bytes)
        }
        _ => xxh3_128(text),
    }
}

#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_first_arrival_counts_and_later_ones_do_not() {
        let mut dedup = Dedup::new(1_000, SECOND);
        assert!(dedup.is_first(1, 7, 0));
        assert!(!dedup.is_first(1, 7, 1));
        assert!(dedup.is_first(2, 7, 1), "another stream's");
        assert!(dedup.is_first(1, 7 << 64, 1), "all bits of an id count");
        assert_eq!(dedup.counts().duplicates, 1);
    }

    #[test]
    fn memory_is_fixed_and_stated() {
        let mut dedup = Dedup::new(1 << 10, u64::MAX);
        let before = dedup.memory_bytes();
        for id in 0..5_000 {
            assert!(dedup.is_first(0, id, 0));
        }
        assert_eq!(dedup.memory_bytes(), before);
        assert_eq!(before, 40 * 1024);
        assert_eq!(dedup.len(), 1024);
        assert_eq!(dedup.counts().early, 5_000 - 1024);
        assert!(!dedup.is_first(0, 4_999, 0), "the youngest are known");
        assert!(dedup.is_first(0, 0, 0), "the oldest had to go");
    }

    #[test]
    fn a_key_is_known_for_its_time() {
        let mut dedup = Dedup::new(16, 10 * SECOND);
        assert!(dedup.is_first(0, 1, 5 * SECOND));
        assert!(!dedup.is_first(0, 1, 15 * SECOND));
        assert!(dedup.is_first(0, 1, 15 * SECOND + 2 * MILLISECOND_NS));
        assert_eq!(dedup.counts().expired, 1);
    }

    /// Numbers that are too old stay so when the next ones have come round to them.
    #[test]
    fn numbers_that_come_round_do_not_look_young() {
        let mut dedup = Dedup::new(64, SECOND);
        for next in [1, RENEWED_EVERY - 1, u32::MAX] {
            // As if so many keys had come and gone without touching what is here.
            (dedup.next, dedup.len) = (next, 0);
            for id in 0..40 {
                assert!(dedup.is_first(next, id, 0));
                assert!(!dedup.is_first(next, id, 0));
            }
            let slots = dedup.buckets.iter().flat_map(|bucket| &bucket.slots);
            let held = slots.filter(|slot| dedup.is_held(slot.number)).count();
            assert_eq!(held, dedup.len(), "{next}");
        }
    }

    proptest! {
        /// As a map from key to first arrival, whatever the order of ids and times.
        #[test]
        fn it_is_a_map_with_a_time(
            steps in prop::collection::vec((0u32..3, 0u128..40, 0u64..300), 1..600),
            first in prop::sample::select(vec![1, RENEWED_EVERY - 90, u32::MAX - 90, 0]),
        ) {
            let mut dedup = Dedup::numbered_from(first, 256, 1_000 * MILLISECOND_NS);
            let mut model: HashMap<(u32, u128), u64> = HashMap::new();
            let mut now = 0;
            for (stream, id, pause) in steps {
                now += pause;
                let known = model.get(&(stream, id)).is_some_and(|first| now - first <= 1_000);
                if !known {
                    model.insert((stream, id), now);
                }
                prop_assert_eq!(dedup.is_first(stream, id, now * MILLISECOND_NS), !known);
            }
            prop_assert_eq!(dedup.counts().early, 0);
        }
    }
}
