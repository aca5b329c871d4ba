//! A cursor survives whatever interrupts it, and has one holder.

use super::*;
use proptest::prelude::*;

const JOURNAL: [u8; 16] = *b"sixteen bytes id";

fn mark(next: [u64; LANES]) -> Mark {
    Mark { next, journal: JOURNAL, bus: 7, written: 1 }
}

fn open(folder: &Path, name: &str) -> Result<Cursor, CursorError> {
    Cursor::open(folder, name, &["market.>".into(), "risk.*".into()], 42)
}

#[test]
fn a_cursor_is_what_was_set_last() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(folder.path(), "desk").unwrap().mark(), None);
    for step in 1..5 {
        let mut cursor = open(folder.path(), "desk").unwrap();
        cursor.set(mark([step; 3]), step % 2 == 0).unwrap();
        cursor.set(mark([step, 2 * step, 3]), false).unwrap();
        drop(cursor);
        let found = open(folder.path(), "desk").unwrap().mark();
        assert_eq!(found, Some(mark([step, 2 * step, 3])));
    }
}

#[test]
fn a_name_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(folder.path(), "desk").unwrap();
    let refused = open(folder.path(), "desk").unwrap_err();
    assert!(matches!(refused, CursorError::Locked { pid: Some(42), .. }), "{refused}");
    let refused = drop_cursor(folder.path(), "desk").unwrap_err();
    assert!(matches!(refused, CursorError::Locked { .. }), "{refused}");
    assert_eq!(list(folder.path()).unwrap()[0].holder, Some(42));
    open(folder.path(), "other").unwrap();
    drop(held);
    assert_eq!(list(folder.path()).unwrap()[0].holder, None);
    open(folder.path(), "desk").unwrap();
}

#[test]
fn a_dropped_cursor_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), "desk").unwrap().set(mark([1; 3]), false).unwrap();
    drop_cursor(folder.path(), "desk").unwrap();
    assert!(list(folder.path()).unwrap().is_empty());
    assert_eq!(open(folder.path(), "desk").unwrap().mark(), None);
    let unknown = drop_cursor(folder.path(), "nobody").unwrap_err();
    assert!(matches!(unknown, CursorError::Unknown { .. }), "{unknown}");
}

#[test]
fn names_that_could_be_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "",
        ".",
        "..",
        "a/b",
        ".hidden",
        "a b",
        "caf\u{e9}",
        "a\0b",
        &"x".repeat(101),
    ] {
        let refused = open(folder.path(), name).unwrap_err();
        assert!(matches!(refused, CursorError::Name { .. }), "{name:?}: {refused}");
    }
    open(folder.path(), &"x".repeat(100)).unwrap();
}

#[test]
fn retention_keeps_what_the_slowest_has_not_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(least(folder.path(), JOURNAL).unwrap(), None);
    open(folder.path(), "one").unwrap().set(mark([5, 9, 2]), false).unwrap();
    open(folder.path(), "two").unwrap().set(mark([7, 3, 4]), false).unwrap();
    let other = Mark { journal: [1; 16], ..mark([0; 3]) };
    open(folder.path(), "of-another-journal").unwrap().set(other, false).unwrap();
    open(folder.path(), "made-and-left").unwrap();
    assert_eq!(least(folder.path(), JOURNAL).unwrap(), Some([5, 3, 2]));
    let being_made = open(folder.path(), "three").unwrap();
    assert_eq!(least(folder.path(), JOURNAL).unwrap(), Some([0; 3]));
    drop(being_made);
    let path = path_of(folder.path(), "one").unwrap();
    fs::write(path, [0xff; 3 * BLOCK]).unwrap();
    least(folder.path(), JOURNAL).unwrap_err();
}

#[test]
fn a_list_says_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let patterns = vec!["a.>".to_owned(), "x".repeat(5000), "b.>".to_owned()];
    let _held = Cursor::open(folder.path(), "desk", &patterns, 42).unwrap();
    let listed = &list(folder.path()).unwrap()[0];
    assert_eq!((listed.name.as_str(), listed.holder), ("desk", Some(42)));
    assert_eq!(listed.patterns, ["a.>"]);
}

proptest! {
    /// Whatever a crash makes of the slot that was being written, the one before counts.
    #[test]
    fn a_torn_write_leaves_the_mark_before(
        steps in 1_u64..9,
        torn in 1..SLOT,
        garbage in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = open(folder.path(), "desk").unwrap();
        for step in 1..=steps {
            cursor.set(mark([step; 3]), false).unwrap();
        }
        let next = mark([steps + 1; 3]).to_bytes(steps + 1);
        let slot = BLOCK as u64 * (1 + ((steps + 1) & 1));
        let part: Vec<u8> = next[..torn].iter().map(|byte| byte ^ u8::from(garbage)).collect();
        cursor.file.write_all_at(&part, slot).unwrap();
        drop(cursor);
        let found = open(folder.path(), "desk").unwrap().mark();
        // Cut behind the checksum it is whole.
        let whole = !garbage && torn >= SLOT - 4;
        prop_assert_eq!(found, Some(mark([steps + u64::from(whole); 3])));
    }

    #[test]
    fn a_flipped_bit_is_noticed(at in 0..SLOT - 4, bit in 0..8) {
        let mut bytes = mark([3, 2, 1]).to_bytes(1);
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(Mark::from_bytes(&bytes), None);
    }
}
