//! What an event loop sleeps on.

use crate::bus::Bus;
use crate::error::{self, raise};
use crate::gil::GilCell;
use crate::subscription::Subscription;
use pyo3::prelude::*;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use tickbus_core::waiting::Sleeper;
use tickbus_core::wake::Wishes;

/// What an event loop sleeps on: one file descriptor for any number of subscriptions.
#[pyclass(frozen, module = "tickbus._native")]
pub struct LoopSleeper {
    sleeper: GilCell<Option<Sleeper>>,
}

#[pymethods]
impl LoopSleeper {
    #[new]
    fn py_new(py: Python<'_>, bus: &Bound<'_, Bus>) -> PyResult<LoopSleeper> {
        let core_bus = bus.get().with(py, |core| Arc::clone(&core.bus))?;
        let sleeper = Sleeper::new(&core_bus).map_err(|error| error::of(py, error))?;
        Ok(LoopSleeper { sleeper: GilCell::new(Some(sleeper)) })
    }

    /// Becomes readable when an event may have come.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.sleeper
            .with(py, |sleeper| sleeper.as_ref().map(|sleeper| sleeper.fd().as_raw_fd()))
            .ok_or_else(|| raise(py, "BusClosedError", "the sleeper is closed"))
    }

    /// Announce sleep for all these subscriptions; False when one of them has an event after all.
    fn arm(&self, py: Python<'_>, subscriptions: Vec<Bound<'_, Subscription>>) -> PyResult<bool> {
        let mut wishes = Wishes::default();
        for subscription in &subscriptions {
            let one = subscription.get().with(py, |reader| reader.core.wishes())?;
            wishes = wishes.union(one);
        }
        let pending = || {
            subscriptions.iter().any(|subscription| {
                // A subscription closed meanwhile has to be told so: that counts as news.
                subscription.get().with(py, |reader| reader.core.has_pending()).unwrap_or(true)
            })
        };
        Ok(self.sleeper.with(py, |sleeper| {
            sleeper.as_ref().is_some_and(|sleeper| sleeper.arm(&wishes, pending))
        }))
    }

    /// After the sleep.
    fn disarm(&self, py: Python<'_>) {
        self.sleeper.with(py, |sleeper| {
            if let Some(sleeper) = sleeper {
                sleeper.disarm();
            }
        });
    }

    /// Give the place back.
    fn close(&self, py: Python<'_>) {
        let sleeper = self.sleeper.with(py, Option::take);
        drop(sleeper);
    }
}
