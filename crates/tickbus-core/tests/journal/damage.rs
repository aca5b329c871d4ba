//! What was on the disk and changed is never taken for something else, and never silently cut.

use super::building::{Built, first_segment, flip, recover, stride, try_all};
use super::sim::SimDisk;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::format::{HEADER, HeaderState, SegmentHeader, segment_first};
use tickbus_core::journal::{Damage, JournalError, LaneReader, LogReader, Piece, Until, verify};

fn corrupt(error: JournalError) -> Damage {
    match error {
        JournalError::Corrupt(damage) => *damage,
        error => panic!("{error}"),
    }
}

#[test]
fn a_segment_without_its_header_is_damage() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.fill(&mut log, 3);
    drop(log);
    for name in built.segments() {
        for range in [0..HEADER, 0..512, HEADER - 512..HEADER] {
            let disk = built.damaged(&name, |bytes| bytes[range].fill(0));

            assert_eq!(corrupt(recover(&disk, &built.options).unwrap_err()).file, name);
        }
    }
}

#[test]
fn a_segment_that_does_not_follow_the_one_before_is_damage() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.fill(&mut log, 3);
    drop(log);
    let name = &built.segments()[2];
    let changes: [fn(&mut SegmentHeader); 2] = [|head| head.chain ^= 1, |head| head.next[1] += 1];
    for change in changes {
        let disk = built.damaged(name, |bytes| {
            let header: &[u8; HEADER] = bytes[..HEADER].try_into().unwrap();
            let HeaderState::Whole(mut head) = SegmentHeader::decode(header) else {
                panic!("whole")
            };
            change(&mut head);
            bytes[..HEADER].copy_from_slice(&head.encode());
        });

        assert_eq!(corrupt(recover(&disk, &built.options).unwrap_err()).file, *name);
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    let mut built = Built::new(64 << 10);
    let mut log = built.open();
    while log.written() * 32 < 60 << 10 {
        let (lane, count) = (built.random.below(3), 1 + built.random.below(150));
        let sync = built.random.one_in(2);
        built.commit(&mut log, PRIORITIES[lane as usize], count as usize, sync);
    }
    let next = PRIORITIES.map(|lane| log.next(lane));
    drop(log);
    let durable = built.vouched();
    let (refused, cut) = (AtomicU64::new(0), AtomicU64::new(0));
    let bits: Vec<usize> = (0..8 * ((64 << 10) + HEADER)).step_by(stride(211)).collect();
    try_all(&bits, |bit| {
        let disk = built.damaged(&first_segment(), flip(bit));
        let before = disk.content(&first_segment());

        match recover(&disk, &built.options) {
            Err(error) => {
                refused.fetch_add(1, Ordering::Relaxed);
                corrupt(error);
                assert_eq!(disk.content(&first_segment()), before, "bit {bit}: repaired in place");
            }
            Ok(recovered) => {
                cut.fetch_add(1, Ordering::Relaxed);
                let position = (bit / 8 - HEADER) as u64 / 32;
                assert!(position >= durable, "bit {bit}: what was durable is gone");
                let torn = recovered.torn.unwrap_or_else(|| panic!("bit {bit} was not noticed"));
                assert!(torn.bytes > 0 && recovered.position <= position);
                assert!(recovered.next <= next);
            }
        }
    });
    let (refused, cut) = (refused.into_inner(), cut.into_inner());
    println!("{} bits flipped: {refused} refused, {cut} cut", bits.len());
    assert!(refused > 100 && cut > 10, "{refused} refused, {cut} cut");
}

