//! All of a journal read and checked: log, sealed and packed segments, and what lies beside them.
//!
//! ```text
//! listing ──► parts in the order of their positions ──► batches, blocks, frames ──► tracker ──► Visitor
//!                                                                 └── findings ──────┘
//! ```
//!
//! Every byte that belongs to the journal is read and its checksum verified; chain, sequences and names
//! are followed from part to part, whatever their forms. What is wrong is a [`Finding`] and no error:
//! the reading goes on behind it. What is whole goes to a [`Visitor`], so that counting and salvaging
//! are the same reading. Nothing is opened to be written, no lock is taken, and a process may write
//! meanwhile: a place that looks wrong is read again once something later vouches for it.

mod listing;
mod log_part;
mod segment_part;
mod tracker;

pub use listing::{Form, Listing, Part, list};

use super::error::JournalError;
use super::format::{HEADER, HeaderState, JournalId, LANES, SegmentHeader, Sequences};
use super::verify::Gap;
use crate::event::Priority;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tracker::Tracker;

/// What is told of a journal's contents, as it is read. Events of a lane and its gaps come in the
/// order of their sequences, each once; sequences in between that are in neither are lost.
pub trait Visitor {
    fn events(&mut self, lane: Priority, first: u64, rows: &[u8]) -> Result<(), JournalError>;
    fn gap(&mut self, gap: Gap) -> Result<(), JournalError>;
    fn record(&mut self, position: u64, kind: u32, bytes: &[u8]) -> Result<(), JournalError>;
}

/// Takes notice of nothing.
impl Visitor for () {
    fn events(&mut self, _: Priority, _: u64, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }

    fn gap(&mut self, _: Gap) -> Result<(), JournalError> {
        Ok(())
    }

    fn record(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }
}

/// What a finding is, which decides what is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was on the disk once and is no longer what was written.
    Damaged,
    /// A file, or events, that must be there are not.
    Missing,
    /// A file under a segment's name that is not that segment of this journal.
    Foreign,
    /// Whole by itself, and contradicts what is whole elsewhere.
    Contradiction,
    /// Events whose symbol, source or type no record names.
    Unnamed,
    /// The system refused to read it.
    Unreadable,
    /// Behind the last whole batch, and nothing says that it was ever on the disk as a whole.
    Torn,
    /// A process is writing it now.
    BeingWritten,
    /// The oldest parts are not there, and what is there does not need them.
    Removed,
    /// Of a step that was interrupted, or cut off by an earlier opening.
    Leftover,
    /// Nothing of a journal's.
    Stray,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Damaged => "damaged",
            Kind::Missing => "missing",
            Kind::Foreign => "foreign",
            Kind::Contradiction => "contradiction",
            Kind::Unnamed => "unnamed",
            Kind::Unreadable => "unreadable",
            Kind::Torn => "torn",
            Kind::BeingWritten => "being_written",
            Kind::Removed => "removed",
            Kind::Leftover => "leftover",
            Kind::Stray => "stray",
        }
    }

    /// Whether the journal is not what it was.
    pub const fn is_damage(self) -> bool {
        matches!(
            self,
            Kind::Damaged | Kind::Missing | Kind::Foreign | Kind::Contradiction | Kind::Unnamed
        )
    }
}

/// Something to tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub file: String,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Position in the log, where one is known.
    pub position: Option<u64>,
    /// Position at which something whole follows.
    pub until: Option<u64>,
    /// For each lane the sequences concerned, from the first to the one before the second; `None`
    /// where it is not known, and both where the lane is not concerned.
    pub sequences: [(Option<u64>, Option<u64>); LANES],
    pub bytes: u64,
    pub why: String,
}

impl Finding {
    pub fn new(kind: Kind, file: &str, why: impl Into<String>) -> Finding {
        Finding {
            kind,
            file: file.to_owned(),
            offset: 0,
            position: None,
            until: None,
            sequences: [(None, None); LANES],
            bytes: 0,
            why: why.into(),
        }
    }

    #[must_use]
    pub fn at(mut self, offset: u64, position: Option<u64>) -> Finding {
        (self.offset, self.position) = (offset, position);
        self
    }
}

/// Sequences of a lane that should be there, and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub lane: Priority,
    pub first: u64,
    /// `None`: nothing follows that would say how many.
    pub count: Option<u64>,
}

/// What one file of the journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReport {
    pub file: String,
    pub form: Form,
    /// Positions that it covers; the last one is `end - 1`.
    pub first: u64,
    pub end: u64,
    pub bytes: u64,
    pub created_ns: u64,
    /// Prepared for later: it has no header yet.
    pub prepared: bool,
    pub batches: u64,
    pub records: u64,
    pub padding_slots: u64,
    pub events: [u64; LANES],
    /// First sequence of each lane in it, and the one behind.
    pub first_sequence: Sequences,
    pub next_sequence: Sequences,
    /// Least and greatest timestamp; the least is the greater one when there is no event.
    pub least: u64,
    pub greatest: u64,
}

