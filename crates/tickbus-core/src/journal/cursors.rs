//! Cursors of durable subscriptions: by lane, the next sequence that its reader has not acknowledged.
//!
//! A cursor is a file `cursors/<name>.cursor` in the journal's directory, of three blocks: who uses it,
//! and two slots that are written in turn, so that one is whole whatever interrupts the other. All
//! three are there from the start: acknowledging never needs space. The lock on the file makes its
//! name exclusive, and the kernel takes it back from the dead.
//!
//! What retention may not remove is [`least`]. `docs/parts/journal.md` has the bytes.

use super::format::LANES;
use crc32c::crc32c;
use rustix::fs::{FlockOperation, flock};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folder of the cursors in a journal's directory.
pub const FOLDER: &str = "cursors";
const SUFFIX: &str = ".cursor";
const MOST_NAME: usize = 100;

const BLOCK: usize = 4096;
const SLOT: usize = 80;
const MAGIC: [u8; 8] = *b"TBCURS\0\x01";
/// Bytes of the first block before the patterns, and the most that these take.
const HEAD: usize = 32;
const MOST_PATTERNS: usize = BLOCK - HEAD - size_of::<u32>();

/// Whoever lists cursors holds their locks for a moment.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(5);

/// Why a cursor cannot be used.
#[derive(Debug)]
pub enum CursorError {
    /// Use 1 to 100 ASCII letters, digits, '-', '_' and '.', the last not in front.
    Name { name: String },
    /// Another subscription has it; `None` if the file does not say whose.
    Locked { name: String, pid: Option<u32> },
    /// Neither slot is whole.
    Damaged { path: PathBuf },
    /// It was kept for another journal.
    Foreign { path: PathBuf },
    /// There is none of this name.
    Unknown { name: String },
    Io {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl CursorError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CursorError {
        move |error| CursorError::Io { what, path: path.to_owned(), error }
    }
}

impl fmt::Display for CursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CursorError::Name { name } => write!(
                f,
                "durable name {name:?}: use 1 to {MOST_NAME} ASCII letters, digits, '-', '_' or '.', and \
                 no '.' in front"
            ),
            CursorError::Locked { name, pid: Some(pid) } => {
                write!(f, "process {pid} has the durable subscription {name:?} open")
            }
            CursorError::Locked { name, pid: None } => {
                write!(f, "another process has the durable subscription {name:?} open")
            }
            CursorError::Damaged { path } => write!(
                f,
                "{}: neither of its two records is whole; drop the cursor and start anew",
                path.display()
            ),
            CursorError::Foreign { path } => write!(
                f,
                "{}: the cursor was kept for another journal, whose sequences are not this one's; drop \
                 it and start anew",
                path.display()
            ),
            CursorError::Unknown { name } => {
                write!(f, "the journal has no durable subscription {name:?}")
            }
            CursorError::Io { what, path, error } => {
                write!(f, "{}: cannot {what}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for CursorError {}

/// What has been acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// By lane, the next sequence that has not been.
    pub next: [u64; LANES],
    /// Id of the journal.
    pub journal: [u8; 16],
    /// Id of the bus's life in which it was written (`Bus::id`).
    pub bus: u64,
    /// Nanoseconds since the epoch.
    pub written: u64,
}

impl Mark {
    fn to_bytes(self, generation: u64) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        let words = [
            generation,
            self.next[0],
            self.next[1],
            self.next[2],
            self.bus,
            self.written,
        ];
        for (place, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[56..72].copy_from_slice(&self.journal);
        let check = crc32c(&bytes[..SLOT - 8]);
        bytes[SLOT - 8..SLOT - 4].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; SLOT]) -> Option<(u64, Mark)> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let check = crc32c(&bytes[..SLOT - 8]).to_le_bytes();
        let whole = bytes[..8] == MAGIC && bytes[SLOT - 8..SLOT - 4] == check;
        whole.then(|| {
            let mark = Mark {
                next: [word(16), word(24), word(32)],
                journal: bytes[56..72].try_into().expect("16 bytes"),
                bus: word(40),
                written: word(48),
            };
            (word(8), mark)
        })
    }
}

/// An open cursor: nobody else has it.
#[derive(Debug)]
pub struct Cursor {
    file: File,
    path: PathBuf,
    generation: u64,
    mark: Option<Mark>,
}

