//! Reading a log, in any process, while it is written.
//!
//! [`LogReader`] goes from batch to batch, [`super::LaneReader`] gives the events of one lane. Nothing is returned whose checksum was not verified; batches that nobody asked for
//! are passed over by their headers, which have a check of their own.
//!
//! How far to read is the caller's to say ([`Until`]): before a position or sequence that it knows
//! to be written a bad batch is damage, behind it may be one that is being written. Damage is an
//! error, or, for a reader that salvages, a hole that is reported and passed over.

use super::disk::Disk;
use super::error::{Damage, JournalError};
use super::format::{BatchHeader, HEADER, HeaderState, Kind, LANES, SegmentHeader, segment_name};
use super::walk::{Ahead, Step, Walk, look_ahead, read_header, segments, written_bytes};
use std::sync::Arc;
use std::time::Duration;

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Everything before this position is written: [`super::Committed::written`].
    Position(u64),
    /// Every event of the lane before this sequence is written. For [`super::LaneReader`].
    Sequence(u64),
    /// As far as it goes. At the end the rest of the segment is searched for signs of damage, so
    /// this is for files at rest rather than for polling.
    Written,
}

impl Until {
    fn includes(self, position: u64) -> bool {
        match self {
            Until::Position(end) => position < end,
            Until::Sequence(_) => true,
            Until::Written => false,
        }
    }
}

/// What a [`LogReader`] comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A batch at a position; [`LogReader::payload`] has its payload if it was wanted.
    Batch(u64, BatchHeader),
    /// Damage that was passed over. Only when salvaging.
    Hole(Box<Damage>),
}

/// A record and where its batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub position: u64,
    pub kind: u32,
    pub bytes: &'a [u8],
}

/// Every batch of a log, in order.
pub struct LogReader<D: Disk> {
    disk: Arc<D>,
    walk: Walk<D::File>,
    pub(super) salvage: bool,
    /// A segment in front of the first readable one.
    pub(super) before: Option<Box<Damage>>,
}

impl<D: Disk> LogReader<D> {
    /// From the first batch in the log on; `None` if there is no log.
    ///
    /// # Errors
    /// Whatever is wrong with the first segment's header.
    pub fn first(disk: &Arc<D>) -> Result<Option<LogReader<D>>, JournalError> {
        LogReader::find(disk, |_| false)
    }

    /// From the batch at `position` on, or the first one behind it.
    ///
    /// # Errors
    /// [`JournalError::Gone`] if the log starts later, or there is none.
    pub fn at(disk: &Arc<D>, position: u64) -> Result<LogReader<D>, JournalError> {
        let reader = LogReader::find(disk, |head| head.first <= position)?;
        let gone = |first| JournalError::Gone { position, first };
        let mut reader = reader.ok_or_else(|| gone(u64::MAX))?;
        if reader.head().first > position {
            return Err(gone(reader.head().first));
        }
        while reader.position() < position
            && reader.next(Until::Position(position), |_| false)?.is_some()
        {}
        Ok(reader)
    }

    /// At the start of the last segment that `here` holds for, else at the start of the log.
    pub(super) fn find(
        disk: &Arc<D>,
        here: impl Fn(&SegmentHeader) -> bool,
    ) -> Result<Option<LogReader<D>>, JournalError> {
        let mut found = None;
        let mut before = None;
        for first in segments(&**disk)?.into_iter().rev() {
            let name = segment_name(first);
            let file = match disk.open(&name, false) {
                // It was recycled meanwhile, and all before it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                file => file.map_err(JournalError::io("open", &name))?,
            };
            let head = match read_header(&file, first, None)? {
                HeaderState::Whole(head) => head,
                HeaderState::Blank => continue,
                _ => {
                    before = Some((name, first));
                    continue;
                }
            };
            before = None;
            found = Some((file, head));
            if here(&head) {
                break;
            }
        }
        let before = before.map(|(name, first)| {
            let next = found.as_ref().map(|(_, head)| head.first);
            let sequences =
                std::array::from_fn(|lane| found.as_ref().map(|(_, head)| head.next[lane]));
            let ahead = Ahead { durable: 0, next, sequences };
            hole(name, 0, first, "the header is wrong", &ahead)
        });
        match (found, before) {
            (Some((file, head)), before) => {
                let walk = Walk::new(Arc::new(file), head);
                Ok(Some(LogReader { disk: Arc::clone(disk), walk, salvage: false, before }))
            }
            (None, Some(damage)) => Err(JournalError::Corrupt(damage)),
            (None, None) => Ok(None),
        }
    }

