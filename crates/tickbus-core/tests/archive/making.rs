//! Journals to ask, and what they should answer.

use std::path::Path;
use std::sync::Arc;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::archive::{Answer, Archive};
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::Directory;
use tickbus_core::journal::format::{Kind, SegmentHeader};
use tickbus_core::journal::packed::pack;
use tickbus_core::journal::query::{Query, Rows};
use tickbus_core::journal::sealed::{Sealed, seal};
use tickbus_core::journal::segment::{Gap, Identity, Piece, Record, Source};
use tickbus_core::journal::{Found, FsDisk, Log, LogReader, Options, Until};
use tickbus_core::{Event, Priority};

/// Lane, sequence and event.
pub type Row = (u8, u64, Event);

/// A log that is being written, and every event in it, lane by lane.
pub struct Journal {
    pub folder: tempfile::TempDir,
    pub log: Log<FsDisk>,
    pub lanes: [Vec<Row>; 3],
}

impl Journal {
    pub fn new(segment_bytes: u64) -> Journal {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes, ..Options::default() };
        let disk = FsDisk::open(folder.path(), false).unwrap();
        let (log, _) = Log::open(disk, &options).unwrap();
        Journal { folder, log, lanes: Default::default() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn archive(&self) -> Archive {
        Archive::open(self.path()).unwrap()
    }

    pub fn events(&mut self, lane: Priority, events: &[Event]) {
        let first = self.log.next(lane);
        self.log.append_events(lane, first, events).unwrap();
        let rows = (first..).zip(events).map(|(sequence, event)| (lane as u8, sequence, *event));
        self.lanes[lane as usize].extend(rows);
    }

    pub fn gap(&mut self, lane: Priority, count: u64) {
        let first = self.log.next(lane);
        self.log.append_gap(lane, first, count, 1).unwrap();
    }

    pub fn commit(&mut self, sync: bool) {
        self.log.commit(sync).unwrap();
    }

    /// First positions of the log segments that are full and on the disk.
    pub fn full(&self) -> Vec<u64> {
        while self.log.preparer().prepare_next().unwrap() {}
        self.log.preparer().finished()
    }

    /// Seal the log segment at a position and give it up, as the writer does.
    pub fn seal(&self, first: u64) {
        seal_only(self.path(), first);
        self.log.preparer().recycle(first).unwrap();
        // Overwrites the emptied one: whoever still reads it sees zeros.
        let _ = self.log.preparer().prepare_next();
    }

    /// What the whole log should say to a query.
    pub fn expected(&self, query: &Query) -> Vec<Row> {
        expected(&self.lanes, query)
    }
}

/// Write the sealed form of a log segment beside it.
pub fn seal_only(path: &Path, first: u64) {
    seal(&Directory(path.into()), &mut LogSource::new(path, first)).unwrap();
}

pub fn pack_only(path: &Path, first: u64) {
    pack(&Directory(path.into()), &Sealed::open(path, first).unwrap()).unwrap();
}

/// The answer by looking at every event.
pub fn expected(lanes: &[Vec<Row>; 3], query: &Query) -> Vec<Row> {
    let mut keyed = Vec::new();
    for rows in lanes {
        let mut clock = 0;
        for row in rows {
            let (lane, sequence, event) = *row;
            clock = event.timestamp.max(clock);
            let kind = event.event_type;
            let asked = (query.start_ns..=query.end_ns).contains(&event.timestamp)
                && query.types[usize::from(kind / 64)] & 1 << (kind % 64) != 0
                && query.symbols.as_ref().is_none_or(|symbols| symbols.contains(&event.symbol))
                && query.sources.as_ref().is_none_or(|sources| sources.contains(&event.source))
                && sequence >= query.from[usize::from(lane)];
            if asked {
                keyed.push(((clock, 2 - lane), *row));
            }
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, row)| row).collect()
}

pub fn read(answer: &mut Answer, step: usize) -> Result<Vec<Row>, SegmentError> {
    let mut rows = Rows::default();
    while answer.read(&mut rows, step)? > 0 {}
    Ok(rows_of(&rows))
}

pub fn rows_of(rows: &Rows) -> Vec<Row> {
    let columns = rows.lanes.iter().zip(&rows.sequences).zip(&rows.events);
    columns.map(|((lane, sequence), event)| (*lane, *sequence, *event)).collect()
}

pub fn ask(archive: &Archive, query: &Query) -> Vec<Row> {
    read(&mut archive.query(query, false).unwrap(), 1_000).unwrap()
}

pub fn everything() -> Query {
    Query::of_time(0, u64::MAX)
}

/// Events with these timestamps, told apart by their values.
pub fn at(timestamps: impl IntoIterator<Item = u64>) -> Vec<Event> {
    let event = |(number, timestamp): (u32, u64)| Event {
        timestamp,
        event_type: (number % 3) as u8,
        symbol: number % 5,
        source: (number % 2) as u16,
        value: f64::from(number),
        ..Event::default()
    };
    (0..).zip(timestamps).map(event).collect()
}

/// Reads a log segment to be sealed.
struct LogSource {
    reader: LogReader<FsDisk>,
    head: SegmentHeader,
    counts: [u64; 3],
    events: Vec<Event>,
    bytes: Vec<u8>,
}

impl LogSource {
    fn new(path: &Path, first: u64) -> LogSource {
        let disk = Arc::new(FsDisk::open(path, false).unwrap());
        let reader = LogReader::at(&disk, first).unwrap();
        let head = *reader.head();
        let (events, bytes) = (Vec::new(), Vec::new());
        let mut source = LogSource { reader, head, counts: [0; 3], events, bytes };
        let mut counts = [0; 3];
        while let Some(piece) = source.next().unwrap() {
            if let Piece::Events { lane, events, .. } = piece {
                counts[lane as usize] += events.len() as u64;
            }
        }
        LogSource { reader: LogReader::at(&disk, first).unwrap(), counts, ..source }
    }
}

impl Source for LogSource {
    fn identity(&self) -> Identity {
        let SegmentHeader { id, first, slots, next, created_ns, .. } = self.head;
        Identity { journal: id, first_position: first, slots, first_sequence: next, created_ns }
    }

    fn counts(&self) -> [u64; 3] {
        self.counts
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError> {
        loop {
            let until = Until::Position(self.head.end());
            let Some(Found::Batch(position, header)) = self.reader.next(until, |_| true).unwrap()
            else {
                return Ok(None);
            };
            let (payload, first) = (self.reader.payload(), header.first);
            match header.kind {
                Kind::Events => {
                    let events = payload.chunks_exact(32);
                    self.events =
                        events.map(|bytes| Event::from_bytes(bytes.try_into().unwrap())).collect();
                    let lane = PRIORITIES[usize::from(header.lane)];
                    return Ok(Some(Piece::Events { lane, first, events: &self.events }));
                }
                Kind::Gap => {
                    let word = |at| u64::from_le_bytes(payload[at..at + 8].try_into().unwrap());
                    let lane = PRIORITIES[usize::from(header.lane)];
                    let gap = Gap { lane, first, count: word(0), why: word(8) };
                    return Ok(Some(Piece::Gap(gap)));
                }
                Kind::Record => {
                    self.bytes = payload[..header.record_len()].to_vec();
                    let kind = header.record_kind();
                    let record = Record { position, kind, bytes: &self.bytes };
                    return Ok(Some(Piece::Record(record)));
                }
                Kind::Padding | Kind::End => {}
            }
        }
    }
}
