//! Log segments in memory, to be sealed, and folders that stop working after so many operations.

#![allow(dead_code, reason = "each test file uses its part")]

use proptest::prelude::*;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::{Directory, Folder, NEW};
use tickbus_core::journal::opened::Opened;
use tickbus_core::journal::packed::{Packed, pack};
use tickbus_core::journal::query::{Buffer, Segment};
use tickbus_core::journal::sealed::{Sealed, seal};
use tickbus_core::journal::segment::{Gap, Identity, Piece, Record, Source};
use tickbus_core::{Event, Priority};

/// A piece that owns what it holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Owned {
    Events(Priority, Vec<Event>),
    Gap(Priority, u64, u64),
    Record(u32, Vec<u8>),
}

/// A log segment: pieces in the log's order.
#[derive(Debug, Clone)]
pub struct Log {
    pub identity: Identity,
    pub pieces: Vec<Owned>,
    place: usize,
    next: [u64; 3],
}

impl Log {
    pub fn new(first_position: u64, first_sequence: [u64; 3], pieces: Vec<Owned>) -> Log {
        let journal = *b"a journal's name";
        let (slots, created_ns) = (1 << 21, 77);
        let identity = Identity { journal, first_position, slots, first_sequence, created_ns };
        Log { identity, pieces, place: 0, next: first_sequence }
    }

    /// The same from the begin.
    pub fn again(&self) -> Log {
        Log { place: 0, next: self.identity.first_sequence, ..self.clone() }
    }

    /// Every event with its lane and sequence, lane by lane.
    pub fn events(&self) -> Vec<(Priority, u64, Event)> {
        let mut found = Vec::new();
        for wanted in PRIORITIES {
            let mut next = self.identity.first_sequence[wanted as usize];
            for piece in &self.pieces {
                match piece {
                    Owned::Events(lane, events) if *lane == wanted => {
                        for event in events {
                            found.push((wanted, next, *event));
                            next += 1;
                        }
                    }
                    Owned::Gap(lane, count, _) if *lane == wanted => next += count,
                    _ => {}
                }
            }
        }
        found
    }

    pub fn gaps(&self) -> Vec<Gap> {
        let mut next = self.identity.first_sequence;
        let mut gaps = Vec::new();
        for piece in &self.pieces {
            match piece {
                Owned::Events(lane, events) => next[*lane as usize] += events.len() as u64,
                Owned::Gap(lane, count, why) => {
                    let first = next[*lane as usize];
                    gaps.push(Gap { lane: *lane, first, count: *count, why: *why });
                    next[*lane as usize] += count;
                }
                Owned::Record(..) => {}
            }
        }
        gaps
    }

    /// Position, kind and bytes; positions are places in the list.
    pub fn records(&self) -> Vec<(u64, u32, Vec<u8>)> {
        let pieces = self.pieces.iter().enumerate();
        let records = pieces.filter_map(|(place, piece)| match piece {
            Owned::Record(kind, bytes) => Some((place as u64, *kind, bytes.clone())),
            _ => None,
        });
        records.collect()
    }
}

