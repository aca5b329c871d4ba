//! The journal of a bus, from Python: how it is asked for, and the handle of the process that keeps it.

use crate::error::{self, invalid};
use crate::event::id_of;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::Level;
use tickbus_core::journal::catalog::PartForm;
use tickbus_core::journal::committer::{Committer, Policy, WhenFull};
use tickbus_core::journal::compact::{self, Compacted};
use tickbus_core::journal::error::JournalError;
use tickbus_core::journal::opening::Opening;
use tickbus_core::journal::retention::Limits;
use tickbus_core::journal::upkeep::Plan;

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
                plan: plan_of(options)?,
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
        let committer = Committer::start(bus, opening, &self.path, self.policy)
            .map_err(|error| error::journal(py, error, 0))?;
        let place = self.path.display().to_string();
        committer.upkeep().set_tell(Box::new(move |what| log_failure(&place, what)));
        Ok(Arc::new(committer))
    }
}

/// Say by `logging` what fails in the background. From a thread of its own, which nobody waits for:
/// the one that failed may be joined by somebody who holds the GIL.
fn log_failure(place: &str, what: &str) {
    let message = format!("journal {place}: {what}; it is tried again");
    let log = move || {
        Python::try_attach(|py| -> PyResult<()> {
            let logger = py.import("logging")?.call_method1("getLogger", ("tickbus.journal",))?;
            logger.call_method1("warning", ("%s", message))?;
            Ok(())
        })
    };
    // Where no thread can be had, the figures still say it.
    let _ = std::thread::Builder::new().name("tickbus-log".to_owned()).spawn(log);
}

/// What becomes of full segments.
fn plan_of(options: &Bound<'_, PyAny>) -> PyResult<Plan> {
    let duration = |name: &str| -> PyResult<Option<Duration>> {
        let value = options.getattr(name)?;
        if value.is_none() { Ok(None) } else { duration_of(&value, name).map(Some) }
    };
    let keep_bytes = options.getattr("keep_bytes")?;
    let limits = Limits {
        keep: duration("keep")?,
        keep_bytes: keep_bytes.extract().map_err(|_| {
            invalid(keep_bytes.py(), format!("keep_bytes={keep_bytes} is no number of bytes"))
        })?,
    };
    Ok(Plan { pack_after: duration("pack_after")?, limits })
}

/// A ``timedelta``, or seconds.
fn duration_of(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let seconds = value.extract().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds.or_else(|| value.extract().ok()).ok_or_else(|| {
        let what = format!("{name}={value} is neither a timedelta nor seconds, 0 or more");
        invalid(value.py(), what)
    })
}

/// What a compaction has done; see ``tickbus.journal.compact_old``.
#[pyclass(frozen, get_all, module = "tickbus._native")]
pub struct Compaction {
    /// Segments packed.
    segments: u64,
    /// Events in them.
    events: u64,
    /// Bytes of their files before.
    bytes_before: u64,
    /// Bytes of their files now.
    bytes_after: u64,
    /// Sealed segments that were not old enough.
    younger: u64,
    /// Damaged segments, which stay as they are: what is wrong with each.
    failed: Vec<String>,
}

#[pymethods]
impl Compaction {
    fn __repr__(&self) -> String {
        format!(
            "Compaction(segments={}, events={}, bytes_before={}, bytes_after={}, younger={}, \
             failed={})",
            self.segments,
            self.events,
            self.bytes_before,
            self.bytes_after,
            self.younger,
            self.failed.len()
        )
    }
}

impl From<Compacted> for Compaction {
    fn from(done: Compacted) -> Compaction {
        let Compacted { segments, events, bytes_before, bytes_after, younger, failed, .. } = done;
        Compaction { segments, events, bytes_before, bytes_after, younger, failed }
    }
}