/// What a journal is.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    pub id: Option<JournalId>,
    pub parts: Vec<PartReport>,
    pub findings: Vec<Finding>,
    pub gaps: Vec<Gap>,
    pub lost: Vec<Lost>,
    pub names: Names,
    /// The process that writes it, if one does.
    pub writer: Option<u32>,
    /// First sequence of each lane that the journal should have.
    pub begins: Sequences,
    /// Behind the last whole batch.
    pub position: u64,
    pub next: Sequences,
    /// The log was closed, and nothing was written since.
    pub closed: bool,
    pub bytes_read: u64,
}

impl Audit {
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.kind.is_damage())
    }

    pub fn is_readable(&self) -> bool {
        self.findings.iter().all(|finding| finding.kind != Kind::Unreadable)
    }
}

/// The texts behind a journal's numbers, as far as records say them.
#[derive(Debug, Clone, Default)]
pub struct Names {
    pub symbols: HashMap<u32, String>,
    pub sources: HashMap<u32, String>,
    /// Rows of registered types, as they are recorded.
    pub types: HashMap<u8, Vec<u8>>,
}

/// Asked now and then with the bytes read and those there are; `false` ends the reading.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Read all of the journal in a directory.
///
/// # Errors
/// [`JournalError::Io`] when the directory cannot be listed, [`JournalError::NotAJournal`] or
/// [`JournalError::Version`] when nothing in it is a journal's, [`JournalError::Interrupted`], and
/// whatever the visitor returns.
pub fn audit(
    path: &Path,
    visitor: &mut dyn Visitor,
    progress: Progress<'_>,
) -> Result<Audit, JournalError> {
    let listing = list(path)?;
    let id = journal_id(path, &listing)?;
    let total = listing.parts.iter().map(|part| part.bytes).sum();
    let mut tracker = Tracker::new(path, id, listing.writer, total, visitor, progress);
    tracker.audit.findings.extend(listing.findings.iter().cloned());
    if listing.parts.is_empty() {
        let (kind, why) = match listing.writer {
            Some(_) => (Kind::BeingWritten, "there is no segment yet"),
            None => (
                Kind::Missing,
                "there is no segment: nothing was ever written, or all of them are gone",
            ),
        };
        tracker.audit.findings.push(Finding::new(kind, "", why));
    }
    let mut parts = listing.parts.as_slice();
    while let Some((part, rest)) = parts.split_first() {
        let same = rest.iter().take_while(|other| other.first == part.first).count();
        let (others, rest) = rest.split_at(same);
        tracker.later = rest.to_vec();
        tracker.part(part, others)?;
        parts = rest;
    }
    Ok(tracker.finish())
}

/// The id that most segments have. One file of another journal must not make strangers of the rest.
fn journal_id(path: &Path, listing: &Listing) -> Result<Option<JournalId>, JournalError> {
    let mut votes: HashMap<JournalId, (usize, u64)> = HashMap::new();
    let (mut other_version, mut strange, mut maybe) = (None, None, false);
    for part in &listing.parts {
        let mut page = [0; HEADER];
        let read = File::open(path.join(&part.file))
            .and_then(|file| file.read_exact_at(&mut page, 0).map(|()| file));
        if read.is_err() {
            maybe = true;
            continue;
        }
        let id = match part.form {
            Form::Log => match SegmentHeader::decode(&page) {
                HeaderState::Whole(head) => Some(head.id),
                HeaderState::Version(found) => {
                    other_version.get_or_insert((part.file.clone(), found));
                    None
                }
                HeaderState::Foreign => {
                    strange.get_or_insert_with(|| part.file.clone());
                    None
                }
                HeaderState::Blank | HeaderState::Broken => {
                    maybe = true;
                    None
                }
            },
            Form::Sealed | Form::Packed => {
                let form = part.form.segment().expect("not a log segment");
                let ours = super::segment::read_identity(form, &page, path, 0);
                maybe |= matches!(&ours, Err(super::fault::SegmentError::Damaged(_)));
                match ours {
                    Ok(identity) => Some(identity.journal),
                    Err(_) => {
                        strange.get_or_insert_with(|| part.file.clone());
                        None
                    }
                }
            }
        };
        if let Some(id) = id {
            let vote = votes.entry(id).or_default();
            *vote = (vote.0 + 1, part.first);
        }
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(id, _)| id);
    if most.is_some() || maybe || (listing.has_lock && strange.is_none() && other_version.is_none())
    {
        return Ok(most);
    }
    match (other_version, strange) {
        (Some((file, found)), _) => {
            Err(JournalError::Version { file, found, known: super::format::VERSION })
        }
        (None, Some(file)) => Err(JournalError::NotAJournal { file }),
        (None, None) => {
            let none = std::io::Error::other("neither a segment nor a lock is there");
            Err(JournalError::io("look for a journal in", &path.display().to_string())(none))
        }
    }
}
