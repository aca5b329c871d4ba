//! The log on a real disk: `cargo bench -p tickbus-core --bench journal [folder]`.
//!
//! Each figure is the median of five runs. A commit at level `disk` is compared with writing the
//! same bytes to the same kind of file and syncing it, in turns, so that the disk's moods hit both.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tickbus_core::event::{Event, Priority};
use tickbus_core::journal::{FsDisk, LaneReader, Log, Options, Piece, Until, verify};

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn fresh(path: &Path) -> Log<FsDisk> {
    let _ = std::fs::remove_dir_all(path);
    let disk = FsDisk::open(path, true).expect("a folder");
    let (log, _) = Log::open(disk, &Options::default()).expect("a new log");
    log.preparer().prepare_next().expect("space");
    log
}

fn append(log: &mut Log<FsDisk>, events: &[Event], sync: bool) {
    let first = log.next(Priority::Normal);
    log.append_events(Priority::Normal, first, events).expect("in order");
    log.commit(sync).expect("space");
}

/// Events a second at level `os`, within prepared segments.
fn written(path: &Path, batch: usize) -> f64 {
    let events = vec![Event::default(); batch];
    let mut log = fresh(path);
    let rounds = (96 << 20) / (32 * batch);
    let begin = Instant::now();
    for _ in 0..rounds {
        append(&mut log, &events, false);
    }
    (rounds * batch) as f64 / begin.elapsed().as_secs_f64()
}

/// Median time of a synced commit, and of the same write and sync without a journal.
fn synced(path: &Path, batch: usize) -> (Duration, Duration) {
    let events = vec![Event::default(); batch];
    let bytes = vec![7; (32 * (batch + 1)).next_multiple_of(4096)];
    let mut log = fresh(path);
    let plain = File::options()
        .create_new(true)
        .write(true)
        .open(path.join("plain"))
        .expect("new");
    plain.write_all_at(&vec![0; 64 << 20], 0).expect("space");
    plain.sync_all().expect("a disk");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let rounds = (400).min((48 << 20) / bytes.len());
    for round in 0..rounds {
        let begin = Instant::now();
        append(&mut log, &events, true);
        ours.push(begin.elapsed().as_secs_f64());
        let begin = Instant::now();
        plain.write_all_at(&bytes, (4096 + round * bytes.len()) as u64).expect("space");
        rustix::fs::fdatasync(&plain).expect("a disk");
        theirs.push(begin.elapsed().as_secs_f64());
    }
    (Duration::from_secs_f64(median(ours)), Duration::from_secs_f64(median(theirs)))
}

/// Time to open a log that was dropped with a full active segment.
fn reopened(path: &Path) -> f64 {
    let events = vec![Event::default(); 4096];
    let mut log = fresh(path);
    while log.written() * 32 < 63 << 20 {
        append(&mut log, &events, false);
    }
    drop(log);
    let begin = Instant::now();
    let disk = FsDisk::open(path, false).expect("it is there");
    let opened = Log::open(disk, &Options::default()).expect("whole");
    drop(opened);
    begin.elapsed().as_secs_f64()
}

/// Events a second read by a lane reader, and GB a second verified, from the page cache.
fn read(path: &Path) -> (f64, f64) {
    let events = vec![Event::default(); 4096];
    let mut log = fresh(path);
    while log.written() * 32 < 60 << 20 {
        append(&mut log, &events, false);
    }
    let begin = Instant::now();
    let mut reader = LaneReader::at(log.disk(), Priority::Normal, 0).expect("from the start");
    let mut count = 0;
    while let Some(Piece::Events { events, .. }) =
        reader.next(Until::Position(log.written())).expect("whole")
    {
        count += events.len();
    }
    let events_a_second = count as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    verify(log.disk()).expect("readable");
    (events_a_second, (60 << 20) as f64 / 1e9 / begin.elapsed().as_secs_f64())
}

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    let path = folder.join(format!("tickbus-bench-{}", std::process::id()));
    for batch in [1, 64, 1024, 8192] {
        let rate = median((0..5).map(|_| written(&path, batch)).collect());
        println!("os, {batch} events a commit: {:.1} M events/s", rate / 1e6);
    }
    for batch in [1, 1000, 8000] {
        let runs: Vec<_> = (0..5).map(|_| synced(&path, batch)).collect();
        let ours = median(runs.iter().map(|run| run.0.as_secs_f64() * 1e6).collect());
        let theirs = median(runs.iter().map(|run| run.1.as_secs_f64() * 1e6).collect());
        println!(
            "disk, {batch} events a commit: {ours:.0} us; write and fdatasync alone {theirs:.0} us"
        );
    }
    let seconds: Vec<f64> = (0..5).map(|_| reopened(&path)).collect();
    println!(
        "reopen with 63 MiB unsynced: {:.0} ms, of five {seconds:.3?}",
        1e3 * median(seconds.clone())
    );
    let runs: Vec<_> = (0..5).map(|_| read(&path)).collect();
    let rate = median(runs.iter().map(|run| run.0).collect());
    let verified = median(runs.iter().map(|run| run.1).collect());
    println!("lane reader: {:.0} M events/s; verify: {verified:.1} GB/s", rate / 1e6);
    let _ = std::fs::remove_dir_all(&path);
}
