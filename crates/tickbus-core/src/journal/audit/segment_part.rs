//! A sealed or packed segment: index, records and gaps, then every block of every lane.

use super::super::error::JournalError;
use super::super::fault::SegmentError;
use super::super::format::{LANES, SLOT};
use super::super::index::BLOCK_EVENTS;
use super::super::opened::Opened;
use super::super::packed::Packed;
use super::super::query::{Buffer, Segment};
use super::super::sealed::Sealed;
use super::super::verify::Gap;
use super::listing::Part;
use super::log_part::hex;
use super::tracker::{Outcome, Tracker};
use super::{Finding, Form, Kind, PartReport};
use crate::event::{PRIORITIES, Priority};

impl Tracker<'_> {
    pub(super) fn segment_part(&mut self, part: &Part) -> Result<Outcome, JournalError> {
        let opened = match part.form {
            Form::Packed => Packed::open(self.path, part.first).map(Either::Packed),
            _ => Sealed::open(self.path, part.first).map(Either::Sealed),
        };
        let segment = match opened {
            Ok(segment) => segment,
            Err(SegmentError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Outcome::Gone);
            }
            Err(error) => {
                let finding = finding_of(&error, part);
                self.hole(finding);
                return Ok(Outcome::Useless);
            }
        };
        let identity = segment.opened().layout().identity;
        if self.id.is_some_and(|id| id != identity.journal) {
            let why = format!("belongs to the journal {}", hex(&identity.journal));
            self.hole(Finding::new(Kind::Foreign, &part.file, why).at(0, Some(part.first)));
            return Ok(Outcome::Useless);
        }
        if self.ended {
            // Sealed was only what is on the disk: the part before it lost its end.
            self.ended = false;
        }
        self.begin_part(&identity.first_sequence, part);
        let end = identity.first_position + identity.slots;
        let mut report = PartReport {
            file: part.file.clone(),
            form: part.form,
            first: part.first,
            end,
            bytes: part.bytes,
            created_ns: identity.created_ns,
            prepared: false,
            batches: 0,
            records: 0,
            padding_slots: 0,
            events: [0; LANES],
            first_sequence: identity.first_sequence,
            next_sequence: std::array::from_fn(|lane| {
                segment.opened().next_sequence(PRIORITIES[lane])
            }),
            least: u64::MAX,
            greatest: 0,
        };
        let mut wrong = Vec::new();
        segment.opened().verify(&mut |error| wrong.push(finding_of(&error, part)));
        for finding in wrong {
            self.tell(finding);
        }
        self.records(&segment, part, &mut report)?;
        for lane in PRIORITIES {
            self.lane(&segment, lane, part, &mut report)?;
        }
        self.audit.parts.push(report);
        (self.audit.position, self.end) = (end, Some(end));
        (self.chain, self.audit.closed) = (None, false);
        Ok(Outcome::Read)
    }

    fn records(
        &mut self,
        segment: &Either,
        part: &Part,
        report: &mut PartReport,
    ) -> Result<(), JournalError> {
        let mut records = segment.opened().records();
        // What is wrong with them has been told of.
        while let Ok(Some(record)) = records.next() {
            report.records += 1;
            self.record(record.position, record.kind, record.bytes, &part.file, 0)?;
        }
        Ok(())
    }

    fn lane(
        &mut self,
        segment: &Either,
        lane: Priority,
        part: &Part,
        report: &mut PartReport,
    ) -> Result<(), JournalError> {
        let opened = segment.opened();
        let mut gaps = opened.gaps().iter().filter(|gap| gap.lane == lane).peekable();
        let count = opened.layout().lanes[lane as usize].count;
        let next = opened.next_sequence(lane);
        let span = (self.sequences()[lane as usize], next);
        let index = match segment.as_segment().index(lane) {
            Ok(index) => index,
            Err(_) => {
                let why = "without the index nothing vouches for the events";
                let finding = Finding::new(Kind::Damaged, &part.file, why);
                self.hole_in(lane, finding.at(opened.layout().index.offset, None), span);
                self.arrive(lane as usize, next, &part.file, (0, None));
                return Ok(());
            }
        };
        let mut buffer = Buffer::default();
        for block in 0..index.entries().len() {
            let from = (block * BLOCK_EVENTS) as u64;
            let until = (from + BLOCK_EVENTS as u64).min(count);
            let rows = match segment.as_segment().block(lane, block, &mut buffer) {
                Ok(rows) => rows,
                Err(error) => {
                    let sequences =
                        (opened.sequence(lane, from), opened.sequence(lane, until - 1) + 1);
                    self.hole_in(lane, finding_of(&error, part), sequences);
                    continue;
                }
            };
            let at = (opened.layout().lanes[lane as usize].offset + from * SLOT as u64, None);
            let mut row = from;
            while row < until {
                let first = opened.sequence(lane, row);
                // Rows up to the next gap have sequences side by side.
                let mut run = until - row;
                while opened.sequence(lane, row + run - 1) - first != run - 1 {
                    let behind =
                        gaps_after(opened, lane, first).map_or(until, |gap| opened.row(lane, gap));
                    run = (behind - row).clamp(1, run - 1);
                }
                while let Some(gap) = gaps.next_if(|gap| gap.first < first) {
                    self.gap(of_segment(gap), &part.file, at)?;
                }
                let bytes = (row - from) as usize * SLOT..(row - from + run) as usize * SLOT;
                self.events(lane, first, &rows[bytes], report, at)?;
                row += run;
            }
        }
        for gap in gaps {
            self.gap(of_segment(gap), &part.file, (opened.layout().gaps.offset, None))?;
        }
        self.arrive(lane as usize, next, &part.file, (0, None));
        Ok(())
    }
}

