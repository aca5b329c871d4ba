//! A folder for work in the background: what it writes goes to the device a little at a time, and it
//! stops when told to.
//!
//! A commit's sync waits for what is queued before it. Sixty-four MiB that a sealer has left to the
//! kernel would hold up the next critical event for as long as the device takes for them. So a portion
//! is small, and between two of them the device is left alone for some times as long as one took,
//! unless there is more work than that leaves time for.

use super::folder::{Directory, Folder};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes written between two syncs of a file.
const AT_ONCE: u64 = 256 << 10;
/// Longest rest between two portions.
const LONGEST_REST: Duration = Duration::from_millis(100);

/// A directory that is written to in small portions.
pub struct QuietFolder<'a> {
    directory: Directory,
    stop: &'a AtomicBool,
    rest: Option<&'a dyn Fn() -> u32>,
}

/// A file, and how much of it the kernel holds back.
pub struct QuietFile {
    file: File,
    unsynced: Cell<u64>,
}

impl<'a> QuietFolder<'a> {
    /// Refuses to write once `stop` is set.
    pub fn new(directory: PathBuf, stop: &'a AtomicBool) -> QuietFolder<'a> {
        QuietFolder { directory: Directory(directory), stop, rest: None }
    }

    /// Rest between two portions, so many times as long as a portion took; asked each time.
    #[must_use]
    pub fn resting(mut self, times: &'a dyn Fn() -> u32) -> QuietFolder<'a> {
        self.rest = Some(times);
        self
    }
}

impl Folder for QuietFolder<'_> {
    type File = QuietFile;

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path(name)
    }

    fn create(&self, name: &str) -> io::Result<QuietFile> {
        let file = self.directory.create(name)?;
        Ok(QuietFile { file, unsynced: Cell::new(0) })
    }

    fn write_at(&self, file: &QuietFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped before it was done"));
        }
        self.directory.write_at(&file.file, bytes, offset)?;
        let unsynced = file.unsynced.get() + bytes.len() as u64;
        if unsynced < AT_ONCE {
            file.unsynced.set(unsynced);
            return Ok(());
        }
        file.unsynced.set(0);
        let begin = Instant::now();
        file.file.sync_data()?;
        if let Some(times) = self.rest {
            std::thread::sleep((begin.elapsed() * times()).min(LONGEST_REST));
        }
        Ok(())
    }

    fn sync(&self, file: &QuietFile) -> io::Result<()> {
        self.directory.sync(&file.file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.sync_names()
    }
}
