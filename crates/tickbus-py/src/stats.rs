//! Figures of a bus as a Python dictionary.

use crate::bus::Bus;
use crate::error;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::PRIORITIES;
use tickbus_core::ledger::Ledger;

/// Lanes with their counters, names, participants; `published` is the caller's own count.
pub fn of(
    py: Python<'_>,
    bus: &CoreBus,
    name: Option<&str>,
    published: u64,
) -> PyResult<Py<PyDict>> {
    // Whoever looks at the figures wants the dead out of them.
    bus.reap().map_err(|error| error::of(py, error))?;
    let lanes = PyDict::new(py);
    for priority in PRIORITIES.into_iter().rev() {
        let number = priority as usize;
        let lane = PyDict::new(py);
        lane.set_item("published", bus.lanes()[number].tail())?;
        lane.set_item("capacity", bus.lanes()[number].size())?;
        for (name, value) in bus.counters(number) {
            lane.set_item(name, value)?;
        }
        lanes.set_item(priority.name(), lane)?;
    }
    let journal = PyDict::new(py);
    let persistence = bus.persistence();
    journal.set_item("state", persistence.state().name())?;
    journal.set_item("pid", bus.journal_pid())?;
    journal.set_item("path", persistence.path())?;
    journal.set_item("persisted_first", bus.persists_critical_first())?;
    for priority in PRIORITIES {
        let lag = bus.lanes()[priority as usize].tail();
        let lag = lag.saturating_sub(persistence.persisted(priority as usize));
        journal.set_item(priority.name(), if persistence.is_on() { Some(lag) } else { None })?;
    }
    let (participants, subscriptions) = bus.population();
    let (symbols, sources) = bus.names().counts();
    let stats = PyDict::new(py);
    stats.set_item("name", name)?;
    stats.set_item("lanes", lanes)?;
    stats.set_item("journaled", journal)?;
    stats.set_item("participants", participants)?;
    stats.set_item("readers", subscriptions)?;
    stats.set_item("symbols", symbols)?;
    stats.set_item("sources", sources)?;
    stats.set_item("published_here", published)?;
    Ok(stats.unbind())
}

/// A lane's books by name.
pub fn books<'py>(py: Python<'py>, ledger: &Ledger) -> PyResult<Bound<'py, PyDict>> {
    let books = PyDict::new(py);
    books.set_item("published", ledger.published)?;
    books.set_item("delivered", ledger.delivered)?;
    books.set_item("filtered", ledger.filtered)?;
    books.set_item("missed", ledger.missed)?;
    books.set_item("pending", ledger.pending)?;
    Ok(books)
}

/// The readers of all processes: number, PID, the lanes whose publishers wait for it, books by lane.
#[pyfunction]
pub fn bus_readers<'py>(py: Python<'py>, bus: &Bound<'py, Bus>) -> PyResult<Bound<'py, PyList>> {
    let bus = bus.get().with(py, |core| Arc::clone(&core.bus))?;
    bus.reap().map_err(|error| error::of(py, error))?;
    let readers = PyList::empty(py);
    for reader in bus.listed() {
        let (row, lanes) = (PyDict::new(py), PyDict::new(py));
        let mut gates = Vec::new();
        for priority in PRIORITIES.into_iter().rev() {
            let number = priority as usize;
            if reader.gating >> number & 1 != 0 {
                gates.push(priority.name());
            }
            lanes.set_item(priority.name(), books(py, &reader.books[number])?)?;
        }
        row.set_item("number", reader.number)?;
        row.set_item("pid", reader.pid)?;
        row.set_item("gates", gates)?;
        row.set_item("lanes", lanes)?;
        readers.append(row)?;
    }
    Ok(readers)
}
