//! A bus, seen by one process: three lanes, the names, and who is on it.
//!
//! Publishing is [`crate::producer`], reading is [`crate::subscription`]. Here stands what both
//! rely on: opening and leaving, room in the critical lane, and what to do about the dead.
//!
//! The critical lane is gated: a slot is free when every *gating* reader has read it. A quarter of
//! the lane is a **reserve** that only a publisher whose deadline has passed may enter, so that an
//! event is spilled in order and in memory that survives its publisher; past that it is refused,
//! and the publisher gets an error. No critical event is ever dropped.

use crate::error::BusError;
use crate::history::History;
use crate::lane::counter::{COUNTER_NAMES, Counter};
use crate::lane::layout::Sizes;
use crate::lane::ring::{Blocked, Lane};
use crate::names::BusNames;
use crate::open::{self, Absent, Asked, Opened, Origins};
use crate::payload::PayloadRing;
use crate::persistence::Persistence;
use crate::registry::{Participants, Readers};
use crate::sync::relax;
use crate::sys::{AdminLock, Identity};
use crate::wake::Sleepers;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The lane of critical events; lanes are numbered as priorities are.
pub const CRITICAL: usize = 2;
/// How long a publisher waits for a live producer that does not move before it gives up.
pub const STALL_PATIENCE: Duration = Duration::from_millis(20);

/// Opens the history of a bus, when there is one.
pub type Historian = Box<dyn Fn(&Bus) -> Option<Box<dyn History>> + Send + Sync>;

/// A bus opened by this process.
pub struct Bus {
    pub(crate) lanes: [Lane; 3],
    pub(crate) participants: Participants,
    pub(crate) readers: Readers,
    pub(crate) sleepers: Sleepers,
    pub(crate) admin: Arc<AdminLock>,
    pub(crate) persistence: Persistence,
    /// How this process reads what the lanes have overwritten.
    historian: OnceLock<Historian>,
    names: Arc<BusNames>,
    header: crate::lane::memory::Cells,
    payloads: crate::lane::memory::Cells,
    sizes: Sizes,
    path: Option<String>,
    identity: Identity,
    left: AtomicBool,
    /// The critical gate at which a publisher's patience last ran out, plus one.
    stuck_at: AtomicU64,
    number: u8,
}

impl Bus {
    /// A bus of this process alone.
    pub fn private(sizes: Sizes) -> Result<Arc<Bus>, BusError> {
        Bus::private_from(sizes, [0; 3])
    }

    /// The same, with lanes that begin at `origins`.
    pub fn private_from(sizes: Sizes, origins: Origins) -> Result<Arc<Bus>, BusError> {
        Bus::join(open::private(sizes, origins)?, None)
    }

    /// Attach to the bus called `name`, creating it with `sizes` when nobody has. Other sizes than the
    /// `asked` ones are an error.
    pub fn named(name: &str, sizes: Sizes, asked: &Asked) -> Result<Arc<Bus>, BusError> {
        Bus::named_from(name, sizes, asked, [0; 3], Absent::Create)
    }

    /// The same, with lanes that begin at `origins` if the bus is created.
    pub fn named_from(
        name: &str,
        sizes: Sizes,
        asked: &Asked,
        origins: Origins,
        absent: Absent,
    ) -> Result<Arc<Bus>, BusError> {
        loop {
            let opened = open::named(name, sizes, asked, origins, absent)?;
            let bus = Bus::join(opened, Some(open::path_of(name)))?;
            // Its last user may have removed the file while we were opening it.
            if bus.is_linked() {
                return Ok(bus);
            }
        }
    }

