//! What a journal's writer does in the background: seal full log segments, pack old ones, remove
//! what is beyond its limits.
//!
//! ```text
//!   00.log (full, synced) ──seal──► 00.seg (synced, named) ──► 00.log is recycled
//!                                   00.seg ──pack──► 00.segz ──► ── retention ──► gone
//! ```
//!
//! A thread of its own, of low priority, does one thing at a time and writes a little at a time. What
//! fails is kept and told ([`Counts::failing`]), and tried again after a pause that grows. None of
//! it touches the commit path: as long as sealing fails the log only gets longer.

use super::Preparer;
use super::catalog::{Catalog, PartForm, open_stored};
use super::compact::{COMPACT, age_ns, as_ns, pack_one};
use super::disk::{Disk, FsDisk};
use super::error::JournalError;
use super::folder::Folder;
use super::log_source::LogSource;
use super::quiet::QuietFolder;
use super::retention::{Limits, Needed, retain};
use super::sealed::seal;
use super::segment::Source;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often to look for full segments, and for old ones.
const SEAL_EVERY: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long to wait after a failure, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many times as long as it writes the sealer leaves the device alone, while it keeps up.
const RESTS: u32 = 3;
/// Niceness of the thread: whoever publishes or reads goes first.
const NICE: i32 = 10;

/// What to do besides sealing. `None`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pack segments whose last event is older.
    pub pack_after: Option<Duration>,
    pub limits: Limits,
}

/// Figures since the journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub sealed: u64,
    pub packed: u64,
    /// Parts, their bytes and events, that retention has removed.
    pub removed: u64,
    pub removed_bytes: u64,
    pub removed_events: u64,
    /// Parts that retention would remove, if no durable subscription needed them.
    pub held: u64,
    pub failures: u64,
    /// What fails at the moment.
    pub failing: Option<String>,
    /// What failed last, even if it has succeeded since.
    pub last_failure: Option<String>,
}

/// Told of each new failure.
pub type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// The work in the background, and its figures.
pub struct Upkeep {
    directory: PathBuf,
    disk: Arc<FsDisk>,
    preparer: Preparer<FsDisk>,
    plan: Plan,
    catalog: Mutex<Catalog>,
    needed: Mutex<Needed>,
    tell: Mutex<Option<Tell>>,
    counts: Mutex<Counts>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task and when it is due.
struct Task {
    work: fn(&Upkeep, &AtomicBool) -> Result<bool, JournalError>,
    every: Duration,
    due: Instant,
    pause: Duration,
    failing: Option<String>,
}

impl Upkeep {
    /// For the journal of a catalogue, which the caller writes.
    ///
    /// # Errors
    /// When the file that is locked cannot be made.
    pub fn new(
        catalog: Catalog,
        disk: Arc<FsDisk>,
        preparer: Preparer<FsDisk>,
        plan: Plan,
    ) -> Result<Upkeep, JournalError> {
        let needed: Needed = Arc::new(|| Ok([u64::MAX; 3]));
        // Made now, as retention has to do its work also when the disk is full.
        disk.try_hold(COMPACT)?;
        Ok(Upkeep {
            directory: catalog.directory().to_owned(),
            catalog: Mutex::new(catalog),
            disk,
            preparer,
            plan,
            needed: Mutex::new(needed),
            tell: Mutex::new(None),
            counts: Mutex::new(Counts::default()),
        })
    }

    /// Say who needs which events still: retention asks before it removes anything. To be said before
    /// [`Upkeep::run`].
    pub fn set_needed(&self, needed: Needed) {
        *locked(&self.needed) = needed;
    }

    /// Have somebody told of failures as they come.
    pub fn set_tell(&self, tell: Tell) {
        if let Some(failing) = &locked(&self.counts).failing {
            tell(failing);
        }
        *locked(&self.tell) = Some(tell);
    }

    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub fn counts(&self) -> Counts {
        locked(&self.counts).clone()
    }

    /// For each form, in the order of [`PartForm::ALL`], how many parts there are and their bytes.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sizes(&self) -> Result<[(u64, u64); 3], JournalError> {
        let mut catalog = locked(&self.catalog);
        catalog.refresh()?;
        let mut sizes = [(0, 0); 3];
        for part in catalog.parts() {
            let bytes = catalog.bytes(part).map_err(JournalError::io("look at", &part.file()))?;
            let (parts, all) = &mut sizes[part.form as usize];
            (*parts, *all) = (*parts + 1, *all + bytes);
        }
        Ok(sizes)
    }

