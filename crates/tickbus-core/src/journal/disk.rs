//! What the journal needs of a disk, and the real one.
//!
//! Writer, recovery and readers see files only through [`Disk`] and [`DiskFile`], so the tests run
//! that very code on a simulated disk that loses, tears and refuses.
//!
//! Every call may fail, be interrupted or do less than asked; what loops is above, in the functions
//! of this module that are not the trait's.

use super::error::JournalError;
use rustix::fs::{Advice, AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the file whose lock the writer holds.
pub const LOCK: &str = "LOCK";

/// A directory of files that can be synced.
pub trait Disk: Send + Sync + 'static {
    type File: DiskFile;
    /// Held by the one writer; given back when it is dropped.
    type Lock: Send + Sync;

    /// The writer's lock, or [`JournalError::Locked`].
    fn lock(&self) -> Result<Self::Lock, JournalError>;
    /// A new, empty file; refused if there is one of this name.
    fn create_new(&self, name: &str) -> io::Result<Self::File>;
    fn open(&self, name: &str, write: bool) -> io::Result<Self::File>;
    /// Replaces what is called `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Make creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Where it is, for messages.
    fn place(&self) -> String;
    /// Unpredictable: salts and journal ids.
    fn random(&self) -> u64;
    /// Nanoseconds since the Unix epoch.
    fn now_ns(&self) -> u64;
}

/// An open file, usable by several threads.
pub trait DiskFile: Send + Sync + 'static {
    /// Bytes read, 0 at the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Everything written is on the disk, with what is needed to find it, when this returns.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    /// Forget cached pages that are not waiting to be written, so that reads come from the disk.
    fn drop_cache(&self) -> io::Result<()>;

    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// Write all of `bytes`, however many calls it takes.
pub fn write_all(file: &impl DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Read until `bytes` is full or the file ends; how much was read.
pub fn read_full(file: &impl DiskFile, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Sync a file; an interrupted call is no failed one.
pub fn sync_data(file: &impl DiskFile) -> io::Result<()> {
    uninterrupted(|| file.sync_data())
}

/// Overwrite `range` of a file with zeros.
pub fn write_zeros(file: &impl DiskFile, range: std::ops::Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(ZEROS.len() as u64) as usize;
        write_all(file, &ZEROS[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Open a file to read. A pipe in its place would make whoever opens it wait for a writer.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    regular(uninterrupted(|| Ok(rustix::fs::open(path, flags, Mode::empty())?))?.into())
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() { "is a directory" } else { "is no regular file" };
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// A directory of a local file system.
pub struct FsDisk {
    path: PathBuf,
    directory: OwnedFd,
}

impl FsDisk {
    /// The directory at `path`, which is made, durably, if `create` and it is not there.
    pub fn open(path: &Path, create: bool) -> io::Result<FsDisk> {
        if create && !path.is_dir() {
            let absolute = std::path::absolute(path)?;
            let is_new = |path: &&Path| !path.exists();
            let made = absolute.ancestors().take_while(is_new).count();
            std::fs::create_dir_all(path)?;
            // A new name is its parent's data.
            for parent in absolute.ancestors().skip(1).take(made) {
                File::open(parent)?.sync_all()?;
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(FsDisk { path: path.to_owned(), directory })
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let open = || Ok(rustix::fs::openat(&self.directory, name, flags, mode)?);
        regular(uninterrupted(open)?.into())
    }

    fn lock_error(&self, what: &'static str, error: impl Into<io::Error>) -> JournalError {
        JournalError::io(what, &self.path.join(LOCK).to_string_lossy())(error.into())
    }
}

/// A lock that is held for a while. Given back when it is dropped, also where a fork has it too.
#[derive(Debug)]
pub struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // Closing alone would leave it to a child that was forked meanwhile.
        let _ = rustix::fs::flock(self.0.as_fd(), FlockOperation::Unlock);
    }
}

impl FsDisk {
    /// The lock of the file `name`, unless somebody holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn try_hold(&self, name: &str) -> Result<Option<Held>, JournalError> {
        let error = |what, error: io::Error| JournalError::io(what, name)(error);
        let file = self
            .file(name, OFlags::RDWR | OFlags::CREATE)
            .map_err(|failed| error("open", failed))?;
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Held(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(failed) => Err(error("lock", failed.into())),
        }
    }
}

impl Disk for FsDisk {
    type File = File;
    type Lock = File;

    fn lock(&self) -> Result<File, JournalError> {
        let file = self
            .file(LOCK, OFlags::RDWR | OFlags::CREATE)
            .map_err(|error| self.lock_error("open", error))?;
        match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = (&file).read_to_string(&mut text).ok().and(text.trim().parse().ok());
                return Err(JournalError::Locked { path: self.place(), pid });
            }
            Err(error) => return Err(self.lock_error("lock", error)),
        }
        // Only for the message above. A full disk is no reason to refuse the lock.
        let _ = file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id()));
        Ok(file)
    }

    fn create_new(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<File> {
        self.file(name, if write { OFlags::RDWR } else { OFlags::RDONLY })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, from, &self.directory, to)?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            // A name that is no UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.directory)?)
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn random(&self) -> u64 {
        // The keys of a hash map are what the standard library has of the system's randomness.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(self.now_ns());
        hasher.finish()
    }

    fn now_ns(&self) -> u64 {
        crate::sys::now_ns()
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not `File::sync_data`, which repeats an interrupted call where nobody sees it.
        Ok(rustix::fs::fdatasync(self)?)
    }

    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self, 0, None::<NonZeroU64>, Advice::DontNeed)?)
    }
}
