//! Opening a journal to write: the log, and what its numbers stand for.

use super::dictionary::Dictionary;
use super::disk::FsDisk;
use super::error::JournalError;
use super::format::record;
use super::log::{Log, Options};
use super::names;
use super::reader::Until;
use super::recovery::Recovered;
use crate::event::PRIORITIES;
use std::path::Path;

/// A log that is ours to write, and what has to be known to go on with it.
pub struct Opening {
    pub log: Log<FsDisk>,
    pub recovered: Recovered,
    pub dictionary: Dictionary,
    /// Id of the bus it was last the journal of.
    pub bus: Option<u64>,
}

impl Opening {
    /// Open or begin the journal in a directory.
    pub fn of(path: &Path, segment_bytes: u64) -> Result<Opening, JournalError> {
        let place = path.display().to_string();
        let disk = FsDisk::open(path, true).map_err(JournalError::io("open", &place))?;
        let options = Options { segment_bytes, ..Options::default() };
        let (mut log, recovered) = Log::open(disk, &options)?;
        let (mut dictionary, mut bus) = (Dictionary::default(), None);
        let until = Until::Position(log.written());
        if let Some(mut reader) = names::reader(log.disk(), log.written(), until)? {
            while let Some(found) = reader.next_record(until)? {
                if found.kind == record::BUS {
                    bus = found.bytes.try_into().ok().map(u64::from_le_bytes);
                } else if dictionary.read(found.kind, found.bytes).is_err() {
                    return Err(JournalError::BadRecord { kind: found.kind });
                }
            }
        }
        let names: Vec<(u32, Vec<u8>)> = dictionary.records().collect();
        log.remember_names(&names);
        Ok(Opening { log, recovered, dictionary, bus })
    }

    /// Next sequence of each lane.
    pub fn next(&self) -> [u64; 3] {
        PRIORITIES.map(|priority| self.log.next(priority))
    }
}
