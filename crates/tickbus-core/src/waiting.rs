//! Waiting for an event: spin, yield, sleep, or first one and then the other.

use crate::backoff::Backoff;
use crate::bus::Bus;
use crate::error::BusError;
use crate::subscription::{Delivered, Subscription};
use crate::sys;
use crate::wake::{LONGEST_SLEEP, Wishes};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a reader waits. The first costs a core, the last 30 to 50 microseconds of latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Look again and again.
    Spin,
    /// Look, and let others run in between.
    Yield,
    /// Sleep at once.
    Sleep,
    /// Spin for [`ADAPTIVE_SPIN`], then sleep.
    Adaptive,
}

/// All strategies by name.
pub const STRATEGIES: [(&str, Strategy); 4] = [
    ("spin", Strategy::Spin),
    ("yield", Strategy::Yield),
    ("sleep", Strategy::Sleep),
    ("adaptive", Strategy::Adaptive),
];

/// About what a wake-up costs: spinning as long as that at most doubles the cost of waiting.
pub const ADAPTIVE_SPIN: Duration = Duration::from_micros(20);

/// A place to sleep; taken when first needed.
pub struct Sleeper {
    bus: Arc<Bus>,
    number: usize,
    fd: Arc<OwnedFd>,
    /// How long to sleep at most: shorter when unwanted events fill the lanes quickly, so that the
    /// reader is not overtaken in its sleep.
    nap: Duration,
}

/// The shortest nap, and the part of a lane that may fill up during one.
const SHORTEST_NAP: Duration = Duration::from_millis(1);
const NAP_SHARE: u64 = 8;

impl Sleeper {
    /// Take one of the bus's places.
    pub fn new(bus: &Arc<Bus>) -> Result<Sleeper, BusError> {
        let _guard = bus.admin.lock()?;
        let (number, fd) = bus.sleepers.enter(bus.number())?;
        Ok(Sleeper { bus: Arc::clone(bus), number, fd, nap: LONGEST_SLEEP })
    }

    /// By which others call it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Readable when somebody has called.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Announce sleep; false when `pending` finds something after all, and then nobody sleeps.
    pub fn arm(&self, wishes: &Wishes, pending: impl FnOnce() -> bool) -> bool {
        self.bus.sleepers.announce(self.number, wishes);
        if pending() {
            self.bus.sleepers.cancel(self.number);
            return false;
        }
        true
    }

    /// After the sleep: take the announcement and any calls back.
    pub fn disarm(&self) {
        self.bus.sleepers.cancel(self.number);
        self.forget_calls();
    }

    /// Take back calls for an earlier sleep. One that comes still later ends the next sleep early,
    /// which does no harm.
    pub fn forget_calls(&self) {
        sys::drain(&self.fd);
    }

    /// Sleep until woken, at most until `end`, and look for an event at once: whatever can be done
    /// before the next sleep instead is done then.
    fn sleep(&mut self, subscription: &mut Subscription, end: Instant) -> Option<Delivered> {
        let left = end.saturating_duration_since(Instant::now());
        sys::sleep_on(&self.fd, left.min(self.nap));
        let crowded = subscription.is_crowded(NAP_SHARE);
        let delivered = subscription.poll();
        self.bus.sleepers.cancel(self.number);
        self.nap = if crowded {
            (self.nap / 2).max(SHORTEST_NAP)
        } else {
            (self.nap * 2).min(LONGEST_SLEEP)
        };
        delivered
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Without the lock the place is freed when the participant leaves.
        if self.bus.holds_places()
            && let Ok(_guard) = self.bus.admin.lock()
        {
            self.bus.sleepers.leave(self.number);
        }
    }
}

/// Wait until `subscription` has an event, at most until `deadline` or one [`LONGEST_SLEEP`].
pub fn wait(
    subscription: &mut Subscription,
    sleeper: &mut Option<Sleeper>,
    strategy: Strategy,
    deadline: Option<Instant>,
) -> Result<Option<Delivered>, BusError> {
    let began = Instant::now();
    let slice = began + LONGEST_SLEEP;
    let end = deadline.map_or(slice, |deadline| deadline.min(slice));
    let spin_end = match strategy {
        Strategy::Spin | Strategy::Yield => end,
        Strategy::Adaptive => end.min(began + ADAPTIVE_SPIN),
        Strategy::Sleep => began,
    };
    let mut backoff = Backoff::default();
    loop {
        if let Some(delivered) = subscription.poll() {
            return Ok(Some(delivered));
        }
        // The clock costs as much as a look; it is asked now and then.
        if backoff.turns() & 15 == 0 && Instant::now() >= spin_end {
            break;
        }
        match strategy {
            Strategy::Yield => std::thread::yield_now(),
            _ => backoff.pause(),
        }
        if strategy == Strategy::Yield && Instant::now() >= spin_end {
            break;
        }
    }
    if Instant::now() >= end {
        return Ok(None);
    }
    if sleeper.is_none() {
        match Sleeper::new(subscription.bus()) {
            Ok(made) => *sleeper = Some(made),
            // All places taken: nap without one, and look again.
            Err(BusError::Capacity { .. }) => {
                std::thread::sleep(SHORTEST_NAP.min(end - began));
                return Ok(subscription.poll());
            }
            Err(error) => return Err(error),
        }
    }
    let sleeper = sleeper.as_mut().expect("made above");
    sleeper.forget_calls();
    if sleeper.arm(&subscription.wishes(), || subscription.has_pending()) {
        return Ok(sleeper.sleep(subscription, end));
    }
    Ok(subscription.poll())
}
