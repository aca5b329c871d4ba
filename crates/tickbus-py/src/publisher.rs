//! One type and symbol to publish, resolved beforehand.

use crate::bus::Bus;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::sys::now_ns;

/// One type and symbol to publish; made by ``Bus.publisher``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Publisher {
    pub bus: Py<Bus>,
    pub event: CoreEvent,
    pub allow_nan: bool,
}

#[pymethods]
impl Publisher {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bus)
    }

    /// Publish ``value``; the event's id.
    #[pyo3(signature = (value, metadata=0, timestamp=0))]
    fn publish(&self, py: Python<'_>, value: f64, metadata: u64, timestamp: u64) -> PyResult<u64> {
        if value.is_nan() && !self.allow_nan {
            self.bus.get().check_publishable(py, &CoreEvent { value, ..self.event })?;
        }
        let timestamp = if timestamp == 0 { now_ns() } else { timestamp };
        let event = CoreEvent { timestamp, value, metadata, ..self.event };
        self.bus.get().publish_core(py, &event)
    }
}
