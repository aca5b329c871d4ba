//! Cursors of durable subscriptions, from Python. `tickbus.durable` has the rules.

use crate::bus::Bus;
use crate::error::{raise, raise_with};
use crate::fork::{forked_since, forks};
use crate::gil::GilCell;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::path::PathBuf;
use std::sync::Arc;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::journal::cursors::{self, Cursor as Core, CursorError, Mark};
use tickbus_core::sys::now_ns;

/// Sequences by lane number, a tuple in Python.
type Each = (u64, u64, u64);

#[cold]
fn error(py: Python<'_>, error: CursorError) -> PyErr {
    let text = error.to_string();
    match error {
        CursorError::Name { .. } => raise(py, "InvalidNameError", text),
        CursorError::Locked { pid, .. } => {
            raise_with(py, "CursorLockedError", text, &[("pid", pid.unwrap_or(0).into())])
        }
        CursorError::Damaged { .. } | CursorError::Foreign { .. } => raise(py, "CursorError", text),
        CursorError::Unknown { .. } => raise(py, "UnknownNameError", text),
        CursorError::Io { error, .. } => std::io::Error::new(error.kind(), text).into(),
    }
}

/// Sequences noted in some life of the bus, as far as this one has them. What lies behind has been given
/// out anew: the log was restored, or its last events had not been written when the machine or the
/// process died.
fn within(bus: &CoreBus, life: u64, next: [u64; 3]) -> [u64; 3] {
    std::array::from_fn(|lane| {
        let ring = &bus.lanes()[lane];
        next[lane].min(if life == bus.id() { ring.tail() } else { ring.origin() })
    })
}

/// The number of a bus's life: from the first who opens it to the last who leaves.
#[pyfunction]
pub fn bus_life(py: Python<'_>, bus: &Bound<'_, Bus>) -> PyResult<u64> {
    bus.get().with(py, |core| core.bus.id())
}

/// Next sequences by lane number: of now, or of those noted in a life of the bus what this one has.
#[pyfunction]
#[pyo3(signature = (bus, noted=None))]
pub fn bus_places(
    py: Python<'_>,
    bus: &Bound<'_, Bus>,
    noted: Option<(u64, [u64; 3])>,
) -> PyResult<Each> {
    bus.get().with(py, |core| match noted {
        Some((life, next)) => within(&core.bus, life, next).into(),
        None => std::array::from_fn(|lane| core.bus.lanes()[lane].end()).into(),
    })
}

/// The cursor of a durable subscription, held by this process.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Cursor {
    core: GilCell<Option<Core>>,
    bus: Arc<CoreBus>,
    journal: [u8; 16],
    sync: bool,
    forks: u64,
}

impl Cursor {
    fn usable(&self, py: Python<'_>) -> PyResult<()> {
        if forked_since(self.forks) {
            return Err(raise(
                py,
                "BusForkedError",
                "the subscription belongs to the parent process",
            ));
        }
        Ok(())
    }
}

#[pymethods]
impl Cursor {
    #[new]
    fn py_new(
        py: Python<'_>,
        bus: &Bound<'_, Bus>,
        name: &str,
        patterns: Vec<String>,
        sync: bool,
    ) -> PyResult<Cursor> {
        let core_bus = bus.get().with(py, |core| Arc::clone(&core.bus))?;
        let path = core_bus.persistence().path().ok_or_else(|| {
            raise(
                py,
                "JournalError",
                format!(
                    "durable={name:?} needs a journal to continue from: open the bus with journal=, \
                     here or in another process"
                ),
            )
        })?;
        let opened = py.detach(|| -> Result<_, CursorError> {
            let cursor = Core::open(&path, name, &patterns, std::process::id())?;
            let journal = cursors::journal_id(&path)?.unwrap_or_default();
            cursor.check(journal)?;
            Ok((cursor, journal))
        });
        let (core, journal) = opened.map_err(|why| error(py, why))?;
        Ok(Cursor { core: GilCell::new(Some(core)), bus: core_bus, journal, sync, forks: forks() })
    }

    /// By lane number: where to go on, and how many acknowledged events the log does not have. ``None``
    /// of a new cursor.
    #[getter]
    fn resume(&self, py: Python<'_>) -> Option<(Each, Each)> {
        let mark = self.core.with(py, |core| core.as_ref().and_then(Core::mark))?;
        let next = within(&self.bus, mark.bus, mark.next);
        let unlogged: [u64; 3] = std::array::from_fn(|lane| mark.next[lane] - next[lane]);
        Some((next.into(), unlogged.into()))
    }

    /// Everything before these sequences, by lane number, is acknowledged.
    fn set(&self, py: Python<'_>, next: [u64; 3]) -> PyResult<()> {
        self.usable(py)?;
        let mark = Mark { next, journal: self.journal, bus: self.bus.id(), written: now_ns() };
        let set = |core: &mut Option<Core>| core.as_mut().map(|core| core.set(mark, self.sync));
        match self.core.with(py, set) {
            Some(set) => set.map_err(|why| error(py, why)),
            None => Err(raise(py, "BusClosedError", "the subscription is closed")),
        }
    }

    /// Let others have it. Safe to call twice.
    fn close(&self, py: Python<'_>) {
        if let Some(core) = self.core.with(py, Option::take)
            && !forked_since(self.forks)
        {
            core.unlock();
        }
    }
}

/// The durable subscriptions of a journal, as dicts.
#[pyfunction]
pub fn list_cursors(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyList>> {
    let listed = py.detach(|| cursors::list(&path)).map_err(|why| error(py, why))?;
    let rows = PyList::empty(py);
    for one in listed {
        let row = PyDict::new(py);
        row.set_item("name", one.name)?;
        row.set_item("patterns", one.patterns)?;
        row.set_item("holder", one.holder)?;
        let (mark, trouble) = match one.mark {
            Ok(mark) => (mark, None),
            Err(why) => (None, Some(why.to_string())),
        };
        row.set_item("next", mark.map(|mark| Each::from(mark.next)))?;
        row.set_item("written", mark.map(|mark| mark.written))?;
        row.set_item("trouble", trouble)?;
        rows.append(row)?;
    }
    Ok(rows)
}

/// By lane number, the first sequence that some durable subscription still needs.
#[pyfunction]
pub fn least_cursors(py: Python<'_>, path: PathBuf) -> PyResult<Option<Each>> {
    let least = || cursors::least(&path, cursors::journal_id(&path)?.unwrap_or_default());
    let least = py.detach(least).map_err(|why| error(py, why))?;
    Ok(least.map(Each::from))
}

/// Forget a durable subscription.
#[pyfunction]
pub fn drop_cursor(py: Python<'_>, path: PathBuf, name: &str) -> PyResult<()> {
    py.detach(|| cursors::drop_cursor(&path, name)).map_err(|why| error(py, why))
}
