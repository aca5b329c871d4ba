//! Finding the names of a log without reading all of it.
//!
//! Every segment repeats the names so far at its head, behind a record that says how many. So the
//! last head that is complete, and the records after it, are all names there are.

use super::disk::Disk;
use super::error::JournalError;
use super::format::{Kind, record};
use super::reader::{Found, LogReader, Until};
use super::walk::segments;
use std::sync::Arc;

/// A reader from which on the records up to `until` have every name; at the latest segment before
/// `position` that has such a head. `None` if there is no log.
pub(super) fn reader<D: Disk>(
    disk: &Arc<D>,
    position: u64,
    until: Until,
) -> Result<Option<LogReader<D>>, JournalError> {
    let firsts = segments(&**disk)?;
    for &first in firsts.iter().rev().filter(|&&first| first < position) {
        let found = LogReader::at(disk, first);
        let Ok(mut head) = found else {
            // Recycled, or of a kind that the full reading below will name.
            continue;
        };
        if head.position() == first && has_names(&mut head, until)? {
            return LogReader::at(disk, first).map(Some);
        }
    }
    LogReader::first(disk)
}

/// Whether a segment begins with all names.
fn has_names<D: Disk>(head: &mut LogReader<D>, until: Until) -> Result<bool, JournalError> {
    let mut left: Option<u32> = None;
    loop {
        let found = head.next(until, |header| header.kind == Kind::Record)?;
        let Some(Found::Batch(_, header)) = found else {
            return Ok(false);
        };
        match left {
            None if header.kind == Kind::Record && header.record_kind() == record::NAMES => {
                let count = head.payload().first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
                left = count;
            }
            Some(count) if header.kind == Kind::Record => left = Some(count.saturating_sub(1)),
            _ => return Ok(false),
        }
        if left == Some(0) {
            return Ok(true);
        }
    }
}