#[test]
fn damage_says_where_it_is_and_what_it_costs() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.commit(&mut log, PRIORITIES[0], 10, true);
    let start = log.written();
    built.commit(&mut log, PRIORITIES[0], 20, true);
    built.commit(&mut log, PRIORITIES[0], 5, true);
    drop(log);
    let offset = HEADER as u64 + 32 * start;
    let disk = built.damaged(&first_segment(), flip(8 * (offset as usize + 100)));

    let error = recover(&disk, &built.options).unwrap_err();

    let message = error.to_string();
    let damage = corrupt(error);
    assert_eq!((damage.position, damage.offset), (start, offset));
    assert_eq!(damage.sequences[0], (Some(10), Some(30)));
    for part in [
        first_segment(),
        format!("offset {offset}"),
        "normal 10 to 29".to_owned(),
    ] {
        assert!(message.contains(&part), "{message}");
    }
}

/// What a salvaging reader of each lane finds: events, sequences lost.
fn salvage(built: &Built, disk: &SimDisk) -> [(u64, u64); 3] {
    let disk = Arc::new(disk.clone());
    PRIORITIES.map(|lane| {
        let (mut events, mut lost, mut sequence) = (0, 0, 0);
        let mut reader = LaneReader::at(&disk, lane, 0).unwrap().salvaging();
        while let Some(piece) = reader.next(Until::Written).unwrap() {
            match piece {
                Piece::Events { first, events: some } => {
                    assert_eq!(first, sequence);
                    built.model.assert_events(lane, first, some);
                    sequence += some.len() as u64;
                    events += some.len() as u64;
                }
                Piece::Lost { first, count } => {
                    assert_eq!(first, sequence);
                    sequence += count;
                    lost += count;
                }
                Piece::Hole(damage) => assert!(!damage.why.is_empty()),
                Piece::Gap { .. } => panic!("no gap was written"),
            }
        }
        (events, lost)
    })
}

#[test]
fn salvage_returns_everything_around_the_damage() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.fill(&mut log, 5);
    for lane in PRIORITIES {
        built.commit(&mut log, lane, 1, true);
        built.commit(&mut log, lane, 1, true);
    }
    log.close().unwrap();
    let segments = built.segments();
    for name in &segments[..4] {
        // Every bit of these would be read a hundred times over.
        for bit in (0..8 * ((16 << 10) + HEADER)).step_by(stride(9973).max(61)) {
            let disk = built.damaged(name, flip(bit));
            for (lane, (events, lost)) in PRIORITIES.into_iter().zip(salvage(&built, &disk)) {
                assert_eq!(events + lost, built.model.next(lane), "{name}, bit {bit}");
            }
            let report = verify(&Arc::new(disk)).unwrap();
            assert!(
                !report.damage.is_empty() || report.torn_bytes > 0 || unused(&built, name, bit),
                "{name}, bit {bit}"
            );
        }
    }
}

/// Whether a bit lies behind the end of its segment, where nobody reads.
fn unused(built: &Built, name: &str, bit: usize) -> bool {
    let content = built.disk.content(name);
    let used = content.iter().rposition(|&byte| byte != 0).unwrap();
    bit / 8 > used
}

#[test]
fn readers_stop_at_damage_far_back() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.fill(&mut log, 6);
    drop(log);
    let name = &built.segments()[1];
    // Opening looks at the last segments only.
    let disk = built.damaged(name, flip(8 * (HEADER + 5000)));
    let recovered = recover(&disk, &built.options).unwrap();

    let disk = Arc::new(disk);
    let failures = PRIORITIES.map(|lane| {
        let mut reader = LaneReader::at(&disk, lane, 0).unwrap();
        let until = Until::Position(recovered.position);
        loop {
            match reader.next(until) {
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => return corrupt(error).file == *name,
            }
        }
    });

    assert!(failures.contains(&true), "{failures:?}");
    assert_eq!(verify(&disk).unwrap().damage[0].file, *name);
}

