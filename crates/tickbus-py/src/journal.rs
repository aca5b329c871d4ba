//! The journal of a bus, from Python: how it is asked for, and the handle of the process that keeps it.

use crate::error::{self, invalid};
use crate::event::id_of;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::Level;
use tickbus_core::journal::committer::{Committer, Policy, WhenFull};
use tickbus_core::journal::opening::Opening;

/// What `Bus(journal=...)` asks for: the figures of `tickbus.journal.Journal`.
pub struct Asked {
    path: PathBuf,
    policy: Policy,
    segment_bytes: u64,
}

impl Asked {
    /// From an object with those attributes.
    pub fn of(options: &Bound<'_, PyAny>) -> PyResult<Asked> {
        let py = options.py();
        let interval_ms: f64 = options.getattr("interval_ms")?.extract()?;
        let interval = Duration::try_from_secs_f64(interval_ms / 1e3).map_err(|_| {
            invalid(py, format!("interval_ms={interval_ms} is no number of milliseconds"))
        })?;
        let level = |name: &str| match name {
            "memory" => Ok(Level::Memory),
            "os" => Ok(Level::Os),
            "interval" => Ok(Level::Interval(interval)),
            "disk" => Ok(Level::Disk),
            _ => Err(invalid(
                py,
                format!("journal level {name:?} is none of memory, os, interval, disk"),
            )),
        };
        let names: (String, String, String) = options.getattr("levels")?.extract()?;
        let when_full: String = options.getattr("when_full")?.extract()?;
        let when_full = match when_full.as_str() {
            "wait" => WhenFull::Wait,
            "overwrite" => WhenFull::Overwrite,
            other => {
                return Err(invalid(py, format!("when_full={other:?} is none of wait, overwrite")));
            }
        };
        Ok(Asked {
            path: options.getattr("path")?.extract()?,
            policy: Policy {
                levels: [level(&names.0)?, level(&names.1)?, level(&names.2)?],
                when_full,
            },
            segment_bytes: options.getattr("segment_bytes")?.extract()?,
        })
    }

    /// Open the log, before there is a bus: it says where the lanes begin.
    pub fn open(&self, py: Python<'_>) -> PyResult<Opening> {
        py.detach(|| Opening::of(&self.path, self.segment_bytes))
            .map_err(|error| error::journal(py, error, 0))
    }

    /// Begin to keep the journal of a bus.
    pub fn start(
        &self,
        py: Python<'_>,
        bus: &Arc<CoreBus>,
        opening: Opening,
    ) -> PyResult<Arc<Committer>> {
        Committer::start(bus, opening, &self.path, self.policy)
            .map(Arc::new)
            .map_err(|error| error::journal(py, error, 0))
    }
}

/// The journal that this handle of a bus keeps; see ``tickbus.journal``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct JournalHandle {
    pub bus: Arc<CoreBus>,
    pub committer: Arc<Committer>,
}

#[pymethods]
impl JournalHandle {
    /// Wait until everything published before this call is persisted; on the disk, whatever the
    /// lanes' levels, unless ``disk`` is false.
    ///
    /// Raises:
    ///     StorageFullError: The device is full; call again when there is space.
    ///     DurabilityUnknownError: A sync has failed.
    #[pyo3(signature = (*, disk=true))]
    fn sync(&self, py: Python<'_>, disk: bool) -> PyResult<()> {
        py.detach(|| self.committer.sync(disk))
            .map_err(|error| error::journal(py, error, 0))
    }

    /// The directory.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        self.bus.persistence().path()
    }

    /// By lane, the id of the next event to be persisted.
    #[getter]
    fn persisted<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let by_lane = PyDict::new(py);
        for priority in PRIORITIES.into_iter().rev() {
            let lane = priority as usize;
            by_lane
                .set_item(priority.name(), id_of(self.bus.persistence().persisted(lane), lane))?;
        }
        Ok(by_lane)
    }

    /// Figures since the bus was opened: commits, syncs, events, gaps (events overwritten before they
    /// were journaled), payloads_lost, and the log's positions in slots of 32 bytes.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (written, durable) = py.detach(|| self.committer.positions());
        let figures = self.committer.figures();
        let stats = PyDict::new(py);
        stats.set_item("commits", figures.commits.load(Relaxed))?;
        stats.set_item("syncs", figures.syncs.load(Relaxed))?;
        stats.set_item("events", figures.events.load(Relaxed))?;
        stats.set_item("gaps", figures.gaps.load(Relaxed))?;
        stats.set_item("payloads_lost", figures.payloads_lost.load(Relaxed))?;
        stats.set_item("written", written)?;
        stats.set_item("durable", durable)?;
        Ok(stats)
    }
}
