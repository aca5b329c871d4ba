//! A journal as its readers see it: a lane of it, whatever form its parts have at the moment.
//!
//! ```text
//!  0.segz    4096.seg    8192.log   12288.log
//! ├─ frames ─┼─ blocks ──┼─────── batches ─── …     one lane, one order, each sequence once
//! ```
//!
//! The catalogue says which part has a sequence. When that part has another form by the time it is
//! opened, or a log segment was recycled under its reader, the catalogue is read again and the reader
//! goes on at the same sequence. A part that was removed is jumped over: the caller sees a first
//! sequence that is later than the one it asked for. A part that is missing or damaged is an error
//! that says where to go on.

use super::catalog::{Catalog, Part, PartForm, Stored};
use super::disk::FsDisk;
use super::error::JournalError;
use super::fault::SegmentError;
use super::format::{BatchHeader, Kind, record};
use super::index::{BLOCK_EVENTS, EVENT_LEN};
use super::lane_reader::{LaneReader, Piece};
use super::query::Buffer;
use super::reader::{Found, LogReader, Until};
use super::segment::{LANES, get};
use crate::event::{Event, PRIORITIES};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often parts may change under a reader before it gives up, and how long it then waits.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// What a reader is told instead of events.
#[derive(Debug)]
pub struct Trouble {
    pub error: JournalError,
    /// The first sequence that can be had behind what is wrong.
    pub resume: Option<u64>,
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Trouble {
        Trouble { error, resume: None }
    }
}

/// Where a lane is being read.
enum Place {
    Log(LaneReader<FsDisk>),
    /// The part, open, and memory for its blocks.
    Stored(Box<(Stored, Buffer)>),
}

/// What one look at a part gave.
enum Step {
    /// Events, the first with this sequence.
    Events(u64),
    /// Nothing at the sequence asked for; go on at this later one.
    Jump(u64),
    /// The end of what there is.
    End,
    /// The part is not what the catalogue says any more.
    Again,
}

/// The lanes of a journal.
pub struct Whole {
    disk: Arc<FsDisk>,
    catalog: Catalog,
    places: [Option<Place>; LANES],
}

impl Whole {
    /// The journal in a directory.
    ///
    /// # Errors
    /// When there is no such directory, or it cannot be read.
    pub fn open(directory: &Path) -> Result<Whole, JournalError> {
        let place = directory.to_string_lossy();
        let disk = FsDisk::open(directory, false).map_err(JournalError::io("open", &place))?;
        let catalog = Catalog::of(directory)?;
        Ok(Whole { disk: Arc::new(disk), catalog, places: [None, None, None] })
    }

    pub fn disk(&self) -> &Arc<FsDisk> {
        &self.disk
    }

