//! A followed event, for Python.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyTuple};
use tickbus_core::delivery;
use tickbus_core::names::BusNames;

/// A followed event as it was when it was asked for.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Tracked {
    #[pyo3(get)]
    sequence: u64,
    #[pyo3(get)]
    event_type: u8,
    #[pyo3(get)]
    source: u16,
    #[pyo3(get)]
    symbol: u32,
    #[pyo3(get)]
    time: u64,
    #[pyo3(get)]
    roles: Py<PyTuple>,
    #[pyo3(get)]
    acked: Py<PyDict>,
    #[pyo3(get)]
    attempts: Py<PyDict>,
    #[pyo3(get)]
    steps: u32,
    #[pyo3(get)]
    steps_done: Py<PyFrozenSet>,
    #[pyo3(get)]
    redrives: u32,
    missing: Py<PyTuple>,
}

/// Name of a role by its source number.
pub fn name_of(names: &BusNames, role: u16) -> String {
    names.source_text(role).map_or_else(String::new, |text| text.to_string())
}

impl Tracked {
    pub fn new(py: Python<'_>, core: &delivery::Tracked, names: &BusNames) -> PyResult<Tracked> {
        let name = |role: u16| name_of(names, role);
        let (acked, attempts) = (PyDict::new(py), PyDict::new(py));
        for (role, time) in &core.acked {
            acked.set_item(name(*role), time)?;
        }
        for (role, count) in &core.attempts {
            attempts.set_item(name(*role), count)?;
        }
        Ok(Tracked {
            sequence: core.sequence,
            event_type: core.event_type,
            source: core.source,
            symbol: core.symbol,
            time: core.time,
            roles: PyTuple::new(py, core.roles.iter().map(|role| name(*role)))?.unbind(),
            acked: acked.unbind(),
            attempts: attempts.unbind(),
            steps: core.steps,
            steps_done: PyFrozenSet::new(py, &core.steps_done)?.unbind(),
            redrives: core.redrives,
            missing: PyTuple::new(py, core.missing().map(name).collect::<Vec<_>>())?.unbind(),
        })
    }
}

#[pymethods]
impl Tracked {
    /// Roles registered for it that have not acknowledged it.
    fn missing(&self, py: Python<'_>) -> Py<PyTuple> {
        self.missing.clone_ref(py)
    }
}