/// Pack the sealed segments of a journal whose last event is older than a ``timedelta``, or so many
/// seconds: the same events in a tenth of the space or less, read in the same way.
///
/// Each is compared with what it replaces before that goes. May be interrupted and done again, while
/// nobody writes to the journal or while another process does. Full log segments are sealed, which
/// comes first, by the process that writes the journal.
///
/// Args:
///     path: The journal's directory.
///     older_than: Age of a segment's last event, by the clock of who wrote it.
///     progress: Called after each segment with the ``Compaction`` so far, and how many segments
///         there are to pack. What it raises ends the work.
/// Raises:
///     StorageFullError: There is no room for the packed segment; what was packed before stays.
///     JournalError: The directory cannot be read, or another compaction does not come to an end.
#[pyfunction]
#[pyo3(signature = (path, older_than, progress=None))]
pub fn compact_old(
    py: Python<'_>,
    path: PathBuf,
    older_than: &Bound<'_, PyAny>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Compaction> {
    compact_journal(py, &path, older_than, progress)
}

fn compact_journal(
    py: Python<'_>,
    path: &Path,
    older_than: &Bound<'_, PyAny>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Compaction> {
    let older_than = duration_of(older_than, "older_than")?;
    let stop = AtomicBool::new(false);
    let mut raised = None;
    let done = py.detach(|| {
        compact::compact_old(path, older_than, &stop, &mut |done, of| {
            // Between two segments: an interrupt ends it, and what the caller raises.
            let told = Python::attach(|py| {
                py.check_signals()?;
                let Some(progress) = &progress else {
                    return Ok(());
                };
                progress.call1(py, (Compaction::from(done.clone()), of)).map(|_| ())
            });
            if let Err(error) = told {
                raised = Some(error);
                stop.store(true, Relaxed);
            }
        })
    });
    match raised {
        Some(error) => Err(error),
        None => done.map(Compaction::from).map_err(|error| error::journal(py, error, 0)),
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

    /// Pack the sealed segments whose last event is older than a ``timedelta`` or so many
    /// seconds; see ``tickbus.journal.compact_old``. Publishing goes on meanwhile.
    fn compact_old(&self, py: Python<'_>, older_than: &Bound<'_, PyAny>) -> PyResult<Compaction> {
        let path = self.committer.upkeep().directory().to_owned();
        compact_journal(py, &path, older_than, None)
    }

    /// Figures since the bus was opened: commits, syncs, events, gaps (events overwritten before they
    /// were journaled), payloads_lost, the log's positions in slots of 32 bytes, written and durable;
    /// ``segments`` and ``bytes`` there are of each form; segments sealed and packed, removed by
    /// retention with removed_bytes and removed_events, held because a durable subscription needs
    /// them; failures of that work, what is failing now, if anything, and last_failure.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (written, durable) = py.detach(|| self.committer.positions());
        let sizes = py
            .detach(|| self.committer.upkeep().sizes())
            .map_err(|error: JournalError| error::journal(py, error, 0))?;
        let counts = self.committer.upkeep().counts();
        let figures = self.committer.figures();
        let stats = PyDict::new(py);
        stats.set_item("commits", figures.commits.load(Relaxed))?;
        stats.set_item("syncs", figures.syncs.load(Relaxed))?;
        stats.set_item("events", figures.events.load(Relaxed))?;
        stats.set_item("gaps", figures.gaps.load(Relaxed))?;
        stats.set_item("payloads_lost", figures.payloads_lost.load(Relaxed))?;
        stats.set_item("written", written)?;
        stats.set_item("durable", durable)?;
        let (segments, bytes) = (PyDict::new(py), PyDict::new(py));
        for (form, (count, size)) in PartForm::ALL.into_iter().zip(sizes) {
            segments.set_item(form.name(), count)?;
            bytes.set_item(form.name(), size)?;
        }
        stats.set_item("segments", segments)?;
        stats.set_item("bytes", bytes)?;
        stats.set_item("sealed", counts.sealed)?;
        stats.set_item("packed", counts.packed)?;
        stats.set_item("removed", counts.removed)?;
        stats.set_item("removed_bytes", counts.removed_bytes)?;
        stats.set_item("removed_events", counts.removed_events)?;
        stats.set_item("held", counts.held)?;
        stats.set_item("failures", counts.failures)?;
        stats.set_item("failing", counts.failing)?;
        stats.set_item("last_failure", counts.last_failure)?;
        Ok(stats)
    }
}