impl Cursor {
    /// Open the cursor `name` of the journal in `directory`, made when there is none, and say who uses
    /// it for what.
    ///
    /// # Errors
    /// [`CursorError::Locked`] when somebody has it open.
    pub fn open(
        directory: &Path,
        name: &str,
        patterns: &[String],
        pid: u32,
    ) -> Result<Cursor, CursorError> {
        let path = path_of(directory, name)?;
        let folder = directory.join(FOLDER);
        fs::create_dir_all(&folder).map_err(CursorError::io("make the folder", &folder))?;
        let mut open = OpenOptions::new();
        open.read(true).write(true).create(true).truncate(false);
        let file = locked(&open, &path, name)?;
        let io = |what| CursorError::io(what, &path);
        if file.metadata().map_err(io("look at it"))?.len() < 3 * BLOCK as u64 {
            // Cut short while it was made, or new.
            file.write_all_at(&[0; 3 * BLOCK], 0).map_err(io("write"))?;
            let sync = || -> io::Result<()> {
                file.sync_all()?;
                File::open(&folder)?.sync_all()
            };
            sync().map_err(io("sync"))?;
        }
        let (generation, mark) = match read(&file, &path)? {
            Some((generation, mark)) => (generation, Some(mark)),
            None => (0, None),
        };
        file.write_all_at(&head(patterns, pid), 0).map_err(io("write"))?;
        Ok(Cursor { file, path, generation, mark })
    }

    /// What was acknowledged; `None` of a new cursor.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuse a cursor of another journal.
    ///
    /// # Errors
    /// [`CursorError::Foreign`].
    pub fn check(&self, journal: [u8; 16]) -> Result<(), CursorError> {
        match self.mark {
            Some(mark) if mark.journal != journal => {
                Err(CursorError::Foreign { path: self.path.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Acknowledge. With `sync` it is on the disk afterwards, else it survives this process's death.
    ///
    /// # Errors
    /// The mark is as before then, or this one.
    pub fn set(&mut self, mark: Mark, sync: bool) -> Result<(), CursorError> {
        let generation = self.generation + 1;
        let offset = BLOCK as u64 * (1 + (generation & 1));
        let bytes = mark.to_bytes(generation);
        self.file
            .write_all_at(&bytes, offset)
            .map_err(CursorError::io("write", &self.path))?;
        self.generation = generation;
        self.mark = Some(mark);
        if sync {
            self.file.sync_data().map_err(CursorError::io("sync", &self.path))?;
        }
        Ok(())
    }

    /// Let others have it, also while a fork of this process has the file open.
    pub fn unlock(&self) {
        // It fails on no file that is open.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn path_of(directory: &Path, name: &str) -> Result<PathBuf, CursorError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty()
        || name.len() > MOST_NAME
        || name.starts_with('.')
        || !name.bytes().all(allowed)
    {
        return Err(CursorError::Name { name: name.to_owned() });
    }
    Ok(directory.join(FOLDER).join(format!("{name}{SUFFIX}")))
}

/// Open a file and lock it. One that was dropped in between is not it.
fn locked(open: &OpenOptions, path: &Path, name: &str) -> Result<File, CursorError> {
    let io = |what| CursorError::io(what, path);
    let mut attempts = 0;
    loop {
        let file = match open.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CursorError::Unknown { name: name.to_owned() });
            }
            opened => opened.map_err(io("open"))?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if attempts < ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(PAUSE);
                continue;
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = owner(&file).map(|(pid, _)| pid).filter(|pid| *pid != 0);
                return Err(CursorError::Locked { name: name.to_owned(), pid });
            }
            Err(error) => return Err(io("lock")(error.into())),
        }
        let ours = file.metadata().map_err(io("look at it"))?.ino();
        match fs::metadata(path) {
            Ok(there) if there.ino() == ours => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io("look at it")(error));
            }
            _ => {}
        }
    }
}

/// The newer of the whole slots; `None` when nothing was ever acknowledged.
fn read(file: &File, path: &Path) -> Result<Option<(u64, Mark)>, CursorError> {
    let mut newest: Option<(u64, Mark)> = None;
    let mut blank = true;
    for block in 1..=2 {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, block * BLOCK as u64) {
            // Cut short while it was made.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {}
            read => read.map_err(CursorError::io("read", path))?,
        }
        blank &= bytes == [0; SLOT];
        let slot = Mark::from_bytes(&bytes);
        newest = match (newest, slot) {
            (Some(one), Some(other)) if one.0 >= other.0 => Some(one),
            (one, other) => other.or(one),
        };
    }
    match newest {
        None if !blank => Err(CursorError::Damaged { path: path.to_owned() }),
        newest => Ok(newest),
    }
}