    /// Pass over damage and report it, instead of failing.
    #[must_use]
    pub fn salvaging(mut self) -> LogReader<D> {
        self.salvage = true;
        self
    }

    /// Position of the next batch.
    pub fn position(&self) -> u64 {
        self.walk.position
    }

    /// Header of the segment that the reader is in.
    pub fn head(&self) -> &SegmentHeader {
        &self.walk.head
    }

    /// Payload of the batch last found, if it was wanted.
    pub fn payload(&self) -> &[u8] {
        self.walk.payload()
    }

    /// The next batch, or `None` at the end, after which the call may be repeated.
    ///
    /// `wanted` says of which batches the payload is read and its checksum verified.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] and [`JournalError::MissingSegment`] unless salvaging;
    /// [`JournalError::Gone`] when the segment was recycled.
    pub fn next(
        &mut self,
        until: Until,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Result<Option<Found>, JournalError> {
        if let Some(damage) = &self.before {
            let damage = damage.clone();
            if self.salvage {
                self.before = None;
            }
            return self.hole(damage).map(Some);
        }
        if matches!(until, Until::Position(end) if self.walk.position >= end) {
            return Ok(None);
        }
        loop {
            let broken = match self.walk.step(&wanted)? {
                Step::Batch(position, header) => return Ok(Some(Found::Batch(position, header))),
                Step::Done => match self.go_on(until)? {
                    GoneOn::Yes => continue,
                    GoneOn::NotYet => return Ok(None),
                    GoneOn::Hole(damage) => return self.hole(damage).map(Some),
                },
                Step::Blank => "zeros where a batch was",
                Step::Bad(why) => why,
            };
            return match self.broken(until, broken)? {
                Some(damage) => self.hole(damage).map(Some),
                None => Ok(None),
            };
        }
    }

    /// The next record, or `None` at the end. Holes are errors here.
    ///
    /// # Errors
    /// As [`LogReader::next`].
    pub fn next_record(&mut self, until: Until) -> Result<Option<Record<'_>>, JournalError> {
        loop {
            match self.next(until, |header| header.kind == Kind::Record)? {
                Some(Found::Batch(position, header)) if header.kind == Kind::Record => {
                    let bytes = &self.walk.payload()[..header.record_len()];
                    return Ok(Some(Record { position, kind: header.record_kind(), bytes }));
                }
                Some(Found::Batch(..)) => {}
                Some(Found::Hole(damage)) => return Err(JournalError::Corrupt(damage)),
                None => return Ok(None),
            }
        }
    }

    fn hole(&mut self, damage: Box<Damage>) -> Result<Found, JournalError> {
        if self.salvage {
            Ok(Found::Hole(damage))
        } else {
            Err(JournalError::Corrupt(damage))
        }
    }

    /// What it means that no valid batch stands here: damage, or the end.
    fn broken(
        &mut self,
        until: Until,
        why: &'static str,
    ) -> Result<Option<Box<Damage>>, JournalError> {
        let (position, head) = (self.walk.position, self.walk.head);
        let file = Arc::clone(self.walk.file());
        if read_header(&*file, head.first, None)? != HeaderState::Whole(head) {
            let first = segments(&*self.disk)?.first().copied().unwrap_or(u64::MAX);
            return Err(JournalError::Gone { position, first });
        }
        let ahead = look_ahead(&*file, &head, position)?;
        let vouched = ahead.durable > position || self.vouched_later(head.end(), position)?;
        if !until.includes(position) && !vouched {
            return Ok(None);
        }
        // Behind the hole: the next valid batch, or the next segment.
        self.walk.jump(ahead.next.unwrap_or(head.end()));
        let name = segment_name(head.first);
        Ok(Some(hole(name, head.offset_of(position), position, why, &ahead)))
    }

