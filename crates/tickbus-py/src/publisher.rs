//! One type and symbol to publish, resolved beforehand.

use crate::arguments;
use crate::bus::Bus;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::sys::now_ns;

/// One type and symbol to publish; made by ``Bus.publisher``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Publisher {
    bus: Py<Bus>,
    event: CoreEvent,
    allow_nan: bool,
}

impl Publisher {
    /// Resolve everything but the value.
    pub fn of(
        bus: &Bound<'_, Bus>,
        event_type: &Bound<'_, PyAny>,
        symbol: &Bound<'_, PyAny>,
        source: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Publisher> {
        let (py, this) = (bus.py(), bus.get());
        let number = arguments::event_type(event_type)?;
        let names = this.names(py)?;
        let (registered, default_source, allow_nan) = this
            .with(py, |core| (core.is_registered(number), core.default_source, core.allow_nan))?;
        if !registered {
            return Err(this.not_registered(py, number));
        }
        let event = CoreEvent {
            event_type: number,
            priority: arguments::priority(priority, number)?,
            source: source
                .map_or(Ok(default_source), |source| arguments::source(source, &names))?,
            symbol: arguments::symbol(symbol, &names)?,
            ..CoreEvent::default()
        };
        Ok(Publisher { bus: bus.clone().unbind(), event, allow_nan })
    }
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
