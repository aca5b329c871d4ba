//! Figures of a bus as a Python dictionary.

use crate::error;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::PRIORITIES;

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
    let (participants, subscriptions) = bus.population();
    let (symbols, sources) = bus.names().counts();
    let stats = PyDict::new(py);
    stats.set_item("name", name)?;
    stats.set_item("lanes", lanes)?;
    stats.set_item("participants", participants)?;
    stats.set_item("readers", subscriptions)?;
    stats.set_item("symbols", symbols)?;
    stats.set_item("sources", sources)?;
    stats.set_item("published_here", published)?;
    Ok(stats.unbind())
}
