//! Sealing and packing may stop after any file operation: what there was stays whole, no event is
//! in two listed files, and doing it again succeeds.

#![cfg(not(loom))]

mod segments;

use segments::*;
use std::fs;
use std::path::Path;
use tickbus_core::Priority;
use tickbus_core::journal::folder::{Directory, Form, list};
use tickbus_core::journal::packed::{Packed, pack};
use tickbus_core::journal::sealed::{Sealed, seal};

fn log() -> Log {
    let pieces = vec![
        Owned::Record(1, b"ETH-USD".to_vec()),
        Owned::Events(Priority::High, ticks(9_000, 1_000)),
        Owned::Gap(Priority::Normal, 4, 2),
        Owned::Events(Priority::Critical, ticks(5, 2_000)),
    ];
    Log::new(1 << 21, [3, 2, 1], pieces)
}

/// What the folder says is there must be whole and hold every event, once.
fn assert_whole(folder: &Path) -> bool {
    let first = log().identity.first_position;
    let (found, faults) = match list(folder).unwrap()[..] {
        [] => return false,
        [(position, form)] => {
            assert_eq!(position, first);
            match form {
                Form::Sealed => {
                    let segment = Sealed::open(folder, first).unwrap();
                    (read_events(&segment).unwrap(), faults_of_sealed(folder, first))
                }
                Form::Packed => {
                    let segment = Packed::open(folder, first).unwrap();
                    (read_events(&segment).unwrap(), faults_of_packed(folder, first))
                }
            }
        }
        ref more => panic!("{more:?}"),
    };
    assert_eq!(found, log().events());
    assert!(faults.is_empty());
    true
}

#[test]
fn sealing_stops_anywhere_and_the_file_is_whole_or_not_there() {
    for torn in [false, true] {
        let (mut operations, mut seen) = (0, [false; 2]);
        loop {
            let folder = tempfile::tempdir().unwrap();
            let dying = Dying::new(folder.path(), operations).torn(torn);
            let done = seal(&dying, &mut log()).is_ok();
            assert!(dying.is_at_rest() || !done);
            let there = assert_whole(folder.path());
            seen[usize::from(there)] = true;
            // Without a name on the disk the log segment must stay, so "done" may not be said.
            assert!(there || !done);
            seal(&Directory(folder.path().into()), &mut log()).unwrap();
            assert!(assert_whole(folder.path()));
            if done {
                break;
            }
            operations += 1;
        }
        assert!(
            operations >= 8,
            "create, header, events, records, gaps, index, footer, sync, names"
        );
        assert_eq!(seen, [true, true]);
    }
}

#[test]
fn packing_stops_anywhere_and_the_sealed_file_stays_until_the_packed_one_is_whole() {
    let first = log().identity.first_position;
    for torn in [false, true] {
        let (mut operations, mut forms) = (0, Vec::new());
        loop {
            let folder = tempfile::tempdir().unwrap();
            let before = sealed(folder.path(), &log());
            let dying = Dying::new(folder.path(), operations).torn(torn);
            let done = pack(&dying, &before).is_ok();
            assert!(dying.is_at_rest() || !done);
            assert!(assert_whole(folder.path()));
            forms.push(list(folder.path()).unwrap()[0].1);
            if forms.ends_with(&[Form::Sealed]) {
                // The recovery: what a reader had open, or opens now, can be packed again.
                let again = Sealed::open(folder.path(), first).unwrap();
                pack(&Directory(folder.path().into()), &again).unwrap();
            }
            assert!(assert_whole(folder.path()));
            assert_eq!(list(folder.path()).unwrap(), [(first, Form::Packed)]);
            if done {
                break;
            }
            operations += 1;
        }
        assert!(operations >= 9);
        assert!(forms.is_sorted(), "packed before the last steps: {forms:?}");
    }
}

/// A source that cannot be read on leaves no half file, and says so.
#[test]
fn a_damaged_sealed_file_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let first = log().identity.first_position;
    sealed(folder.path(), &log());
    let path = folder.path().join(Form::Sealed.name(first));
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096 + 77] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let segment = Sealed::open(folder.path(), first).unwrap();
    assert!(pack(&Directory(folder.path().into()), &segment).is_err());
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A disk that keeps something else than what was written loses no sealed file.
#[test]
fn what_reads_back_otherwise_is_not_packed() {
    let first = log().identity.first_position;
    let folder = tempfile::tempdir().unwrap();
    let before = sealed(folder.path(), &log());
    let mut write = 0;
    loop {
        let flipping = Dying::flipping(folder.path(), write);
        let result = pack(&flipping, &before);
        if flipping.writes() <= write {
            break;
        }
        assert!(result.is_err(), "write {write}");
        assert_eq!(list(folder.path()).unwrap()[0].1, Form::Sealed);
        assert!(assert_whole(folder.path()));
        write += 1;
    }
    assert_eq!(list(folder.path()).unwrap(), [(first, Form::Packed)]);
}
