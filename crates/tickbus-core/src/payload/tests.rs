//! What was written comes back whole, or the reader is told that it is gone.

use std::sync::mpsc;
use std::thread;

use proptest::prelude::*;

use super::*;

struct Memory {
    cells: Vec<AtomicU64>,
    tail: AtomicU64,
}

impl Memory {
    fn new(cells: usize) -> Memory {
        Memory::starting_at(cells, 0)
    }

    /// A ring through which `tail` words have gone already.
    fn starting_at(cells: usize, tail: u64) -> Memory {
        Memory {
            cells: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            tail: AtomicU64::new(tail),
        }
    }

    fn ring(&self) -> PayloadRing<'_> {
        PayloadRing::new(&self.cells, &self.tail)
    }

    fn words(&self) -> Vec<u64> {
        self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()
    }

    fn tail(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }
}

/// Bytes that tell which payload they belong to, wherever they are cut.
fn pattern(number: u64, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// New rings, old ones, and those where the position no longer fits its reference.
fn any_tail() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        0u64..200,
        (POSITION_MASK - 100)..(POSITION_MASK + 100),
        any::<u32>().prop_map(|laps| u64::from(laps) << 24 | 5),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Exactly those payloads are readable of which no cell was claimed again; the others say so.
    #[test]
    fn what_still_lies_in_the_ring_comes_back(
        cells in prop::sample::select(vec![4usize, 16, 64, 256]),
        tail in any_tail(),
        lengths in prop::collection::vec(0usize..600, 1..40),
    ) {
        let memory = Memory::starting_at(cells, tail);
        let ring = memory.ring();
        let mut written = Vec::new();
        for (number, len) in lengths.into_iter().enumerate() {
            let bytes = pattern(number as u64, len.min(ring.len_max()));
            let position = memory.tail();
            written.push((position, ring.write(&bytes).unwrap(), bytes));
        }

        for (position, reference, bytes) in written {
            let expected = if memory.tail() - position <= cells as u64 {
                Ok(bytes)
            } else {
                Err(PayloadError::Overwritten)
            };
            prop_assert_ne!(reference, 0);
            prop_assert_eq!(ring.read(reference), expected);
        }
    }

    /// Whatever stands in metadata, in the tail and in the cells: an answer.
    #[test]
    fn any_number_gets_an_answer(
        tail: u64, words in prop::collection::vec(any::<u64>(), 16), reference: u64, near in 0u64..64,
    ) {
        let memory = Memory::starting_at(16, tail);
        for (cell, word) in memory.cells.iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
        for reference in [
            reference,
            super::reference(tail.wrapping_sub(near), 3),
            super::reference(tail.wrapping_add(near), reference as usize % 32),
        ] {
            let answer = memory.ring().read(reference);
            prop_assert!(
                matches!(answer, Err(PayloadError::NotAReference | PayloadError::Overwritten)),
                "{answer:?}"
            );
        }
    }

    /// The reference of one payload with another's length or place does not read the bytes.
    #[test]
    fn a_reference_that_is_slightly_off_reads_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..100), bit in 0u32..64,
    ) {
        let memory = Memory::new(64);
        memory.ring().write(&bytes).unwrap();
        let reference = memory.ring().write(&bytes).unwrap();
        memory.ring().write(&bytes).unwrap();

        let answer = memory.ring().read(reference ^ 1 << bit);

        // Equal bytes lie around it: flipping a bit may name one of the neighbours exactly.
        let words = words_for(bytes.len()) as u64;
        let neighbours = [0, 2 * words].map(|position| super::reference(position, bytes.len()));
        prop_assert!(answer.is_err() || neighbours.contains(&(reference ^ 1 << bit)));
    }

    #[test]
    fn a_changed_bit_is_noticed(
        bytes in prop::collection::vec(any::<u8>(), 1..100), at: prop::sample::Index,
    ) {
        let memory = Memory::new(64);
        let reference = memory.ring().write(&bytes).unwrap();
        let bit = at.index(64 + bytes.len() * 8); // header or bytes, not the padding

        memory.cells[bit / 64].fetch_xor(1 << (bit % 64), Ordering::Relaxed);

        prop_assert_eq!(memory.ring().read(reference), Err(PayloadError::Overwritten));
    }
}

#[test]
fn a_payload_may_wrap_around_the_end() {
    let memory = Memory::new(16);
    memory.ring().write(&pattern(1, 32)).unwrap();
    memory.ring().write(&pattern(2, 32)).unwrap();
    memory.ring().write(&pattern(3, 32)).unwrap();
    let wrapped = memory.ring().write(&pattern(4, 32)).unwrap();

    assert_eq!(wrapped & POSITION_MASK, 15);
    assert_eq!(memory.ring().read(wrapped), Ok(pattern(4, 32)));
}

#[test]
fn the_longest_payload_fits_and_one_byte_more_changes_nothing() {
    let memory = Memory::new(64);
    let max = 64 * 8 / 4;
    let reference = memory.ring().write(&pattern(1, max)).unwrap();
    let before = (memory.words(), memory.tail());

    let refused = memory.ring().write(&pattern(2, max + 1));

    assert_eq!(refused, Err(PayloadError::TooLong { len: max + 1, max }));
    assert_eq!((memory.words(), memory.tail()), before);
    assert_eq!(memory.ring().read(reference), Ok(pattern(1, max)));
}

