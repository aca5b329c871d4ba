//! Sealed segments: the events of a log segment, contiguous for each lane.
//!
//! [`seal`] reads a log segment once, from begin to end, and writes the lanes side by side: a block
//! of 128 KiB of each is all that it holds, besides 96 bytes for each block it wrote. The file has
//! its name only when it is whole and on the disk; whoever stops before has lost nothing.
//!
//! [`Sealed`] reads a block at a time and checks it each time. `numpy.memmap` reads a lane without
//! a copy: `shape=count`, `offset=offset` of [`Sealed::lane`].

use super::draft::{Appender, Draft, Ledger};
use super::fault::SegmentError;
use super::folder::{Folder, Form};
use super::index::{BLOCK_EVENTS, BLOCK_LEN, EVENT_LEN, LaneIndex};
use super::opened::Opened;
use super::query::{Buffer, Segment, Span};
use super::segment::{LANES, LanePart, PAGE, Part, Piece, Source, round_up};
use crate::event::{Event, PRIORITIES, Priority};
use std::path::Path;
use std::sync::Arc;

/// Write a log segment as a sealed one. When it returns, the sealed file is on the disk under its
/// name, and the log segment may go. Before it gets its name it is read back from the device: the log
/// segment is the only other copy.
pub fn seal<F: Folder>(folder: &F, source: &mut impl Source) -> Result<(), SegmentError> {
    let identity = source.identity();
    let draft = Draft::create(folder, Form::Sealed, identity)?;
    let written = fill(&draft, source).and_then(|()| {
        let opened = Opened::open(draft.path(), Form::Sealed, identity.first_position)?;
        opened.forget_cached()?;
        Sealed(opened).check()
    });
    match written {
        Ok(()) => draft.publish(),
        Err(error) => {
            draft.discard();
            Err(error)
        }
    }
}

fn fill<F: Folder>(draft: &Draft<F>, source: &mut impl Source) -> Result<(), SegmentError> {
    let counts = source.counts();
    let mut ledger = Ledger::new(&source.identity());
    let mut at = PAGE as u64;
    let mut lanes = counts.map(|count| {
        let offset = at;
        at = round_up(at + count * EVENT_LEN as u64);
        Lane { offset, written: 0, rows: Vec::new() }
    });
    let offsets = [0, 1, 2].map(|lane: usize| lanes[lane].offset);
    let mut records = Appender::new(at);
    let mut record_count = 0;
    while let Some(piece) = source.next()? {
        match piece {
            Piece::Events { lane, first, events } => {
                ledger.events(lane, first, events.len() as u64)?;
                // Before anything is written: one event too many would be the next lane's first.
                if ledger.counts()[lane as usize] > counts[lane as usize] {
                    let why = "more events than were announced";
                    return Err(SegmentError::Source { lane: Some(lane), sequence: first, why });
                }
                lanes[lane as usize].push(draft, &mut ledger, lane as usize, events)?;
            }
            Piece::Gap(gap) => ledger.gap(gap)?,
            Piece::Record(record) => {
                if u32::try_from(record.bytes.len()).is_err() {
                    let (sequence, why) = (record.position, "a record of 4 GiB or more");
                    return Err(SegmentError::Source { lane: None, sequence, why });
                }
                records.record(draft, &record)?;
                record_count += 1;
            }
        }
    }
    for lane in PRIORITIES {
        let number = lane as usize;
        lanes[number].flush(draft, &mut ledger, number)?;
        if ledger.counts()[number] != counts[number] {
            let sequence = ledger.counts()[number];
            let why = "fewer events than were announced";
            return Err(SegmentError::Source { lane: Some(lane), sequence, why });
        }
    }
    records.flush(draft)?;
    draft.finish(
        &ledger,
        offsets,
        records.part(record_count),
        Part { offset: at, ..Part::default() },
        &[],
    )
}

/// The block of a lane that is being filled.
struct Lane {
    offset: u64,
    written: u64,
    rows: Vec<u8>,
}