    /// Whether a segment from `first` on calls anything beyond `position` durable.
    fn vouched_later(&self, first: u64, position: u64) -> Result<bool, JournalError> {
        for later in segments(&*self.disk)?.into_iter().filter(|&later| later >= first) {
            let Some((file, HeaderState::Whole(head))) = self.open(later)? else {
                continue;
            };
            if look_ahead(&*file, &head, head.first)?.durable > position {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open(&self, first: u64) -> Result<Option<Opened<D::File>>, JournalError> {
        let name = segment_name(first);
        let file = match self.disk.open(&name, false) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(JournalError::io("open", &name))?,
        };
        let mut state = read_header(&file, first, Some(self.walk.head.id))?;
        if !matches!(state, HeaderState::Whole(_) | HeaderState::Blank) {
            // It may be read while it is written.
            std::thread::sleep(Duration::from_millis(1));
            state = read_header(&file, first, Some(self.walk.head.id))?;
        }
        Ok(Some((Arc::new(file), state)))
    }

    /// Go on in the next segment.
    fn go_on(&mut self, until: Until) -> Result<GoneOn, JournalError> {
        let (end, chain) = (self.walk.head.end(), self.walk.chain);
        let why = match self.open(end)? {
            Some((file, HeaderState::Whole(head))) if chain.is_none_or(|c| c == head.chain) => {
                self.walk = Walk::new(file, head);
                return Ok(GoneOn::Yes);
            }
            Some((_, HeaderState::Whole(_))) => "the segment does not follow the one before",
            Some((file, state)) => {
                // Without a header and without a batch it is being created, or never was.
                let name = segment_name(end);
                let batches = written_bytes(&*file, HEADER as u64..u64::MAX)
                    .map_err(JournalError::io("read", &name))?;
                match state {
                    _ if batches == 0 => "the header is missing",
                    HeaderState::Foreign => return Err(JournalError::NotAJournal { file: name }),
                    _ => "the header is wrong",
                }
            }
            None => "the segment is missing",
        };
        // Whatever else is wrong was never so while it was written.
        let missing = matches!(why, "the header is missing" | "the segment is missing");
        let firsts = segments(&*self.disk)?;
        if let Some(&first) = firsts.first()
            && first > end
        {
            return Err(JournalError::Gone { position: end, first });
        }
        let damaged = until.includes(end) || !missing || self.vouched_later(end, end)?;
        if !damaged {
            return Ok(GoneOn::NotYet);
        }
        let later = firsts.into_iter().filter(|&later| later > end);
        if why == "the segment is missing" && !self.salvage {
            return Err(JournalError::MissingSegment {
                first: end,
                end: later.min().unwrap_or(u64::MAX),
            });
        }
        let mut ahead = Ahead { durable: 0, next: None, sequences: [None; LANES] };
        for later in later {
            if let Some((file, HeaderState::Whole(head))) = self.open(later)? {
                ahead.next = Some(head.first);
                ahead.sequences = head.next.map(Some);
                self.walk = Walk::new(file, head);
                self.walk.jump(head.first);
                break;
            }
        }
        Ok(GoneOn::Hole(hole(segment_name(end), 0, end, why, &ahead)))
    }
}

type Opened<F> = (Arc<F>, HeaderState);

enum GoneOn {
    Yes,
    NotYet,
    Hole(Box<Damage>),
}

pub(super) fn hole(
    file: String,
    offset: u64,
    position: u64,
    why: &'static str,
    ahead: &Ahead,
) -> Box<Damage> {
    let sequences = ahead.sequences.map(|sequence| (None, sequence));
    Box::new(Damage { file, offset, position, until: ahead.next, sequences, why })
}
