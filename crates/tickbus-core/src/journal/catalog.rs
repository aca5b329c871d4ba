//! The parts of a journal's directory, in order of position: log segments, sealed and packed ones.
//!
//! ```text
//! 0.segz   4096.segz   8192.seg   8192.log   12288.log   16384.log (zeros)
//!    └──────────┴──────────┴────────────────────┴── the parts: each position once
//! ```
//!
//! Where a crash, or a look at the wrong moment, finds two forms of a part, the sealed one counts, then
//! the packed one, then the log. A form whose header cannot be read counts only if there is no other.
//!
//! Other processes seal, recycle, pack and delete meanwhile. A listing is no snapshot of a directory:
//! it may miss the old and the new name of a part. So what looks wrong is looked at again before it
//! is reported, and whoever opens a part has to expect that it has another form by then
//! ([`Catalog::open`]), or none ([`Catalog::refresh`]).

use super::disk::{Disk, FsDisk, open_to_read};
use super::error::JournalError;
use super::fault::SegmentError;
use super::folder::Form;
use super::format::{HeaderState, segment_first, segment_name};
use super::opened::Opened;
use super::packed::Packed;
use super::query::Segment;
use super::sealed::Sealed;
use super::segment::{Identity, LANES, PAGE, read_identity};
use super::walk::read_header;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often a listing that looks wrong is made again, and how long after the one before.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// What kind of file a part is in. In the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartForm {
    Sealed,
    Packed,
    Log,
}

impl PartForm {
    pub const ALL: [PartForm; 3] = [PartForm::Sealed, PartForm::Packed, PartForm::Log];

    pub const fn name(self) -> &'static str {
        match self {
            PartForm::Sealed => "sealed",
            PartForm::Packed => "packed",
            PartForm::Log => "log",
        }
    }

    /// The file of the part with this first position.
    pub fn file(self, first: u64) -> String {
        match self {
            PartForm::Sealed => Form::Sealed.name(first),
            PartForm::Packed => Form::Packed.name(first),
            PartForm::Log => segment_name(first),
        }
    }

    fn parse(file: &str) -> Option<(u64, PartForm)> {
        if let Some(first) = segment_first(file) {
            return Some((first, PartForm::Log));
        }
        match super::folder::parse(file)? {
            (first, Form::Sealed) => Some((first, PartForm::Sealed)),
            (first, Form::Packed) => Some((first, PartForm::Packed)),
        }
    }
}

/// A run of the journal's positions, and the file that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub form: PartForm,
    /// Journal, positions, first sequence of each lane, and when it was begun.
    pub identity: Identity,
}

impl Part {
    pub fn first(&self) -> u64 {
        self.identity.first_position
    }

    /// Where the next part starts.
    pub fn end(&self) -> u64 {
        self.identity.first_position + self.identity.slots
    }

    /// Its file's name.
    pub fn file(&self) -> String {
        self.form.file(self.first())
    }
}

/// Positions between two parts, or before all others, that nothing readable has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    pub first: u64,
    /// Where the next part starts; `None` if it is not known how long the hole is.
    pub end: Option<u64>,
    pub why: String,
}

/// A sealed or packed part, open for reading.
pub enum Stored {
    Sealed(Sealed),
    Packed(Packed),
}

impl Stored {
    /// Everything but the events.
    pub fn opened(&self) -> &Opened {
        match self {
            Stored::Sealed(sealed) => sealed.opened(),
            Stored::Packed(packed) => packed.opened(),
        }
    }

    /// Its events, as queries ask for them.
    pub fn segment(&self) -> &dyn Segment {
        match self {
            Stored::Sealed(sealed) => sealed,
            Stored::Packed(packed) => packed,
        }
    }

    /// Read all of it; the first thing that is wrong is the error.
    ///
    /// # Errors
    /// What is damaged or cannot be read.
    pub fn check(&self) -> Result<(), SegmentError> {
        let mut first = None;
        let mut tell = |error| {
            first.get_or_insert(error);
        };
        match self {
            Stored::Sealed(sealed) => sealed.verify(&mut tell),
            Stored::Packed(packed) => packed.verify(&mut tell),
        }
        first.map_or(Ok(()), Err)
    }

    /// The same, for a query to keep.
    pub fn into_segment(self) -> Arc<dyn Segment> {
        match self {
            Stored::Sealed(sealed) => Arc::new(sealed),
            Stored::Packed(packed) => Arc::new(packed),
        }
    }
}

/// The parts of a journal's directory.
#[derive(Debug, Clone)]
pub struct Catalog {
    directory: PathBuf,
    parts: Vec<Part>,
    holes: Vec<Hole>,
}

/// The file names of a directory by first position.
type Names = BTreeMap<u64, Vec<PartForm>>;

impl Catalog {
    /// Look at a directory.
    ///
    /// # Errors
    /// When the directory, or a file in it, cannot be read at all.
    pub fn of(directory: &Path) -> Result<Catalog, JournalError> {
        let mut catalog =
            Catalog { directory: directory.to_owned(), parts: Vec::new(), holes: Vec::new() };
        catalog.refresh()?;
        Ok(catalog)
    }

