//! What can go wrong with a journal, by what the caller does next.

use super::fault::SegmentError;
use super::format::LANES;
use crate::error::BusError;
use crate::event::{PRIORITIES, Priority};
use std::fmt;

/// Bytes that were on the disk and are no longer what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    pub position: u64,
    /// Position at which something readable follows, if anything does.
    pub until: Option<u64>,
    /// For each lane the sequences that may be affected, as far as they are known: from the next
    /// one expected to the next one read behind the damage.
    pub sequences: [(Option<u64>, Option<u64>); LANES],
    pub why: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, position, why, .. } = self;
        write!(f, "{file}, offset {offset} (position {position}): {why}")?;
        for (priority, (from, to)) in PRIORITIES.into_iter().zip(self.sequences) {
            match (from, to) {
                (Some(from), Some(to)) if from == to => {}
                (Some(from), Some(to)) => write!(f, "; {} {from} to {}", priority.name(), to - 1)?,
                (Some(from), None) => write!(f, "; {} from {from} on", priority.name())?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// Why an operation on the journal did not happen.
#[derive(Debug)]
pub enum JournalError {
    /// What was durable is damaged. Nothing was changed; a reader that salvages reads around it.
    Corrupt(Box<Damage>),
    /// Positions that no file holds, from the first to the one before `end`.
    MissingSegment { first: u64, end: u64 },
    /// The same, where files are there and cannot be used.
    Hole { first: u64, end: u64, why: String },
    /// A sealed or packed segment cannot be written or read.
    Segment(Box<SegmentError>),
    /// Another process writes this journal; `None` if it has not said who it is.
    Locked { path: String, pid: Option<u32> },
    /// Another process packs segments of this journal and does not come to an end.
    Compacting { path: String },
    /// A sync failed. What it should have saved is unknown until the journal is opened again.
    Poisoned { why: String },
    /// No space. Nothing was acknowledged, and what was staged is written by the next commit.
    StorageFull { what: &'static str, file: String },
    /// A file is called like a segment and is none.
    NotAJournal { file: String },
    /// The segment is of a format this version does not know.
    Version { file: String, found: u8, known: u8 },
    /// The segment belongs to another journal.
    OtherJournal { file: String },
    /// The position is no longer, or was never, in the log.
    Gone { position: u64, first: u64 },
    /// The sequence is no longer, or was never, in the log.
    GoneSequence {
        lane: Priority,
        sequence: u64,
        first: u64,
    },
    /// Events were offered out of order.
    Order {
        lane: Priority,
        expected: u64,
        found: u64,
    },
    /// A record does not fit a segment.
    TooLarge { bytes: usize, limit: usize },
    /// A size that no segment can have.
    SegmentSize { bytes: u64 },
    /// The journal was opened by this process's parent.
    Forked { owner: u32 },
    /// A record that cannot be read, or that says otherwise than one before.
    BadRecord { kind: u32 },
    /// Whoever asked for a long reading ended it.
    Interrupted,
    /// The journal has been closed.
    Closed,
    /// The bus refused.
    Bus(Box<BusError>),
    /// The operating system refused.
    Io {
        what: &'static str,
        file: String,
        error: std::io::Error,
    },
}

impl JournalError {
    /// For `map_err` on system calls. A full disk, or quota, is an error of its own, and so is a
    /// limit of size: segments are made in their full length, so it stands in the way of the next one
    /// until somebody lifts it.
    pub(super) fn io(
        what: &'static str,
        file: &str,
    ) -> impl FnOnce(std::io::Error) -> JournalError {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        move |error| match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => {
                JournalError::StorageFull { what, file: file.to_owned() }
            }
            _ => JournalError::Io { what, file: file.to_owned(), error },
        }
    }
}

impl JournalError {
    /// Say in which directory the file is.
    pub(super) fn in_folder(mut self, folder: &str) -> JournalError {
        if let JournalError::StorageFull { file, .. } | JournalError::Io { file, .. } = &mut self
            && !file.contains('/')
        {
            *file = format!("{folder}/{file}");
        }
        self
    }
}

impl From<BusError> for JournalError {
    fn from(error: BusError) -> JournalError {
        JournalError::Bus(Box::new(error))
    }
}

impl From<SegmentError> for JournalError {
    fn from(error: SegmentError) -> JournalError {
        match error {
            SegmentError::Io { what, path, error } => {
                JournalError::io(what, &path.to_string_lossy())(error)
            }
            error => JournalError::Segment(Box::new(error)),
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Corrupt(damage) => write!(f, "the journal is damaged: {damage}"),
            JournalError::MissingSegment { first, end } => {
                write!(f, "no segment file has the positions {first} to {}", end.saturating_sub(1))
            }
            JournalError::Hole { first, end, why } => {
                write!(f, "the positions {first} to {} cannot be read: {why}", end - 1)
            }
            JournalError::Segment(error) => write!(f, "{error}"),
            JournalError::Locked { path, pid: Some(pid) } => {
                write!(f, "the journal {path} is being written by process {pid}")
            }
            JournalError::Locked { path, pid: None } => {
                write!(f, "the journal {path} is being written by another process")
            }
            JournalError::Compacting { path } => {
                write!(f, "the journal {path} is being compacted by another process")
            }
            JournalError::Poisoned { why } => {
                write!(f, "{why}; the journal takes no more until it is opened again")
            }
            JournalError::StorageFull { what, file } => write!(f, "{what} {file}: no space left"),
            JournalError::NotAJournal { file } => write!(f, "{file} is no segment of a journal"),
            JournalError::Version { file, found, known } => {
                write!(f, "{file} has format {found}; this version reads format {known}")
            }
            JournalError::OtherJournal { file } => write!(f, "{file} belongs to another journal"),
            JournalError::Gone { position, first } => {
                write!(f, "position {position} is not in the log, which starts at {first}")
            }
            JournalError::GoneSequence { lane, sequence, first } => write!(
                f,
                "event {sequence} of lane {} is not in the log, which starts at {first}",
                lane.name()
            ),
            JournalError::Order { lane, expected, found } => write!(
                f,
                "lane {} goes on with event {expected}, but {found} was offered",
                lane.name()
            ),
            JournalError::TooLarge { bytes, limit } => {
                write!(f, "a record of {bytes} bytes; a segment takes at most {limit}")
            }
            JournalError::SegmentSize { bytes } => write!(
                f,
                "segments of {bytes} bytes; allowed are multiples of 4096 from 8192 to 2^40"
            ),
            JournalError::Forked { owner } => {
                write!(f, "process {owner} opened this journal; a fork of it may not write")
            }
            JournalError::BadRecord { kind } => {
                write!(f, "a record of kind {kind} cannot be read, or contradicts one before")
            }
            JournalError::Interrupted => write!(f, "interrupted"),
            JournalError::Closed => write!(f, "the journal is closed"),
            JournalError::Bus(error) => write!(f, "{error:?}"),
            JournalError::Io { what, file, error } => write!(f, "{what} {file}: {error}"),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JournalError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