impl Lane {
    fn push<F: Folder>(
        &mut self,
        draft: &Draft<F>,
        ledger: &mut Ledger,
        lane: usize,
        mut events: &[Event],
    ) -> Result<(), SegmentError> {
        while !events.is_empty() {
            let room = BLOCK_EVENTS - self.rows.len() / EVENT_LEN;
            let (now, later) = events.split_at(room.min(events.len()));
            for event in now {
                self.rows.extend_from_slice(&event.to_bytes());
            }
            if self.rows.len() == BLOCK_LEN {
                self.flush(draft, ledger, lane)?;
            }
            events = later;
        }
        Ok(())
    }

    fn flush<F: Folder>(
        &mut self,
        draft: &Draft<F>,
        ledger: &mut Ledger,
        lane: usize,
    ) -> Result<(), SegmentError> {
        if !self.rows.is_empty() {
            ledger.block(lane, &self.rows);
            draft.write_at(&self.rows, self.offset + self.written)?;
            self.written += self.rows.len() as u64;
            self.rows.clear();
        }
        Ok(())
    }
}

/// A sealed segment, open for reading.
#[derive(Debug)]
pub struct Sealed(Opened);

impl Sealed {
    /// The sealed segment of a folder with this first position.
    pub fn open(folder: &Path, first_position: u64) -> Result<Sealed, SegmentError> {
        let path = folder.join(Form::Sealed.name(first_position));
        Opened::open(&path, Form::Sealed, first_position).map(Sealed)
    }

    /// Everything but the events: whose it is, gaps, records, sequences.
    pub fn opened(&self) -> &Opened {
        &self.0
    }

    /// Where a lane's events are, for whoever maps the file.
    pub fn lane(&self, lane: Priority) -> LanePart {
        self.0.layout().lanes[lane as usize]
    }

    /// Read all of it and tell of everything that is wrong.
    pub fn verify(&self, tell: &mut dyn FnMut(SegmentError)) {
        self.0.verify(tell);
        verify_blocks(self, tell);
    }

    /// Read all of it; the first thing that is wrong is the error.
    pub fn check(&self) -> Result<(), SegmentError> {
        let mut first = None;
        self.verify(&mut |error| {
            first.get_or_insert(error);
        });
        first.map_or(Ok(()), Err)
    }
}

/// Read every block of a segment and tell of those that are damaged.
pub(super) fn verify_blocks(segment: &dyn Segment, tell: &mut dyn FnMut(SegmentError)) {
    let mut buffer = Buffer::default();
    for lane in PRIORITIES {
        // A damaged index has been told of already.
        let Ok(index) = segment.index(lane) else {
            continue;
        };
        for block in 0..index.entries().len() {
            if let Err(error) = segment.block(lane, block, &mut buffer) {
                tell(error);
            }
        }
    }
}

/// What the footer says of a lane, as queries ask for it.
pub(super) fn span(opened: &Opened, lane: Priority) -> Span {
    let layout = opened.layout();
    let part = layout.lanes[lane as usize];
    Span {
        first_sequence: layout.identity.first_sequence[lane as usize],
        next_sequence: opened.next_sequence(lane),
        count: part.count,
        least: part.least,
        greatest: part.greatest,
    }
}

impl Segment for Sealed {
    fn span(&self, lane: Priority) -> Span {
        span(&self.0, lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.0.index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.0.sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        let part = self.lane(lane);
        let first = (block * BLOCK_EVENTS) as u64;
        let length = ((part.count - first) as usize).min(BLOCK_EVENTS) * EVENT_LEN;
        let offset = part.offset + first * EVENT_LEN as u64;
        let rows = buffer.rows(length);
        self.0.read(rows, offset)?;
        self.0.check_block(lane, block, rows, offset)?;
        Ok(rows)
    }
}

const _: () = assert!(LANES == PRIORITIES.len());
