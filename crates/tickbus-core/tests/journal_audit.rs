//! An audit notices every change to a journal's files, tells of nothing else, and passes on only what
//! was written; what it passes on is what a salvaged journal holds.

#[path = "journal_audit/making.rs"]
mod making;
#[path = "segments/mod.rs"]
mod segments;

use making::{
    SEGMENT, check, damage, files, logs, look, put, seal_some, stride, written, written_in,
};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use tickbus_core::event::{Event, PRIORITIES, Priority};
use tickbus_core::journal::audit::{Finding, Form, Kind, audit};
use tickbus_core::journal::contents::Contents;
use tickbus_core::journal::format::segment_name;
use tickbus_core::journal::salvage::{LOST, REMOVED, salvage};
use tickbus_core::journal::{FsDisk, JournalError, Log, Options};

#[test]
fn a_whole_journal_has_no_findings_in_whatever_forms_its_segments_are() {
    let folder = written(5, true);
    let (as_log, held) = look(folder.path());
    seal_some(folder.path());
    let (mixed, held_mixed) = look(folder.path());

    assert_eq!((&as_log.findings, &mixed.findings), (&vec![], &vec![]));
    assert_eq!((as_log.lost, mixed.lost), (vec![], vec![]));
    assert_eq!(held.events, held_mixed.events);
    assert_eq!(held.gaps.len(), held_mixed.gaps.len());
    assert_eq!(held.payloads, held_mixed.payloads);
    assert!(as_log.closed && mixed.closed);
    let forms: Vec<Form> = mixed.parts.iter().map(|part| part.form).collect();
    assert_eq!(forms[..3], [Form::Sealed, Form::Packed, Form::Log]);
}

#[test]
fn every_flipped_bit_is_noticed_and_none_of_it_is_passed_on() {
    for (name, folder) in [("log", written(4, false)), ("mixed", written(4, false))] {
        if name == "mixed" {
            seal_some(folder.path());
        }
        let (_, whole) = look(folder.path());
        for (path, bytes) in files(folder.path()) {
            if path.ends_with("LOCK") {
                continue;
            }
            for bit in (0..bytes.len() * 8).step_by(stride(97)) {
                let case = format!("{name} {} bit {bit}", path.display());
                put(&path, bit / 8, &[bytes[bit / 8] ^ 1 << (bit % 8)]);

                let (found, held) = look(folder.path());

                assert!(!found.findings.is_empty(), "{case}: not noticed");
                check(&case, &whole, &found, &held);
                put(&path, bit / 8, &bytes[bit / 8..=bit / 8]);
            }
        }
        assert_eq!(look(folder.path()).1, whole);
    }
}

