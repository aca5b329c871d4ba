//! What was being written when the end came is cut, wherever it was torn, and nothing else.

use super::building::{Built, first_segment, recover, stride, try_all};
use std::sync::Mutex;
use tickbus_core::event::Priority::{Critical, Normal};
use tickbus_core::journal::format::{BatchHeader, HEADER, HeaderState, SegmentHeader};
use tickbus_core::journal::{JournalError, Until};

/// A log with a synced commit, then an unsynced batch of `count` events; where that batch is.
fn with_last_batch(count: usize) -> (Built, std::ops::Range<usize>) {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.commit(&mut log, Critical, 3, true);
    let start = 4096 + 32 * log.written() as usize;
    built.commit(&mut log, Normal, count, false);
    drop(log);
    (built, start..start + 32 * (1 + count))
}

#[test]
fn at_every_byte_of_the_last_batch() {
    let counts: Vec<usize> = (1..=128).step_by(stride(17)).collect();
    try_all(&counts, |count| {
        let (built, batch) = with_last_batch(count);
        let whole = built.disk.content(&first_segment());
        for end in batch.clone() {
            let disk = built.damaged(&first_segment(), |bytes| bytes[end..batch.end].fill(0));

            let recovered = recover(&disk, &built.options).unwrap();

            let lost = whole[end..batch.end].iter().any(|&byte| byte != 0);
            let expected = if lost { [0, 0, 3] } else { [count as u64, 0, 3] };
            assert_eq!(recovered.next, expected, "{count} events, torn at {}", end - batch.start);
            let written = end > batch.start && lost;
            assert_eq!(recovered.torn.is_some(), written, "torn at {}", end - batch.start);
        }
    });
}

#[test]
fn at_every_byte_of_a_segment() {
    let mut built = Built::new(64 << 10);
    let mut log = built.open();
    while log.written() * 32 < 60 << 10 {
        let count = 1 + built.random.below(90) as usize;
        built.commit(&mut log, Normal, count, false);
    }
    let end = 4096 + 32 * log.written() as usize;
    drop(log);
    let whole = built.disk.content(&first_segment());
    let cuts: Vec<usize> = (4096..end).step_by(stride(101)).collect();
    let left = Mutex::new(Vec::new());
    try_all(&cuts, |cut| {
        let disk = built.damaged(&first_segment(), |bytes| bytes[cut..].fill(0));

        let recovered = recover(&disk, &built.options).unwrap();

        left.lock().unwrap().push((cut, recovered.next[0]));
        // Zeros that were torn off zeros are nobody's loss.
        let kept = 4096 + 32 * recovered.position as usize;
        assert!(whole[cut.min(kept)..kept].iter().all(|&byte| byte == 0), "torn at {cut}");
    });
    let mut left = left.into_inner().unwrap();
    left.sort_unstable();
    assert!(left.is_sorted_by_key(|(_, events)| *events), "more torn off, more left");
    println!("torn at {} bytes", left.len());
}

#[test]
fn what_was_cut_is_kept_in_a_file() {
    let (built, batch) = with_last_batch(20);
    let disk = built.damaged(&first_segment(), |bytes| bytes[batch.start + 40] ^= 1);
    let before = disk.content(&first_segment());

    let torn = recover(&disk, &built.options).unwrap().torn.unwrap();

    assert_eq!(torn.files.len(), 1);
    let kept = disk.content(&torn.files[0]);
    assert_eq!(kept, before[batch.start..batch.start + kept.len()]);
    assert!(before[batch.start + kept.len()..].iter().all(|&byte| byte == 0));
    assert_eq!(torn.bytes, kept.len() as u64);
}

#[test]
fn a_valid_batch_behind_a_torn_one_never_comes_back() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    let start = log.written();
    for _ in 0..3 {
        built.commit(&mut log, Normal, 9, false);
    }
    drop(log);
    built
        .disk
        .tamper(&first_segment(), |bytes| bytes[4096 + 32 * start as usize + 8] ^= 1);
    built.disk.kill();

    // Batches of the same size end where the old ones began.
    let mut log = built.open();
    let sequences: Vec<u64> = (0..3)
        .map(|_| {
            let events = built.events(9);
            let first = log.next(Normal);
            log.append_events(Normal, first, &events).unwrap();
            log.commit(false).unwrap();
            first
        })
        .collect();
    let written = log.written();
    drop(log);

    let recovered = recover(&built.disk, &built.options).unwrap();
    assert_eq!(
        (sequences, recovered.next, recovered.position),
        (vec![0, 9, 18], [27, 0, 0], written)
    );
}

