//! From the lanes to the log: a reader of all lanes that persists what it reads.
//!
//! It runs in a thread of the process that keeps the journal, and in whoever of that process waits
//! for an event to be persisted: the first to come commits for all who come meanwhile (group commit
//! without a timer, and without two wake-ups around each sync).
//!
//! ```text
//!   lanes ──read──► staged batches ──pwrite (+ sync)──► persisted ──► cursors (the gate), visible
//! ```
//!
//! Nothing is taken off a lane before it is in the log: the cursors that hold the lanes' gates move
//! last. So a full disk makes publishers wait, and costs no event.

use super::Level;
use super::dictionary::ToJournal;
use super::disk::{Disk, FsDisk};
use super::error::JournalError;
use super::format::record;
use super::log::Log;
use super::opening::Opening;
use super::retention::needed_by_cursors;
use super::spares::Preparer;
use super::upkeep::{Plan, Upkeep};
use crate::bus::{Bus, CRITICAL};
use crate::error::BusError;
use crate::event::{Event, PRIORITIES};
use crate::lane::ring::{Lane, Peek};
use crate::payload::PayloadError;
use crate::persistence::{Continuation, State};
use crate::sync::relax;
use crate::sys;
use crate::waiting::Sleeper;
use crate::wake::Wishes;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What to do when the journal is a whole lane behind a high or normal publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The publisher waits.
    Wait,
    /// The lane overwrites; the journal records the gap.
    Overwrite,
}

/// How a bus is journaled: a level for each lane by priority number.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub levels: [Level; 3],
    pub when_full: WhenFull,
    /// What becomes of full segments.
    pub plan: Plan,
}

/// Why there is a gap: the lane had overwritten the events.
pub const OVERWRITTEN: u64 = 1;
/// Events of the high and normal lane taken at a time, so that a critical one waits for at most so
/// many before its own commit begins.
const CHUNK: usize = 8192;
/// All lanes, in the order in which they are taken.
const ALL: [usize; 3] = [CRITICAL, 1, 0];
/// How long a publisher looks for the lock before it sleeps, and the thread keeps away from it for
/// publishers that do: about what a wake-up takes.
const LOOK: Duration = Duration::from_micros(20);
const GIVE_WAY: Duration = Duration::from_micros(200);
/// How long the thread sleeps when there is little to do: long enough to cost publishers nothing,
/// short enough for a lane not to fill.
const SHORT_NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(20);
/// How often to look whether a segment is to be prepared.
const PREPARE_EVERY: Duration = Duration::from_millis(10);
/// How often a full disk is tried again.
const FULL_NAP: Duration = Duration::from_millis(100);

/// Figures of a committer since it started.
#[derive(Debug, Default)]
pub struct Figures {
    pub commits: AtomicU64,
    pub syncs: AtomicU64,
    pub events: AtomicU64,
    /// Events that were overwritten before they were journaled.
    pub gaps: AtomicU64,
    /// Payloads that were overwritten before they were journaled.
    pub payloads_lost: AtomicU64,
}

/// What the committing thread and waiting publishers share.
struct Shared {
    bus: Arc<Bus>,
    policy: Policy,
    writing: Mutex<Writing>,
    figures: Figures,
    stopping: AtomicBool,
    /// Publishers that wait for the lock: the thread lets them go first.
    waiting: AtomicUsize,
}

struct Writing {
    /// `None` once closed.
    log: Option<Log<FsDisk>>,
    /// Number of our reader on the bus.
    reader: usize,
    /// Next sequence of each lane to take.
    taken: [u64; 3],
    names: ToJournal,
    buffer: Vec<Event>,
    /// Types and symbols of critical events staged, for waking their readers.
    wishes: Wishes,
    last_sync: Instant,
    /// Something is written that a level with an interval wants synced.
    unsynced: bool,
}

/// Keeps the journal of one bus.
pub struct Committer {
    shared: Arc<Shared>,
    upkeep: Arc<Upkeep>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// In a fork there are no threads to end, and the log is not ours.
    process: u32,
}

