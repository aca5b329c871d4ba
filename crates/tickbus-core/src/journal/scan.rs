//! Reading a log segment once, and going on where it is still written: what hot.rs is made of.
//!
//! **Damage** is passed over and remembered with the sequences it cost; whether that is an error is for
//! the caller to say. What is not written yet is told from damage as recovery tells them apart: damage
//! is what a later batch calls durable. The first time, the whole rest of the segment is searched for
//! one; later only a quarter of a MiB, since what is appended while we look is in the page cache.
//!
//! Memory: a batch, at most 2 MiB, while it scans.

use super::dictionary::Dictionary;
use super::disk::DiskFile;
use super::fault::SegmentError;
use super::format::{BatchHeader, HeaderState, Kind, LANES, SegmentHeader, record, u64_at};
use super::hot::{Hole, Hot, HotLane, Place, Run, fault};
use super::index::{BLOCK_EVENTS, EVENT_LEN, Entry, LaneIndex};
use super::query::Span;
use super::walk::{Step, Walk, look_ahead_to, read_header};
use crate::event::PRIORITIES;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Slots behind the end of what is written that are searched for signs of damage, once the whole rest
/// of the segment has been searched.
const LOOK_AHEAD: u64 = 8_192;

/// Whether records of this kind are names, or say how many follow.
pub(super) fn is_of_names(kind: u32) -> bool {
    Dictionary::knows(kind) || kind == record::NAMES
}

/// What was found of a lane.
#[derive(Debug, Clone)]
struct Lane {
    entries: Vec<Entry>,
    places: Vec<Place>,
    runs: Vec<Run>,
    count: u64,
    next: u64,
}

impl Lane {
    fn new(first: u64) -> Lane {
        let runs = vec![Run { row: 0, shift: first }];
        Lane { entries: Vec::new(), places: Vec::new(), runs, count: 0, next: first }
    }

    fn events(&mut self, position: u64, rows: &[u8]) {
        let mut left = rows;
        while !left.is_empty() {
            let in_block = self.count as usize % BLOCK_EVENTS;
            if in_block == 0 {
                let before = self.entries.last().map_or(0, |entry| entry.greatest_so_far);
                self.entries.push(Entry::after(before));
                let skip = ((rows.len() - left.len()) / EVENT_LEN) as u64;
                self.places.push(Place { position, skip });
            }
            let room = (BLOCK_EVENTS - in_block) * EVENT_LEN;
            let (now, later) = left.split_at(room.min(left.len()));
            self.entries.last_mut().expect("pushed above").extend(now);
            self.count += (now.len() / EVENT_LEN) as u64;
            left = later;
        }
        self.next += (rows.len() / EVENT_LEN) as u64;
    }

    /// The next `count` sequences are none of events.
    fn pass(&mut self, count: u64) {
        let Some(next) = self.next.checked_add(count) else {
            return;
        };
        self.next = next;
        let shift = next - self.count;
        match self.runs.last_mut() {
            Some(last) if last.row == self.count => last.shift = shift,
            _ => self.runs.push(Run { row: self.count, shift }),
        }
    }
}

/// Reads a log segment once, and what is appended to it.
pub(super) struct Scan {
    path: PathBuf,
    head: SegmentHeader,
    walk: Walk<File>,
    lanes: [Lane; LANES],
    holes: Vec<Hole>,
    /// Lanes of which nothing was read since the last hole.
    behind_a_hole: [bool; LANES],
    /// Where the end was last time, and that nothing but zeros was behind.
    end: Option<u64>,
    /// The segment takes no more.
    pub finished: bool,
    /// Records that name something, in their order; for the caller to take.
    pub names: Vec<(u32, Vec<u8>)>,
}

impl Scan {
    pub fn new(path: PathBuf, file: File, head: SegmentHeader) -> Scan {
        Scan {
            path,
            head,
            walk: Walk::new(Arc::new(file), head),
            lanes: head.next.map(Lane::new),
            holes: Vec::new(),
            behind_a_hole: [false; LANES],
            end: None,
            finished: false,
            names: Vec::new(),
        }
    }

    pub fn head(&self) -> &SegmentHeader {
        &self.head
    }

