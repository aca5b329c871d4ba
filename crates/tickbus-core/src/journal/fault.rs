//! What can be wrong with a segment: where it is, and which events it costs.

use crate::event::Priority;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a segment could not be written or read.
#[derive(Debug)]
pub enum SegmentError {
    /// The operating system refused; a full disk is among its reasons.
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// Bytes that were whole once are not any more.
    Damaged(Damage),
    /// A whole file that is no segment of this version, or not the one its name says.
    Foreign { path: PathBuf, why: &'static str },
    /// What was to be written contradicts itself; nothing was.
    Source {
        lane: Option<Priority>,
        sequence: u64,
        why: &'static str,
    },
    /// Segments that are not in the order of their sequences, or hold an event twice.
    Order { lane: Priority, sequence: u64 },
    /// Positions that nothing readable holds, from the first to the one before `end`, if that is known.
    Missing {
        path: PathBuf,
        first: u64,
        end: Option<u64>,
        why: String,
    },
    /// The lane's oldest event is a later one than was asked for.
    Gone {
        lane: Priority,
        sequence: u64,
        first: u64,
    },
    /// The file was there when the query began and has been removed since.
    Removed { path: PathBuf },
}

/// Where a file is damaged, and which events are not to be had because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub offset: u64,
    pub lane: Option<Priority>,
    /// First and last sequence that may be affected; `None` when no event is, or all may be.
    pub sequences: Option<(u64, u64)>,
    pub why: &'static str,
}

impl SegmentError {
    /// For `map_err` on system calls.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SegmentError {
        let path = path.to_path_buf();
        move |error| SegmentError::Io { what, path, error }
    }

    /// Damage that costs no particular events.
    pub fn damaged(path: &Path, offset: u64, why: &'static str) -> SegmentError {
        let path = path.to_path_buf();
        SegmentError::Damaged(Damage { path, offset, lane: None, sequences: None, why })
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentError::Io { what, path, error } => {
                write!(to, "cannot {what} {}: {error}", path.display())
            }
            SegmentError::Damaged(damage) => damage.fmt(to),
            SegmentError::Foreign { path, why } => write!(to, "{}: {why}", path.display()),
            SegmentError::Source { lane, sequence, why } => match lane {
                Some(lane) => write!(to, "{} lane, sequence {sequence}: {why}", lane.name()),
                None => write!(to, "position {sequence}: {why}"),
            },
            SegmentError::Order { lane, sequence } => {
                write!(to, "{} lane: sequence {sequence} stands in two segments", lane.name())
            }
            SegmentError::Missing { path, first, end, why } => match end {
                Some(end) => {
                    let last = end - 1;
                    write!(to, "{}: positions {first} to {last} are missing: {why}", path.display())
                }
                None => {
                    write!(to, "{}: positions from {first} on are missing: {why}", path.display())
                }
            },
            SegmentError::Gone { lane, sequence, first } => {
                write!(to, "{} lane: {sequence} is gone, it begins with {first}", lane.name())
            }
            SegmentError::Removed { path } => {
                write!(to, "{} was removed while it was read", path.display())
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} is damaged at offset {}: {}", self.path.display(), self.offset, self.why)?;
        if let Some(lane) = self.lane {
            write!(to, " ({} lane", lane.name())?;
            if let Some((first, last)) = self.sequences {
                write!(to, ", sequences {first} to {last}")?;
            }
            write!(to, ")")?;
        }
        Ok(())
    }
}

impl std::error::Error for SegmentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SegmentError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