/// The first block: who uses the cursor for what. Only for messages and lists.
fn head(patterns: &[String], pid: u32) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&pid.to_le_bytes());
    // Separated by a byte that no pattern has; what does not fit is left out as a whole.
    let mut at = HEAD;
    for pattern in patterns {
        if at + pattern.len() + 1 > HEAD + MOST_PATTERNS {
            break;
        }
        bytes[at..at + pattern.len()].copy_from_slice(pattern.as_bytes());
        bytes[at + pattern.len()] = b'\n';
        at += pattern.len() + 1;
    }
    bytes[12..16].copy_from_slice(&((at - HEAD) as u32).to_le_bytes());
    let check = crc32c(&bytes[..BLOCK - 4]);
    bytes[BLOCK - 4..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn owner(file: &File) -> Option<(u32, Vec<String>)> {
    let mut bytes = [0; BLOCK];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let check = crc32c(&bytes[..BLOCK - 4]).to_le_bytes();
    if bytes[..8] != MAGIC || bytes[BLOCK - 4..] != check {
        return None;
    }
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let text = bytes.get(HEAD..HEAD + number(12) as usize)?;
    let patterns = String::from_utf8_lossy(text);
    Some((number(8), patterns.split_terminator('\n').map(str::to_owned).collect()))
}

/// A cursor as a list shows it.
#[derive(Debug)]
pub struct Listed {
    pub name: String,
    pub patterns: Vec<String>,
    /// `None` of one that was never acknowledged; an error when it is damaged.
    pub mark: Result<Option<Mark>, CursorError>,
    /// The process that has it open: 0 when that is not known, `None` when nobody has.
    pub holder: Option<u32>,
}

/// The cursors of the journal in `directory`, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn list(directory: &Path) -> Result<Vec<Listed>, CursorError> {
    let folder = directory.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CursorError::io("list", &folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(CursorError::io("list", &folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX));
        let Some(name) = name.map(str::to_owned) else {
            continue;
        };
        let file = match File::open(&path) {
            // Dropped meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.map_err(CursorError::io("open", &path))?,
        };
        // Shared: two who list at once are not in each other's way.
        let held = flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        let said = owner(&file);
        let pid = said.as_ref().map_or(0, |(pid, _)| *pid);
        found.push(Listed {
            name,
            mark: read(&file, &path).map(|read| read.map(|(_, mark)| mark)),
            holder: held.then_some(pid),
            patterns: said.map(|(_, patterns)| patterns).unwrap_or_default(),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// By lane, the first sequence that some durable subscription has not acknowledged: what retention
/// must keep. `None` when there is no durable subscription.
///
/// A cursor of another journal counts for nothing: it is refused when it is opened. One that is just
/// being made holds everything.
///
/// # Errors
/// A cursor that cannot be read could stand anywhere, so nothing may be removed.
pub fn least(directory: &Path, journal: [u8; 16]) -> Result<Option<[u64; LANES]>, CursorError> {
    let mut least: Option<[u64; LANES]> = None;
    for listed in list(directory)? {
        let next = match listed.mark? {
            Some(mark) if mark.journal == journal => mark.next,
            None if listed.holder.is_some() => [0; LANES],
            _ => continue,
        };
        least = Some(match least {
            None => next,
            Some(least) => std::array::from_fn(|lane| least[lane].min(next[lane])),
        });
    }
    Ok(least)
}

/// Forget a durable subscription.
///
/// # Errors
/// [`CursorError::Locked`] while somebody uses it, [`CursorError::Unknown`].
pub fn drop_cursor(directory: &Path, name: &str) -> Result<(), CursorError> {
    let path = path_of(directory, name)?;
    let _file = locked(OpenOptions::new().read(true), &path, name)?;
    fs::remove_file(&path).map_err(CursorError::io("remove", &path))
}

/// Id of the journal in `directory`, from whichever segment says it; `None` when none does.
///
/// # Errors
/// The directory cannot be read.
pub fn journal_id(directory: &Path) -> Result<Option<[u8; 16]>, CursorError> {
    let entries = fs::read_dir(directory).map_err(CursorError::io("list", directory))?;
    for entry in entries {
        let path = entry.map_err(CursorError::io("list", directory))?.path();
        let is_segment = path
            .extension()
            .is_some_and(|form| ["log", "seg", "segz"].iter().any(|one| form == *one));
        let mut bytes = [0; 24];
        // A segment that is prepared, or was recycled just now, says nothing.
        let mut read = || File::open(&path)?.read_exact_at(&mut bytes, 0);
        if !is_segment || read().is_err() {
            continue;
        }
        if bytes[..2] == *b"TB" && bytes[8..] != [0; 16] {
            return Ok(Some(bytes[8..].try_into().expect("16 bytes")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
