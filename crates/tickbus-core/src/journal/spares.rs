//! Segments before and after their use: prepared ones, finished ones that are not synced yet, and
//! emptied ones that will be used again.
//!
//! Shared by the log and by whoever works for it in the background ([`Preparer`]). The log never
//! waits for a lock that is held during a write or sync, unless the segment it needs is the one
//! being prepared.

use super::disk::{Disk, DiskFile, sync_data, uninterrupted, write_zeros};
use super::error::JournalError;
use super::format::{HEADER, SLOT, segment_name};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Zeros written between two syncs of a segment that is being prepared.
const FILL_AT_ONCE: u64 = 1 << 20;

/// A file with zeros of full length, durable under the name of the segment it will be.
pub(super) struct Spare<F> {
    pub first: u64,
    pub file: Arc<F>,
}

/// A segment that takes no more batches.
struct Finished<F> {
    first: u64,
    end: u64,
    /// Until it is synced.
    file: Option<Arc<F>>,
}

pub(super) struct Spares<D: Disk> {
    disk: Arc<D>,
    pub slots: u64,
    state: Mutex<State<D>>,
    /// Held while a segment is prepared, which may take a while.
    preparing: Mutex<()>,
    /// Held while a finished segment is synced: the kernel tells of a failure once, and whoever
    /// syncs the same file next would be told that all is well.
    syncing: Mutex<()>,
}

struct State<D: Disk> {
    ready: Option<Spare<D::File>>,
    /// First position of the segment after the current one.
    next_first: u64,
    finished: VecDeque<Finished<D::File>>,
    /// A `.new` file to use again.
    emptied: Option<String>,
    poison: Option<String>,
}

