//! A bus's journal as its history: what subscriptions read behind a lane's oldest event.

use super::dictionary::{Dictionary, FromJournal};
use super::disk::FsDisk;
use super::error::JournalError;
use super::format::{BatchHeader, Kind, SegmentHeader, record};
use super::lane_reader::{LaneReader, Piece};
use super::names;
use super::reader::{Found, LogReader, Until};
use crate::bus::Bus;
use crate::event::{Event, PRIORITIES};
use crate::history::{History, HistoryError};
use crate::names::BusNames;
use crate::persistence::Persistence;
use std::path::Path;
use std::sync::Arc;

/// Let subscriptions of this handle read the journal that somebody keeps of its bus.
pub fn attach(bus: &Bus) {
    bus.set_historian(Box::new(|bus| {
        let path = bus.persistence().path()?;
        let history = JournalHistory::open(&path, bus).ok()?;
        Some(Box::new(history))
    }));
}

/// The journal in a directory, in the numbers of one bus.
pub struct JournalHistory {
    disk: Arc<FsDisk>,
    persistence: Persistence,
    bus_names: Arc<BusNames>,
    lanes: [Option<LaneReader<FsDisk>>; 3],
    dictionary: Dictionary,
    translation: FromJournal,
    /// Reads the names as they come.
    records: Option<LogReader<FsDisk>>,
}

impl JournalHistory {
    fn open(path: &Path, bus: &Bus) -> Result<JournalHistory, JournalError> {
        let place = path.display().to_string();
        let disk = FsDisk::open(path, false).map_err(JournalError::io("open", &place))?;
        Ok(JournalHistory {
            disk: Arc::new(disk),
            persistence: bus.persistence().clone(),
            bus_names: Arc::clone(bus.names()),
            lanes: [None, None, None],
            dictionary: Dictionary::default(),
            translation: FromJournal::default(),
            records: None,
        })
    }

    /// The reader of a lane, at `sequence` or at the first one after it that the log has.
    fn reader(
        &mut self,
        lane: usize,
        sequence: u64,
    ) -> Result<&mut LaneReader<FsDisk>, JournalError> {
        if self.lanes[lane].as_ref().is_none_or(|reader| reader.sequence() != sequence) {
            let priority = PRIORITIES[lane];
            let reader = match LaneReader::at(&self.disk, priority, sequence) {
                Err(JournalError::GoneSequence { first, .. }) if first != u64::MAX => {
                    LaneReader::at(&self.disk, priority, first)?
                }
                found => found?,
            };
            self.lanes[lane] = Some(reader);
        }
        Ok(self.lanes[lane].as_mut().expect("made above"))
    }

    fn events(
        &mut self,
        lane: usize,
        sequence: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, JournalError> {
        out.clear();
        let end = self.persistence.persisted(lane);
        if sequence >= end {
            return Ok(sequence);
        }
        let reader = self.reader(lane, sequence)?;
        let mut first = reader.sequence();
        while let Some(piece) = reader.next(Until::Sequence(end))? {
            match piece {
                Piece::Events { first: at, events } => {
                    out.extend_from_slice(events);
                    first = at;
                    break;
                }
                Piece::Gap { first: at, count, .. } | Piece::Lost { first: at, count } => {
                    first = at + count;
                }
                Piece::Hole(_) => {}
            }
        }
        self.name(out)?;
        Ok(first)
    }

    /// Give events the bus's numbers.
    fn name(&mut self, events: &mut [Event]) -> Result<(), JournalError> {
        if !events.iter().all(|event| self.dictionary.has(event)) {
            self.learn()?;
        }
        self.translation
            .translate(events, &self.dictionary, &self.bus_names)
            .map_err(|error| JournalError::from(crate::error::BusError::from(error)))
    }

    /// Read the names that are new.
    fn learn(&mut self) -> Result<(), JournalError> {
        if self.records.is_none() {
            self.records = names::reader(&self.disk, u64::MAX, Until::Written)?;
        }
        if let Some(records) = &mut self.records {
            while let Some(found) = records.next_record(Until::Written)? {
                if self.dictionary.read(found.kind, found.bytes).is_err() {
                    return Err(JournalError::BadRecord { kind: found.kind });
                }
            }
        }
        Ok(())
    }

    /// Look for a payload from the segment on that has the event: its record stands before it. `None`
    /// in that segment: it may stand at the end of the one before.
    fn find_payload(
        &self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let mut end = u64::MAX;
        for _ in 0..2 {
            let here = |head: &SegmentHeader| head.next[lane] <= sequence && head.first < end;
            let Some(mut log) = LogReader::find(&self.disk, here)? else {
                return Ok(None);
            };
            if log.head().first >= end {
                return Ok(None);
            }
            end = log.head().first;
            let mut found = None;
            let wanted = |header: &BatchHeader| {
                header.kind == Kind::Record && header.record_kind() == record::PAYLOAD
            };
            while let Some(Found::Batch(_, header)) = log.next(Until::Written, wanted)? {
                let is_its = |header: &BatchHeader| {
                    header.kind == Kind::Events
                        && usize::from(header.lane) == lane
                        && header.first + u64::from(header.slots) > sequence
                };
                if is_its(&header) {
                    break;
                }
                let bytes = log.payload();
                if wanted(&header) && bytes.starts_with(&reference.to_le_bytes()) {
                    found = Some(bytes[size_of::<u64>()..header.record_len()].to_vec());
                }
            }
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What a subscription is told: what is wrong, and where it can go on.
    fn trouble(&mut self, lane: usize, sequence: u64, error: &JournalError) -> HistoryError {
        let resume = match error {
            JournalError::Corrupt(damage) => damage.sequences[lane].1,
            _ => None,
        };
        // Nothing is known to be readable: the subscription goes on with the lane itself.
        let resume = resume.unwrap_or(u64::MAX).max(sequence + 1);
        HistoryError { lane, resume, message: error.to_string() }
    }
}

impl History for JournalHistory {
    fn read(
        &mut self,
        lane: usize,
        sequence: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, HistoryError> {
        self.events(lane, sequence, out).map_err(|error| {
            self.lanes[lane] = None;
            self.trouble(lane, sequence, &error)
        })
    }

    fn first(&mut self, lane: usize) -> Result<u64, HistoryError> {
        let first = LogReader::first(&self.disk)
            .map(|found| found.map_or(u64::MAX, |reader| reader.head().next[lane]));
        first.map_err(|error| self.trouble(lane, 0, &error))
    }

    fn payload(
        &mut self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, HistoryError> {
        self.find_payload(lane, sequence, reference)
            .map_err(|error| self.trouble(lane, sequence, &error))
    }

    fn at(&mut self, lane: usize, timestamp: u64) -> Result<u64, HistoryError> {
        let mut sequence = self.first(lane)?;
        let mut events = Vec::new();
        loop {
            let first = self.read(lane, sequence, &mut events)?;
            if events.is_empty() {
                return Ok(first.min(self.persistence.persisted(lane)));
            }
            if let Some(at) = events.iter().position(|event| event.timestamp >= timestamp) {
                return Ok(first + at as u64);
            }
            sequence = first + events.len() as u64;
        }
    }
}
