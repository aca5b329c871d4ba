//! Sealing and packing change no answer, and may stop anywhere.

use super::kept::{Kept, SEGMENT, never};
use super::segments::Dying;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use tickbus_core::Priority;
use tickbus_core::journal::catalog::{Catalog, PartForm};
use tickbus_core::journal::compact::compact_old;
use tickbus_core::journal::error::JournalError;
use tickbus_core::journal::folder::Form;
use tickbus_core::journal::format::{HEADER, HeaderState, SegmentHeader, record, segment_name};
use tickbus_core::journal::opening::Opening;
use tickbus_core::journal::retention::{Limits, Needed, retain};
use tickbus_core::journal::whole::Whole;

const LANES: [Priority; 3] = [Priority::Normal, Priority::High, Priority::Critical];

#[derive(Debug, Clone)]
enum Act {
    Write(usize, Vec<u64>),
    Gap(usize, u64),
    Seal(usize),
    Pack,
    Reopen,
}

fn any_act() -> impl Strategy<Value = Act> {
    let time = prop_oneof![8 => 1000..5000u64, 1 => any::<u64>()];
    prop_oneof![
        8 => (0..3usize, prop::collection::vec(time, 1..200)).prop_map(|(lane, t)| Act::Write(lane, t)),
        1 => (0..3usize, 1..500u64).prop_map(|(lane, count)| Act::Gap(lane, count)),
        2 => (1..4usize).prop_map(Act::Seal),
        1 => Just(Act::Pack),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_is_done_to_its_parts_a_journal_reads_the_same(acts in prop::collection::vec(any_act(), 1..40)) {
        let mut kept = Kept::new();
        for act in acts {
            match act {
                Act::Write(lane, times) => kept.write(LANES[lane], &times),
                Act::Gap(lane, count) => kept.gap(LANES[lane], count),
                Act::Seal(count) => kept.seal(count),
                Act::Pack => kept.pack(),
                Act::Reopen => kept.reopen(),
            }
            kept.commit();
        }
        kept.assert_whole();
        kept.seal(usize::MAX);
        kept.assert_whole();
        kept.pack();
        kept.assert_whole();
    }
}

/// Some segments' worth of all lanes, with a clock that jumps.
fn filled(segments: usize) -> Kept {
    let mut kept = Kept::new();
    for number in 0..segments as u64 {
        for lane in LANES {
            let base = if number % 5 == 3 { 90_000 } else { number * 100 };
            kept.write(lane, &(0..80).map(|at| base + at).collect::<Vec<_>>());
        }
        kept.gap(LANES[(number % 3) as usize], 3);
        kept.commit();
    }
    kept
}

#[test]
fn all_three_forms_are_one_journal() {
    let kept = filled(12);
    kept.seal(4);
    kept.pack();
    kept.seal(4);

    let mut forms = kept.forms();
    forms.dedup();
    assert_eq!(forms, ["packed", "sealed", "log"]);
    kept.assert_whole();
}

#[test]
fn sealing_stops_anywhere_and_nothing_is_missing_or_twice() {
    let mut operations = 0;
    loop {
        let mut kept = filled(5);
        kept.finished();
        let dying = Dying::new(kept.path(), operations).torn(operations % 2 == 0);
        let done = kept.upkeep.seal_in(&dying).is_ok();
        kept.assert_whole();
        kept.reopen();
        kept.assert_whole();
        kept.seal(usize::MAX);
        kept.assert_whole();
        let left = fs::read_dir(kept.path()).unwrap();
        let left = left.filter(|entry| {
            entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".seg.new")
        });
        assert_eq!(left.count(), 0);
        if done {
            break;
        }
        operations += 1;
    }
    assert!(operations >= 8, "{operations}");
}

/// The machine may stop between the sealed segment's name and the end of the log's, or bring back the
/// name of a log segment that was to be used again.
#[test]
fn a_segment_in_two_forms_counts_once() {
    let mut kept = filled(5);
    let first = kept.finished()[0];
    let log = fs::read(kept.path().join(segment_name(first))).unwrap();
    kept.seal(1);
    let sealed = fs::read(kept.path().join(Form::Sealed.name(first))).unwrap();
    fs::write(kept.path().join(segment_name(first)), &log).unwrap();
    kept.assert_whole();
    kept.reopen();
    kept.seal(1);
    assert!(!kept.path().join(segment_name(first)).exists());
    kept.assert_whole();

    kept.pack();
    fs::write(kept.path().join(Form::Sealed.name(first)), &sealed).unwrap();
    kept.assert_whole();
    kept.pack();
    assert!(!kept.path().join(Form::Sealed.name(first)).exists());
    kept.assert_whole();

    fs::write(kept.path().join(segment_name(first) + ".new"), &log).unwrap();
    kept.reopen();
    assert!(!kept.path().join(segment_name(first) + ".new").exists());
    kept.assert_whole();
}

