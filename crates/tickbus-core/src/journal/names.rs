//! Finding the names of a journal without reading all of it.
//!
//! Every segment repeats the names so far at its head, behind a record that says how many. So the
//! last head that is complete, and the records after it, are all names there are. Sealed and packed
//! segments keep their records, so a head may be in any part.

use super::catalog::{Catalog, Part, PartForm};
use super::disk::FsDisk;
use super::error::JournalError;
use super::format::{Kind, record};
use super::reader::{Found, LogReader, Until};
use std::sync::Arc;

/// How often to begin again when parts change their form under the reader.
const TRIES: u32 = 10;

/// Tells every name record of a journal, and maybe others, oldest first; some come twice.
pub(super) struct NameReader {
    disk: Arc<FsDisk>,
    catalog: Catalog,
    /// Behind what was told; `None` before the first call, and when it has gone.
    log: Option<LogReader<FsDisk>>,
}

impl NameReader {
    pub fn new(disk: Arc<FsDisk>, catalog: Catalog) -> NameReader {
        NameReader { disk, catalog, log: None }
    }

    /// Tell what is new since the last call, up to `until`.
    ///
    /// # Errors
    /// What `tell` says, and when the names cannot be read.
    pub fn read(
        &mut self,
        until: Until,
        tell: &mut dyn FnMut(u32, &[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let mut tries = 0;
        loop {
            match self.try_read(until, tell) {
                Err(JournalError::Gone { .. }) if tries < TRIES => {
                    // It was sealed meanwhile, or removed. What was told may be told again.
                    self.log = None;
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_read(
        &mut self,
        until: Until,
        tell: &mut dyn FnMut(u32, &[u8]) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        if self.log.is_none() {
            self.catalog.refresh()?;
            let parts = self.catalog.parts();
            let has_head = |part: &Part| begins_with_names(&self.catalog, &self.disk, part);
            let from = parts.iter().rposition(has_head).unwrap_or(0);
            for part in &parts[from..] {
                if part.form == PartForm::Log {
                    self.log = Some(LogReader::at(&self.disk, part.first())?);
                    break;
                }
                let gone = JournalError::Gone { position: part.first(), first: part.end() };
                let stored = self.catalog.open(part.first())?.ok_or(gone)?;
                let mut records = stored.opened().records();
                while let Some(found) = records.next()? {
                    tell(found.kind, found.bytes)?;
                }
            }
        }
        if let Some(log) = &mut self.log {
            while let Some(found) = log.next_record(until)? {
                tell(found.kind, found.bytes)?;
            }
        }
        Ok(())
    }
}

/// Whether a part begins with all names there were. A part that cannot be read does not.
pub(super) fn begins_with_names(catalog: &Catalog, disk: &Arc<FsDisk>, part: &Part) -> bool {
    if part.form == PartForm::Log {
        return match LogReader::at(disk, part.first()) {
            Ok(mut log) if log.position() == part.first() => {
                log_has_names(&mut log).unwrap_or(false)
            }
            _ => false,
        };
    }
    let Ok(Some(stored)) = catalog.open(part.first()) else {
        return false;
    };
    let mut records = stored.opened().records();
    let Ok(Some(first)) = records.next() else {
        return false;
    };
    let count = first.bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let all = stored.opened().layout().records.count;
    first.kind == record::NAMES && count.is_some_and(|count| u64::from(count) < all)
}

/// Whether a log segment begins with all names.
fn log_has_names(head: &mut LogReader<FsDisk>) -> Result<bool, JournalError> {
    let mut left: Option<u32> = None;
    loop {
        let found = head.next(Until::Written, |header| header.kind == Kind::Record)?;
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
