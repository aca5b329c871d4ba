//! Asking while another thread writes, seals and packs.

use super::making::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use tickbus_core::Priority;
use tickbus_core::journal::archive::Archive;

#[test]
fn every_answer_is_the_log_up_to_a_moment_after_the_question() {
    let mut journal = Journal::new(64 << 10);
    let path = journal.path().to_path_buf();
    let (done, written) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut time = 0;
            for round in 0..1_500 {
                for (number, lane) in
                    [Priority::Normal, Priority::High, Priority::Critical].into_iter().enumerate()
                {
                    let count = [40, 90, 3][number];
                    journal.events(lane, &at(time..time + count));
                    time += count;
                }
                journal.commit(round % 4 == 0);
                for (lane, written) in written.iter().enumerate() {
                    written.store(journal.lanes[lane].len() as u64, SeqCst);
                }
                if round % 7 == 0 {
                    while journal.log.preparer().prepare_next().unwrap() {}
                    if let [first, _, ..] = journal.log.preparer().finished()[..] {
                        journal.seal(first);
                        if round % 2 == 0 {
                            pack_only(journal.path(), first);
                        }
                    }
                }
            }
            done.store(true, SeqCst);
        });
        let archive = Archive::open(&path).unwrap();
        let mut asked = 0;
        while !done.load(SeqCst) || asked < 3 {
            let before = [0, 1, 2].map(|lane: usize| written[lane].load(SeqCst));
            let found = ask(&archive, &everything());
            let mut next = [0; 3];
            for (lane, sequence, event) in found {
                let lane = usize::from(lane);
                assert_eq!(sequence, next[lane]);
                let of_batch = [40, 90, 3][lane];
                assert_eq!(event.value, f64::from((sequence % of_batch) as u32));
                next[lane] += 1;
            }
            assert!((0..3).all(|lane| next[lane] >= before[lane]), "{next:?}, {before:?} before");
            asked += 1;
        }
    });
    assert_eq!(ask(&Archive::open(&path).unwrap(), &everything()), journal.expected(&everything()));
}