impl Committer {
    /// Keep a journal, opened in `path`, of `bus` from here on.
    pub fn start(
        bus: &Arc<Bus>,
        opening: Opening,
        path: &Path,
        policy: Policy,
    ) -> Result<Committer, JournalError> {
        let Opening { mut log, dictionary, catalog, bus: last_bus, .. } = opening;
        dictionary.teach(bus.names()).map_err(BusError::from)?;
        let next = PRIORITIES.map(|priority| log.next(priority));
        let from = Continuation { bus: last_bus, next };
        let sleeper = Sleeper::new(bus)?;
        let preparer = log.preparer();
        let disk = Arc::clone(log.disk());
        let upkeep = Upkeep::new(catalog, disk, preparer.clone(), policy.plan)?;
        let upkeep = Arc::new(upkeep);
        upkeep.set_needed(needed_by_cursors(path, log.id()));
        let reader = bus.begin_journal(path, from, gated(&policy))?;
        let marked = log.append_name(record::BUS, &bus.id().to_le_bytes());
        if let Err(error) = marked {
            bus.end_journal(reader);
            return Err(error);
        }
        bus.persistence().set_waker(Some(sleeper.number()));
        let shared = Arc::new(Shared {
            bus: Arc::clone(bus),
            policy,
            writing: Mutex::new(Writing {
                log: Some(log),
                reader,
                taken: next,
                names: ToJournal::new(dictionary),
                buffer: vec![Event::default(); CHUNK],
                wishes: Wishes::default(),
                last_sync: Instant::now(),
                unsynced: false,
            }),
            figures: Figures::default(),
            stopping: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        });
        let committer = Committer {
            threads: Mutex::new(Vec::new()),
            process: std::process::id(),
            shared: Arc::clone(&shared),
            upkeep: Arc::clone(&upkeep),
        };
        let for_thread = Arc::clone(&shared);
        committer.spawn("tickbus-journal", move || for_thread.run(sleeper))?;
        let for_upkeep = Arc::clone(&shared);
        committer.spawn("tickbus-seal", move || upkeep.run(&for_upkeep.stopping))?;
        committer.spawn("tickbus-prepare", move || shared.prepare(&preparer))?;
        Ok(committer)
    }

    fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(BusError::io("start the journal's thread"))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Wait until the event at `sequence` is persisted at its lane's level; commits that lane itself
    /// unless somebody is at it.
    pub fn persist(&self, lane: usize, sequence: u64) -> Result<(), JournalError> {
        let is_persisted = || self.shared.bus.persistence().persisted(lane) > sequence;
        while !is_persisted() {
            let Some(mut writing) = self.shared.lock_unless(is_persisted) else {
                break;
            };
            if !is_persisted() {
                self.shared.commit(&mut writing, &[lane], false)?;
            }
        }
        Ok(())
    }

    /// Wait until everything published before this call is persisted; `synced`: on the disk, too.
    pub fn sync(&self, synced: bool) -> Result<(), JournalError> {
        let ends: [u64; 3] = std::array::from_fn(|lane| self.shared.bus.lanes()[lane].tail());
        let mut writing = self.shared.lock();
        let behind = |writing: &Writing| {
            (0..3).any(|lane| self.shared.keeps(lane) && writing.taken[lane] < ends[lane])
        };
        while behind(&writing) {
            self.shared.commit(&mut writing, &ALL, false)?;
        }
        if synced {
            self.shared.commit(&mut writing, &ALL, true)?;
        }
        Ok(())
    }

    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// The work in the background: sealing, packing, retention.
    pub fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    /// Position behind the last slot written, and behind the last that is on the disk.
    pub fn positions(&self) -> (u64, u64) {
        let writing = self.shared.lock();
        writing.log.as_ref().map_or((0, 0), |log| (log.written(), log.durable()))
    }

