//! Retention removes whole parts, oldest first, and only what nobody needs.

use super::kept::{Kept, read_lane};
use std::sync::Arc;
use std::time::Duration;
use tickbus_core::Priority;
use tickbus_core::journal::catalog::Catalog;
use tickbus_core::journal::compact::COMPACT;
use tickbus_core::journal::error::JournalError;
use tickbus_core::journal::retention::{Limits, Needed, Removed, retain};
use tickbus_core::journal::whole::Whole;

const SMALLEST: Limits = Limits { keep: None, keep_bytes: Some(0) };

fn filled() -> Kept {
    let mut kept = Kept::new();
    for _ in 0..30 {
        kept.write(Priority::Normal, &[5; 120]);
        kept.write(Priority::High, &[6; 60]);
        kept.commit();
    }
    kept.seal(5);
    kept.pack();
    kept.seal(5);
    kept
}

fn nobody() -> Needed {
    Arc::new(|| Ok([u64::MAX; 3]))
}

fn run(kept: &Kept, limits: Limits, needed: &Needed) -> Removed {
    let mut catalog = Catalog::of(kept.path()).unwrap();
    let disk = Arc::clone(kept.log.as_ref().unwrap().disk());
    retain(&mut catalog, &disk, limits, needed).unwrap().unwrap()
}

#[test]
fn the_oldest_go_until_the_journal_is_small_enough() {
    let kept = filled();
    let catalog = Catalog::of(kept.path()).unwrap();
    let size = |catalog: &Catalog| -> u64 {
        catalog.parts().iter().map(|part| catalog.bytes(part).unwrap()).sum()
    };
    let limit = size(&catalog) - 1;
    let first = catalog.parts()[0];
    let bytes = catalog.bytes(&first).unwrap();

    let removed = run(&kept, Limits { keep: None, keep_bytes: Some(limit) }, &nobody());

    assert_eq!((removed.parts, removed.held), (1, 0));
    assert_eq!(removed.bytes, bytes);
    assert!(removed.events > 0);
    let after = Catalog::of(kept.path()).unwrap();
    assert!(size(&after) <= limit);
    assert_eq!(after.parts()[0].first(), first.end());
    assert_eq!(after.holes(), []);
}

#[test]
fn a_reader_sees_what_it_missed() {
    let mut kept = filled();
    run(&kept, SMALLEST, &nobody());
    for _ in 0..2 {
        let mut whole = Whole::open(kept.path()).unwrap();
        for lane in [0, 1] {
            let end = kept.ends()[lane];
            let first = whole.first(lane).unwrap().unwrap();
            assert!(first > 0);
            let found = read_lane(&mut whole, lane, 0, end);
            assert_eq!(found[0].0, first);
            assert_eq!(found, kept.lanes[lane][first as usize..]);
        }
        kept.reopen();
    }
}

#[test]
fn the_newest_sealed_part_stays_and_the_log_can_be_opened_with_it() {
    let mut kept = filled();
    let parts = Catalog::of(kept.path()).unwrap().stored().count() as u64;
    assert_eq!(run(&kept, SMALLEST, &nobody()).parts, parts - 1);
    assert_eq!(run(&kept, SMALLEST, &nobody()), Removed::default());
    kept.reopen();
    kept.write(Priority::Normal, &[9; 700]);
    kept.commit();
    kept.seal(usize::MAX);
    assert!(run(&kept, SMALLEST, &nobody()).parts > 0);
}

#[test]
fn what_somebody_needs_is_held_and_counted() {
    let kept = filled();
    let parts = Catalog::of(kept.path()).unwrap().parts().to_vec();
    // Has not acknowledged the first event of the fourth part.
    let cursor = parts[3].identity.first_sequence[1];
    let needed: Needed = Arc::new(move || Ok([u64::MAX, cursor, u64::MAX]));

    let removed = run(&kept, SMALLEST, &needed);

    let stored = parts.iter().filter(|part| part.form.name() != "log").count() as u64;
    assert_eq!((removed.parts, removed.held), (3, stored - 1 - 3));
    let mut whole = Whole::open(kept.path()).unwrap();
    assert_eq!(read_lane(&mut whole, 1, cursor, kept.ends()[1])[0].0, cursor);
}

#[test]
fn age_is_counted_from_the_last_event_written() {
    let kept = filled();
    let young = Limits { keep: Some(Duration::from_secs(3600)), keep_bytes: None };
    assert_eq!(run(&kept, young, &nobody()), Removed::default());
    std::thread::sleep(Duration::from_millis(2));
    let old = Limits { keep: Some(Duration::ZERO), keep_bytes: None };
    assert!(run(&kept, old, &nobody()).parts > 0);
}

#[test]
fn nothing_is_removed_while_somebody_packs() {
    let kept = filled();
    let disk = Arc::clone(kept.log.as_ref().unwrap().disk());
    let held = disk.try_hold(COMPACT).unwrap();
    let mut catalog = Catalog::of(kept.path()).unwrap();
    assert!(held.is_some());
    assert!(disk.try_hold(COMPACT).unwrap().is_none());
    assert_eq!(retain(&mut catalog, &disk, SMALLEST, &nobody()).unwrap(), None);
    drop(held);
    assert!(retain(&mut catalog, &disk, SMALLEST, &nobody()).unwrap().unwrap().parts > 0);
}

#[test]
fn nothing_is_removed_when_it_is_not_known_who_needs_it() {
    let kept = filled();
    let disk = Arc::clone(kept.log.as_ref().unwrap().disk());
    let mut catalog = Catalog::of(kept.path()).unwrap();
    let parts = catalog.parts().to_vec();
    let unknown: Needed = Arc::new(|| Err(JournalError::Closed));
    assert!(retain(&mut catalog, &disk, SMALLEST, &unknown).is_err());
    assert_eq!(Catalog::of(kept.path()).unwrap().parts(), parts);
}