#[test]
fn a_huge_ring_takes_what_a_reference_can_say() {
    let memory = Memory::new(1 << 20);
    let max = memory.ring().len_max();
    assert_eq!(max, (1 << 20) - 2);

    let reference = memory.ring().write(&pattern(1, max)).unwrap();

    assert_eq!(memory.ring().read(reference), Ok(pattern(1, max)));
    let refused = memory.ring().write(&vec![0; max + 1]);
    assert_eq!(refused, Err(PayloadError::TooLong { len: max + 1, max }));
}

/// A writer is stopped between claim and copy, the others go once round, and it copies then.
#[test]
fn a_late_writer_is_caught_by_the_checksum() {
    let memory = Memory::new(16);
    let stopped = memory.tail.fetch_add(4, Ordering::Relaxed);
    for number in 0..3 {
        memory.ring().write(&pattern(number, 24)).unwrap();
    }
    let victim = memory.ring().write(&pattern(3, 24)).unwrap();
    assert_eq!(memory.ring().read(victim), Ok(pattern(3, 24)));

    let late = std::iter::once(checksum(stopped, b"late")).chain(words_of(b"late"));
    for (word, cell) in late.zip(&memory.cells) {
        cell.store(word, Ordering::Relaxed);
    }

    assert_eq!(memory.ring().read(victim), Err(PayloadError::Overwritten));
    let late = reference(stopped, 4);
    assert_eq!(memory.ring().read(late), Err(PayloadError::Overwritten));
}

/// Its writer died between claim and copy: the room holds zeros or older bytes.
#[test]
fn room_claimed_and_never_filled_reads_as_nothing() {
    let memory = Memory::new(16);
    let fresh = memory.tail.fetch_add(4, Ordering::Relaxed);
    assert_eq!(memory.ring().read(reference(fresh, 24)), Err(PayloadError::Overwritten));
    for number in 0..3 {
        memory.ring().write(&pattern(number, 24)).unwrap();
    }
    memory.ring().write(&pattern(3, 24)).unwrap();

    let claimed = memory.tail.fetch_add(4, Ordering::Relaxed);

    assert_eq!(memory.ring().read(reference(claimed, 24)), Err(PayloadError::Overwritten));
}

#[test]
fn other_uses_of_metadata_are_no_references() {
    let memory = Memory::new(1 << 10);
    for number in 0..50 {
        memory.ring().write(&pattern(number, 100)).unwrap();
    }
    let ids = (0..44).map(|bit| 1u64 << bit).chain([0, 12_345, (1 << 44) - 1]);
    let quantities = [0.001f64, 1.0, -1.0, 0.25, 1e6, -3.5e-9].map(f64::to_bits);
    let beyond = [reference(memory.tail(), 0), reference(memory.tail() - 1, 1)];

    for number in ids.chain(quantities).chain(beyond).chain([u64::MAX]) {
        assert_eq!(memory.ring().read(number), Err(PayloadError::NotAReference), "{number:#x}");
    }
}

/// More writers than cores in a ring so small that they lap each other all the time, and readers
/// that check every byte.
#[test]
fn many_threads_never_read_anothers_bytes() {
    const WRITERS: u64 = 6;
    const EACH: u64 = 5_000;
    let memory = &Memory::new(256);

    let verdicts: Vec<(u64, u64)> = thread::scope(|scope| {
        let (references, readers): (Vec<_>, Vec<_>) = (0..2)
            .map(|_| {
                let (sender, receiver) = mpsc::sync_channel::<(u64, u64, usize)>(4);
                let reader = scope.spawn(move || {
                    let (mut whole, mut gone) = (0, 0);
                    for (reference, number, len) in receiver {
                        match memory.ring().read(reference) {
                            Ok(bytes) => {
                                assert_eq!(bytes, pattern(number, len));
                                whole += 1;
                            }
                            Err(error) => {
                                assert_eq!(error, PayloadError::Overwritten);
                                gone += 1;
                            }
                        }
                    }
                    (whole, gone)
                });
                (sender, reader)
            })
            .unzip();
        for writer in 0..WRITERS {
            let sender = references[writer as usize % references.len()].clone();
            scope.spawn(move || {
                for index in 0..EACH {
                    let number = writer * EACH + index;
                    let len = (number * 37 % 400) as usize;
                    let reference = memory.ring().write(&pattern(number, len)).unwrap();
                    sender.send((reference, number, len)).unwrap();
                }
            });
        }
        drop(references);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });

    let answered: u64 = verdicts.iter().map(|(whole, gone)| whole + gone).sum();
    assert_eq!(answered, WRITERS * EACH);
    let quiet = memory.ring().write(b"all others are done").unwrap();
    assert_eq!(memory.ring().read(quiet).unwrap(), b"all others are done");
}

#[test]
#[should_panic(expected = "a payload ring of 48 cells")]
fn a_ring_that_is_no_power_of_two_is_a_bug() {
    let memory = Memory::new(48);
    memory.ring();
}
