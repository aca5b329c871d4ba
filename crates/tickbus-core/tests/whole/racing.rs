//! Readers, a writer, a sealer that is stopped at random, and two compactions, all at once.

use super::kept::{Kept, SEGMENT};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tickbus_core::Priority;
use tickbus_core::journal::catalog::Catalog;
use tickbus_core::journal::compact::compact_old;
use tickbus_core::journal::whole::Whole;

const SEGMENTS: u64 = 120;

/// Reads a lane to its end while it is written; every sequence comes, in order.
fn follow(path: &std::path::Path, lane: usize, written: &AtomicU64, last: u64, starts: &[u64]) {
    let mut whole = Whole::open(path).unwrap();
    let mut events = Vec::new();
    for &start in starts {
        let mut at = start;
        while at < last {
            let end = written.load(Ordering::SeqCst);
            let first = whole.read(lane, at, end, &mut events).unwrap();
            if events.is_empty() {
                std::thread::yield_now();
                continue;
            }
            assert_eq!(first, at, "nothing was removed, so nothing is missed");
            for (sequence, event) in (first..).zip(&events) {
                assert_eq!(event.value, sequence as f64);
            }
            at = first + events.len() as u64;
        }
    }
}

#[test]
fn readers_see_every_event_while_its_part_changes_form() {
    let mut kept = Kept::new();
    let (path, done) = (kept.path().to_owned(), AtomicBool::new(false));
    let written = [AtomicU64::new(0), AtomicU64::new(0)];
    let a_batch = SEGMENT / 32 / 5;
    let last = SEGMENTS * a_batch * 2;
    let (upkeep, preparer) = {
        let log = kept.log.as_ref().unwrap();
        (super::kept::upkeep_of(&path, log), log.preparer())
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Stopped between the steps of sealing, again and again.
            let stop = AtomicBool::new(false);
            std::thread::scope(|inner| {
                inner.spawn(|| {
                    let mut noise = 1u64;
                    while !done.load(Ordering::SeqCst) {
                        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        std::thread::sleep(Duration::from_micros(noise >> 52));
                        stop.store(noise >> 33 & 3 == 0, Ordering::SeqCst);
                    }
                    stop.store(false, Ordering::SeqCst);
                });
                let mut sealed = 0;
                while !done.load(Ordering::SeqCst) || sealed < 20 {
                    preparer.prepare_next().unwrap();
                    match upkeep.seal_oldest(&stop) {
                        Ok(true) => sealed += 1,
                        Ok(false) => std::thread::yield_now(),
                        Err(error) => assert!(error.to_string().contains("stopped"), "{error}"),
                    }
                }
            });
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let stop = AtomicBool::new(false);
                    compact_old(&path, Duration::ZERO, &stop, &mut |_, _| {}).unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let readers: Vec<_> = [0, 1]
            .into_iter()
            .map(|lane| {
                let (path, written) = (&path, &written[lane]);
                scope.spawn(move || follow(path, lane, written, last, &[0, last / 2, 7, 0]))
            })
            .collect();
        scope.spawn(|| {
            for _ in 0..SEGMENTS * 2 {
                for lane in [Priority::Normal, Priority::High] {
                    kept.write(lane, &vec![7; a_batch as usize]);
                }
                kept.commit();
                for (lane, end) in written.iter().enumerate() {
                    end.store(kept.lanes[lane].len() as u64, Ordering::SeqCst);
                }
            }
        });
        let ended: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    let catalog = Catalog::of(&path).unwrap();
    assert!(catalog.stored().count() >= 20);
    kept.assert_whole();
}
