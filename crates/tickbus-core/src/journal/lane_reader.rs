//! The events of one lane, from a sequence on.
//!
//! The segment is found by the sequences in the headers, other lanes' batches are passed over, and
//! every sequence is accounted for: it comes as an event, or in a gap, or is damage.

use super::disk::Disk;
use super::error::{Damage, JournalError};
use super::format::{BatchHeader, Kind, LANES, SLOT, segment_name, u64_at};
use super::reader::{Found, LogReader, Until, hole};
use super::walk::Ahead;
use crate::event::{Event, Priority};
use std::sync::Arc;

/// What a [`LaneReader`] comes across.
#[derive(Debug, PartialEq)]
pub enum Piece<'a> {
    /// Events with consecutive sequences, `first` of the first.
    Events { first: u64, events: &'a [Event] },
    /// Sequences that the journal knows it never got.
    Gap { first: u64, count: u64, why: u64 },
    /// Sequences that were in the journal and are damaged. Only when salvaging.
    Lost { first: u64, count: u64 },
    /// Damage that was passed over; the sequences it cost follow as `Lost`. Only when salvaging.
    Hole(Box<Damage>),
}

/// The events of one lane, in order.
pub struct LaneReader<D: Disk> {
    log: LogReader<D>,
    lane: Priority,
    /// Next sequence to return.
    sequence: u64,
    /// Sequence that the lane's next batch starts with.
    expected: u64,
    /// Verified events that are not returned yet: the last `left` of `events`.
    events: Vec<Event>,
    left: usize,
    gap: Option<(u64, u64)>,
    behind_a_hole: bool,
}

impl<D: Disk> LaneReader<D> {
    /// The events of a lane from `sequence` on.
    ///
    /// # Errors
    /// [`JournalError::GoneSequence`] if the log starts later, or there is none.
    pub fn at(disk: &Arc<D>, lane: Priority, sequence: u64) -> Result<LaneReader<D>, JournalError> {
        let log = LogReader::find(disk, |head| head.next[lane as usize] <= sequence)?;
        let gone = |first| JournalError::GoneSequence { lane, sequence, first };
        let log = log.ok_or_else(|| gone(u64::MAX))?;
        let expected = log.head().next[lane as usize];
        // Behind a segment that cannot be read: that is reported first.
        let behind_a_hole = log.before.is_some();
        if expected > sequence && !behind_a_hole {
            return Err(gone(expected));
        }
        let (events, left, gap) = (Vec::new(), 0, None);
        Ok(LaneReader { log, lane, sequence, expected, events, left, gap, behind_a_hole })
    }

    /// Pass over damage and report it, instead of failing.
    #[must_use]
    pub fn salvaging(mut self) -> LaneReader<D> {
        self.log.salvage = true;
        self
    }

    /// The next sequence to come.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next piece of the lane, or `None` at the end, after which the call may be repeated.
    ///
    /// # Errors
    /// As [`LogReader::next`]; sequences that are missing without a gap are damage as well.
    pub fn next(&mut self, until: Until) -> Result<Option<Piece<'_>>, JournalError> {
        loop {
            if matches!(until, Until::Sequence(end) if self.sequence >= end) {
                return Ok(None);
            }
            if self.left > 0 || self.gap.is_some() {
                return Ok(Some(self.pending(until)));
            }
            let (lane, sequence) = (self.lane as u8, self.sequence);
            let found = self.log.next(until, |header| match header.kind {
                Kind::Events => {
                    header.lane == lane && header.first + u64::from(header.slots) > sequence
                }
                kind => kind == Kind::Gap && header.lane == lane,
            })?;
            match found {
                Some(Found::Batch(position, header)) => self.take(position, &header)?,
                Some(Found::Hole(damage)) => {
                    self.behind_a_hole = true;
                    return Ok(Some(Piece::Hole(damage)));
                }
                None => return Ok(None),
            }
        }
    }

    /// Look at a batch and keep what is in it for us.
    fn take(&mut self, position: u64, header: &BatchHeader) -> Result<(), JournalError> {
        let of_lane = matches!(header.kind, Kind::Events | Kind::Gap);
        if !of_lane || header.lane != self.lane as u8 {
            return Ok(());
        }
        if header.first != self.expected && !self.behind_a_hole {
            let mut ahead = Ahead { durable: 0, next: Some(position), sequences: [None; LANES] };
            ahead.sequences[self.lane as usize] = Some(header.first);
            let head = self.log.head();
            let why = "sequences are missing before this batch";
            let offset = head.offset_of(position);
            let mut damage = hole(segment_name(head.first), offset, position, why, &ahead);
            damage.sequences[self.lane as usize].0 = Some(self.expected);
            return Err(JournalError::Corrupt(damage));
        }
        self.behind_a_hole = false;
        let payload = self.log.payload();
        if header.kind == Kind::Gap {
            let (count, why) = (u64_at(payload, 0), u64_at(payload, 8));
            self.expected = header.first.saturating_add(count);
            if self.expected > self.sequence {
                self.gap = Some((self.expected - self.sequence.max(header.first), why));
            }
            return Ok(());
        }
        self.expected = header.first + u64::from(header.slots);
        let events = payload
            .chunks_exact(SLOT)
            .map(|slot| Event::from_bytes(slot.try_into().expect("chunks of a slot")));
        self.events.clear();
        self.events.extend(events);
        self.left =
            self.expected.saturating_sub(self.sequence).min(self.events.len() as u64) as usize;
        Ok(())
    }

    /// The next piece of what is kept.
    fn pending(&mut self, until: Until) -> Piece<'_> {
        let kept = self.gap.map_or(self.left as u64, |(count, _)| count);
        let mut first = self.expected - kept;
        if first > self.sequence {
            let lost = Piece::Lost { first: self.sequence, count: first - self.sequence };
            self.sequence = first;
            return lost;
        }
        first = self.sequence;
        let end = match until {
            Until::Sequence(end) => end.min(self.expected),
            _ => self.expected,
        };
        let count = end - first;
        self.sequence = end;
        if let Some((left, why)) = self.gap {
            self.gap = (left > count).then_some((left - count, why));
            return Piece::Gap { first, count, why };
        }
        let start = self.events.len() - self.left;
        self.left -= count as usize;
        Piece::Events { first, events: &self.events[start..start + count as usize] }
    }
}