impl<D: Disk> State<D> {
    fn check(&self) -> Result<(), JournalError> {
        match &self.poison {
            Some(why) => Err(JournalError::Poisoned { why: why.clone() }),
            None => Ok(()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can leave the state half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D: Disk> Spares<D> {
    /// `finished`: first and end positions of the synced segments before the current one.
    pub fn new(
        disk: Arc<D>,
        slots: u64,
        finished: impl IntoIterator<Item = (u64, u64)>,
        next_first: u64,
        ready: Option<Spare<D::File>>,
    ) -> Spares<D> {
        let finished = finished.into_iter();
        let finished = finished.map(|(first, end)| Finished { first, end, file: None }).collect();
        let state = State { ready, next_first, finished, emptied: None, poison: None };
        Spares {
            disk,
            slots,
            state: Mutex::new(state),
            preparing: Mutex::new(()),
            syncing: Mutex::new(()),
        }
    }

    /// Whether every sync so far has succeeded.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`]
    pub fn check(&self) -> Result<(), JournalError> {
        locked(&self.state).check()
    }

    /// Remember for ever that a sync failed.
    pub fn poison(&self, what: &str, error: &std::io::Error) -> JournalError {
        let why = format!("sync of {what} failed: {error}");
        locked(&self.state).poison.get_or_insert_with(|| why.clone());
        JournalError::Poisoned { why }
    }

    /// The prepared segment from `first` to `end`, made now if it is not there.
    pub fn take(&self, first: u64, end: u64) -> Result<Arc<D::File>, JournalError> {
        loop {
            {
                let mut state = locked(&self.state);
                state.next_first = first;
                if let Some(spare) = state.ready.take_if(|spare| spare.first == first) {
                    // In the same step, so that nobody prepares it once more over this one.
                    state.next_first = end;
                    return Ok(spare.file);
                }
            }
            self.prepare_next()?;
        }
    }

    /// What [`Spares::take`] gave and could not be begun.
    pub fn put_back(&self, first: u64, file: Arc<D::File>) {
        let mut state = locked(&self.state);
        state.next_first = first;
        state.ready = Some(Spare { first, file });
    }

    /// The segment from `first` to `end` is full.
    pub fn finish(&self, first: u64, end: u64, file: Arc<D::File>) {
        locked(&self.state)
            .finished
            .push_back(Finished { first, end, file: Some(file) });
    }

    /// End of the finished segments known to be on the disk, if there are any.
    ///
    /// # Errors
    /// As [`Spares::check`].
    pub fn durable_to(&self) -> Result<Option<u64>, JournalError> {
        let state = locked(&self.state);
        state.check()?;
        let synced = state.finished.iter().take_while(|segment| segment.file.is_none());
        Ok(synced.last().map(|segment| segment.end))
    }

    /// Sync the finished segments, oldest first.
    pub fn sync_finished(&self) -> Result<(), JournalError> {
        loop {
            let _syncing = locked(&self.syncing);
            self.check()?;
            let oldest = locked(&self.state)
                .finished
                .iter()
                .find_map(|segment| Some((segment.first, segment.file.clone()?)));
            let Some((first, file)) = oldest else {
                return Ok(());
            };
            sync_data(&*file).map_err(|error| self.poison(&segment_name(first), &error))?;
            let mut state = locked(&self.state);
            if let Some(segment) = state.finished.iter_mut().find(|s| s.first == first) {
                segment.file = None;
            }
        }
    }

    /// First positions of the finished segments that are on the disk, oldest first.
    pub fn finished(&self) -> Vec<u64> {
        let state = locked(&self.state);
        let synced = state.finished.iter().take_while(|segment| segment.file.is_none());
        synced.map(|segment| segment.first).collect()
    }

    /// Whether there was anything to prepare.
    pub fn prepare_next(&self) -> Result<bool, JournalError> {
        let _preparing = locked(&self.preparing);
        let (first, emptied) = {
            let mut state = locked(&self.state);
            if state.ready.as_ref().is_some_and(|spare| spare.first == state.next_first) {
                return Ok(false);
            }
            (state.next_first, state.emptied.take())
        };
        self.check()?;
        let (name, new) = (segment_name(first), format!("{}.new", segment_name(first)));
        let filled = self.fill(&new, emptied);
        let file = match filled {
            Ok(file) => file,
            Err(error) => {
                // What is left of it would take the space that is missing.
                let _ = self.disk.unlink(&new);
                return Err(JournalError::io("prepare", &name)(error));
            }
        };
        self.disk.rename(&new, &name).map_err(JournalError::io("rename to", &name))?;
        self.sync_dir()?;
        locked(&self.state).ready = Some(Spare { first, file: Arc::new(file) });
        Ok(true)
    }

    fn fill(&self, new: &str, emptied: Option<String>) -> std::io::Result<D::File> {
        let len = HEADER as u64 + self.slots * SLOT as u64;
        let file = match emptied {
            Some(emptied) => {
                self.disk.rename(&emptied, new)?;
                self.disk.open(new, true)?
            }
            None => {
                // What an attempt before this one could not remove.
                let _ = self.disk.unlink(new);
                self.disk.create_new(new)?
            }
        };
        // A little at a time: a commit's sync waits for what is queued before it.
        let mut at = 0;
        while at < len {
            let end = len.min(at + FILL_AT_ONCE);
            write_zeros(&file, at..end)?;
            sync_data(&file)?;
            at = end;
        }
        Ok(file)
    }

    /// Give up the oldest segment: what it holds is safe elsewhere.
    pub fn recycle(&self, first: u64) -> Result<(), JournalError> {
        let name = segment_name(first);
        let reuse = {
            let state = locked(&self.state);
            match state.finished.front() {
                Some(oldest) if oldest.first == first && oldest.file.is_none() => {}
                oldest => {
                    let first_kept = oldest.map_or(state.next_first, |segment| segment.first);
                    return Err(JournalError::Gone { position: first, first: first_kept });
                }
            }
            state.emptied.is_none()
        };
        let new = format!("{name}.new");
        let file = self.disk.open(&name, true).map_err(JournalError::io("open", &name))?;
        let right_size =
            file.len().is_ok_and(|len| len == HEADER as u64 + self.slots * SLOT as u64);
        let reuse = reuse && right_size;
        if reuse {
            self.disk.rename(&name, &new).map_err(JournalError::io("rename", &name))?;
        } else {
            self.disk.unlink(&name).map_err(JournalError::io("remove", &name))?;
        }
        // Before it is overwritten: an undone rename would bring back a segment of zeros.
        self.sync_dir()?;
        let mut state = locked(&self.state);
        state.finished.pop_front();
        if reuse {
            state.emptied = Some(new);
        }
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), JournalError> {
        uninterrupted(|| self.disk.sync_dir())
            .map_err(|error| self.poison(&self.disk.place(), &error))
    }
}

/// Work for the log that is better done by another thread than the one that commits.
pub struct Preparer<D: Disk>(pub(super) Arc<Spares<D>>);

impl<D: Disk> Clone for Preparer<D> {
    fn clone(&self) -> Preparer<D> {
        Preparer(Arc::clone(&self.0))
    }
}

impl<D: Disk> Preparer<D> {
    /// Sync finished segments and prepare the next one; whether there was one to prepare.
    ///
    /// Without this the log does it itself when it needs it. A sync that fails here poisons the log.
    ///
    /// # Errors
    /// [`JournalError::StorageFull`], after which the call may be repeated.
    pub fn prepare_next(&self) -> Result<bool, JournalError> {
        self.0.sync_finished()?;
        self.0.prepare_next()
    }

    /// First positions of the segments that are full and on the disk, oldest first.
    pub fn finished(&self) -> Vec<u64> {
        self.0.finished()
    }

    /// Take the oldest finished segment out of the log, when what it holds is durable elsewhere.
    ///
    /// # Errors
    /// [`JournalError::Gone`]: `first` is not the oldest finished segment. Nothing happened.
    pub fn recycle(&self, first: u64) -> Result<(), JournalError> {
        self.0.recycle(first)
    }
}