#[test]
fn a_batch_that_another_one_stood_before_is_not_taken() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    let start = log.written();
    for _ in 0..3 {
        built.commit(&mut log, Normal, 9, false);
    }
    drop(log);
    // The second batch, whole and in its place, from another life of the log.
    let second = start + 10;
    built.disk.tamper(&first_segment(), |bytes| {
        let header: [u8; HEADER] = bytes[..HEADER].try_into().unwrap();
        let HeaderState::Whole(head) = SegmentHeader::decode(&header) else {
            panic!("whole")
        };
        let batch = &mut bytes[head.offset_of(second) as usize..][..10 * 32];
        let said = BatchHeader::decode(&batch[..32], head.salt, second).unwrap();
        batch[40] ^= 1;
        said.seal(head.salt, second, batch);
    });

    let recovered = recover(&built.disk, &built.options).unwrap();

    assert_eq!(recovered.next, [18, 0, 0]);
}

#[test]
fn recovery_comes_to_the_same_end_when_it_is_repeated() {
    let (built, batch) = with_last_batch(20);
    let disk = built.damaged(&first_segment(), |bytes| bytes[batch.start + 40] ^= 1);
    let whole = recover(&disk.copy(), &built.options).unwrap();
    for operations in 0.. {
        let disk = disk.copy();
        disk.stop_after(Some(operations));
        if recover(&disk, &built.options).is_ok() {
            break;
        }
        disk.power_loss();

        let again = recover(&disk, &built.options).unwrap();

        assert_eq!(again.next, whole.next, "stopped after {operations}");
        assert!(again.position >= whole.position, "stopped after {operations}");
    }
}

#[test]
fn a_full_disk_is_no_end() {
    let mut built = Built::new(8 << 10);
    let mut log = built.open();
    let full = super::sim::Faults { full: true, ..Default::default() };
    built.disk.set_faults(full);
    let mut refused = None;
    while refused.is_none() {
        let events = built.events(50);
        built.model.append_events(&mut log, Normal, &events);
        match log.commit(true) {
            Ok(committed) => built.model.committed(committed, true),
            Err(error) => refused = Some(error),
        }
    }
    assert!(matches!(refused, Some(JournalError::StorageFull { .. })), "{refused:?}");
    assert!(matches!(log.commit(true), Err(JournalError::StorageFull { .. })));

    built.disk.set_faults(super::sim::Faults::default());
    built.commit(&mut log, Normal, 10, true);

    built.model.check(&built.shared(), Until::Position(log.written()));
    drop(log);
    let recovered = recover(&built.disk, &built.options).unwrap();
    built.model.recovered(&built.shared(), &recovered);
}

#[test]
fn a_closed_log_says_so() {
    let mut built = Built::new(8 << 10);
    let mut log = built.open();
    built.commit(&mut log, Normal, 10, false);
    log.close().unwrap();

    assert!(recover(&built.disk, &built.options).unwrap().clean);
    // That one was dropped.
    assert!(!recover(&built.disk, &built.options).unwrap().clean);
}

#[test]
fn events_out_of_order_and_records_too_large_are_refused() {
    let mut built = Built::new(8 << 10);
    let mut log = built.open();
    let events = built.events(2);

    let order = log.append_events(Normal, 5, &events);
    assert!(matches!(order, Err(JournalError::Order { expected: 0, found: 5, .. })), "{order:?}");
    let gap = log.append_gap(Normal, 1, 5, 0);
    assert!(matches!(gap, Err(JournalError::Order { expected: 0, found: 1, .. })), "{gap:?}");
    let record = log.append_record(16, &[1; 9000]);
    assert!(matches!(record, Err(JournalError::TooLarge { bytes: 9000, .. })), "{record:?}");
    built.commit(&mut log, Normal, 10, false);
    built.model.check(&built.shared(), Until::Written);
}