    /// Look again. Headers that are known are not read again, so this costs a listing.
    ///
    /// # Errors
    /// As [`Catalog::of`]; what was known stays.
    pub fn refresh(&mut self) -> Result<(), JournalError> {
        let mut before = None;
        for look in 0..LOOKS {
            let names = list(&self.directory)?;
            let (parts, holes) = self.arrange(&names)?;
            // What is missing in front is no hole, so a first look may not know better. Otherwise a
            // part that has gone, or a hole, is believed when two looks in a row say the same.
            let vanished = self.parts.iter().any(|part| !names.contains_key(&part.first()));
            let calm = holes.is_empty() && !vanished && !self.parts.is_empty();
            let firsts: Vec<u64> = parts.iter().map(Part::first).collect();
            let found = Some((firsts, holes.clone()));
            if calm || found == before || look + 1 == LOOKS {
                (self.parts, self.holes) = (parts, holes);
                return Ok(());
            }
            if self.parts.is_empty() {
                // Only so that the next look need not read their headers.
                self.parts = parts;
            }
            before = found;
            std::thread::sleep(PAUSE);
        }
        unreachable!("the last look returns")
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All parts with readable headers, in order of position; none overlaps the next.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is missing between them. What retention has removed, before all of them, is no hole.
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Sealed and packed parts.
    pub fn stored(&self) -> impl DoubleEndedIterator<Item = &Part> {
        self.parts.iter().filter(|part| part.form != PartForm::Log)
    }

    /// Where the log may begin: behind the last sealed or packed part. 0 if there is none.
    pub fn sealed_to(&self) -> u64 {
        self.stored().next_back().map_or(0, Part::end)
    }

    /// Index of the part that has a sequence of a lane, or would have it: the last one that begins at or
    /// before it. `None`: all begin later, or there are none.
    pub fn find(&self, lane: usize, sequence: u64) -> Option<usize> {
        let at_or_before = |part: &Part| part.identity.first_sequence[lane] <= sequence;
        self.parts.partition_point(at_or_before).checked_sub(1)
    }

    /// The hole that ends where this part begins.
    pub fn hole_before(&self, part: &Part) -> Option<&Hole> {
        self.holes.iter().find(|hole| hole.end == Some(part.first()))
    }

    /// Open the sealed or packed form of a part, whichever it has now. `None`: it has neither, so it
    /// is a log segment, or was removed, and the catalogue is to be refreshed.
    ///
    /// # Errors
    /// When the file is there and cannot be read or is damaged, and there is no other form.
    pub fn open(&self, first: u64) -> Result<Option<Stored>, SegmentError> {
        open_stored(&self.directory, first)
    }

    /// Bytes of a part's file; 0 if it is gone.
    ///
    /// # Errors
    /// When the system refuses to tell.
    pub fn bytes(&self, part: &Part) -> io::Result<u64> {
        match std::fs::metadata(self.directory.join(part.file())) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn known(&self, first: u64) -> Option<Part> {
        let at = self.parts.binary_search_by_key(&first, Part::first).ok()?;
        Some(self.parts[at])
    }

    /// Parts and holes of these files.
    fn arrange(&self, names: &Names) -> Result<(Vec<Part>, Vec<Hole>), JournalError> {
        let mut parts: Vec<Part> = Vec::with_capacity(names.len());
        let mut unreadable: Vec<Hole> = Vec::new();
        let disk = FsDisk::open(&self.directory, false)
            .map_err(JournalError::io("open", &self.directory.to_string_lossy()))?;
        for (&first, forms) in names {
            match self.part(&disk, first, forms)? {
                Header::Whole(part) => parts.push(part),
                Header::Nothing => {}
                Header::Bad(why) => unreadable.push(Hole { first, end: None, why }),
            }
        }
        // The newest part says which journal this is: a stray old file is no reason to lose the log.
        if let Some(journal) = parts.last().map(|part| part.identity.journal) {
            let mut end = 0;
            parts.retain(|part| {
                let why = match part {
                    _ if part.identity.journal != journal => "belongs to another journal",
                    _ if part.first() < end => "begins inside the part before",
                    _ => {
                        end = part.end();
                        return true;
                    }
                };
                let why = format!("{} {why}", part.file());
                unreadable.push(Hole { first: part.first(), end: None, why });
                false
            });
        }
        unreadable.sort_by_key(|bad| bad.first);
        let holes = holes(&parts, unreadable);
        Ok((parts, holes))
    }

    fn part(&self, disk: &FsDisk, first: u64, forms: &[PartForm]) -> Result<Header, JournalError> {
        let known = self.known(first);
        let mut outcome = Header::Nothing;
        // Of another form than before the header may be damaged.
        if let Some(part) = known.filter(|part| forms.first() == Some(&part.form)) {
            return Ok(Header::Whole(part));
        }
        // All forms, not only those listed: it may have got another since.
        for form in forms.iter().copied().chain(PartForm::ALL) {
            let header = match form {
                PartForm::Log => log_header(disk, first)?,
                PartForm::Sealed => stored_header(&self.directory, first, Form::Sealed)?,
                PartForm::Packed => stored_header(&self.directory, first, Form::Packed)?,
            };
            match header {
                Header::Whole(part) => return Ok(Header::Whole(part)),
                Header::Bad(_) if !matches!(outcome, Header::Bad(_)) => outcome = header,
                _ => {}
            }
        }
        Ok(outcome)
    }
}

/// What stands where a part's header should be.
enum Header {
    Whole(Part),
    /// The file has gone, or is prepared and not begun.
    Nothing,
    Bad(String),
}

fn list(directory: &Path) -> Result<Names, JournalError> {
    let place = directory.to_string_lossy();
    let disk = FsDisk::open(directory, false).map_err(JournalError::io("open", &place))?;
    let mut names = Names::new();
    for name in disk.list().map_err(JournalError::io("list", &place))? {
        if let Some((first, form)) = PartForm::parse(&name) {
            names.entry(first).or_default().push(form);
        }
    }
    for forms in names.values_mut() {
        forms.sort_unstable();
    }
    Ok(names)
}

fn log_header(disk: &FsDisk, first: u64) -> Result<Header, JournalError> {
    let name = segment_name(first);
    let file = match disk.open(&name, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Header::Nothing),
        file => file.map_err(JournalError::io("open", &name))?,
    };
    let mut state = read_header(&file, first, None)?;
    if !matches!(state, HeaderState::Whole(_) | HeaderState::Blank) {
        // It may be read while it is written.
        std::thread::sleep(PAUSE);
        state = read_header(&file, first, None)?;
    }
    Ok(match state {
        HeaderState::Whole(head) => {
            let identity = Identity {
                journal: head.id,
                first_position: head.first,
                slots: head.slots,
                first_sequence: head.next,
                created_ns: head.created_ns,
            };
            Header::Whole(Part { form: PartForm::Log, identity })
        }
        HeaderState::Blank => Header::Nothing,
        _ => Header::Bad(format!("{name}: the header is wrong")),
    })
}

fn stored_header(directory: &Path, first: u64, form: Form) -> Result<Header, JournalError> {
    let name = form.name(first);
    let path = directory.join(&name);
    let file = match open_to_read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Header::Nothing),
        file => file.map_err(JournalError::io("open", &name))?,
    };
    let mut page = [0; PAGE];
    let read = match file.read_exact_at(&mut page, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Ok(Header::Bad(format!("{name}: the file ends in its header")));
        }
        read => read.map_err(JournalError::io("read", &name)),
    };
    read?;
    Ok(match read_identity(form, &page, &path, 0) {
        Ok(identity) if identity.first_position == first => {
            let form = match form {
                Form::Sealed => PartForm::Sealed,
                Form::Packed => PartForm::Packed,
            };
            Header::Whole(Part { form, identity })
        }
        Ok(_) => Header::Bad(format!("{name}: the segment of another position")),
        Err(error) => Header::Bad(error.to_string()),
    })
}