    /// Work until `stop` is set; unpark the thread then.
    pub fn run(&self, stop: &AtomicBool) {
        // Where it is not allowed, the work is done all the same.
        let _ = rustix::process::setpriority_process(None, NICE);
        let task = |work, every| {
            let (due, pause) = (Instant::now(), FIRST_PAUSE);
            Task { work, every, due, pause, failing: None }
        };
        let mut tasks = vec![task(Upkeep::seal_oldest, SEAL_EVERY)];
        if self.plan.limits != Limits::default() {
            tasks.push(task(Upkeep::retain, LOOK_EVERY));
        }
        if self.plan.pack_after.is_some() {
            tasks.push(task(Upkeep::pack_oldest, LOOK_EVERY));
        }
        while !stop.load(Ordering::SeqCst) {
            for task in &mut tasks {
                if task.due <= Instant::now() && !stop.load(Ordering::SeqCst) {
                    self.attempt(task, stop);
                }
            }
            self.say_what_fails(&tasks);
            let due = tasks.iter().map(|task| task.due).min().expect("sealing is one");
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    fn attempt(&self, task: &mut Task, stop: &AtomicBool) {
        let outcome = (task.work)(self, stop);
        let now = Instant::now();
        match outcome {
            Ok(more) => {
                (task.failing, task.pause) = (None, FIRST_PAUSE);
                task.due = if more { now } else { now + task.every };
            }
            // Told to stop, it says that it could not go on.
            Err(_) if stop.load(Ordering::SeqCst) => {}
            Err(error) => {
                let what = error.to_string();
                if task.failing.as_ref() != Some(&what)
                    && let Some(tell) = &*locked(&self.tell)
                {
                    tell(&what);
                }
                let mut counts = locked(&self.counts);
                counts.failures += 1;
                counts.last_failure = Some(what.clone());
                task.failing = Some(what);
                task.due = now + task.pause;
                task.pause = (task.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn say_what_fails(&self, tasks: &[Task]) {
        let failing = tasks.iter().find_map(|task| task.failing.clone());
        locked(&self.counts).failing = failing;
    }

    /// Seal the oldest full segment; whether there was one.
    ///
    /// # Errors
    /// When it is damaged, cannot be read, or the sealed one cannot be written. It stays in the log.
    pub fn seal_oldest(&self, stop: &AtomicBool) -> Result<bool, JournalError> {
        // Segments that fill faster than one is sealed at leisure would take ever more space.
        let rest = || if self.preparer.finished().len() > 1 { 0 } else { RESTS };
        self.seal_in(&QuietFolder::new(self.directory.clone(), stop).resting(&rest))
    }

    /// The same, writing to a folder of the caller's, which is the journal's directory.
    ///
    /// # Errors
    /// As [`Upkeep::seal_oldest`].
    pub fn seal_in(&self, folder: &impl Folder) -> Result<bool, JournalError> {
        let Some(&first) = self.preparer.finished().first() else {
            return Ok(false);
        };
        let mut source = LogSource::open(&self.disk, &self.directory, first)?;
        if !self.is_sealed(&source) {
            seal(folder, &mut source)?;
        }
        // A crash may have come between the name and this, and another process after the crash.
        folder.sync_names().map_err(JournalError::io("sync", &self.disk.place()))?;
        self.preparer.recycle(first)?;
        locked(&self.counts).sealed += 1;
        Ok(true)
    }

    /// Whether a crash came between the sealed segment's name and the end of the log's.
    fn is_sealed(&self, source: &LogSource) -> bool {
        let identity = source.identity();
        match open_stored(&self.directory, identity.first_position) {
            Ok(Some(stored)) => {
                stored.opened().layout().identity == identity && stored.check().is_ok()
            }
            _ => false,
        }
    }

    fn retain(&self, _stop: &AtomicBool) -> Result<bool, JournalError> {
        let needed = Arc::clone(&locked(&self.needed));
        let mut catalog = locked(&self.catalog);
        let Some(removed) = retain(&mut catalog, &self.disk, self.plan.limits, &needed)? else {
            return Ok(false);
        };
        let mut counts = locked(&self.counts);
        counts.removed += removed.parts;
        counts.removed_bytes += removed.bytes;
        counts.removed_events += removed.events;
        counts.held = removed.held;
        Ok(false)
    }

    fn pack_oldest(&self, stop: &AtomicBool) -> Result<bool, JournalError> {
        let Some(after) = self.plan.pack_after else {
            return Ok(false);
        };
        let Some(held) = self.disk.try_hold(COMPACT)? else {
            return Ok(false);
        };
        let mut catalog = locked(&self.catalog);
        catalog.refresh()?;
        let (parts, now_ns) = (catalog.parts(), self.disk.now_ns());
        let is_old = |index: &usize| {
            parts[*index].form == PartForm::Sealed && age_ns(parts, *index, now_ns) >= as_ns(after)
        };
        // A damaged one does not keep the others from being packed, and is told of.
        let mut failed = None;
        for index in (0..parts.len()).filter(is_old) {
            match pack_one(&self.directory, &self.disk, parts[index].first(), stop, &held) {
                Ok(Some(_)) => {
                    locked(&self.counts).packed += 1;
                    return failed.map_or(Ok(true), Err);
                }
                Ok(None) => {}
                Err(error) if stop.load(Ordering::SeqCst) => return Err(error.into()),
                Err(error) => failed = Some(error.into()),
            }
        }
        failed.map_or(Ok(false), Err)
    }
}
