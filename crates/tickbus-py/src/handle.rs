//! A registered inline handler, as Python sees it.

use crate::bus::Bus;
use crate::dispatch::Handler;
use crate::gil::GilCell;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::rc::Rc;

/// A registered inline handler.
#[pyclass(frozen, module = "tickbus._native")]
pub struct HandlerHandle {
    pub bus: Py<Bus>,
    pub handler: GilCell<Rc<Handler>>,
}

#[pymethods]
impl HandlerHandle {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bus)
    }

    /// The handler itself.
    #[getter]
    fn handler(&self, py: Python<'_>) -> Py<PyAny> {
        self.handler.with(py, |handler| handler.callable.clone_ref(py))
    }

    /// Events the handler was called with.
    #[getter]
    fn delivered(&self, py: Python<'_>) -> u64 {
        self.handler.with(py, |handler| handler.delivered.get())
    }

    /// Calls that raised.
    #[getter]
    fn errors(&self, py: Python<'_>) -> u64 {
        self.handler.with(py, |handler| handler.errors.get())
    }

    /// Events published through this bus object since it was registered.
    #[getter]
    fn published(&self, py: Python<'_>) -> u64 {
        let start = self.handler.with(py, |handler| handler.start);
        self.bus.get().with(py, |core| core.published - start).unwrap_or(0)
    }

    /// What its patterns match, in plain words.
    fn explain(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let names = self.bus.get().names(py)?;
        Ok(self
            .handler
            .with(py, |handler| handler.matcher.borrow().explain(names.as_ref())))
    }

    /// Stop calling the handler.
    fn close(&self, py: Python<'_>) {
        let handler = self.handler.with(py, |handler| Rc::clone(handler));
        // A closed bus has no handlers any more.
        let _ = self.bus.get().with(py, |core| core.handlers.remove(&handler));
    }
}
