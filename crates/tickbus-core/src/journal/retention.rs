//! Removing the oldest parts of a journal, by age and by how large it is.
//!
//! Whole sealed and packed parts go, oldest first, so that what is left has no hole. Some stay:
//!
//! - what a durable subscription has not acknowledged: it holds its part and all behind it, which is
//!   counted ([`Removed::held`]), not overruled;
//! - the newest sealed part: it says where the log may begin;
//! - a part without which names would be lost, because no later one begins with all of them.
//!
//! A reader that wanted what has gone sees a later first sequence, and counts what it missed.

use super::catalog::{Catalog, PartForm};
use super::compact::{COMPACT, age_ns, as_ns};
use super::cursors;
use super::disk::{Disk, FsDisk};
use super::error::JournalError;
use super::format::{JournalId, Sequences, segment_name};
use super::names::begins_with_names;
use crate::event::PRIORITIES;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How much of a journal is kept. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Parts whose last event is older go.
    pub keep: Option<Duration>,
    /// Bytes of all parts together, the log's among them.
    pub keep_bytes: Option<u64>,
}

/// For each lane the first sequence that somebody durable still needs; `u64::MAX`: nobody needs any. As
/// long as that cannot be told nothing is removed.
pub type Needed = Arc<dyn Fn() -> Result<Sequences, JournalError> + Send + Sync>;

/// What the durable subscriptions of the journal in `directory` have not acknowledged.
pub fn needed_by_cursors(directory: &Path, journal: JournalId) -> Needed {
    let directory = directory.to_owned();
    Arc::new(move || match cursors::least(&directory, journal) {
        Ok(least) => Ok(least.unwrap_or([u64::MAX; 3])),
        Err(error) => Err(JournalError::Io {
            what: "tell what must stay by",
            file: directory.join(cursors::FOLDER).display().to_string(),
            error: std::io::Error::other(error.to_string()),
        }),
    })
}

/// What retention has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub parts: u64,
    pub bytes: u64,
    /// Events in the parts whose footers could be read.
    pub events: u64,
    /// Parts that would have gone, if nobody needed them.
    pub held: u64,
}

/// Remove what is beyond the limits; `None` if somebody is packing at the moment.
///
/// # Errors
/// When a file cannot be removed, or what is needed cannot be told. What went before has gone.
pub fn retain(
    catalog: &mut Catalog,
    disk: &Arc<FsDisk>,
    limits: Limits,
    needed: &Needed,
) -> Result<Option<Removed>, JournalError> {
    let Some(_held) = disk.try_hold(COMPACT)? else {
        return Ok(None);
    };
    catalog.refresh()?;
    let parts = catalog.parts();
    let now_ns = disk.now_ns();
    let mut sizes = Vec::with_capacity(parts.len());
    for part in parts {
        let name = part.file();
        sizes.push(catalog.bytes(part).map_err(JournalError::io("look at", &name))?);
    }
    let mut total: u64 = sizes.iter().sum();
    let stored = parts.iter().take_while(|part| part.form != PartForm::Log).count();
    let mut beyond = 0;
    for (index, size) in sizes.iter().enumerate().take(stored.saturating_sub(1)) {
        let too_old = limits.keep.is_some_and(|keep| age_ns(parts, index, now_ns) > as_ns(keep));
        let too_large = limits.keep_bytes.is_some_and(|most| total > most);
        if !too_old && !too_large {
            break;
        }
        total -= size;
        beyond = index + 1;
    }
    if beyond == 0 {
        return Ok(Some(Removed::default()));
    }
    let needed = needed()?;
    let free = |index: &usize| {
        let next = parts[index + 1].identity.first_sequence;
        PRIORITIES.iter().all(|lane| next[*lane as usize] <= needed[*lane as usize])
    };
    let mut going = (0..beyond).take_while(free).count();
    // Names are looked for from the end, so the first part that is kept need not have them all.
    while going > 0 && !parts[going..].iter().any(|part| begins_with_names(catalog, disk, part)) {
        going -= 1;
    }
    let mut removed = Removed { held: (beyond - going) as u64, ..Removed::default() };
    for (part, size) in parts.iter().zip(sizes).take(going) {
        // A crash may have left the log segment as well: whoever recycles it is not done.
        if catalog.directory().join(segment_name(part.first())).exists() {
            break;
        }
        removed.events += match catalog.open(part.first()) {
            Ok(Some(stored)) => stored.opened().layout().lanes.iter().map(|l| l.count).sum(),
            _ => 0,
        };
        for form in [PartForm::Packed, PartForm::Sealed] {
            let name = form.file(part.first());
            match disk.unlink(&name) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                gone => gone.map_err(JournalError::io("remove", &name))?,
            }
        }
        // One after the other for good: else a power cut could leave an older one and make a hole.
        disk.sync_dir().map_err(JournalError::io("sync", &disk.place()))?;
        removed.parts += 1;
        removed.bytes += size;
    }
    Ok(Some(removed))
}
