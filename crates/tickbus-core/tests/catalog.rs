//! What the catalogue says of a directory: each position once, in the form that counts, and every hole;
//! also while other processes seal, recycle, pack and delete.

#![cfg(not(loom))]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tickbus_core::journal::catalog::{Catalog, PartForm};
use tickbus_core::journal::folder::Form;
use tickbus_core::journal::format::{SegmentHeader, segment_name};
use tickbus_core::journal::segment::{Identity, header};

const SLOTS: u64 = 256;
const JOURNAL: [u8; 16] = *b"a journal's name";

fn identity(number: u64) -> Identity {
    Identity {
        journal: JOURNAL,
        first_position: number * SLOTS,
        slots: SLOTS,
        first_sequence: [number * 10, number * 20, 7],
        created_ns: 1_000 + number,
    }
}

fn log(folder: &Path, number: u64) {
    let Identity { journal, first_position, slots, first_sequence, created_ns } = identity(number);
    let (id, first, next) = (journal, first_position, first_sequence);
    let head = SegmentHeader { id, first, slots, next, created_ns, salt: 1, chain: 2 };
    fs::write(folder.join(segment_name(first)), head.encode()).unwrap();
}

fn stored(folder: &Path, form: Form, number: u64) {
    let identity = identity(number);
    let name = form.name(identity.first_position);
    let new = format!("{name}.new");
    fs::write(folder.join(&new), header(form, &identity)).unwrap();
    fs::rename(folder.join(new), folder.join(name)).unwrap();
}

fn forms(catalog: &Catalog) -> Vec<(u64, PartForm)> {
    catalog.parts().iter().map(|part| (part.first() / SLOTS, part.form)).collect()
}

#[test]
fn of_two_forms_the_sealed_one_counts_and_then_the_packed_one() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        log(folder.path(), number);
    }
    for number in [0, 1, 2] {
        stored(folder.path(), Form::Packed, number);
    }
    for number in [1, 3] {
        stored(folder.path(), Form::Sealed, number);
    }
    // Prepared, and never begun.
    fs::write(folder.path().join(segment_name(5 * SLOTS)), [0; 8192]).unwrap();
    fs::write(folder.path().join("LOCK"), b"1").unwrap();

    let catalog = Catalog::of(folder.path()).unwrap();

    use PartForm::{Log, Packed, Sealed};
    assert_eq!(forms(&catalog), [(0, Packed), (1, Sealed), (2, Packed), (3, Sealed), (4, Log)]);
    assert_eq!(catalog.holes(), []);
    assert_eq!(catalog.sealed_to(), 4 * SLOTS);
    assert_eq!(catalog.parts()[2].identity, identity(2));
}

#[test]
fn what_is_missing_between_two_parts_is_a_hole_and_what_is_before_all_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for number in [3, 4, 7] {
        stored(folder.path(), Form::Sealed, number);
    }
    log(folder.path(), 8);

    let catalog = Catalog::of(folder.path()).unwrap();

    assert_eq!(catalog.holes().len(), 1);
    let hole = &catalog.holes()[0];
    assert_eq!((hole.first, hole.end), (5 * SLOTS, Some(7 * SLOTS)));
    assert_eq!(catalog.hole_before(&catalog.parts()[2]), Some(hole));
    assert_eq!(catalog.find(0, 29), None);
    assert_eq!(catalog.find(0, 45), Some(1));
    assert_eq!(catalog.find(1, 160), Some(3));
}

#[test]
fn a_file_without_a_readable_header_is_a_hole_unless_another_form_has_it() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..4 {
        stored(folder.path(), Form::Sealed, number);
    }
    log(folder.path(), 4);
    let spoil = |number: u64| {
        let path = folder.path().join(Form::Sealed.name(number * SLOTS));
        let mut bytes = fs::read(&path).unwrap();
        bytes[33] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    spoil(1);
    spoil(2);
    stored(folder.path(), Form::Packed, 2);
    // Begins inside the one before, which has its positions.
    let mut stray = identity(3);
    stray.first_position += 1;
    let name = Form::Sealed.name(stray.first_position);
    fs::write(folder.path().join(name), header(Form::Sealed, &stray)).unwrap();

    let catalog = Catalog::of(folder.path()).unwrap();

    use PartForm::{Log, Packed, Sealed};
    assert_eq!(forms(&catalog), [(0, Sealed), (2, Packed), (3, Sealed), (4, Log)]);
    assert_eq!(catalog.holes().len(), 1);
    assert_eq!(catalog.holes()[0].end, Some(2 * SLOTS));
    assert!(catalog.holes()[0].why.contains("checksum"), "{:?}", catalog.holes());
}

#[test]
fn parts_that_change_their_form_are_never_missed() {
    const PARTS: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for number in 0..=PARTS {
        log(path, number);
    }
    let done = AtomicBool::new(false);
    let remove = |name: String| fs::remove_file(path.join(name)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..40 {
                for number in 0..PARTS {
                    stored(path, Form::Sealed, number);
                    remove(segment_name(number * SLOTS));
                    stored(path, Form::Packed, number);
                    remove(Form::Sealed.name(number * SLOTS));
                }
                for number in 0..PARTS {
                    log(path, number);
                    remove(Form::Packed.name(number * SLOTS));
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut kept = Catalog::of(path).unwrap();
        while !done.load(Ordering::SeqCst) {
            kept.refresh().unwrap();
            for catalog in [&kept, &Catalog::of(path).unwrap()] {
                assert_eq!(catalog.holes(), []);
                let numbers = catalog.parts().iter().map(|part| part.first() / SLOTS);
                assert_eq!(numbers.collect::<Vec<_>>(), (0..=PARTS).collect::<Vec<_>>());
            }
        }
    });
}