#[test]
fn a_damaged_log_segment_is_not_sealed_and_stays() {
    let kept = filled(5);
    let first = kept.finished()[0];
    let path = kept.path().join(segment_name(first));
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4096 + 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 4096 + 1000).unwrap();

    for _ in 0..2 {
        let refused = kept.upkeep.seal_oldest(&never());
        assert!(matches!(refused, Err(JournalError::Segment(_))), "{refused:?}");
        assert!(path.exists());
        assert!(
            Catalog::of(kept.path())
                .unwrap()
                .parts()
                .iter()
                .all(|p| p.form == PartForm::Log)
        );
    }
    file.write_all_at(&byte, 4096 + 1000).unwrap();
    kept.seal(usize::MAX);
    kept.assert_whole();
}

/// Cut at a batch's end a segment has no bad batch. The next one knows how it ended.
#[test]
fn a_log_segment_that_does_not_lead_to_the_next_is_not_sealed() {
    let kept = filled(5);
    let finished = kept.finished();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(kept.path().join(segment_name(finished[1])))
        .unwrap();
    let mut bytes = [0; HEADER];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let HeaderState::Whole(head) = SegmentHeader::decode(&bytes) else {
        panic!("a segment that was written");
    };
    let other = SegmentHeader { chain: head.chain ^ 1, ..head };
    file.write_all_at(&other.encode(), 0).unwrap();
    let refused = kept.upkeep.seal_oldest(&never());
    assert!(matches!(refused, Err(JournalError::Segment(_))), "{refused:?}");
    assert!(kept.path().join(segment_name(finished[0])).exists());
    file.write_all_at(&bytes, 0).unwrap();
    kept.seal(usize::MAX);
    kept.assert_whole();
}

/// What is wrong with a sealed part costs what it says and no more, and readers are told where to go on.
#[test]
fn damage_in_a_part_is_told_with_the_place_to_go_on() {
    let kept = filled(8);
    kept.seal(3);
    let catalog = Catalog::of(kept.path()).unwrap();
    let (bad, after) = (catalog.parts()[1], catalog.parts()[2]);
    let path = kept.path().join(bad.file());
    let whole = fs::read(&path).unwrap();
    let lane = 1;
    let first = bad.identity.first_sequence[lane];
    let end = kept.ends()[lane];
    // In the events, the index and the footer.
    for at in [
        4096 + 4096 + 40,
        whole.len() - 8192 + 8,
        whole.len() - 4096 + 100,
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let mut reader = Whole::open(kept.path()).unwrap();
        let mut events = Vec::new();
        let trouble = reader.read(lane, first, end, &mut events).unwrap_err();
        assert!(matches!(trouble.error, JournalError::Segment(_)), "{trouble:?}");
        let resume = trouble.resume.unwrap();
        assert!(resume > first && resume <= after.identity.first_sequence[lane], "{trouble:?}");
        reader
            .read(lane, after.identity.first_sequence[lane], end, &mut events)
            .unwrap();
        assert!(!events.is_empty());
        // It may have events of the time: a start there is told of the damage.
        assert!(reader.at(lane, 110, end).unwrap() <= first + 80);
    }
    fs::write(&path, whole).unwrap();
    kept.assert_whole();

    fs::remove_file(path).unwrap();
    let mut reader = Whole::open(kept.path()).unwrap();
    let trouble = reader.read(lane, first, end, &mut Vec::new()).unwrap_err();
    assert!(matches!(trouble.error, JournalError::Hole { .. }), "{trouble:?}");
    assert_eq!(trouble.resume, Some(after.identity.first_sequence[lane]));
}

