//! The journal on a real file system, with a real lock and a reader beside the writer.

use super::model::event;
use super::sim::Random;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tickbus_core::event::{Event, Priority};
use tickbus_core::journal::{FsDisk, JournalError, LaneReader, Log, Options, Piece, Until, verify};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tickbus-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Folder(path)
    }

    fn disk(&self) -> FsDisk {
        FsDisk::open(&self.0.join("deep/journal"), true).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options() -> Options {
    Options { segment_bytes: 256 << 10, name: "desk".into(), ..Options::default() }
}

fn events(count: u64) -> Vec<Event> {
    let mut random = Random(3);
    (0..count).map(|_| event(&mut random)).collect()
}

#[test]
fn a_log_comes_back() {
    let folder = Folder::new("comes-back");
    let events = events(20_000);
    let (mut log, recovered) = Log::open(folder.disk(), &options()).unwrap();
    assert!(recovered.new && !recovered.clean);
    for (index, batch) in events.chunks(1000).enumerate() {
        log.append_events(Priority::High, 1000 * index as u64, batch).unwrap();
        log.commit(index % 3 == 0).unwrap();
    }
    log.close().unwrap();

    let (log, recovered) = Log::open(folder.disk(), &options()).unwrap();

    assert!(recovered.clean && !recovered.new);
    assert_eq!((recovered.next, recovered.torn), ([0, 20_000, 0], None));
    let mut reader = LaneReader::at(log.disk(), Priority::High, 777).unwrap();
    let mut read = Vec::new();
    while let Some(Piece::Events { events, .. }) =
        reader.next(Until::Position(log.written())).unwrap()
    {
        read.extend_from_slice(events);
    }
    assert_eq!(read, events[777..]);
    assert_eq!(verify(log.disk()).unwrap().next, [0, 20_000, 0]);
}

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let folder = Folder::new("second-writer");
    let first = Log::open(folder.disk(), &options()).unwrap();

    let second = Log::open(folder.disk(), &options()).err();

    let own = std::process::id();
    assert!(
        matches!(second, Some(JournalError::Locked { pid: Some(pid), .. }) if pid == own),
        "{second:?}"
    );
    drop(first);
    assert!(Log::open(folder.disk(), &options()).is_ok());
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_before_anything_is_taken() {
    let folder = Folder::new("unwritable");
    let disk = folder.disk();
    // A directory in the lock's place: nobody can write there, not even root.
    std::fs::create_dir(folder.0.join("deep/journal/LOCK")).unwrap();

    let error = Log::open(disk, &options()).err().unwrap();

    assert!(matches!(&error, JournalError::Io { file, .. } if file.ends_with("LOCK")), "{error}");
}

#[test]
fn segment_sizes_that_cannot_be_are_refused() {
    let folder = Folder::new("sizes");
    for segment_bytes in [0, 4096, 10_000, 1 << 41] {
        let refused = Log::open(folder.disk(), &Options { segment_bytes, ..options() }).err();
        assert!(
            matches!(refused, Some(JournalError::SegmentSize { bytes }) if bytes == segment_bytes),
            "{refused:?}"
        );
    }
    assert!(segments(&folder.0.join("deep/journal")).is_empty());
}

fn segments(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

#[test]
fn a_reader_follows_a_writer_whose_segments_are_prepared_and_used_again() {
    const EVENTS: u64 = 300_000;
    let folder = Folder::new("follows");
    let events = events(1 << 12);
    let expected = |sequence: u64| events[(sequence % (1 << 12)) as usize];
    let (mut log, _) = Log::open(folder.disk(), &options()).unwrap();
    let disk = Arc::clone(log.disk());
    let (written, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = AtomicBool::new(false);
    let preparer = log.preparer();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The reader has what it needs of a segment once it has read past it.
            while !done.load(Ordering::Acquire) {
                preparer.prepare_next().unwrap();
                for pair in preparer.finished().windows(2) {
                    if pair[1] < read.load(Ordering::Acquire) {
                        preparer.recycle(pair[0]).unwrap();
                    }
                }
                std::thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut reader = LaneReader::at(&disk, Priority::Normal, 0).unwrap();
            while reader.sequence() < EVENTS {
                let until = written.load(Ordering::Acquire);
                while let Some(piece) = reader.next(Until::Position(until)).unwrap() {
                    let Piece::Events { first, events } = piece else {
                        panic!("{piece:?}")
                    };
                    for (sequence, &event) in (first..).zip(events) {
                        assert_eq!(event, expected(sequence));
                    }
                }
                read.store(until, Ordering::Release);
                std::thread::yield_now();
            }
            done.store(true, Ordering::Release);
        });
        let mut next = 0;
        while next < EVENTS {
            let count = (EVENTS - next).min(1 + next % 700);
            let batch: Vec<Event> = (next..next + count).map(expected).collect();
            log.append_events(Priority::Normal, next, &batch).unwrap();
            log.append_events(Priority::Critical, log.next(Priority::Critical), &batch[..1])
                .unwrap();
            next += count;
            written.store(log.commit(next % 11 == 0).unwrap().written, Ordering::Release);
        }
    });
    let (finished, in_use) = (preparer.finished(), segments(&folder.0.join("deep/journal")));
    assert!(finished[0] > 0 && in_use.len() < 40, "{finished:?} {in_use:?}");
}
