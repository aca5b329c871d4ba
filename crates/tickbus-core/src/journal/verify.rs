//! What is in a journal, and whether it is whole. Reads, and changes nothing.

use super::disk::Disk;
use super::error::{Damage, JournalError};
use super::format::{Kind, LANES, Sequences, record, segment_name, u64_at};
use super::reader::{Found, LogReader, Until};
use super::walk::{follow, written_bytes};
use crate::event::{PRIORITIES, Priority};
use std::sync::Arc;

/// Sequences that the journal knows it never got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub lane: Priority,
    pub first: u64,
    pub count: u64,
    pub why: u64,
}

/// What is in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    pub file: String,
    pub first: u64,
    pub slots: u64,
    pub created_ns: u64,
    pub batches: u64,
    pub events: [u64; LANES],
    pub records: u64,
    pub padding_slots: u64,
    pub gaps: Vec<Gap>,
}

/// What is in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub segments: Vec<SegmentReport>,
    /// What was on the disk and is no longer what was written.
    pub damage: Vec<Damage>,
    /// Behind the last valid batch.
    pub position: u64,
    /// For each lane the sequence behind the last one read.
    pub next: Sequences,
    /// Bytes behind the end that are no batches: a writer was killed, or is at work.
    pub torn_bytes: u64,
    /// The log was closed.
    pub clean: bool,
}

/// Read every batch of a log and check it.
///
/// # Errors
/// When a file cannot be read or is none of a journal. Damage is no error but in the report.
pub fn verify<D: Disk>(disk: &Arc<D>) -> Result<Report, JournalError> {
    let mut report = Report::default();
    let mut reader = match LogReader::first(disk) {
        Ok(Some(reader)) => reader.salvaging(),
        Ok(None) => return Ok(report),
        Err(JournalError::Corrupt(damage)) => {
            report.damage.push(*damage);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    report.position = reader.head().first;
    report.next = reader.head().next;
    while let Some(found) = reader.next(Until::Written, |_| true)? {
        match found {
            Found::Hole(mut damage) => {
                for (known, from) in damage.sequences.iter_mut().zip(report.next) {
                    known.0 = Some(from);
                }
                // What follows the hole counts from where it says it is.
                for (next, (_, seen)) in report.next.iter_mut().zip(damage.sequences) {
                    *next = seen.unwrap_or(*next).max(*next);
                }
                report.clean = false;
                report.damage.push(*damage);
            }
            Found::Batch(position, header) => {
                let (head, payload) = (*reader.head(), reader.payload());
                let segment = segment_of(&mut report, &head);
                segment.batches += 1;
                match header.kind {
                    Kind::Events => {
                        segment.events[usize::from(header.lane)] += u64::from(header.slots);
                    }
                    Kind::Gap => segment.gaps.push(Gap {
                        lane: PRIORITIES[usize::from(header.lane)],
                        first: header.first,
                        count: u64_at(payload, 0),
                        why: u64_at(payload, 8),
                    }),
                    Kind::Record => segment.records += 1,
                    Kind::Padding => segment.padding_slots += 1 + u64::from(header.slots),
                    Kind::End => {}
                }
                if let Err(why) = follow(&mut report.next, &header, payload) {
                    let lane = usize::from(header.lane);
                    let mut sequences = [(None, None); LANES];
                    sequences[lane] = (Some(report.next[lane]), Some(header.first));
                    report.damage.push(Damage {
                        file: segment_name(head.first),
                        offset: head.offset_of(position),
                        position,
                        until: Some(position),
                        sequences,
                        why,
                    });
                    report.next[lane] = header.first.saturating_add(u64::from(header.slots));
                }
                let closing = header.kind == Kind::Record && header.record_kind() == record::CLOSED;
                report.clean = closing || (report.clean && header.kind == Kind::Padding);
                report.position = reader.position();
            }
        }
    }
    let head = *reader.head();
    if report.position < head.end() && report.position >= head.first {
        let range = head.offset_of(report.position)..head.file_len();
        let name = segment_name(head.first);
        let file = disk.open(&name, false).map_err(JournalError::io("open", &name))?;
        report.torn_bytes = written_bytes(&file, range).map_err(JournalError::io("read", &name))?;
    }
    report.clean &= report.torn_bytes == 0;
    Ok(report)
}

fn segment_of<'a>(
    report: &'a mut Report,
    head: &super::format::SegmentHeader,
) -> &'a mut SegmentReport {
    if report.segments.last().is_none_or(|segment| segment.first != head.first) {
        report.segments.push(SegmentReport {
            file: segment_name(head.first),
            first: head.first,
            slots: head.slots,
            created_ns: head.created_ns,
            batches: 0,
            events: [0; LANES],
            records: 0,
            padding_slots: 0,
            gaps: Vec::new(),
        });
    }
    report.segments.last_mut().expect("one was pushed")
}