/// First sequence of the first gap of a lane behind `sequence`.
fn gaps_after(opened: &Opened, lane: Priority, sequence: u64) -> Option<u64> {
    opened
        .gaps()
        .iter()
        .filter(|gap| gap.lane == lane)
        .map(|gap| gap.first)
        .find(|&first| first > sequence)
}

fn of_segment(gap: &super::super::segment::Gap) -> Gap {
    Gap { lane: gap.lane, first: gap.first, count: gap.count, why: gap.why }
}

fn finding_of(error: &SegmentError, part: &Part) -> Finding {
    match error {
        SegmentError::Damaged(damage) => {
            let mut finding = Finding::new(Kind::Damaged, &part.file, damage.why)
                .at(damage.offset, Some(part.first));
            if let (Some(lane), Some((first, last))) = (damage.lane, damage.sequences) {
                finding.sequences[lane as usize] = (Some(first), Some(last + 1));
            }
            finding
        }
        SegmentError::Foreign { why, .. } => {
            Finding::new(Kind::Foreign, &part.file, *why).at(0, Some(part.first))
        }
        SegmentError::Io { .. } | SegmentError::Removed { .. } => {
            Finding::new(Kind::Unreadable, &part.file, error.to_string()).at(0, Some(part.first))
        }
        // The last two are about a whole journal and do not come of reading one file.
        SegmentError::Source { .. }
        | SegmentError::Order { .. }
        | SegmentError::Missing { .. }
        | SegmentError::Gone { .. } => {
            Finding::new(Kind::Contradiction, &part.file, error.to_string()).at(0, Some(part.first))
        }
    }
}

/// The two forms that are written once.
enum Either {
    Sealed(Sealed),
    Packed(Packed),
}

impl Either {
    fn opened(&self) -> &Opened {
        match self {
            Either::Sealed(segment) => segment.opened(),
            Either::Packed(segment) => segment.opened(),
        }
    }

    fn as_segment(&self) -> &dyn Segment {
        match self {
            Either::Sealed(segment) => segment,
            Either::Packed(segment) => segment,
        }
    }
}