    /// Places that could not be read.
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Read what is written by now. `vouched` says whether a later segment calls everything before a
    /// position durable.
    pub fn go_on(
        &mut self,
        vouched: &mut dyn FnMut(u64) -> Result<bool, SegmentError>,
    ) -> Result<(), SegmentError> {
        let wanted = |header: &BatchHeader| match header.kind {
            Kind::Events | Kind::Gap => true,
            Kind::Record => is_of_names(header.record_kind()),
            _ => false,
        };
        while !self.finished {
            let step = self.walk.step(wanted).map_err(|error| fault(&self.path, error))?;
            match step {
                Step::Batch(position, header) => self.take(position, &header),
                Step::Done => self.finished = true,
                Step::Blank if self.end == Some(self.walk.position) => return Ok(()),
                Step::Blank => {
                    if !self.broken("zeros where a batch was", &wanted, vouched)? {
                        return Ok(());
                    }
                }
                Step::Bad(why) => {
                    if !self.broken(why, &wanted, vouched)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// No valid batch stands here: `false` if it is the end.
    fn broken(
        &mut self,
        why: &'static str,
        wanted: &dyn Fn(&BatchHeader) -> bool,
        vouched: &mut dyn FnMut(u64) -> Result<bool, SegmentError>,
    ) -> Result<bool, SegmentError> {
        let (position, head) = (self.walk.position, self.head);
        let wrong = |error| fault(&self.path, error);
        let file = Arc::clone(self.walk.file());
        if read_header(&*file, head.first, None).map_err(wrong)? != HeaderState::Whole(head) {
            return Err(SegmentError::Removed { path: self.path.clone() });
        }
        let to = match self.end {
            Some(_) => head.end().min(position + LOOK_AHEAD),
            None => head.end(),
        };
        let mut ahead = look_ahead_to(&*file, &head, position, to).map_err(wrong)?;
        if ahead.durable <= position && !vouched(position)? {
            self.end = Some(position);
            let len = DiskFile::len(&*file)
                .map_err(|error| SegmentError::io("look at", &self.path)(error))?;
            if len >= head.file_len() {
                return Ok(false);
            }
            // Segments have their full length from the first day, so something was cut off.
            let why = "the file is shorter than it was";
            self.holes.push(Hole { position, until: head.end(), why, lost: [None; LANES] });
            self.finished = true;
            return Ok(true);
        }
        // It may just have been written, and what was found ahead as well.
        let again = self.walk.step(wanted).map_err(wrong)?;
        if let Step::Batch(position, header) = again {
            self.take(position, &header);
            return Ok(true);
        }
        if ahead.next.is_none() && to < head.end() {
            ahead = look_ahead_to(&*file, &head, position, head.end()).map_err(wrong)?;
        }
        let until = ahead.next.unwrap_or(head.end());
        self.holes.push(Hole { position, until, why, lost: [None; LANES] });
        self.behind_a_hole = [true; LANES];
        self.walk.jump(until);
        Ok(true)
    }

    fn take(&mut self, position: u64, header: &BatchHeader) {
        let payload = self.walk.payload();
        if header.kind == Kind::Record {
            if !payload.is_empty() {
                let bytes = payload[..header.record_len()].to_vec();
                self.names.push((header.record_kind(), bytes));
            }
            return;
        }
        if !matches!(header.kind, Kind::Events | Kind::Gap) {
            return;
        }
        let number = usize::from(header.lane);
        let lane = &mut self.lanes[number];
        let is_known = std::mem::take(&mut self.behind_a_hole[number]);
        if header.first != lane.next {
            let lost = header.first.checked_sub(1).map(|last| (lane.next, last));
            let repeated = header.first < lane.next;
            if repeated || !is_known {
                let why = "the batch's sequence is not the next one of its lane";
                // A batch that comes again is passed over.
                let until = if repeated { self.walk.position } else { position };
                self.holes.push(Hole { position, until, why, lost: [None; LANES] });
            }
            if repeated {
                return;
            }
            self.holes.last_mut().expect("the one we are behind").lost[number] = lost;
            lane.pass(header.first - lane.next);
        }
        match header.kind {
            Kind::Gap => lane.pass(u64_at(payload, 0)),
            _ => lane.events(position, payload),
        }
    }

    /// What there is by now.
    pub fn hot(&self) -> Hot {
        let lanes = PRIORITIES.map(|priority| {
            let number = priority as usize;
            let lane = &self.lanes[number];
            let least = lane.entries.iter().map(|entry| entry.least).min();
            let span = Span {
                first_sequence: self.head.next[number],
                next_sequence: lane.next,
                count: lane.count,
                least: least.unwrap_or(u64::MAX),
                greatest: lane.entries.last().map_or(0, |entry| entry.greatest_so_far),
            };
            let index = Arc::new(LaneIndex::new(lane.entries.clone()));
            HotLane { span, index, places: lane.places.clone(), runs: lane.runs.clone() }
        });
        Hot { path: self.path.clone(), head: self.head, lanes, holes: self.holes.clone() }
    }
}