    /// Persist what is there, close the log and let the bus go on without it.
    pub fn close(&self) -> Result<(), JournalError> {
        if self.process != std::process::id() || self.shared.stopping.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(number) = self.shared.bus.persistence().waker() {
            self.shared.bus.sleepers.call(number);
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            // A panic has been printed; the log is closed all the same.
            let _ = thread.join();
        }
        let synced = self.sync(true);
        let mut writing = self.shared.lock();
        let log = writing.log.take();
        self.shared.bus.end_journal(writing.reader);
        synced?;
        log.map_or(Ok(()), |log| log.close().map(|_| ()))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // What fails here has been seen by whoever waited for it.
        let _ = self.close();
    }
}

/// Lanes whose publishers wait for the journal, a bit each.
fn gated(policy: &Policy) -> u64 {
    let waits = |lane: usize| {
        policy.levels[lane] != Level::Memory
            && (lane == CRITICAL || policy.when_full == WhenFull::Wait)
    };
    (0..3).filter(|lane| waits(*lane)).map(|lane| 1 << lane).sum()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, ahead of the thread, unless whoever has it does what is asked for meanwhile.
    fn lock_unless(&self, done: impl Fn() -> bool) -> Option<MutexGuard<'_, Writing>> {
        // A commit without a sync is shorter than going to sleep and being woken.
        let mut until = None;
        loop {
            match self.writing.try_lock() {
                Ok(writing) => return Some(writing),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if done() => return None,
                Err(TryLockError::WouldBlock) => relax(),
            }
            let now = Instant::now();
            if now > *until.get_or_insert(now + LOOK) {
                break;
            }
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let writing = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        Some(writing)
    }

    /// Let publishers that wait have the lock. A mutex alone is given to whoever is awake, which is
    /// the thread that has just let go of it.
    fn give_way(&self) {
        let until = Instant::now() + GIVE_WAY;
        while self.waiting.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    fn keeps(&self, lane: usize) -> bool {
        self.policy.levels[lane] != Level::Memory
    }

    /// Have the next segment ready before it is needed: writing its zeros takes longer than a lane
    /// takes to fill.
    fn prepare(&self, preparer: &Preparer<FsDisk>) {
        while !self.stopping.load(Ordering::SeqCst) {
            // A full disk shows where the segment is needed.
            let _ = preparer.prepare_next();
            std::thread::park_timeout(PREPARE_EVERY);
        }
    }

    fn run(&self, sleeper: Sleeper) {
        let mut nap = SHORT_NAP;
        while !self.stopping.load(Ordering::SeqCst) {
            let outcome = self.commit(&mut self.lock(), &ALL, false);
            nap = match outcome {
                Ok(count) if count >= CHUNK => {
                    self.give_way();
                    continue;
                }
                Ok(0) => (nap * 2).min(LONG_NAP),
                Ok(_) => SHORT_NAP,
                Err(_) => FULL_NAP,
            };
            sys::sleep_on(sleeper.fd(), nap);
            sleeper.forget_calls();
        }
    }

    /// Take what there is in these lanes, at most a chunk of each, and persist it; how many events.
    /// `sync` asks for a sync whatever the levels say.
    fn commit(
        &self,
        writing: &mut Writing,
        lanes: &[usize],
        sync: bool,
    ) -> Result<usize, JournalError> {
        let mut count = 0;
        let mut needs_sync = sync;
        for &lane in lanes {
            if !self.keeps(lane) {
                continue;
            }
            let taken = self.take(writing, lane)?;
            count += taken;
            match self.policy.levels[lane] {
                Level::Disk => needs_sync |= taken > 0,
                Level::Interval(_) => writing.unsynced |= taken > 0,
                Level::Memory | Level::Os => {}
            }
        }
        for level in self.policy.levels {
            if let Level::Interval(interval) = level {
                needs_sync |= writing.unsynced && writing.last_sync.elapsed() >= interval;
            }
        }
        let Some(log) = &mut writing.log else {
            return Err(JournalError::Closed);
        };
        if count == 0 && !needs_sync && log.staged_bytes() == 0 {
            return Ok(0);
        }
        if let Err(error) = log.commit(needs_sync) {
            self.bus.persistence().set_state(match error {
                JournalError::StorageFull { .. } => State::Full,
                _ => State::Failed,
            });
            return Err(error.in_folder(&log.disk().place()));
        }
        if needs_sync {
            writing.last_sync = Instant::now();
            writing.unsynced = false;
            self.figures.syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.figures.commits.fetch_add(1, Ordering::Relaxed);
        self.figures.events.fetch_add(count as u64, Ordering::Relaxed);
        self.let_go(writing);
        Ok(count)
    }

    /// Tell the bus how far the journal is.
    fn let_go(&self, writing: &mut Writing) {
        let persistence = self.bus.persistence();
        // A write that failed and was repeated is over. A failed sync is not: no commit follows it.
        if matches!(persistence.state(), State::Full | State::Failed) {
            persistence.set_state(State::Live);
        }
        // All lanes: what a commit that failed has staged may have been written for another lane's sake.
        for (lane, &next) in writing.taken.iter().enumerate() {
            if self.keeps(lane) && persistence.persisted(lane) != next {
                self.bus.readers.set_cursor(writing.reader, lane, next);
                persistence.set_persisted(lane, next);
                if lane == CRITICAL {
                    self.bus.lanes()[CRITICAL].hold(next);
                }
            }
        }
        if writing.wishes != Wishes::default() {
            self.bus.sleepers.wake_for(&writing.wishes);
            writing.wishes = Wishes::default();
        }
    }

    /// Stage events of one lane; how many.
    fn take(&self, writing: &mut Writing, lane: usize) -> Result<usize, JournalError> {
        let ring = &self.bus.lanes()[lane];
        let Writing { log, names, buffer, taken, wishes, .. } = writing;
        let log = log.as_mut().ok_or(JournalError::Closed)?;
        let priority = PRIORITIES[lane];
        let first = taken[lane];
        let count = read(ring, first, buffer);
        if count == 0 {
            if let Peek::Lapped { oldest } = ring.read(first) {
                let lost = oldest - first;
                log.append_gap(priority, first, lost, OVERWRITTEN)?;
                self.figures.gaps.fetch_add(lost, Ordering::Relaxed);
                taken[lane] = oldest;
            }
            return Ok(0);
        }
        let events = &mut buffer[..count];
        let mut outcome = Ok(());
        for event in events.iter_mut() {
            if lane == CRITICAL {
                wishes.types[usize::from(event.event_type >> 6)] |= 1 << (event.event_type & 63);
                wishes.symbols |= 1 << (event.symbol & 63);
            }
            self.take_payload(log, event.metadata);
            names.translate(event, self.bus.names(), |kind, bytes| {
                outcome = std::mem::replace(&mut outcome, Ok(())).and(log.append_name(kind, bytes));
            });
        }
        outcome?;
        log.append_events(priority, first, events)?;
        taken[lane] = first + count as u64;
        Ok(count)
    }

    /// Stage the payload that `metadata` refers to, if it does.
    fn take_payload(&self, log: &mut Log<FsDisk>, metadata: u64) {
        let bytes = match self.bus.payloads().read(metadata) {
            Ok(bytes) => bytes,
            // Most metadata is no reference at all. One whose payload is gone looks like a number that
            // happens to point there, so this count is of what may have been lost.
            Err(PayloadError::Overwritten) => {
                self.figures.payloads_lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(_) => return,
        };
        let record: Vec<u8> = metadata.to_le_bytes().into_iter().chain(bytes).collect();
        if log.append_record(record::PAYLOAD, &record).is_err() {
            self.figures.payloads_lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Copy events of a lane from `first` on; how many.
fn read(ring: &Lane, first: u64, out: &mut [Event]) -> usize {
    let mut count = 0;
    while count < out.len() {
        let from = first + count as u64;
        let copied = ring.read_run(from, &mut out[count..], |_, words| Event::from_words(words));
        count += copied;
        if copied == 0 {
            // The end, or an event whose producer has not finished its copy.
            match ring.read(from) {
                Peek::Event(words) => {
                    out[count] = Event::from_words(words);
                    count += 1;
                }
                Peek::Empty | Peek::Lapped { .. } => break,
            }
        }
    }
    count
}
