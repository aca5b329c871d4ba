//! What lies in a journal's directory, by name and kind of file; nothing is opened but the lock's text.

use super::super::disk::LOCK;
use super::super::error::JournalError;
use super::super::folder;
use super::super::format::{segment_first, segment_name};
use super::{Finding, Kind};
use std::fs::{self, FileType};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

/// How a part of a journal is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// Of two forms of the same segment the first in this order counts.
    Sealed,
    Packed,
    Log,
}

impl Form {
    pub const fn name(self) -> &'static str {
        match self {
            Form::Log => "log",
            Form::Sealed => "sealed",
            Form::Packed => "packed",
        }
    }

    pub(super) const fn segment(self) -> Option<folder::Form> {
        match self {
            Form::Log => None,
            Form::Sealed => Some(folder::Form::Sealed),
            Form::Packed => Some(folder::Form::Packed),
        }
    }

    /// The form and first position that a name says.
    fn of(name: &str) -> Option<(u64, Form)> {
        if let Some(first) = segment_first(name) {
            return Some((first, Form::Log));
        }
        [Form::Sealed, Form::Packed].into_iter().find_map(|form| {
            let segment = form.segment()?;
            let first = name.strip_suffix(segment.suffix())?.parse().ok()?;
            (segment.name(first) == name).then_some((first, form))
        })
    }
}

/// A file that is called like a part of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub form: Form,
    pub file: String,
    pub bytes: u64,
}

/// A directory.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// By position, then form.
    pub parts: Vec<Part>,
    /// What else is there, and files that are none.
    pub findings: Vec<Finding>,
    /// Folders that belong to a journal: `cursors`, which delivery keeps.
    pub folders: Vec<String>,
    pub has_lock: bool,
    /// The process that writes the journal now.
    pub writer: Option<u32>,
}

/// File whose lock whoever packs or removes segments holds; nothing is in it.
const COMPACT: &str = "COMPACT";
/// Folders beside the segments that are a journal's own.
const FOLDERS: [&str; 2] = ["cursors", "delivery"];

/// List a journal's directory.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(path: &Path) -> Result<Listing, JournalError> {
    let place = path.display().to_string();
    let mut listing = Listing::default();
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(JournalError::io("list", &place))? {
        let entry = entry.map_err(JournalError::io("list", &place))?;
        // Gone since, as files of a journal that is written are.
        if let Ok(meta) = fs::symlink_metadata(entry.path()) {
            entries.push((entry.file_name().to_string_lossy().into_owned(), meta));
        }
    }
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, meta) in entries {
        let (kind, bytes) = (meta.file_type(), meta.len());
        let mut tell = |what, why: String| {
            let finding = Finding { bytes, ..Finding::new(what, &name, why) };
            listing.findings.push(finding);
        };
        if name == LOCK {
            listing.has_lock = true;
            if !kind.is_file() {
                tell(Kind::Foreign, format!("stands in the lock's place and is {}", a(kind)));
            }
        } else if name == COMPACT && kind.is_file() {
        } else if let Some((first, form)) = Form::of(&name) {
            if kind.is_file() {
                listing.parts.push(Part { first, form, file: name, bytes });
            } else {
                tell(Kind::Foreign, format!("is called like a segment and is {}", a(kind)));
            }
        } else if kind.is_dir() && FOLDERS.contains(&name.as_str()) {
            listing.folders.push(name);
        } else if !kind.is_file() {
            tell(Kind::Stray, format!("is {} that no journal makes", a(kind)));
        } else if name.ends_with(".new") {
            let why = "was being made when a process was killed, or is being made now";
            tell(Kind::Leftover, why.to_owned());
        } else if name.ends_with(".torn") {
            tell(Kind::Leftover, "keeps what an earlier opening cut off the end".to_owned());
        } else {
            tell(Kind::Stray, "is no file that a journal makes".to_owned());
        }
    }
    listing.parts.sort_by_key(|part| (part.first, part.form));
    listing.writer = writer(path);
    Ok(listing)
}

fn a(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The process that holds the lock. Asked of the system and not by locking: whoever tries a lock for a
/// moment may keep a writer from opening in that moment.
fn writer(path: &Path) -> Option<u32> {
    let lock = path.join(LOCK);
    let meta = fs::metadata(&lock).ok()?;
    let said: Option<u32> =
        fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse().ok());
    let holds = |pid: &u32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"));
        fds.is_ok_and(|fds| {
            fds.flatten().any(|fd| {
                fs::metadata(fd.path())
                    .is_ok_and(|open| (open.dev(), open.ino()) == (meta.dev(), meta.ino()))
            })
        })
    };
    said.filter(holds).or_else(|| locked_by(meta.ino(), said))
}

/// Of a file's number among the locks that the system lists: also of processes that we may not look into.
fn locked_by(inode: u64, said: Option<u32>) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let wanted = format!(":{inode}");
    let found = locks.lines().filter(|line| line.contains("FLOCK")).find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "WRITE").skip(1);
        let pid: u32 = words.next()?.parse().ok()?;
        words.next().is_some_and(|file| file.ends_with(&wanted)).then_some(pid)
    })?;
    // The number of a file is of one device only, and the device of some file systems is told in two ways.
    (said == Some(found) || said.is_none()).then_some(found)
}

/// How often a part that is not listed is looked for again, and how long after the look before.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(2);

/// The forms of a part that the directory has now. A listing is no snapshot: while a segment is sealed
/// or packed it may have missed the old name and the new one.
pub(super) fn forms_of(path: &Path, first: u64) -> Result<Vec<Part>, JournalError> {
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        let mut parts = list(path)?.parts;
        parts.retain(|part| part.first == first);
        if !parts.is_empty() {
            return Ok(parts);
        }
    }
    Ok(Vec::new())
}

/// Name of the log segment at a position, for what is missing there.
pub(super) fn log_name(first: u64) -> String {
    segment_name(first)
}
