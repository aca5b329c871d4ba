//! A disk in memory that behaves as badly as real ones may, and the same way again for a seed.
//!
//! Writes go to a cache. A sync copies a file's dirty sectors to what is durable; now and then some
//! go there by themselves. [`SimDisk::kill`] ends the process and keeps the cache,
//! [`SimDisk::power_loss`] keeps any subset of the dirty sectors or pages, shreds some that were being
//! written, and keeps any length a growing file may have, and any prefix of the directory's changes
//! since its last sync. A failed sync leaves the new bytes in the cache, marked clean, and some of
//! them durable, as Linux does.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use tickbus_core::journal::{Disk, DiskFile, JournalError};

mod state;

use state::{Change, Content, SECTOR, SECTORS_A_PAGE, State, apply, input_output, stopped};
pub use state::{Faults, Random};

#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

pub struct SimFile {
    state: Arc<Mutex<State>>,
    file: u64,
    process: u64,
}

pub struct SimLock {
    state: Arc<Mutex<State>>,
    process: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        if state.process == self.process {
            state.locked = false;
        }
    }
}

impl SimDisk {
    pub fn new(seed: u64) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(State::new(seed))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub fn faults(&self) -> Faults {
        self.state().faults
    }

    /// Let the machine stop after so many operations, in the middle of the next one; what was left
    /// until then.
    pub fn stop_after(&self, operations: Option<u64>) -> Option<u64> {
        std::mem::replace(&mut self.state().left, operations)
    }

    pub fn has_stopped(&self) -> bool {
        self.state().stopped
    }

    pub fn sync_failed(&self) -> bool {
        self.state().sync_failed
    }

    /// The process is gone; what it wrote is in the cache.
    pub fn kill(&self) {
        let mut state = self.state();
        state.process += 1;
        (state.locked, state.stopped, state.left, state.sync_failed) = (false, false, None, false);
    }

    /// The machine is gone, and what was not synced may be.
    pub fn power_loss(&self) {
        self.state().lose();
        self.kill();
    }

    /// An independent disk with the same content.
    pub fn copy(&self) -> SimDisk {
        let state = self.state();
        let copy = SimDisk::new(state.random.0);
        {
            let mut copied = copy.state();
            copied.files = state.files.clone();
            copied.names = state.names.clone();
            copied.durable_names = state.durable_names.clone();
            copied.changes = state.changes.clone();
        }
        copy
    }

    pub fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Change a file behind everybody's back, on the disk and in the cache.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.names[name];
        let content = state.files.get_mut(&file).unwrap();
        change(&mut content.cached);
        content.durable = content.cached.clone();
        content.dirty = vec![false; content.sectors()];
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[&state.names[name]].cached.clone()
    }

    /// Remove a file behind everybody's back.
    pub fn remove(&self, name: &str) {
        let mut state = self.state();
        state.names.remove(name);
        state.durable_names.remove(name);
    }

    fn file(&self, state: &State, file: u64) -> SimFile {
        SimFile { state: Arc::clone(&self.0), file, process: state.process }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.state();
        let process = state.process;
        state.operation(process)?;
        apply(&mut state.names, &change);
        state.changes.push(change);
        Ok(())
    }

    fn known(&self, name: &str) -> io::Result<u64> {
        self.state()
            .names
            .get(name)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    fn lock(&self) -> Result<SimLock, JournalError> {
        let mut state = self.state();
        if state.locked {
            return Err(JournalError::Locked { path: "sim".into(), pid: None });
        }
        state.locked = true;
        Ok(SimLock { state: Arc::clone(&self.0), process: state.process })
    }

    fn create_new(&self, name: &str) -> io::Result<SimFile> {
        if self.known(name).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.faults().full && self.state().random.one_in(2) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = {
            let mut state = self.state();
            let file = state.files.keys().last().map_or(0, |last| last + 1);
            state.files.insert(file, Content::default());
            file
        };
        self.change(Change::Link(name.to_owned(), file))?;
        Ok(self.file(&self.state(), file))
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<SimFile> {
        let mut state = self.state();
        let process = state.process;
        state.operation(process)?;
        let file = state.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(&state, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.known(from)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned()))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.known(name)?;
        self.change(Change::Unlink(name.to_owned()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        let process = state.process;
        state.operation(process)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        let process = state.process;
        state.slow_operation(process)?;
        let changes = std::mem::take(&mut state.changes);
        for change in &changes {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn place(&self) -> String {
        "sim".to_owned()
    }

    fn random(&self) -> u64 {
        self.state().random.next()
    }

    fn now_ns(&self) -> u64 {
        1
    }
}

impl SimFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.slow_operation(self.process)?;
        let mut count = bytes.len();
        let short = state.faults.short;
        if count > 1 && state.chance(short) {
            count = 1 + state.random.below(count as u64 - 1) as usize;
        }
        let cached = &state.files[&self.file].cached;
        let from = (offset as usize).min(cached.len());
        let count = count.min(cached.len() - from);
        bytes[..count].copy_from_slice(&cached[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        let mut count = bytes.len();
        if let Err(error) = state.slow_operation(self.process) {
            // The machine stops in the middle of the call, whose first pages are in the cache.
            let torn = state.stopped && state.left.take().is_some();
            if !torn {
                return Err(error);
            }
            count = state.random.below(count as u64 + 1) as usize;
        }
        let short = state.faults.short;
        if count > 1 && state.chance(short) {
            count = 1 + state.random.below(count as u64 - 1) as usize;
        }
        let len = state.files[&self.file].cached.len();
        let (from, mut end) = (offset as usize, offset as usize + count);
        if state.faults.full && end > len {
            end = len.max(from);
            if end == from && count > 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let stopped_here = state.stopped;
        let content = state.files.get_mut(&self.file).unwrap();
        if end > len {
            content.cached.resize(end, 0);
            content.dirty.resize(content.cached.len().div_ceil(SECTOR), false);
        }
        content.cached[from..end].copy_from_slice(&bytes[..end - from]);
        if end > from {
            content.dirty[from / SECTOR..end.div_ceil(SECTOR)].fill(true);
        }
        if stopped_here { Err(stopped()) } else { Ok(end - from) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.slow_operation(self.process)?;
        let chances = state.faults.sync_error;
        let fails = state.chance(chances);
        state.sync_failed |= fails;
        let mut random = state.random.clone();
        let content = state.files.get_mut(&self.file).unwrap();
        for first in (0..content.sectors()).step_by(SECTORS_A_PAGE) {
            let lost = fails && random.one_in(2);
            for sector in first..(first + SECTORS_A_PAGE).min(content.sectors()) {
                if std::mem::take(&mut content.dirty[sector]) && !lost {
                    content.write_back(sector);
                }
            }
        }
        content.durable.resize(content.cached.len(), 0);
        state.random = random;
        if fails { Err(input_output()) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.operation(self.process)?;
        Ok(state.files[&self.file].cached.len() as u64)
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operation(self.process)?;
        let content = state.files.get_mut(&self.file).unwrap();
        for sector in 0..content.sectors() {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(content.cached.len());
            if !content.dirty[sector] && content.durable.len() >= range.end {
                content.cached[range.clone()].copy_from_slice(&content.durable[range]);
            }
        }
        Ok(())
    }
}
