//! Opening a journal to write: the log, and what its numbers stand for.

use super::catalog::{Catalog, PartForm};
use super::dictionary::Dictionary;
use super::disk::{Disk, FsDisk};
use super::error::JournalError;
use super::folder::{Form, NEW};
use super::format::record;
use super::log::{Log, Options};
use super::names::NameReader;
use super::reader::Until;
use super::recovery::Recovered;
use crate::event::PRIORITIES;
use std::path::Path;
use std::sync::Arc;

/// A log that is ours to write, and what has to be known to go on with it.
pub struct Opening {
    pub log: Log<FsDisk>,
    pub recovered: Recovered,
    pub dictionary: Dictionary,
    /// The parts of the journal.
    pub catalog: Catalog,
    /// Id of the bus it was last the journal of.
    pub bus: Option<u64>,
}

impl Opening {
    /// Open or begin the journal in a directory.
    pub fn of(path: &Path, segment_bytes: u64) -> Result<Opening, JournalError> {
        let (mut log, recovered, catalog) = open_log(path, segment_bytes)?;
        let (mut dictionary, mut bus) = (Dictionary::default(), None);
        let mut reader = NameReader::new(Arc::clone(log.disk()), catalog);
        reader.read(Until::Position(log.written()), &mut |kind, bytes| {
            if kind == record::BUS {
                bus = bytes.try_into().ok().map(u64::from_le_bytes);
            }
            dictionary.read(kind, bytes).map_err(|_| JournalError::BadRecord { kind })
        })?;
        let names: Vec<(u32, Vec<u8>)> = dictionary.records().collect();
        log.remember_names(&names);
        Ok(Opening { log, recovered, dictionary, catalog: reader.into_catalog(), bus })
    }

    /// Next sequence of each lane.
    pub fn next(&self) -> [u64; 3] {
        PRIORITIES.map(|priority| self.log.next(priority))
    }
}

/// Take the log over. It may begin where the sealed segments end.
fn open_log(
    path: &Path,
    segment_bytes: u64,
) -> Result<(Log<FsDisk>, Recovered, Catalog), JournalError> {
    let place = path.display().to_string();
    let mut again = true;
    loop {
        let disk = FsDisk::open(path, true).map_err(JournalError::io("open", &place))?;
        let catalog = Catalog::of(path)?;
        let sealed_to = catalog.sealed_to();
        let options = Options { segment_bytes, sealed_to, ..Options::default() };
        match Log::open(disk, &options) {
            // A writer that was closing has sealed one more between the look and the lock.
            Err(JournalError::MissingSegment { .. }) if again => again = false,
            Err(JournalError::MissingSegment { first, end }) => {
                // A file may be there and not be readable.
                let is_there =
                    |form: &PartForm| catalog.directory().join(form.file(first)).exists();
                let hole = catalog.holes().iter().find(|hole| hole.first == first);
                let hole = hole.filter(|_| PartForm::ALL.iter().any(is_there));
                return Err(match hole {
                    Some(hole) => JournalError::Hole { first, end, why: hole.why.clone() },
                    None => JournalError::MissingSegment { first, end },
                });
            }
            Err(error) => return Err(error.in_folder(&place)),
            Ok((log, recovered)) => {
                remove_drafts(&**log.disk(), Form::Sealed)?;
                return Ok((log, recovered, catalog));
            }
        }
    }
}

/// Remove what a crash has left of segments that were being written. The caller holds the lock of
/// those who write them.
pub(super) fn remove_drafts(disk: &impl Disk, form: Form) -> Result<(), JournalError> {
    let end = format!("{}{NEW}", form.suffix());
    for name in disk.list().map_err(JournalError::io("list", &disk.place()))? {
        if name.ends_with(&end) {
            disk.unlink(&name).map_err(JournalError::io("remove", &name))?;
        }
    }
    Ok(())
}