    /// What is there, as far as it is known.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The first sequence of a lane that there is; `None` if there is no part.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn first(&mut self, lane: usize) -> Result<Option<u64>, JournalError> {
        self.catalog.refresh()?;
        Ok(self.catalog.parts().first().map(|part| part.identity.first_sequence[lane]))
    }

    /// Replace `out` by events of a lane with consecutive sequences before `end`, which is known to be
    /// written: from `sequence` on, or the first later ones there are. Returns the sequence of the
    /// first, or with nothing in `out` the one to ask for next.
    ///
    /// # Errors
    /// What is damaged or missing, and where to go on.
    pub fn read(
        &mut self,
        lane: usize,
        sequence: u64,
        end: u64,
        out: &mut Vec<Event>,
    ) -> Result<u64, Trouble> {
        out.clear();
        let (mut at, mut tries, mut looked) = (sequence, 0, false);
        while at < end {
            match self.step(lane, at, end, out, looked) {
                Ok(Step::Events(first)) => return Ok(first),
                Ok(Step::Jump(to)) => at = to.max(at + 1),
                Ok(Step::End) => return Ok(at),
                Ok(Step::Again) | Err(Trouble { error: JournalError::Gone { .. }, .. })
                    if tries < TRIES =>
                {
                    self.look_again(lane, tries)?;
                    (tries, looked) = (tries + 1, true);
                }
                Ok(Step::Again) => return Ok(at),
                Err(trouble) => {
                    self.places[lane] = None;
                    return Err(trouble);
                }
            }
        }
        Ok(at)
    }

    /// The first sequence of a lane, before `end`, whose timestamp is at least `timestamp`; `end` if
    /// there is none. A part that is damaged and may have it is where it is said to be: who reads on
    /// is told of the damage.
    ///
    /// # Errors
    /// As [`Whole::read`], from the log only.
    pub fn at(&mut self, lane: usize, timestamp: u64, end: u64) -> Result<u64, Trouble> {
        self.catalog.refresh()?;
        let mut maybe = None;
        let mut from = None;
        let parts: Vec<Part> = self.catalog.parts().to_vec();
        for part in &parts {
            let first = part.identity.first_sequence[lane];
            if part.form == PartForm::Log {
                from = Some(first);
                break;
            }
            match self.first_in(part, lane, timestamp) {
                Ok(Reached::At(found)) => return Ok(maybe.unwrap_or(found)),
                Ok(Reached::Before) => maybe = None,
                Ok(Reached::Unknown) => {}
                Ok(Reached::Gone) => {
                    from = Some(first);
                    break;
                }
                Err(_) => maybe = maybe.or(Some(first)),
            }
        }
        // What is not sealed yet is read through: a few segments at most.
        let mut events = Vec::new();
        let mut sequence = from.unwrap_or(end);
        while sequence < end {
            let first = self.read(lane, sequence, end, &mut events)?;
            if events.is_empty() {
                break;
            }
            if let Some(at) = events.iter().position(|event| event.timestamp >= timestamp) {
                return Ok(maybe.unwrap_or(first + at as u64));
            }
            maybe = None;
            sequence = first + events.len() as u64;
        }
        Ok(maybe.unwrap_or(end))
    }

    fn first_in(&self, part: &Part, lane: usize, timestamp: u64) -> Result<Reached, SegmentError> {
        let priority = PRIORITIES[lane];
        let Some(stored) = self.catalog.open(part.first())? else {
            return Ok(Reached::Gone);
        };
        let segment = stored.segment();
        let span = segment.span(priority);
        if span.count == 0 {
            return Ok(Reached::Unknown);
        }
        if span.greatest < timestamp {
            return Ok(Reached::Before);
        }
        let index = segment.index(priority)?;
        // The first block whose greatest so far is enough is the first with such an event.
        let block = index.entries().partition_point(|entry| entry.greatest_so_far < timestamp);
        let mut buffer = Buffer::default();
        let rows = segment.block(priority, block, &mut buffer)?;
        let mut rows = rows.as_chunks::<EVENT_LEN>().0.iter();
        let row = rows.position(|row| get(row, 0) >= timestamp).unwrap_or(0);
        let row = (block * BLOCK_EVENTS + row) as u64;
        Ok(Reached::At(segment.sequence(priority, row)))
    }

    fn look_again(&mut self, lane: usize, tries: u32) -> Result<(), JournalError> {
        self.places[lane] = None;
        if tries > 0 {
            std::thread::sleep(PAUSE);
        }
        self.catalog.refresh()
    }

    fn step(
        &mut self,
        lane: usize,
        at: u64,
        end: u64,
        out: &mut Vec<Event>,
        looked: bool,
    ) -> Result<Step, Trouble> {
        match &mut self.places[lane] {
            Some(Place::Stored(place)) => {
                let opened = place.0.opened();
                let first = opened.layout().identity.first_sequence[lane];
                if (first..opened.next_sequence(PRIORITIES[lane])).contains(&at) {
                    return read_stored(&place.0, &mut place.1, lane, at, end, out);
                }
            }
            Some(Place::Log(reader)) if reader.sequence() == at => {
                return read_log(reader, end, out);
            }
            _ => {}
        }
        let Some(index) = self.catalog.find(lane, at) else {
            let first = self.catalog.parts().first();
            let first = first.map(|part| part.identity.first_sequence[lane]);
            return Ok(match first {
                _ if !looked => Step::Again,
                Some(first) => Step::Jump(first),
                None => Step::End,
            });
        };
        let part = self.catalog.parts()[index];
        let next = self.catalog.parts().get(index + 1).copied();
        if part.form == PartForm::Log {
            return match LaneReader::at(&self.disk, PRIORITIES[lane], at) {
                Ok(reader) => {
                    self.places[lane] = Some(Place::Log(reader));
                    self.step(lane, at, end, out, looked)
                }
                Err(JournalError::GoneSequence { .. }) if !looked => Ok(Step::Again),
                Err(JournalError::GoneSequence { first: u64::MAX, .. }) => Ok(Step::End),
                Err(JournalError::GoneSequence { first, .. }) => Ok(Step::Jump(first)),
                Err(error) => Err(error.into()),
            };
        }
        let resume = next.map(|next| next.identity.first_sequence[lane]);
        let stored = match self.catalog.open(part.first()) {
            Ok(Some(stored)) => stored,
            // Its name is known and its file is not: the catalogue is old.
            Ok(None) => return Ok(Step::Again),
            Err(error) => return Err(Trouble { error: error.into(), resume }),
        };
        if at < stored.opened().next_sequence(PRIORITIES[lane]) {
            self.places[lane] = Some(Place::Stored(Box::new((stored, Buffer::default()))));
            return self.step(lane, at, end, out, looked);
        }
        // Behind it, and before the next one that is there.
        match next {
            _ if !looked => Ok(Step::Again),
            None => Ok(Step::End),
            Some(next) => {
                let first = part.end();
                let error = JournalError::MissingSegment { first, end: next.first() };
                let trouble = Trouble { error, resume };
                let Some(hole) = self.catalog.hole_before(&next) else {
                    return Err(trouble);
                };
                let why = JournalError::Hole { first, end: next.first(), why: hole.why.clone() };
                Err(Trouble { error: why, resume })
            }
        }
    }

    /// The payload that the event at `sequence` refers to. Its record stands before the event: in the
    /// same part, or at the end of the one before.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub fn payload(
        &mut self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, Trouble> {
        for tries in 0..TRIES {
            match self.try_payload(lane, sequence, reference) {
                Err(JournalError::Gone { .. }) => self.look_again(lane, tries)?,
                outcome => return Ok(outcome?),
            }
        }
        Ok(None)
    }

    fn try_payload(
        &mut self,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        self.catalog.refresh()?;
        let Some(index) = self.catalog.find(lane, sequence) else {
            return Ok(None);
        };
        // Parts without an event of the lane begin at the same sequence as the one before.
        let parts = self.catalog.parts()[..=index].iter().rev().take(2);
        for part in parts {
            let found = match part.form {
                PartForm::Log => self.logged_payload(part.first(), lane, sequence, reference)?,
                PartForm::Sealed | PartForm::Packed => {
                    let gone = JournalError::Gone { position: part.first(), first: part.end() };
                    let stored = self.catalog.open(part.first())?.ok_or(gone)?;
                    stored_payload(&stored, lane, sequence, reference)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn logged_payload(
        &self,
        from: u64,
        lane: usize,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, JournalError> {
        let mut log = LogReader::at(&self.disk, from)?;
        let mut found = None;
        while let Some(Found::Batch(_, header)) = log.next(Until::Written, is_payload)? {
            let is_its = header.kind == Kind::Events
                && usize::from(header.lane) == lane
                && header.first + u64::from(header.slots) > sequence;
            if is_its {
                break;
            }
            let bytes = log.payload();
            if is_payload(&header) && bytes.starts_with(&reference.to_le_bytes()) {
                found = Some(bytes[size_of::<u64>()..header.record_len()].to_vec());
            }
        }
        Ok(found)
    }
}

/// Where in a part the first event of a time or later is.
enum Reached {
    At(u64),
    /// All events are earlier.
    Before,
    /// It has no events of the lane.
    Unknown,
    /// It is sealed or packed no more.
    Gone,
}

fn is_payload(header: &BatchHeader) -> bool {
    header.kind == Kind::Record && header.record_kind() == record::PAYLOAD
}

fn stored_payload(
    stored: &Stored,
    lane: usize,
    sequence: u64,
    reference: u64,
) -> Result<Option<Vec<u8>>, SegmentError> {
    let mut found = None;
    let mut records = stored.opened().records();
    while let Some(record) = records.next()? {
        match record.kind {
            // References are of one run of the writer; the event is of a run before.
            record::SEQUENCES if get(record.bytes, lane * 8) > sequence => break,
            record::PAYLOAD if record.bytes.starts_with(&reference.to_le_bytes()) => {
                found = Some(record.bytes[size_of::<u64>()..].to_vec());
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read_log(
    reader: &mut LaneReader<FsDisk>,
    end: u64,
    out: &mut Vec<Event>,
) -> Result<Step, Trouble> {
    while let Some(piece) = reader.next(Until::Sequence(end)).map_err(damage)? {
        if let Piece::Events { first, events } = piece {
            out.extend_from_slice(events);
            return Ok(Step::Events(first));
        }
    }
    Ok(if reader.sequence() < end { Step::End } else { Step::Jump(reader.sequence()) })
}

fn damage(error: JournalError) -> Trouble {
    Trouble { error, resume: None }
}

/// Events of a block, from `at` on.
fn read_stored(
    stored: &Stored,
    buffer: &mut Buffer,
    lane: usize,
    at: u64,
    end: u64,
    out: &mut Vec<Event>,
) -> Result<Step, Trouble> {
    let (opened, segment, priority) = (stored.opened(), stored.segment(), PRIORITIES[lane]);
    let (row, next) = (opened.row(priority, at), opened.next_sequence(priority));
    if row >= opened.layout().lanes[lane].count {
        return Ok(Step::Jump(next));
    }
    let first = opened.sequence(priority, row);
    let block = (row / BLOCK_EVENTS as u64) as usize;
    let rows = segment.block(priority, block, buffer).map_err(|error| {
        let behind = match &error {
            SegmentError::Damaged(damage) => damage.sequences.map(|(_, last)| last + 1),
            _ => None,
        };
        Trouble { resume: Some(behind.unwrap_or(next)), error: error.into() }
    })?;
    let rows = &rows.as_chunks::<EVENT_LEN>().0[(row % BLOCK_EVENTS as u64) as usize..];
    let mut count = rows.len().min(usize::try_from(end - first).unwrap_or(usize::MAX));
    // Up to the next gap.
    while count > 0 && opened.sequence(priority, row + count as u64 - 1) != first + count as u64 - 1
    {
        count -= 1;
    }
    out.extend(rows[..count].iter().map(Event::from_bytes));
    Ok(if count > 0 { Step::Events(first) } else { Step::End })
}
