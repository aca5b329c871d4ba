//! One type and symbol to publish, resolved beforehand.

use crate::bus::Bus;
use pyo3::prelude::*;
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
    /// Publish ``value``; the event's id.
    #[pyo3(signature = (value, metadata=0, timestamp=0))]
    fn publish(&self, py: Python<'_>, value: f64, metadata: u64, timestamp: u64) -> PyResult<u64> {
        if value.is_nan() && !self.allow_nan {
            return Err(self.bus.get().not_publishable(py, self.event.event_type, value));
        }
        let timestamp = if timestamp == 0 { now_ns() } else { timestamp };
        let event = CoreEvent { timestamp, value, metadata, ..self.event };
        self.bus.get().publish_core(py, &event)
    }
}
