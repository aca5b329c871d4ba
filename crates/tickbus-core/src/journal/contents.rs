//! How much of what is in a journal: events by type, symbol and source, who opened it, and the first and
//! last events themselves. One reading of all of it, by [`super::audit::audit`].

use super::audit::Visitor;
use super::error::JournalError;
use super::format::{LANES, SLOT, record};
use super::verify::Gap;
use crate::event::{Event, Priority};
use std::collections::{HashMap, VecDeque};

/// An event and its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    pub lane: Priority,
    pub sequence: u64,
    pub event: Event,
}

/// That a process opened or closed the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    pub position: u64,
    /// The process, the boot it ran in and the bus's name; `None`: the journal was closed.
    pub by: Option<(u32, u64, String)>,
    /// Greatest timestamp of the events read before, 0 if there is none.
    pub after_ns: u64,
}

/// What a journal holds, counted.
#[derive(Debug)]
pub struct Contents {
    pub types: [u64; 256],
    pub symbols: HashMap<u32, u64>,
    pub sources: HashMap<u16, u64>,
    /// Records by kind, and the bytes in them.
    pub records: HashMap<u32, (u64, u64)>,
    pub openings: Vec<Opening>,
    /// Buses that it was the journal of, the last one last.
    pub buses: Vec<u64>,
    /// The first and the last events of each lane, so many as were asked for.
    pub first: [Vec<Placed>; LANES],
    pub last: [VecDeque<Placed>; LANES],
    wanted: usize,
    greatest: u64,
    /// Counts of small symbol numbers, which nearly all are.
    small: Vec<u64>,
}

impl Contents {
    /// To be filled by reading; keeps `events` of the first and of the last ones of each lane.
    pub fn new(events: usize) -> Contents {
        Contents {
            types: [0; 256],
            symbols: HashMap::new(),
            sources: HashMap::new(),
            records: HashMap::new(),
            openings: Vec::new(),
            buses: Vec::new(),
            first: Default::default(),
            last: Default::default(),
            wanted: events,
            greatest: 0,
            small: vec![0; 1 << 16],
        }
    }

    /// When all is read.
    pub fn finish(&mut self) {
        for (number, count) in std::mem::take(&mut self.small).into_iter().enumerate() {
            if count > 0 {
                *self.symbols.entry(number as u32).or_default() += count;
            }
        }
    }

    fn keep(&mut self, lane: Priority, first: u64, rows: &[u8]) {
        let placed = |(sequence, row): (u64, &[u8])| Placed {
            lane,
            sequence,
            event: Event::from_bytes(row.try_into().expect("a whole event")),
        };
        let (head, tail) = (&mut self.first[lane as usize], &mut self.last[lane as usize]);
        let numbered = || (first..).zip(rows.chunks_exact(SLOT));
        head.extend(numbered().take(self.wanted - head.len()).map(placed));
        let skip = (rows.len() / SLOT).saturating_sub(self.wanted);
        tail.extend(numbered().skip(skip).map(placed));
        let excess = tail.len().saturating_sub(self.wanted);
        tail.drain(..excess);
    }
}

impl Visitor for Contents {
    fn events(&mut self, lane: Priority, first: u64, rows: &[u8]) -> Result<(), JournalError> {
        let mut source_run = (0, 0);
        for row in rows.chunks_exact(SLOT) {
            let event = Event::from_bytes(row.try_into().expect("a whole event"));
            self.types[usize::from(event.event_type)] += 1;
            match self.small.get_mut(event.symbol as usize) {
                Some(count) => *count += 1,
                None => *self.symbols.entry(event.symbol).or_default() += 1,
            }
            // Runs of one source are the rule.
            if source_run.0 == event.source {
                source_run.1 += 1;
            } else {
                *self.sources.entry(source_run.0).or_default() += source_run.1;
                source_run = (event.source, 1);
            }
            self.greatest = self.greatest.max(event.timestamp);
        }
        *self.sources.entry(source_run.0).or_default() += source_run.1;
        if self.wanted > 0 {
            self.keep(lane, first, rows);
        }
        Ok(())
    }

    fn gap(&mut self, _: Gap) -> Result<(), JournalError> {
        Ok(())
    }

    fn record(&mut self, position: u64, kind: u32, bytes: &[u8]) -> Result<(), JournalError> {
        let records = self.records.entry(kind).or_default();
        *records = (records.0 + 1, records.1 + bytes.len() as u64);
        let after_ns = self.greatest;
        match (kind, bytes) {
            (record::OPENED, [p0, p1, p2, p3, rest @ ..]) if rest.len() >= 8 => {
                let (boot, name) = rest.split_at(8);
                let boot = u64::from_le_bytes(boot.try_into().expect("eight bytes"));
                let name = String::from_utf8_lossy(name).into_owned();
                let by = Some((u32::from_le_bytes([*p0, *p1, *p2, *p3]), boot, name));
                self.openings.push(Opening { position, by, after_ns });
            }
            (record::CLOSED, _) => self.openings.push(Opening { position, by: None, after_ns }),
            (record::BUS, bytes) => {
                let bus = bytes.try_into().map(u64::from_le_bytes);
                if let Ok(bus) = bus
                    && self.buses.last() != Some(&bus)
                {
                    self.buses.push(bus);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
