//! Topic patterns by themselves, for parts that decide in Python what an event is for.

use crate::bus::Bus;
use crate::error::raise;
use crate::gil::GilCell;
use pyo3::prelude::*;
use std::sync::Arc;
use tickbus_core::names::BusNames;
use tickbus_core::topic;

/// Patterns compiled for one bus.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Matcher {
    core: GilCell<topic::Matcher>,
    names: Arc<BusNames>,
}

#[pymethods]
impl Matcher {
    #[new]
    fn py_new(py: Python<'_>, bus: &Bound<'_, Bus>, patterns: Vec<String>) -> PyResult<Matcher> {
        let names = bus.get().names(py)?;
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let core = topic::Matcher::compile(&patterns, names.as_ref())
            .map_err(|error| raise(py, "PatternError", error.to_string()))?;
        Ok(Matcher { core: GilCell::new(core), names })
    }

    /// Whether any pattern matches an event of this type, source and symbol, by their numbers.
    fn matches(&self, py: Python<'_>, event_type: u8, source: u16, symbol: u32) -> bool {
        self.core
            .with(py, |core| core.matches(event_type, source, symbol, self.names.as_ref()))
    }
}