#[test]
fn a_missing_segment_is_named() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    built.fill(&mut log, 5);
    let segments = built.segments();
    drop(log);
    for (index, name) in segments.iter().enumerate().take(4) {
        let disk = built.disk.copy();
        disk.remove(name);
        let (first, end) =
            (segment_first(name).unwrap(), segment_first(&segments[index + 1]).unwrap());

        let error = recover(&disk, &built.options).unwrap_err();

        let JournalError::MissingSegment { first: f, end: e } = error else {
            panic!("{error}")
        };
        assert_eq!((f, e), (first, end));
    }
}

#[test]
fn a_segment_cut_short_is_damage_at_every_length() {
    let mut built = Built::new(8 << 10);
    let mut log = built.open();
    built.commit(&mut log, PRIORITIES[0], 100, true);
    drop(log);
    let len = HEADER + (8 << 10);
    for left in (0..len).step_by(stride(41)) {
        let disk = built.damaged(&first_segment(), |bytes| bytes.truncate(left));
        let result = recover(&disk, &built.options);
        let noticed =
            matches!(&result, Err(JournalError::Corrupt(damage)) if damage.file == first_segment());
        assert!(noticed, "{left} bytes left: {result:?}");
    }
}

#[test]
fn files_of_others_are_refused() {
    let build = |seed| {
        let mut built = Built::new(16 << 10);
        built.disk = SimDisk::new(seed);
        let mut log = built.open();
        built.fill(&mut log, 4);
        drop(log);
        built
    };
    let (built, other) = (build(1), build(2));
    let segments = built.segments();
    let replaced = |content: Vec<u8>| {
        let disk = built.damaged(&segments[1], |bytes| *bytes = content);
        recover(&disk, &built.options).unwrap_err()
    };

    let of_other = replaced(other.disk.content(&segments[1]));
    assert!(matches!(of_other, JournalError::OtherJournal { .. }), "{of_other}");
    assert_eq!(corrupt(replaced(built.disk.content(&segments[2]))).file, segments[1]);
    let foreign = replaced(vec![b'x'; 20_000]);
    assert!(matches!(foreign, JournalError::NotAJournal { .. }), "{foreign}");
    let newer = {
        let mut content = built.disk.content(&segments[1]);
        content[7] = 2;
        let sum = crc32c::crc32c(&content[..HEADER - 4]);
        content[HEADER - 4..HEADER].copy_from_slice(&sum.to_le_bytes());
        replaced(content)
    };
    assert!(matches!(newer, JournalError::Version { found: 2, known: 1, .. }), "{newer}");
}

#[test]
fn a_recycled_segment_is_gone_for_its_readers() {
    let mut built = Built::new(16 << 10);
    let mut log = built.open();
    let disk = built.shared();
    built.commit(&mut log, PRIORITIES[0], 100, true);
    let mut reader = LaneReader::at(&disk, PRIORITIES[0], 0).unwrap();
    let mut batches = LogReader::first(&disk).unwrap().unwrap();
    built.fill(&mut log, 4);
    let preparer = log.preparer();
    preparer.prepare_next().unwrap();
    let finished = preparer.finished();
    let refused = preparer.recycle(finished[1]);
    assert!(matches!(refused, Err(JournalError::Gone { .. })), "not the oldest: {refused:?}");

    preparer.recycle(finished[0]).unwrap();
    built.fill(&mut log, 8);

    let until = Until::Position(log.written());
    let gone = reader.next(until).err();
    assert!(matches!(gone, Some(JournalError::Gone { position: 0, .. })), "{gone:?}");
    assert!(matches!(batches.next(until, |_| true), Err(JournalError::Gone { .. })));
    assert!(matches!(
        LaneReader::at(&disk, PRIORITIES[0], 0).err(),
        Some(JournalError::GoneSequence { .. })
    ));
    drop(log);
    let missing = recover(&built.disk.copy(), &built.options).unwrap_err();
    assert!(matches!(missing, JournalError::MissingSegment { first: 0, .. }), "{missing}");
    built.options.sealed_to = finished[1];
    assert_eq!(recover(&built.disk, &built.options).unwrap().first, finished[1]);
}