impl Source for Log {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn counts(&self) -> [u64; 3] {
        let mut counts = [0; 3];
        for piece in &self.pieces {
            if let Owned::Events(lane, events) = piece {
                counts[*lane as usize] += events.len() as u64;
            }
        }
        counts
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError> {
        let Some(piece) = self.pieces.get(self.place) else {
            return Ok(None);
        };
        let position = self.place as u64;
        self.place += 1;
        Ok(Some(match piece {
            Owned::Events(lane, events) => {
                let first = self.next[*lane as usize];
                self.next[*lane as usize] += events.len() as u64;
                Piece::Events { lane: *lane, first, events }
            }
            Owned::Gap(lane, count, why) => {
                let first = self.next[*lane as usize];
                self.next[*lane as usize] += count;
                Piece::Gap(Gap { lane: *lane, first, count: *count, why: *why })
            }
            Owned::Record(kind, bytes) => Piece::Record(Record { position, kind: *kind, bytes }),
        }))
    }
}

/// Events as a desk has them, and as nobody should: a few symbols or any, ascending time or none.
pub fn any_event() -> impl Strategy<Value = Event> {
    let timestamp = prop_oneof![
        6 => 1_000_000..1_000_900u64,
        1 => any::<u64>(),
        1 => Just(0), 1 => Just(u64::MAX),
    ];
    let value = prop_oneof![
        4 => (0..100_000u32).prop_map(|cents| f64::from(cents) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(-0.0), 1 => Just(f64::NAN),
    ];
    let metadata = prop_oneof![
        2 => (0..1000u32).prop_map(|units| (f64::from(units) / 1000.0).to_bits()),
        1 => any::<u64>(),
        1 => Just(0),
    ];
    let event_type = prop_oneof![Just(0u8), Just(4), Just(32), any::<u8>()];
    let symbol = prop_oneof![4 => 0..6u32, 1 => any::<u32>()];
    let source = prop_oneof![4 => 0..3u16, 1 => any::<u16>()];
    (timestamp, event_type, any::<u8>(), source, symbol, value, metadata).prop_map(
        |(timestamp, event_type, priority, source, symbol, value, metadata)| Event {
            timestamp,
            event_type,
            priority,
            source,
            symbol,
            value,
            metadata,
        },
    )
}

pub fn any_lane() -> impl Strategy<Value = Priority> {
    (0..3u8).prop_map(|number| Priority::from_number(number).unwrap())
}

/// A log segment with whatever can be in one.
pub fn any_log() -> impl Strategy<Value = Log> {
    let piece = prop_oneof![
        6 => (any_lane(), prop::collection::vec(any_event(), 0..40))
            .prop_map(|(lane, events)| Owned::Events(lane, events)),
        1 => (any_lane(), prop_oneof![0..5u64, 0..1u64 << 60], any::<u64>())
            .prop_map(|(lane, count, why)| Owned::Gap(lane, count, why)),
        1 => (1..32u32, prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(kind, bytes)| Owned::Record(kind, bytes)),
    ];
    let firsts = [0..1000u64, 0..1000, 0..1 << 40];
    (any::<u64>(), firsts, prop::collection::vec(piece, 0..12))
        .prop_map(|(position, first, pieces)| Log::new(position, first, pieces))
}

/// Plausible ticks: `count` trades and quotes of a few symbols.
pub fn ticks(count: usize, first_ns: u64) -> Vec<Event> {
    let mut noise = 88_172_645_463_325_252_u64;
    let mut random = move |below: u64| {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise % below
    };
    let mut cents = [6_183_763_u64, 265_011, 15_512, 58];
    (0..count)
        .map(|number| {
            let symbol = random(4) as usize;
            cents[symbol] = (cents[symbol] + random(7)).saturating_sub(3).max(1);
            Event {
                timestamp: first_ns + number as u64 * 1_000 + random(900),
                event_type: 0,
                priority: 1,
                source: 1 + (symbol as u16 & 1),
                symbol: 1 + symbol as u32,
                value: cents[symbol] as f64 / 100.0,
                metadata: (random(5_000) as f64 / 1_000.0).to_bits(),
            }
        })
        .collect()
}

pub fn sealed(folder: &Path, log: &Log) -> Sealed {
    seal(&Directory(folder.into()), &mut log.again()).unwrap();
    Sealed::open(folder, log.identity.first_position).unwrap()
}

pub fn packed(folder: &Path, log: &Log) -> Packed {
    pack(&Directory(folder.into()), &sealed(folder, log)).unwrap();
    Packed::open(folder, log.identity.first_position).unwrap()
}

/// Every event of a segment with lane and sequence, lane by lane.
pub fn read_events(segment: &dyn Segment) -> Result<Vec<(Priority, u64, Event)>, SegmentError> {
    let mut found = Vec::new();
    let mut buffer = Buffer::default();
    for lane in PRIORITIES {
        let mut row = 0;
        for block in 0..segment.index(lane)?.entries().len() {
            for bytes in segment.block(lane, block, &mut buffer)?.chunks_exact(32) {
                let event = Event::from_bytes(bytes.try_into().unwrap());
                found.push((lane, segment.sequence(lane, row), event));
                row += 1;
            }
        }
        assert_eq!(row, segment.span(lane).count);
    }
    Ok(found)
}

pub fn read_records(opened: &Opened) -> Result<Vec<(u64, u32, Vec<u8>)>, SegmentError> {
    let mut records = opened.records();
    let mut found = Vec::new();
    while let Some(record) = records.next()? {
        found.push((record.position, record.kind, record.bytes.to_vec()));
    }
    Ok(found)
}

/// Everything that `verify` tells of.
pub fn faults_of_sealed(folder: &Path, first: u64) -> Vec<SegmentError> {
    let mut found = Vec::new();
    match Sealed::open(folder, first) {
        Ok(segment) => segment.verify(&mut |error| found.push(error)),
        Err(error) => found.push(error),
    }
    found
}

pub fn faults_of_packed(folder: &Path, first: u64) -> Vec<SegmentError> {
    let mut found = Vec::new();
    match Packed::open(folder, first) {
        Ok(segment) => segment.verify(&mut |error| found.push(error)),
        Err(error) => found.push(error),
    }
    found
}

pub fn shared(segment: impl Segment + 'static) -> Arc<dyn Segment> {
    Arc::new(segment)
}

/// A folder whose owner dies after so many operations: the next ones do nothing and fail. It insists
/// that nothing is relied on before it would survive a power cut.
pub struct Dying {
    inner: Directory,
    left: Cell<u64>,
    torn: bool,
    flipped: Option<u64>,
    writes: Cell<u64>,
    /// Written and not synced, renamed and not synced.
    bytes_at_risk: Cell<bool>,
    names_at_risk: Cell<bool>,
}

impl Dying {
    pub fn new(folder: &Path, operations: u64) -> Dying {
        Dying {
            inner: Directory(folder.into()),
            left: Cell::new(operations),
            torn: false,
            flipped: None,
            writes: Cell::new(0),
            bytes_at_risk: Cell::new(false),
            names_at_risk: Cell::new(false),
        }
    }

    /// The last operation, if it is a write, gets half of its bytes to the file.
    pub fn torn(self, torn: bool) -> Dying {
        Dying { torn, ..self }
    }

    /// A disk that never dies and keeps one bit of this write wrong.
    pub fn flipping(folder: &Path, write: u64) -> Dying {
        Dying { flipped: Some(write), ..Dying::new(folder, u64::MAX) }
    }

    /// How often something was written.
    pub fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Whether a power cut now would undo nothing.
    pub fn is_at_rest(&self) -> bool {
        !self.bytes_at_risk.get() && !self.names_at_risk.get()
    }

    fn live(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| io::Error::other("died"))?;
        self.left.set(left);
        Ok(())
    }
}

impl Folder for Dying {
    type File = File;

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path(name)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        self.live()?;
        self.bytes_at_risk.set(true);
        self.inner.create(name)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.live()?;
        self.bytes_at_risk.set(true);
        let number = self.writes.replace(self.writes.get() + 1);
        if self.left.get() == 0 && self.torn {
            self.inner.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::other("died"));
        }
        let mut bytes = bytes.to_vec();
        if self.flipped == Some(number) && !bytes.is_empty() {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        self.inner.write_at(file, &bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.live()?;
        self.inner.sync(file)?;
        self.bytes_at_risk.set(false);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.live()?;
        assert!(!self.bytes_at_risk.get(), "{to} gets its name before its bytes are on the disk");
        self.names_at_risk.set(true);
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.live()?;
        assert!(!self.names_at_risk.get() || name.ends_with(NEW), "{name} goes too early");
        self.names_at_risk.set(true);
        self.inner.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.live()?;
        self.inner.sync_names()?;
        self.names_at_risk.set(false);
        Ok(())
    }
}
