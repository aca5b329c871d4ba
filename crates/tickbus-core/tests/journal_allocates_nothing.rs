//! A warm log appends and commits without allocating.

use tickbus_core::event::{Event, Priority};
use tickbus_core::journal::{FsDisk, Log, Options};

#[test]
fn a_warm_log_allocates_nothing() {
    let path = std::env::temp_dir().join(format!("tickbus-allocates-{}", std::process::id()));
    let disk = FsDisk::open(&path, true).unwrap();
    let (mut log, _) = Log::open(disk, &Options::default()).unwrap();
    let events = [Event::default(); 4096];
    let mut round = |sync: bool| {
        for lane in [Priority::Critical, Priority::Normal] {
            log.append_events(lane, log.next(lane), &events).unwrap();
        }
        log.append_record(16, &[7; 100]).unwrap();
        log.commit(sync).unwrap();
    };
    round(false);

    let allocations = allocation_counter::measure(|| {
        for index in 0..50 {
            round(index % 10 == 0);
        }
    });

    std::fs::remove_dir_all(&path).unwrap();
    assert_eq!(allocations.count_total, 0);
}
