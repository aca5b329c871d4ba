//! A part of the journal as a query holds it, whatever becomes of its file meanwhile.
//!
//! Its spans are known, its file is opened when its turn comes. A log segment that was sealed since, or
//! is while it is read, has the same events in the same blocks in its sealed form, and is read there.
//! Only a part that was deleted is an error, [`SegmentError::Removed`].

use super::catalog::{PartForm, Stored, open_stored};
use super::fault::SegmentError;
use super::format::record;
use super::hot::{Hot, HotReader};
use super::index::LaneIndex;
use super::query::{Buffer, Hold, Segment, Span};
use super::segment::Identity;
use crate::event::{PRIORITIES, Priority};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Files that are kept open for the next query.
const OPEN_FILES: usize = 64;

/// Opens sealed and packed parts of a directory, and keeps those last used.
pub(super) struct Files {
    pub path: PathBuf,
    open: Mutex<VecDeque<(u64, Arc<Stored>)>>,
}

impl Files {
    pub fn new(path: PathBuf) -> Files {
        Files { path, open: Mutex::default() }
    }

    /// A part; [`SegmentError::Removed`] when it is there in neither form.
    pub fn open(&self, first: u64) -> Result<Arc<Stored>, SegmentError> {
        if let Some(stored) = self.kept(first) {
            return Ok(stored);
        }
        let path = self.path.join(PartForm::Sealed.file(first));
        let stored = open_stored(&self.path, first)?.ok_or(SegmentError::Removed { path })?;
        let stored = Arc::new(stored);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back((first, Arc::clone(&stored)));
        if open.len() > OPEN_FILES {
            open.pop_front();
        }
        Ok(stored)
    }

    fn kept(&self, first: u64) -> Option<Arc<Stored>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(position, _)| *position == first)?;
        let found = open.remove(at)?;
        let stored = Arc::clone(&found.1);
        open.push_back(found);
        Some(stored)
    }

    /// Close what has gone from the directory: its space is free then.
    pub fn keep_only(&self, is_there: impl Fn(u64, PartForm) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(first, stored)| {
            is_there(
                *first,
                match **stored {
                    Stored::Sealed(_) => PartForm::Sealed,
                    Stored::Packed(_) => PartForm::Packed,
                },
            )
        });
    }
}

/// A part, ready to be asked.
pub struct Held {
    pub identity: Identity,
    pub form: PartForm,
    pub path: PathBuf,
    spans: [Span; 3],
    /// Of a sealed part, each lane's first byte in the file.
    pub offsets: Option<[u64; 3]>,
    pub(super) hot: Option<Arc<Hot>>,
    files: Arc<Files>,
}

impl Held {
    /// A sealed or packed part.
    pub(super) fn stored(files: &Arc<Files>, stored: &Stored, form: PartForm) -> Held {
        let (opened, segment) = (stored.opened(), stored.segment());
        Held {
            identity: opened.layout().identity,
            form,
            path: opened.path().to_path_buf(),
            spans: PRIORITIES.map(|lane| segment.span(lane)),
            offsets: (form == PartForm::Sealed)
                .then(|| PRIORITIES.map(|lane| opened.layout().lanes[lane as usize].offset)),
            hot: None,
            files: Arc::clone(files),
        }
    }

    /// A log segment, as far as it was scanned.
    pub(super) fn hot(files: &Arc<Files>, identity: Identity, hot: &Arc<Hot>) -> Held {
        Held {
            identity,
            form: PartForm::Log,
            path: files.path.join(PartForm::Log.file(identity.first_position)),
            spans: PRIORITIES.map(|lane| hot.span(lane)),
            offsets: None,
            hot: Some(Arc::clone(hot)),
            files: Arc::clone(files),
        }
    }

    pub fn first(&self) -> u64 {
        self.identity.first_position
    }

    /// Where the next part starts.
    pub fn end(&self) -> u64 {
        self.identity.first_position.saturating_add(self.identity.slots)
    }

    pub fn span(&self, lane: Priority) -> Span {
        self.spans[lane as usize]
    }

    /// The payload with a reference that stands last in the part, and in a log segment before an event.
    pub fn payload(
        &self,
        lane: Priority,
        sequence: u64,
        reference: u64,
    ) -> Result<Option<Vec<u8>>, SegmentError> {
        let key = reference.to_le_bytes();
        if let Some(hot) = &self.hot {
            match hot.open().and_then(|reader| reader.payload(lane, sequence, &key)) {
                Err(SegmentError::Removed { .. }) => {}
                found => return found,
            }
        }
        let stored = self.files.open(self.first())?;
        let mut records = stored.opened().records();
        let mut found = None;
        while let Some(record) = records.next()? {
            if record.kind == record::PAYLOAD && record.bytes.starts_with(&key) {
                found = Some(record.bytes[key.len()..].to_vec());
            }
        }
        Ok(found)
    }

    fn instead(&self) -> Result<Arc<dyn Segment>, SegmentError> {
        self.files.open(self.first()).map(|stored| stored as Arc<dyn Segment>)
    }
}

impl Hold for Arc<Held> {
    fn span(&self, lane: Priority) -> Span {
        Held::span(self, lane)
    }

    fn open(&self) -> Result<Arc<dyn Segment>, SegmentError> {
        let Some(hot) = &self.hot else {
            return self.instead();
        };
        match hot.open() {
            Ok(reader) => {
                let (held, instead) = (Arc::clone(self), OnceLock::new());
                Ok(Arc::new(Recyclable { reader, held, instead }))
            }
            Err(SegmentError::Removed { .. }) => self.instead(),
            Err(error) => Err(error),
        }
    }
}

impl Segment for Stored {
    fn span(&self, lane: Priority) -> Span {
        self.segment().span(lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.segment().index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.segment().sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        self.segment().block(lane, block, buffer)
    }
}

/// A log segment that may be sealed and overwritten while it is read.
struct Recyclable {
    reader: HotReader,
    held: Arc<Held>,
    instead: OnceLock<Arc<dyn Segment>>,
}

impl Segment for Recyclable {
    fn span(&self, lane: Priority) -> Span {
        self.held.span(lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.reader.index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.reader.sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        let instead = match self.instead.get() {
            Some(instead) => instead,
            None => match self.reader.fill(lane, block, buffer) {
                Ok(length) => return Ok(&buffer.bytes[..length]),
                Err(SegmentError::Removed { .. }) => {
                    let instead = self.held.instead()?;
                    self.instead.get_or_init(|| instead)
                }
                Err(error) => return Err(error),
            },
        };
        instead.block(lane, block, buffer)
    }
}