#[test]
fn a_file_that_lost_its_end_is_noticed_whatever_its_length() {
    let folder = written(4, false);
    seal_some(folder.path());
    let (_, whole) = look(folder.path());
    for (path, bytes) in files(folder.path()) {
        if path.ends_with("LOCK") {
            continue;
        }
        for length in (0..bytes.len()).rev().step_by(stride(331)) {
            let case = format!("{} of {length} bytes", path.display());
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(length as u64)
                .unwrap();

            let (found, held) = look(folder.path());

            assert!(found.is_damaged(), "{case}: {:?}", found.findings);
            check(&case, &whole, &found, &held);
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn zeros_in_the_place_of_any_block_are_noticed() {
    let folder = written(4, false);
    seal_some(folder.path());
    let (_, whole) = look(folder.path());
    for (path, bytes) in files(folder.path()) {
        for block in 0..bytes.len() / 512 {
            let mut zeroed = bytes.clone();
            zeroed[block * 512..][..512].fill(0);
            if zeroed == bytes {
                continue;
            }
            let case = format!("{} sector {block}", path.display());
            put(&path, block * 512, &zeroed[block * 512..][..512]);

            let (found, held) = look(folder.path());

            // What no later batch vouches for may end anywhere, also at zeros: as a power cut leaves it.
            let cut = found.parts.iter().any(|part| part.form == Form::Log && !part.prepared);
            assert!(
                !found.findings.is_empty() || (cut && held.events.len() < whole.events.len()),
                "{case}"
            );
            check(&case, &whole, &found, &held);
            put(&path, block * 512, &bytes[block * 512..][..512]);
        }
    }
}

#[test]
fn a_salvaged_journal_is_whole_and_holds_what_could_be_read() {
    let folder = written(5, true);
    seal_some(folder.path());
    let before = files(folder.path());
    let damaged: Vec<_> = before.iter().filter(|(path, _)| !path.ends_with("LOCK")).collect();
    for (number, (path, bytes)) in damaged.into_iter().enumerate() {
        for offset in [20, 4096 + 70, 4096 + 3000].into_iter().filter(|at| *at < bytes.len()) {
            let mut changed = bytes.clone();
            changed[offset] ^= 0x40;
            fs::write(path, &changed).unwrap();
            let (found, held) = look(folder.path());
            let out = folder.path().with_extension(format!("salvaged-{number}-{offset}"));

            let saved = salvage(folder.path(), &out, &mut |_, _| true).unwrap();

            assert_eq!(fs::read(path).unwrap(), changed, "the original is not touched");
            let (again, held_again) = look(&out);
            assert_eq!(damage(&again), Vec::<&Finding>::new(), "{}", path.display());
            assert_eq!(held.events, held_again.events);
            assert_eq!(held.payloads, held_again.payloads);
            let lost: u64 = saved.lost.iter().filter_map(|lost| lost.count).sum();
            let gaps: u64 =
                again.gaps.iter().filter(|gap| gap.why == LOST).map(|gap| gap.count).sum();
            assert_eq!(lost, gaps);
            assert_eq!(saved.audit.findings, found.findings);
            let events: u64 = saved.events.iter().sum();
            assert_eq!(events, held.events.len() as u64);
            // And it can be gone on with.
            let disk = FsDisk::open(&out, false).unwrap();
            let (_, recovered) = Log::open(disk, &Options::default()).unwrap();
            assert_eq!((recovered.next, recovered.clean), (found.next, true));
            fs::write(path, bytes).unwrap();
            fs::remove_dir_all(&out).unwrap();
        }
    }
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_name_that_is_lost_is_told_of_and_found_in_a_later_segment_or_made_up() {
    for (segment_bytes, segments, made_up) in [
        (SEGMENT, 3, vec![]),
        (16 * SEGMENT, 1, vec!["lost-symbol-2".to_owned()]),
    ] {
        let folder = written_in(segment_bytes, segments, false);
        let path = &logs(folder.path())[0];
        let mut bytes = fs::read(path).unwrap();
        let at = (4096..bytes.len()).find(|&at| bytes[at..].starts_with(b"ETH-USDT")).unwrap();
        bytes[at] ^= 1;
        fs::write(path, &bytes).unwrap();
        let out = folder.path().with_extension("salvaged");

        let (found, held) = look(folder.path());
        let saved = salvage(folder.path(), &out, &mut |_, _| true).unwrap();

        let kinds: Vec<Kind> = damage(&found).iter().map(|finding| finding.kind).collect();
        assert!(kinds.contains(&Kind::Damaged) && kinds.contains(&Kind::Unnamed), "{kinds:?}");
        assert_eq!(saved.made_up, made_up);
        let (again, held_again) = look(&out);
        assert_eq!((damage(&again).len(), held_again.events), (0, held.events));
        fs::remove_dir_all(&out).unwrap();
    }
}

#[test]
fn a_journal_that_is_being_written_is_whole_at_any_moment() {
    let folder = TempDir::new().unwrap();
    let disk = FsDisk::open(folder.path(), true).unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (mut log, _) = Log::open(disk, &options).unwrap();
    let preparer = log.preparer();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..4000_u64 {
                let lane = PRIORITIES[(round % 3) as usize];
                let events = vec![
                    Event { priority: lane as u8, ..Event::default() };
                    1 + (round % 50) as usize
                ];
                log.append_events(lane, log.next(lane), &events).unwrap();
                log.commit(round.is_multiple_of(5)).unwrap();
                if round.is_multiple_of(10) {
                    preparer.prepare_next().unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut last = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let (found, held) = look(folder.path());
            assert_eq!(damage(&found), Vec::<&Finding>::new());
            assert_eq!((found.writer, found.lost), (Some(std::process::id()), vec![]));
            assert!(held.events.len() >= last, "what was there once is there again");
            last = held.events.len();
        }
    });
}

#[test]
fn what_is_counted_is_what_was_written() {
    let folder = written(4, true);
    let mut contents = Contents::new(4);
    audit(folder.path(), &mut contents, &mut |_, _| true).unwrap();
    contents.finish();
    let (_, held) = look(folder.path());

    assert_eq!(contents.types[0], held.events.len() as u64);
    assert_eq!(contents.symbols.values().sum::<u64>(), held.events.len() as u64);
    assert_eq!(contents.sources[&1], held.events.len() as u64);
    assert_eq!(contents.openings.len(), 2);
    for lane in PRIORITIES {
        let sequences: Vec<u64> = held
            .events
            .keys()
            .filter(|place| place.0 == lane)
            .map(|place| place.1)
            .collect();
        let first: Vec<u64> = contents.first[lane as usize].iter().map(|at| at.sequence).collect();
        let last: Vec<u64> = contents.last[lane as usize].iter().map(|at| at.sequence).collect();
        assert_eq!(
            (first, last),
            (sequences[..4].to_vec(), sequences[sequences.len() - 4..].to_vec())
        );
    }
}

#[test]
fn reading_ends_when_it_is_asked_to() {
    let folder = written(2, true);
    let ended = audit(folder.path(), &mut (), &mut |_, _| false);
    assert!(matches!(ended, Err(JournalError::Interrupted)));

    let out = folder.path().with_extension("never");
    let ended = salvage(folder.path(), &out, &mut |done, all| done * 4 < all * 3);
    assert!(matches!(ended, Err(JournalError::Interrupted)));
    assert!(!out.exists() && !out.with_extension("never.new").exists());
}

#[test]
fn a_directory_without_a_journal_is_none() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("notes.txt"), b"hello").unwrap();
    assert!(matches!(
        audit(folder.path(), &mut (), &mut |_, _| true),
        Err(JournalError::Io { .. })
    ));
    fs::write(folder.path().join(segment_name(0)), vec![b'x'; 8192]).unwrap();
    assert!(matches!(
        audit(folder.path(), &mut (), &mut |_, _| true),
        Err(JournalError::NotAJournal { .. })
    ));
}

/// Change the header of a log segment and make its checksum right again.
fn with_header(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes[..4092]);
    let sum = crc32c::crc32c(&bytes[..4092]);
    bytes[4092..4096].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_header_that_contradicts_the_rest_is_told_of() {
    type Change = fn(&mut [u8]);
    let cases: [(&str, Kind, Change); 4] = [
        ("of another format", Kind::Foreign, |head| head[7] = 9),
        ("of another chain", Kind::Contradiction, |head| head[76] ^= 1),
        ("of later sequences", Kind::Missing, |head| head[40] += 1),
        ("of another journal", Kind::Foreign, |head| head[8] ^= 1),
    ];
    for (case, kind, change) in cases {
        let folder = written(4, true);
        let path = &logs(folder.path())[1];
        with_header(path, change);

        let (found, _) = look(folder.path());

        let kinds: Vec<Kind> = damage(&found).iter().map(|finding| finding.kind).collect();
        assert!(kinds.contains(&kind), "{case}: {kinds:?}");
    }
}

#[test]
fn a_log_segment_beside_its_sealed_form_is_left_over_and_takes_its_place_when_that_is_damaged() {
    let folder = written(4, true);
    let first = logs(folder.path())[0].clone();
    let log = fs::read(&first).unwrap();
    seal_some(folder.path());
    fs::write(&first, &log).unwrap();
    let (found, whole) = look(folder.path());
    let kinds: Vec<Kind> = found.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Kind::Leftover]);

    let sealed = first.with_extension("seg");
    let bytes = fs::read(&sealed).unwrap();
    fs::write(&sealed, &bytes[..bytes.len() - 4096]).unwrap();
    let (found, held) = look(folder.path());

    assert_eq!((damage(&found).len(), found.lost), (1, vec![]));
    assert_eq!(held.events, whole.events);
}

#[test]
fn a_journal_whose_oldest_sealed_segments_were_removed_begins_later_and_misses_nothing() {
    let folder = written(5, true);
    seal_some(folder.path());
    let (_, whole) = look(folder.path());
    fs::remove_file(folder.path().join("00000000000000000000.seg")).unwrap();

    let (found, held) = look(folder.path());

    let kinds: Vec<Kind> = found.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!((kinds, found.lost), (vec![Kind::Removed], vec![]));
    let kept = |place: &(Priority, u64)| place.1 >= found.begins[place.0 as usize];
    assert!(held.events.keys().eq(whole.events.keys().filter(|place| kept(place))));
    let out = folder.path().with_extension("salvaged");
    let saved = salvage(folder.path(), &out, &mut |_, _| true).unwrap();
    assert_eq!((saved.lost, look(&out).1.events), (vec![], held.events));
    let removed = look(&out).0.gaps.iter().filter(|gap| gap.why == REMOVED).count();
    assert_eq!(removed, found.begins.iter().filter(|first| **first > 0).count());
    fs::remove_dir_all(&out).unwrap();
}