    /// # Errors
    /// [`BusError::NoBus`] unless some process has a bus of this name open, or had when it was killed.
    pub fn exists(name: &str) -> Result<(), BusError> {
        match std::fs::symlink_metadata(open::path_of(name)) {
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::NoBus { name: name.to_owned() }),
        }
    }

    fn join(opened: Opened, path: Option<String>) -> Result<Arc<Bus>, BusError> {
        let Opened { memory, layout, sizes, file } = opened;
        let admin = Arc::new(AdminLock::new(file));
        let pipes = path.as_ref().map(|path| format!("{path}.wake."));
        let identity = Identity::own().map_err(BusError::io("read our own /proc entry"))?;
        let participants = Participants::new(&memory, &layout);
        let mut bus = Bus {
            lanes: open::lanes(&memory, &layout),
            readers: Readers::new(&memory, &layout),
            sleepers: Sleepers::new(&memory, &layout, pipes),
            names: match path {
                Some(_) => Arc::new(BusNames::new(&memory, &layout, Arc::clone(&admin))),
                None => Arc::clone(process_names()?),
            },
            persistence: Persistence::new(memory.cells(layout.header.at, layout.header.len)),
            historian: OnceLock::new(),
            header: memory.cells(layout.header.at, layout.header.len),
            payloads: memory.cells(layout.payloads.at, sizes.payload_cells),
            participants,
            admin,
            sizes,
            path,
            identity,
            left: AtomicBool::new(true),
            stuck_at: AtomicU64::new(0),
            number: 0,
        };
        bus.reap()?;
        bus.number = bus.enter()?;
        bus.left = AtomicBool::new(false);
        Ok(Arc::new(bus))
    }

    fn is_linked(&self) -> bool {
        match self.admin.file() {
            Some(file) => rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0),
            None => true,
        }
    }

    /// Register one more participant of this process.
    pub(crate) fn enter(&self) -> Result<u8, BusError> {
        let _guard = self.admin.lock()?;
        self.participants.enter(&self.identity)
    }

    /// The names of this bus.
    pub fn names(&self) -> &Arc<BusNames> {
        &self.names
    }

    /// The lanes, by priority number.
    pub fn lanes(&self) -> &[Lane; 3] {
        &self.lanes
    }

    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Where bytes too long for an event live.
    pub fn payloads(&self) -> PayloadRing<'_> {
        PayloadRing::new(&self.payloads, &self.header[crate::lane::layout::PAYLOAD_TAIL])
    }

    /// Which of all buses ever this one is.
    pub fn id(&self) -> u64 {
        self.header[crate::lane::layout::ID].load(crate::sync::Ordering::Relaxed)
    }

    /// This handle's own number, which its subscriptions and sleepers are registered under.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Participants in use, and subscriptions, over all processes.
    pub fn population(&self) -> (usize, usize) {
        (self.participants.live().count(), self.readers.count())
    }

    /// Finish what dead participants left unfinished and free their places; how many there were.
    pub fn reap(&self) -> Result<usize, BusError> {
        if self.dead().next().is_none() {
            return Ok(0);
        }
        let _guard = self.admin.lock()?;
        Ok(self.bury())
    }

    /// Participants other than this handle that are proven dead.
    fn dead(&self) -> impl Iterator<Item = u8> + '_ {
        self.participants.live().filter(|number| {
            *number != self.number
                && self.participants.identity(*number).is_some_and(|i| i.is_dead())
        })
    }

    /// What [`Bus::reap`] does, for who holds the admin lock.
    fn bury(&self) -> usize {
        // Looked up under the lock: others may have been here.
        let dead: Vec<u8> = self.dead().collect();
        for &number in &dead {
            for lane in &self.lanes {
                lane.repair_all(number);
            }
            self.readers.leave_all(number);
            self.sleepers.leave_all(number);
            self.participants.leave(number);
        }
        dead.len()
    }

    /// Move a lane's gate up to its slowest gating reader. With a journal that is the journal alone:
    /// the others find there what they come too late for. Critical events wait for the next journal when
    /// this one was killed: publishers have been told that they will be persisted.
    pub(crate) fn rescan_gate(&self, number: usize) {
        let lane = &self.lanes[number];
        // Read before the scan: a reader that joins later starts here or behind it.
        let tail = lane.tail();
        let slowest = match self.persistence.reader() {
            Some(journal) if number == CRITICAL || self.readers.owner(journal).is_some() => {
                Some(self.readers.cursor(journal, number))
            }
            _ => self.readers.slowest_gating(number).map(|(cursor, _)| cursor),
        };
        lane.raise_gate(slowest.map_or(tail, |cursor| cursor.min(tail)));
    }

    /// Whether subscribers cannot see an event yet: then it is the journal that wakes them.
    #[inline(always)]
    pub(crate) fn is_held(&self, lane: usize, sequence: u64) -> bool {
        lane == CRITICAL && !self.lanes[CRITICAL].is_visible(sequence)
    }

    /// The journal of this bus, as far as everybody can see it.
    pub fn persistence(&self) -> &Persistence {
        &self.persistence
    }

    /// Say how this process reads history. The first to say so is heard.
    pub fn set_historian(&self, historian: Historian) {
        let _ = self.historian.set(historian);
    }

    /// Open what was kept of the lanes; `None` when nobody keeps it.
    pub fn history(&self) -> Option<Box<dyn History>> {
        self.historian.get()?(self)
    }

    /// Wait, at most until `deadline`, for what blocks an append that leaves `reserve` slots free.
    /// Whether it is worth trying again.
    pub fn unblock(&self, lane: usize, blocked: Blocked, reserve: u64, deadline: Instant) -> bool {
        let ring = &self.lanes[lane];
        let begin = Instant::now();
        let mut reaped = begin;
        for turn in 0u32.. {
            match blocked {
                Blocked::Full { sequence } => {
                    self.rescan_gate(lane);
                    if ring.gate().is_none_or(|gate| gate + ring.size() > sequence + reserve) {
                        return true;
                    }
                    // The journal may be asleep, or in another process.
                    if turn % 16 == 0
                        && let Some(journal) = self.persistence.waker()
                    {
                        self.sleepers.call(journal);
                    }
                }
                Blocked::Unfinished { sequence, .. } => {
                    if ring.is_finished(sequence) {
                        return true;
                    }
                }
            }
            let now = Instant::now();
            // Dead ones are looked for only while they may be in the way: it costs microseconds.
            if turn == 16 || now - reaped > Duration::from_millis(5) {
                reaped = now;
                if self.reap().is_ok_and(|dead| dead > 0) {
                    continue;
                }
            }
            if now >= deadline {
                return false;
            }
            if turn < 16 {
                relax();
            } else {
                std::thread::sleep(Duration::from_micros(50).min(deadline - now));
            }
        }
        unreachable!("the loop counts for longer than any deadline")
    }

    /// Whether a publisher of this handle has waited in vain for the readers that are waited for now:
    /// one wait is enough for all who come until they move.
    pub(crate) fn is_stuck(&self) -> bool {
        let gate = self.lanes[CRITICAL].gate();
        gate.is_some_and(|gate| self.stuck_at.load(Ordering::Relaxed) == gate + 1)
    }

    pub(crate) fn set_stuck(&self) {
        let gate = self.lanes[CRITICAL].gate();
        self.stuck_at.store(gate.map_or(0, |gate| gate + 1), Ordering::Relaxed);
    }

    /// Slots of the critical lane that only a publisher out of patience may use.
    pub fn reserve(&self, lane: usize) -> u64 {
        if lane == CRITICAL { self.lanes[CRITICAL].size() / 4 } else { 0 }
    }

    /// PID behind a participant's number, for error messages.
    pub fn pid_of(&self, number: u8) -> Option<u64> {
        self.participants.identity(number).map(|identity| identity.pid)
    }

    /// The slowest gating reader's process and how many events it is behind.
    pub fn slowest_gating(&self) -> Option<(u64, u64)> {
        let (cursor, owner) = self.readers.slowest_gating(CRITICAL)?;
        Some((self.pid_of(owner)?, self.lanes[CRITICAL].tail().saturating_sub(cursor)))
    }

    /// Every counter of a lane, by name.
    pub fn counters(&self, lane: usize) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        COUNTER_NAMES
            .iter()
            .map(move |(counter, name)| (*name, self.lanes[lane].counted(*counter)))
    }

    pub(crate) fn count(&self, lane: usize, counter: Counter, by: u64) {
        self.lanes[lane].count(counter, by);
    }

    /// Whether what this handle registered is still its own to give back: not after it has left (the
    /// places may be somebody else's by now), and not in a forked child (they are its parent's).
    pub(crate) fn holds_places(&self) -> bool {
        !self.left.load(Ordering::Acquire) && self.identity.pid == u64::from(std::process::id())
    }

    /// Leave the bus: what this handle registered is freed, and the last to leave a named bus
    /// removes it. Safe to call twice.
    pub fn leave(&self) {
        if !self.holds_places() || self.left.swap(true, Ordering::AcqRel) {
            return;
        }
        // If the lock cannot be had, the entries are reaped after our death.
        let Ok(_guard) = self.admin.lock() else {
            return;
        };
        self.readers.leave_all(self.number);
        self.sleepers.leave_all(self.number);
        self.participants.leave(self.number);
        // Nobody comes after the last one who could remove the pipes of the dead.
        self.bury();
        if let Some(path) = &self.path
            && self.participants.live().next().is_none()
            && self.is_linked()
        {
            // Gone already is as good.
            let _ = rustix::fs::unlink(path);
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The names that all private buses of this process share, so that an event made by hand, or taken
/// from one of them, means the same on each.
pub fn process_names() -> Result<&'static Arc<BusNames>, BusError> {
    static NAMES: OnceLock<Arc<BusNames>> = OnceLock::new();
    if let Some(names) = NAMES.get() {
        return Ok(names);
    }
    let Opened { memory, layout, .. } =
        open::private(Sizes { lanes: [64; 3], payload_cells: 64 }, [0; 3])?;
    let names = BusNames::new(&memory, &layout, Arc::new(AdminLock::new(None)));
    Ok(NAMES.get_or_init(|| Arc::new(names)))
}
