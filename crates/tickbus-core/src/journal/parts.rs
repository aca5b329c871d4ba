//! The files of a journal's directory, and those of them that are open.
//!
//! Sealing gives the sealed file its name before the log segment goes, packing likewise, so a segment is
//! there under some name at every moment; a listing that is taken meanwhile may still miss it, and is
//! taken until two are alike.

use super::disk::{Disk, FsDisk};
use super::fault::SegmentError;
use super::folder::Form;
use super::format::segment_first;
use super::opened::Opened;
use super::packed::Packed;
use super::query::Segment;
use super::sealed::Sealed;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that are kept open for the next query.
const OPEN_FILES: usize = 64;
/// Tries at a directory that others change.
const TRIES: usize = 8;

/// The forms in which a segment is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Forms {
    pub log: bool,
    pub sealed: bool,
    pub packed: bool,
}

/// The segments of a directory by first position.
pub(super) type Listing = BTreeMap<u64, Forms>;

fn list_once(path: &Path) -> Result<Listing, SegmentError> {
    let names = FsDisk::open(path, false).and_then(|disk| disk.list());
    let mut listing = Listing::new();
    for name in names.map_err(SegmentError::io("list", path))? {
        if let Some(first) = segment_first(&name) {
            listing.entry(first).or_default().log = true;
        } else if let Some((first, form)) = super::folder::parse(&name) {
            let forms = listing.entry(first).or_default();
            match form {
                Form::Sealed => forms.sealed = true,
                Form::Packed => forms.packed = true,
            }
        }
    }
    Ok(listing)
}

/// What a directory holds.
pub(super) fn list(path: &Path) -> Result<Listing, SegmentError> {
    let mut listing = list_once(path)?;
    for _ in 0..TRIES {
        let again = list_once(path)?;
        if again.keys().eq(listing.keys()) {
            return Ok(again);
        }
        listing = again;
    }
    Ok(listing)
}

/// Whether a directory has a segment of a journal.
pub fn is_journal(path: &Path) -> bool {
    list_once(path).is_ok_and(|listing| !listing.is_empty())
}

/// A segment file that is open.
#[derive(Clone)]
pub(super) enum SegmentFile {
    Sealed(Arc<Sealed>),
    Packed(Arc<Packed>),
}

impl SegmentFile {
    pub fn opened(&self) -> &Opened {
        match self {
            SegmentFile::Sealed(segment) => segment.opened(),
            SegmentFile::Packed(segment) => segment.opened(),
        }
    }

    pub fn segment(&self) -> Arc<dyn Segment> {
        match self {
            SegmentFile::Sealed(segment) => Arc::clone(segment) as Arc<dyn Segment>,
            SegmentFile::Packed(segment) => Arc::clone(segment) as Arc<dyn Segment>,
        }
    }

    fn form(&self) -> Form {
        match self {
            SegmentFile::Sealed(_) => Form::Sealed,
            SegmentFile::Packed(_) => Form::Packed,
        }
    }
}

/// Opens sealed and packed segments of a directory, and keeps those last used.
pub(super) struct Files {
    pub path: PathBuf,
    open: Mutex<VecDeque<(u64, SegmentFile)>>,
}

impl Files {
    pub fn new(path: PathBuf) -> Files {
        Files { path, open: Mutex::default() }
    }

    /// A segment; [`SegmentError::Removed`] when it is there in neither form.
    pub fn open(&self, first: u64) -> Result<SegmentFile, SegmentError> {
        if let Some(file) = self.kept(first) {
            return Ok(file);
        }
        let mut wrong = None;
        // A second look: it may have been packed between the two questions.
        for form in [Form::Sealed, Form::Packed, Form::Sealed, Form::Packed] {
            let opened = match form {
                Form::Sealed => {
                    Sealed::open(&self.path, first).map(Arc::new).map(SegmentFile::Sealed)
                }
                Form::Packed => {
                    Packed::open(&self.path, first).map(Arc::new).map(SegmentFile::Packed)
                }
            };
            match opened {
                Ok(file) => {
                    self.keep(first, file.clone());
                    return Ok(file);
                }
                Err(SegmentError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    wrong.get_or_insert(error);
                }
            }
        }
        let path = self.path.join(Form::Sealed.name(first));
        Err(wrong.unwrap_or(SegmentError::Removed { path }))
    }

    fn kept(&self, first: u64) -> Option<SegmentFile> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(position, _)| *position == first)?;
        let found = open.remove(at)?;
        let file = found.1.clone();
        open.push_back(found);
        Some(file)
    }

    fn keep(&self, first: u64, file: SegmentFile) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back((first, file));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
    }

    /// Close what has gone from the directory: its space is free then.
    pub fn forget(&self, listing: &Listing) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(first, file)| {
            listing.get(first).is_some_and(|forms| match file.form() {
                Form::Sealed => forms.sealed,
                Form::Packed => forms.packed,
            })
        });
    }
}
