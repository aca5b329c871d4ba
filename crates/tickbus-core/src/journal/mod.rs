//! The journal: every event of a bus on disk, in order, with checksums.
//!
//! - [`format`](mod@format): the bytes of segments, batches and records
//! - [`disk`]: what is needed of a file system, and the real one
//! - [`log`]: the writer; [`spares`]: its segments before and after their use
//! - [`recovery`]: opening what a crash has left
//! - [`reader`], [`lane_reader`]: batches, records and lanes, also while another process writes
//! - [`verify`]: what is in a journal and whether it is whole
//! - [`audit`], [`salvage`]: every byte of all parts checked, and what is whole written anew
//! - [`contents`]: how much of what is in a journal
//! - [`error`]: what can go wrong
//! - [`opening`], [`committer`], [`dictionary`], [`history`]: the journal of a bus
//! - [`segment`]: what sealed and packed segments have in common: identity, parts, footer
//! - [`sealed`]: events contiguous for each lane
//! - [`packed`], [`columns`], [`planes`]: the same, a tenth of the size
//! - [`index`]: what a block of events can contain
//! - [`query`]: the events of a time, of types, symbols and sources
//! - [`catalog`]: the parts of a directory, whatever their form
//! - [`hot`], [`scan`]: a log segment as queries see it; [`held`], [`archive`]: all parts as one log
//! - [`whole`]: a lane as its readers see it, through parts of all forms
//! - [`log_source`]: a full log segment, to be sealed
//! - [`upkeep`]: sealing, packing and removing in the background; [`quiet`]: without getting in the way
//! - [`compact`], [`retention`]: the same, a journal at a time
//! - [`draft`], [`opened`]: a segment while it is written, and while it is read
//! - [`folder`]: the file operations, and names
//! - [`fault`]: what can be wrong with a segment
//!
//! `docs/parts/journal.md` says what is promised.

pub mod archive;
pub mod audit;
pub mod catalog;
pub mod columns;
pub mod committer;
pub mod compact;
pub mod contents;
pub mod cursors;
pub mod dictionary;
pub mod disk;
pub mod draft;
pub mod error;
pub mod fault;
pub mod folder;
pub mod format;
pub mod held;
pub mod history;
pub mod hot;
pub mod index;
pub mod lane_reader;
pub mod log;
pub mod log_source;
mod names;
pub mod opened;
pub mod opening;
pub mod packed;
pub mod planes;
pub mod query;
pub mod quiet;
pub mod reader;
pub mod recovery;
pub mod retention;
pub mod salvage;
mod scan;
pub mod sealed;
pub mod segment;
pub mod spares;
mod stage;
pub mod upkeep;
pub mod verify;
mod walk;
pub mod whole;

pub use disk::{Disk, DiskFile, FsDisk};
pub use error::{Damage, JournalError};
pub use lane_reader::{LaneReader, Piece};
pub use log::{Committed, Log, Options};
pub use reader::{Found, LogReader, Record, Until};
pub use recovery::{Recovered, Torn};
pub use spares::Preparer;
pub use verify::{Report, SegmentReport, verify};

use std::time::Duration;

/// When a publish is acknowledged, and so what it survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It is in the lane; the lane is not journaled. Survives nothing.
    Memory,
    /// It is written. Survives the process, but not the machine.
    Os,
    /// It is written, and synced every so often. The machine's death costs about one interval.
    Interval(Duration),
    /// It is synced. Survives the machine, if the device honours flushes.
    Disk,
}
