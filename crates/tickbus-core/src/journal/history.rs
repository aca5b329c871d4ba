//! A bus's journal as its history: what subscriptions read behind a lane's oldest event.

use super::dictionary::{Dictionary, FromJournal};
use super::error::JournalError;
use super::names::NameReader;
use super::reader::Until;
use super::whole::{Trouble, Whole};
use crate::bus::Bus;
use crate::event::Event;
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
    whole: Whole,
    persistence: Persistence,
    bus_names: Arc<BusNames>,
    dictionary: Dictionary,
    translation: FromJournal,
    /// Reads the names as they come.
    names: NameReader,
}

impl JournalHistory {
    fn open(path: &Path, bus: &Bus) -> Result<JournalHistory, JournalError> {
        let whole = Whole::open(path)?;
        let names = NameReader::new(Arc::clone(whole.disk()), whole.catalog().clone());
        Ok(JournalHistory {
            whole,
            persistence: bus.persistence().clone(),
            bus_names: Arc::clone(bus.names()),
            dictionary: Dictionary::default(),
            translation: FromJournal::default(),
            names,
        })
    }

    /// Give events the bus's numbers.
    fn name(&mut self, events: &mut [Event]) -> Result<(), JournalError> {
        if !events.iter().all(|event| self.dictionary.has(event)) {
            let dictionary = &mut self.dictionary;
            self.names.read(Until::Written, &mut |kind, bytes| {
                dictionary.read(kind, bytes).map_err(|_| JournalError::BadRecord { kind })
            })?;
        }
        self.translation
            .translate(events, &self.dictionary, &self.bus_names)
            .map_err(|error| JournalError::from(crate::error::BusError::from(error)))
    }
}

/// What a subscription is told: what is wrong, and where it can go on.
fn told(lane: usize, sequence: u64, trouble: &Trouble) -> HistoryError {
    let resume = match &trouble.error {
        JournalError::Corrupt(damage) => damage.sequences[lane].1,
        _ => trouble.resume,
    };
    // Nothing is known to be readable: the subscription goes on with the lane itself.
    let resume = resume.unwrap_or(u64::MAX).max(sequence + 1);
    HistoryError { lane, resume, message: trouble.error.to_string() }
}

impl History for JournalHistory {
    fn read(
        &mut self,
        lane: usize,
        sequence: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, HistoryError> {
        let end = self.persistence.persisted(lane);
        let read = self.whole.read(lane, sequence, end, out).and_then(|first| {
            self.name(out)?;
            Ok(first)
        });
        read.map_err(|trouble| told(lane, sequence, &trouble))
    }

    fn first(&mut self, lane: usize) -> Result<u64, HistoryError> {
        let first = self.whole.first(lane).map(|first| first.unwrap_or(u64::MAX));
        first.map_err(|error| told(lane, 0, &error.into()))
    }

    fn payload(
        &mut self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, HistoryError> {
        let payload = self.whole.payload(lane, sequence, reference);
        payload.map_err(|trouble| told(lane, sequence, &trouble))
    }

    fn at(&mut self, lane: usize, timestamp: u64) -> Result<u64, HistoryError> {
        let end = self.persistence.persisted(lane);
        let at = self.whole.at(lane, timestamp, end);
        at.map_err(|trouble| told(lane, 0, &trouble))
    }
}