/// What no part has: places between two that do not meet, and files without a header.
fn holes(parts: &[Part], unreadable: Vec<Hole>) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut unreadable = unreadable.into_iter().peekable();
    let mut end: Option<u64> = None;
    for part in parts {
        let mut why = Vec::new();
        let mut first = end;
        while let Some(bad) = unreadable.next_if(|bad| bad.first < part.first()) {
            first = Some(first.unwrap_or(bad.first));
            why.push(bad.why);
        }
        // Behind what another part has, a file that cannot be read costs nothing.
        if let Some(first) = first.filter(|first| *first < part.first()) {
            let why = if why.is_empty() { "no file has them".to_owned() } else { why.join("; ") };
            holes.push(Hole { first, end: Some(part.first()), why });
        }
        end = Some(part.end());
    }
    for bad in unreadable.filter(|bad| end.is_none_or(|end| bad.first >= end)) {
        holes.push(bad);
    }
    holes
}

/// Open the sealed or packed form of the part of a directory that begins at `first`; `None` if there is
/// neither. The sealed one may be replaced by the packed one in between, so both are tried twice.
///
/// # Errors
/// When a file is there, cannot be used, and there is no other form that can.
pub fn open_stored(directory: &Path, first: u64) -> Result<Option<Stored>, SegmentError> {
    let mut failed = None;
    for form in [Form::Sealed, Form::Packed, Form::Sealed, Form::Packed] {
        let opened = match form {
            Form::Sealed => Sealed::open(directory, first).map(Stored::Sealed),
            Form::Packed => Packed::open(directory, first).map(Stored::Packed),
        };
        match opened {
            Ok(stored) => return Ok(Some(stored)),
            Err(SegmentError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

const _: () = assert!(LANES == super::format::LANES);