/// Of two runs of a writer in one segment that used the same reference, each event has its own bytes.
#[test]
fn payloads_are_found_in_every_form() {
    let mut kept = Kept::of(8 * SEGMENT);
    let reference = 5u64 << 44 | 9;
    let payload = |kept: &mut Kept, bytes: &[u8]| {
        let record = [&reference.to_le_bytes()[..], bytes].concat();
        let log = kept.log.as_mut().unwrap();
        log.append_record(record::PAYLOAD, &record).unwrap();
    };
    payload(&mut kept, b"first");
    kept.write(Priority::High, &[1]);
    kept.commit();
    kept.reopen();
    payload(&mut kept, b"second");
    kept.write(Priority::High, &[2]);
    kept.write(Priority::Normal, &[3; 2000]);
    kept.commit();
    assert!(kept.finished().len() == 1, "both runs are in one segment");
    let check = || {
        let mut whole = Whole::open(kept.path()).unwrap();
        let found = [0, 1].map(|sequence| whole.payload(1, sequence, reference).unwrap());
        assert_eq!(found, [Some(b"first".to_vec()), Some(b"second".to_vec())]);
        assert_eq!(whole.payload(1, 1, reference + 1).unwrap(), None);
    };
    check();
    kept.seal(1);
    check();
    kept.pack();
    check();
}

#[test]
fn a_compaction_that_is_stopped_is_done_again() {
    let kept = filled(12);
    kept.seal(6);
    let stop = never();
    let done = compact_old(kept.path(), Duration::ZERO, &stop, &mut |done, of| {
        assert_eq!(of, 6);
        if done.segments == 2 {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(done.map(|done| (done.segments, done.stopped)).unwrap(), (2, true));
    kept.assert_whole();
    let young = compact_old(kept.path(), Duration::from_secs(3600), &never(), &mut |_, _| {});
    assert_eq!(young.map(|done| (done.segments, done.younger)).unwrap(), (0, 4));
    let rest = compact_old(kept.path(), Duration::ZERO, &never(), &mut |_, _| {}).unwrap();
    assert_eq!((rest.segments, rest.stopped), (4, false));
    assert!(rest.bytes_after < rest.bytes_before && rest.events > 0);
    kept.assert_whole();
}

#[test]
fn a_log_that_begins_behind_the_sealed_parts_is_not_opened() {
    for (gone, spoiled) in [(".seg", false), (".log", false), (".seg", true)] {
        let mut kept = filled(8);
        kept.seal(3);
        kept.log = None;
        let catalog = Catalog::of(kept.path()).unwrap();
        let part = match gone {
            ".log" => catalog.parts()[3],
            _ => catalog.parts()[2],
        };
        assert!(part.file().ends_with(gone));
        let path = kept.path().join(part.file());
        if spoiled {
            fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .write_all_at(b"?", 30)
                .unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }

        let refused = Opening::of(kept.path(), SEGMENT).map(|_| ());

        let expected = part.first()..part.end();
        match refused {
            Err(JournalError::MissingSegment { first, end }) if !spoiled => {
                assert_eq!(first..end, expected);
            }
            Err(JournalError::Hole { first, end, why }) if spoiled => {
                assert_eq!(first..end, expected);
                assert!(why.contains(&part.file()), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Names so many that later segments do not begin with all of them: then they are where they were first
/// written, behind the last segment that does, and retention leaves those parts.
#[test]
fn names_are_found_and_kept_when_later_parts_do_not_repeat_them() {
    let mut kept = Kept::new();
    for number in 2..90u32 {
        let name = [
            &number.to_le_bytes()[..],
            format!("{number:060}").as_bytes(),
        ]
        .concat();
        if number == 2 {
            kept.write(Priority::High, &[1]);
        }
        kept.log.as_mut().unwrap().append_name(record::SYMBOL, &name).unwrap();
        kept.write(Priority::Normal, &[5; 20]);
        kept.commit();
    }
    kept.seal(4);
    kept.pack();
    kept.seal(4);
    kept.log = None;
    let Opening { log, dictionary, .. } = Opening::of(kept.path(), SEGMENT).unwrap();
    assert_eq!(dictionary.records().count(), 89);
    let needed: Needed = Arc::new(|| Ok([u64::MAX; 3]));
    let limits = Limits { keep: None, keep_bytes: Some(0) };
    let mut catalog = Catalog::of(kept.path()).unwrap();
    let removed = retain(&mut catalog, log.disk(), limits, &needed).unwrap().unwrap();
    assert!(removed.parts > 0 && removed.held > 0, "{removed:?}");
    drop(log);
    let Opening { dictionary, .. } = Opening::of(kept.path(), SEGMENT).unwrap();
    assert_eq!(dictionary.records().count(), 89);
}
