//! Journals to look at: small, of several segments, with everything that a journal can hold.

use crate::segments::{Log as Pieces, Owned};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tickbus_core::event::{Event, PRIORITIES, Priority};
use tickbus_core::journal::audit::{Audit, Finding, Visitor, audit};
use tickbus_core::journal::folder::Directory;
use tickbus_core::journal::format::{Kind as Batch, record, segment_name};
use tickbus_core::journal::packed::pack;
use tickbus_core::journal::sealed::{Sealed, seal};
use tickbus_core::journal::segment::Identity;
use tickbus_core::journal::verify::Gap;
use tickbus_core::journal::{Found, FsDisk, JournalError, Log, LogReader, Options, Until};

pub const SEGMENT: u64 = 8 << 10;

/// Everything that an audit passes on, by lane and sequence.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Held {
    pub events: BTreeMap<(Priority, u64), [u8; 32]>,
    pub gaps: Vec<Gap>,
    pub payloads: Vec<Vec<u8>>,
}

impl Visitor for Held {
    fn events(&mut self, lane: Priority, first: u64, rows: &[u8]) -> Result<(), JournalError> {
        for (sequence, row) in (first..).zip(rows.chunks_exact(32)) {
            let before = self.events.insert((lane, sequence), row.try_into().unwrap());
            assert_eq!(before, None, "{} {sequence} came twice", lane.name());
        }
        Ok(())
    }

    fn gap(&mut self, gap: Gap) -> Result<(), JournalError> {
        self.gaps.push(gap);
        Ok(())
    }

    fn record(&mut self, _: u64, kind: u32, bytes: &[u8]) -> Result<(), JournalError> {
        if kind == record::PAYLOAD {
            self.payloads.push(bytes.to_vec());
        }
        Ok(())
    }
}

pub fn look(path: &Path) -> (Audit, Held) {
    let mut held = Held::default();
    let found = audit(path, &mut held, &mut |_, _| true).unwrap();
    (found, held)
}

/// A journal of several small segments, with names, a gap, payloads and all lanes.
pub fn written(segments: usize, closed: bool) -> TempDir {
    written_in(SEGMENT, segments, closed)
}

pub fn written_in(segment_bytes: u64, segments: usize, closed: bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    let disk = FsDisk::open(folder.path(), true).unwrap();
    let options = Options { segment_bytes, ..Options::default() };
    let (mut log, _) = Log::open(disk, &options).unwrap();
    for (number, text) in (1_u32..).zip(["BTC-USDT", "ETH-USDT"]) {
        let name = [&number.to_le_bytes(), text.as_bytes()].concat();
        log.append_name(record::SYMBOL, &name).unwrap();
    }
    log.append_name(record::SOURCE, &[&1_u16.to_le_bytes()[..], b"desk"].concat())
        .unwrap();
    let mut round = 0_u64;
    while logs(folder.path()).len() < segments || round < 8 || round % 5 != 3 {
        round += 1;
        let lane = PRIORITIES[(round % 3) as usize];
        let events: Vec<Event> = (0..1 + round % 13)
            .map(|n| Event {
                timestamp: 1000 * round + n,
                priority: lane as u8,
                source: 1,
                symbol: 1 + (n % 2) as u32,
                value: round as f64,
                ..Event::default()
            })
            .collect();
        if round.is_multiple_of(7) {
            log.append_gap(lane, log.next(lane), 3, 1).unwrap();
        }
        if round.is_multiple_of(9) {
            log.append_record(record::PAYLOAD, &round.to_le_bytes()).unwrap();
        }
        log.append_events(lane, log.next(lane), &events).unwrap();
        log.commit(round.is_multiple_of(4)).unwrap();
    }
    if closed {
        log.close().unwrap();
    }
    folder
}

pub fn logs(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "log"));
    found.sort();
    found
}

/// Seal the first segments of a log as the sealer would, one of them packed.
pub fn seal_some(path: &Path) {
    for (number, first) in [0, SEGMENT / 32].into_iter().enumerate() {
        let disk = Arc::new(FsDisk::open(path, false).unwrap());
        let mut reader = LogReader::at(&disk, first).unwrap();
        let head = *reader.head();
        let mut pieces = Vec::new();
        while let Some(Found::Batch(_, header)) = reader.next(Until::Written, |_| true).unwrap() {
            if reader.head().first != first {
                break;
            }
            let (lane, payload) = (PRIORITIES[usize::from(header.lane)], reader.payload());
            match header.kind {
                Batch::Events => {
                    let rows = payload.chunks_exact(32).map(|row| row.try_into().unwrap());
                    pieces.push(Owned::Events(lane, rows.map(Event::from_bytes).collect()));
                }
                Batch::Gap => {
                    let count = u64::from_le_bytes(payload[..8].try_into().unwrap());
                    pieces.push(Owned::Gap(lane, count, 1));
                }
                Batch::Record => {
                    let bytes = payload[..header.record_len()].to_vec();
                    pieces.push(Owned::Record(header.record_kind(), bytes));
                }
                Batch::Padding | Batch::End => {}
            }
        }
        let mut source = Pieces::new(first, head.next, pieces);
        let Identity { first_position, first_sequence, created_ns, .. } = source.identity;
        source.identity = Identity {
            journal: head.id,
            slots: head.slots,
            first_position,
            first_sequence,
            created_ns,
        };
        let folder = Directory(path.to_owned());
        seal(&folder, &mut source).unwrap();
        if number == 1 {
            pack(&folder, &Sealed::open(path, first).unwrap()).unwrap();
        }
        fs::remove_file(path.join(segment_name(first))).unwrap();
    }
}

/// All cases when asked for, else every so many of them: the whole run takes minutes.
pub fn stride(sampled: usize) -> usize {
    if std::env::var_os("TICKBUS_EVERY_CASE").is_some() { 1 } else { sampled }
}

/// Change some bytes where they are: replacing whole files has the file system sync each of them.
pub fn put(path: &Path, offset: usize, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset as u64).unwrap();
}

pub fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

pub fn damage(found: &Audit) -> Vec<&Finding> {
    found.findings.iter().filter(|finding| finding.kind.is_damage()).collect()
}

/// What was passed on of a damaged journal is what was written, and what was not is accounted for.
pub fn check(case: &str, whole: &Held, found: &Audit, held: &Held) {
    for (place, row) in &held.events {
        assert_eq!(whole.events.get(place), Some(row), "{case}: an event that nobody wrote");
    }
    for (lane, sequence) in whole.events.keys().filter(|place| !held.events.contains_key(place)) {
        let lost = found.lost.iter().any(|lost| {
            let end = lost.count.map_or(u64::MAX, |count| lost.first + count);
            lost.lane == *lane && (lost.first..end).contains(sequence)
        });
        let cut = *sequence >= found.next[*lane as usize];
        assert!(lost || cut, "{case}: {} {sequence} is not accounted for", lane.name());
    }
}
