//! Damage is an error that says which events it costs, and salvaging gives all others.

use super::making::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::fs;
use std::path::{Path, PathBuf};
use tickbus_core::journal::archive::Archive;
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::Form;
use tickbus_core::journal::format::segment_name;
use tickbus_core::journal::query::Query;
use tickbus_core::{Event, Priority};

/// Three full segments and a half one, of the high and the critical lane.
fn journal() -> Journal {
    let mut journal = Journal::new(64 << 10);
    for round in 0..70 {
        journal.events(Priority::High, &at(round * 100..round * 100 + 100));
        journal.events(Priority::Critical, &at([round * 100 + 50]));
        journal.commit(true);
    }
    journal
}

fn flip(path: &Path, event: &Event) {
    let mut bytes = fs::read(path).unwrap();
    let row = bytes.chunks_exact(32).position(|row| row == event.to_bytes()).unwrap();
    bytes[row * 32 + 16] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A lane, and first and last sequence.
type Lost = (Option<Priority>, Option<(u64, u64)>);

/// What salvaging says is lost, and that everything else is found.
fn salvaged(journal: &Journal, archive: &Archive) -> Vec<Lost> {
    let mut answer = archive.query(&everything(), true).unwrap();
    let found = read(&mut answer, 333).unwrap();
    let lost: Vec<_> = answer
        .left_out
        .iter()
        .map(|fault| match fault {
            SegmentError::Damaged(damage) => (damage.lane, damage.sequences),
            other => panic!("{other}"),
        })
        .collect();
    let is_lost = |lane: u8, sequence: u64| {
        lost.iter().any(|(of, sequences)| {
            of.is_some_and(|of| of as u8 == lane)
                && sequences.is_some_and(|(first, last)| (first..=last).contains(&sequence))
        })
    };
    let mut rest: Vec<_> = journal.expected(&everything());
    rest.retain(|(lane, sequence, _)| !is_lost(*lane, *sequence));
    assert!(rest.len() < journal.expected(&everything()).len(), "something is lost");
    assert_eq!(found, rest);
    lost
}

fn refuses(archive: &Archive) {
    let refused = match archive.query(&everything(), false) {
        Ok(mut answer) => read(&mut answer, 100).map(|_| ()),
        Err(error) => Err(error),
    };
    let told = matches!(refused, Err(SegmentError::Damaged(_) | SegmentError::Missing { .. }));
    assert!(told, "{refused:?}");
}

/// A packed, a sealed and two log segments, all small.
fn of_all_forms() -> Journal {
    let mut journal = Journal::new(8192);
    for round in 0..20 {
        journal
            .log
            .append_name(1, &[&u32::to_le_bytes(round + 1), &b"symbol"[..]].concat())
            .unwrap();
        let round = u64::from(round);
        journal.events(Priority::High, &at(round * 40..round * 40 + 40));
        journal.events(Priority::Critical, &at([round * 40 + 50]));
        journal.commit(true);
    }
    let full = journal.full();
    journal.seal(full[0]);
    journal.seal(full[1]);
    pack_only(journal.path(), full[0]);
    journal
}

/// A flipped bit anywhere: an answer is right or an error, and what salvaging lacks it has told of.
#[test]
fn no_bit_can_change_an_answer_silently() {
    let journal = of_all_forms();
    let whole = journal.expected(&everything());
    // The last commit is nobody's word but its own: without it, it is a torn tail.
    let is_right = |rows: &[Row]| {
        let found =
            |row: &&Row| row.1 >= [0, 19 * 40, 19][usize::from(row.0)] || rows.contains(row);
        whole.iter().all(|row| found(&row)) && rows.iter().all(|row| whole.contains(row))
    };
    let is_file = |path: &PathBuf| path.extension().is_some_and(|end| end != "new");
    let entries = fs::read_dir(journal.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(is_file).collect();
    paths.sort();
    let config = ProptestConfig { cases: 300, ..ProptestConfig::default() };
    proptest!(config, |(file: Index, bit: Index, known: bool)| {
        let folder = tempfile::tempdir().unwrap();
        for path in &paths {
            fs::copy(path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let archive = known.then(|| Archive::open(folder.path()).unwrap());
        let path = folder.path().join(file.get(&paths).file_name().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, bytes).unwrap();
        let archive = archive.unwrap_or_else(|| Archive::open(folder.path()).unwrap());
        let strict = archive.query(&everything(), false);
        if let Ok(rows) = strict.and_then(|mut answer| read(&mut answer, 99)) {
            prop_assert!(is_right(&rows));
        }
        let mut answer = archive.query(&everything(), true).unwrap();
        let rows = read(&mut answer, 99).unwrap();
        prop_assert!(rows.iter().all(|row| whole.contains(row)));
        prop_assert!(is_right(&rows) || !answer.left_out.is_empty());
    });
}

#[test]
fn a_damaged_batch_of_the_log_costs_its_events_only() {
    let journal = journal();
    let event = journal.lanes[Priority::High as usize][450].2;
    flip(&journal.path().join(segment_name(0)), &event);
    let archive = journal.archive();
    refuses(&archive);
    let lost = salvaged(&journal, &archive);
    assert_eq!(lost, [(Some(Priority::High), Some((400, 499)))]);
}

#[test]
fn damage_of_a_segment_that_is_known_already_is_noticed_when_it_is_read() {
    let journal = journal();
    let archive = journal.archive();
    assert_eq!(ask(&archive, &everything()), journal.expected(&everything()));
    let event = journal.lanes[Priority::High as usize][450].2;
    flip(&journal.path().join(segment_name(0)), &event);
    refuses(&archive);
    salvaged(&journal, &archive);
}

#[test]
fn a_damaged_block_of_a_sealed_segment_costs_its_events_only() {
    let journal = journal();
    let first = journal.full()[0];
    journal.seal(first);
    let event = journal.lanes[Priority::High as usize][450].2;
    flip(&journal.path().join(Form::Sealed.name(first)), &event);
    let archive = journal.archive();
    refuses(&archive);
    salvaged(&journal, &archive);
}

#[test]
fn a_sealed_segment_that_cannot_be_opened_costs_its_sequences() {
    let journal = journal();
    let full = journal.full();
    journal.seal(full[0]);
    journal.seal(full[1]);
    let path = journal.path().join(Form::Sealed.name(full[1]));
    fs::write(&path, b"no segment").unwrap();
    let archive = journal.archive();
    refuses(&archive);
    let mut answer = archive.query(&everything(), true).unwrap();
    let found = read(&mut answer, 333).unwrap();
    let told: Vec<String> = answer.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 3, "the file, and a run of each of two lanes: {told:?}");
    let high = found.iter().filter(|(lane, ..)| *lane == Priority::High as u8);
    let high: Vec<u64> = high.map(|(_, sequence, _)| *sequence).collect();
    let hole = high.windows(2).find(|pair| pair[1] != pair[0] + 1).unwrap();
    let said = format!("high lane, sequences {} to {}", hole[0] + 1, hole[1] - 1);
    assert!(told.iter().any(|fault| fault.contains(&said)), "{told:?}, {said}");
}

#[test]
fn a_damaged_sealed_segment_is_read_in_the_log_as_long_as_that_is_there() {
    let journal = journal();
    let first = journal.full()[0];
    seal_only(journal.path(), first);
    let path = journal.path().join(Form::Sealed.name(first));
    let whole = fs::read(&path).unwrap();
    for broken in [&whole[..9], &whole[..whole.len() - 4096]] {
        fs::write(&path, broken).unwrap();
        assert_eq!(ask(&journal.archive(), &everything()), journal.expected(&everything()));
    }
}

#[test]
fn a_segment_missing_between_others_is_an_error_and_the_oldest_is_not() {
    let journal = journal();
    let full = journal.full();
    for first in &full[..3] {
        journal.seal(*first);
    }
    let archive = journal.archive();
    let mut answer = archive.query(&everything(), false).unwrap();
    fs::remove_file(journal.path().join(Form::Sealed.name(full[0]))).unwrap();
    // It is open already, or it is missed: never is a row left out silently.
    let read_on = read(&mut answer, 100);
    assert!(match read_on {
        Ok(rows) => rows == journal.expected(&everything()),
        Err(SegmentError::Removed { .. }) => true,
        Err(_) => false,
    });
    let found = ask(&archive, &everything());
    let (_, first, _) = *found.iter().find(|row| row.0 == Priority::High as u8).unwrap();
    assert!(first > 0 && found.len() as u64 >= 7070 - 2 * first);
    let later = Query { from: [0, first - 1, 0], ..everything() };
    let gone = archive.query(&later, false).map(|_| ()).unwrap_err();
    assert!(matches!(gone, SegmentError::Gone { lane: Priority::High, .. }), "{gone}");
    assert_eq!(archive.query(&later, true).unwrap().left_out.len(), 1);

    fs::remove_file(journal.path().join(Form::Sealed.name(full[2]))).unwrap();
    let refused = archive.query(&everything(), false).map(|_| ()).unwrap_err();
    let SegmentError::Missing { first, end, .. } = refused else {
        panic!("{refused}")
    };
    assert_eq!((first, end), (full[2], Some(full[3])));
    let answer = archive.query(&everything(), true).unwrap();
    assert_eq!(answer.left_out.len(), 3, "{:?}", answer.left_out);
}

#[test]
fn a_torn_tail_is_the_end_and_no_damage() {
    let mut journal = journal();
    let path = journal
        .path()
        .join(segment_name(*journal.full().last().unwrap() + (64 << 10) / 32));
    let whole = journal.expected(&everything());
    journal.events(Priority::High, &at(9_000..9_050));
    journal.commit(false);
    let event = journal.lanes[Priority::High as usize].last().unwrap().2;
    flip(&path, &event);
    assert_eq!(ask(&journal.archive(), &everything()), whole);
}
