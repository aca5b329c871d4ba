//! Packing what has been sealed for a while, by whoever wants the space: the writer's background
//! thread, another process, or a command when nobody writes.
//!
//! One at a time packs or removes parts of a journal: the lock of the file `COMPACT`, held for one
//! segment and then given back, so that nobody waits for long. Sealing needs no such lock. It makes
//! `.seg` from `.log`, packing makes `.segz` from `.seg`, and both are done over after a crash.
//!
//! A part's age counts from when its last event was written, by the writer's clock: the time at which
//! the part behind it was begun.

use super::catalog::{Catalog, Part, PartForm};
use super::disk::{Disk, FsDisk, Held};
use super::error::JournalError;
use super::fault::SegmentError;
use super::folder::Form;
use super::opening::remove_drafts;
use super::packed::pack;
use super::quiet::QuietFolder;
use super::sealed::Sealed;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Name of the file whose lock is held by who packs or removes a part.
pub const COMPACT: &str = "COMPACT";
/// How long a compaction waits for another one, which holds the lock for a segment at a time.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// What a compaction has done, or has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Segments packed.
    pub segments: u64,
    pub events: u64,
    /// Bytes of the sealed files, and of the packed ones in their place.
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Sealed segments that were not old enough.
    pub younger: u64,
    /// Damaged segments, which stay as they are: what is wrong with each.
    pub failed: Vec<String>,
    /// It was stopped before it was through.
    pub stopped: bool,
}

/// How many nanoseconds ago the last event of a part was written. The newest part has no age.
pub(super) fn age_ns(parts: &[Part], index: usize, now_ns: u64) -> u64 {
    let written = parts.get(index + 1).map_or(now_ns, |next| next.identity.created_ns);
    now_ns.saturating_sub(written)
}

pub(super) fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Pack every sealed segment of a journal that is older than `older_than`. May be stopped anywhere and
/// done again, and run while another process writes. `tell` is called after each segment, with how
/// many there were to pack.
///
/// # Errors
/// When the directory cannot be read, or there is no space. A damaged segment is no error but in what
/// is returned.
pub fn compact_old(
    directory: &Path,
    older_than: Duration,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Compacted, u64),
) -> Result<Compacted, JournalError> {
    let place = directory.to_string_lossy();
    let disk = FsDisk::open(directory, false).map_err(JournalError::io("open", &place))?;
    let catalog = Catalog::of(directory)?;
    let now_ns = disk.now_ns();
    let mut done = Compacted::default();
    let mut old = Vec::new();
    for (index, part) in catalog.parts().iter().enumerate() {
        if part.form != PartForm::Sealed {
        } else if age_ns(catalog.parts(), index, now_ns) >= as_ns(older_than) {
            old.push(part.first());
        } else {
            done.younger += 1;
        }
    }
    let of = old.len() as u64;
    for first in old {
        if stop.load(Ordering::Relaxed) {
            done.stopped = true;
            break;
        }
        let held = wait_for(&disk, stop)?;
        match pack_one(directory, &disk, first, stop, &held) {
            Ok(Some(one)) => {
                done.segments += 1;
                done.events += one.events;
                done.bytes_before += one.bytes_before;
                done.bytes_after += one.bytes_after;
            }
            // Another compaction was faster, or retention.
            Ok(None) => {}
            Err(_) if stop.load(Ordering::Relaxed) => {
                done.stopped = true;
                break;
            }
            Err(error @ (SegmentError::Damaged(_) | SegmentError::Foreign { .. })) => {
                done.failed.push(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        drop(held);
        tell(&done, of);
    }
    Ok(done)
}

fn wait_for(disk: &FsDisk, stop: &AtomicBool) -> Result<Held, JournalError> {
    let began = Instant::now();
    loop {
        if let Some(held) = disk.try_hold(COMPACT)? {
            return Ok(held);
        }
        if began.elapsed() > PATIENCE || stop.load(Ordering::Relaxed) {
            return Err(JournalError::Compacting { path: disk.place() });
        }
        std::thread::sleep(PAUSE);
    }
}

/// A segment that was packed.
pub(super) struct PackedOne {
    pub events: u64,
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Pack one segment; `None` if it is not there in sealed form. The caller shows that it holds the lock.
pub(super) fn pack_one(
    directory: &Path,
    disk: &FsDisk,
    first: u64,
    stop: &AtomicBool,
    _held: &Held,
) -> Result<Option<PackedOne>, SegmentError> {
    let path = directory.join(Form::Packed.name(first));
    remove_drafts(disk, Form::Packed).map_err(|error| SegmentError::Io {
        what: "clear up before",
        path: path.clone(),
        error: std::io::Error::other(error.to_string()),
    })?;
    let sealed = match Sealed::open(directory, first) {
        Err(SegmentError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        sealed => sealed?,
    };
    pack(&QuietFolder::new(directory.to_owned(), stop), &sealed)?;
    let bytes_after = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let layout = sealed.opened().layout();
    let events = layout.lanes.iter().map(|lane| lane.count).sum();
    Ok(Some(PackedOne { events, bytes_before: layout.file_len, bytes_after }))
}
