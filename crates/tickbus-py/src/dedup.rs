//! Duplicates of messages, from Python.

use crate::exchange::Decoder;
use crate::gil::GilCell;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyString};
use tickbus_core::exchange::dedup::{Dedup as CoreDedup, Streams, text_id};
use tickbus_core::sys::now_ns;

/// Messages that came before, by what the venue says identifies them: the first arrival counts.
///
/// Args:
///     capacity: Most messages remembered at a time; rounded up to a power of two. 40 bytes each,
///         taken at once.
///     ttl_s: How long one is remembered, from its first arrival, in seconds; at most 24 days.
/// Raises:
///     ValueError: An argument is out of range.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Dedup {
    state: GilCell<(CoreDedup, Streams)>,
}

#[pymethods]
impl Dedup {
    #[new]
    #[pyo3(signature = (capacity=1_048_576, *, ttl_s=120.0))]
    fn py_new(capacity: usize, ttl_s: f64) -> PyResult<Dedup> {
        if !(16..=1 << 30).contains(&capacity) {
            return Err(PyValueError::new_err(format!("capacity {capacity} is not 16 to 2**30")));
        }
        if !(ttl_s > 0.0 && ttl_s <= 24.0 * 86_400.0) {
            return Err(PyValueError::new_err(format!("ttl_s {ttl_s} is not above 0, to 24 days")));
        }
        let dedup = CoreDedup::new(capacity, (ttl_s * 1e9) as u64);
        Ok(Dedup { state: GilCell::new((dedup, Streams::default())) })
    }

    /// Whether this message is the first of its kind, and remember it.
    ///
    /// Args:
    ///     stream: What it is numbered within, such as "hitbtc book BTCUSD".
    ///     identity: The venue's id of it: a number of up to 128 bits, or a text. Texts of up to 15
    ///         bytes are compared whole, longer ones by a 128-bit hash.
    ///     now_ns: When it came, in nanoseconds; 0 is now. Times must not go back.
    /// Raises:
    ///     TypeError, ValueError: The identity is neither, or too large a number.
    #[pyo3(signature = (stream, identity, now_ns=0))]
    fn first(
        &self,
        py: Python<'_>,
        stream: &str,
        identity: &Bound<'_, PyAny>,
        now_ns: u64,
    ) -> PyResult<bool> {
        let id = id_of(identity)?;
        let now = now_or(now_ns);
        Ok(self.state.with(py, |(dedup, streams)| {
            let stream = streams.named(stream);
            dedup.is_first(stream, id, now)
        }))
    }

    /// Whether anything in the frame that ``decoder`` read last is there for the first time, by what
    /// the venue says identifies it, over all decoders asked about here.
    ///
    /// What nothing identifies, and what is about the connection itself, always is.
    #[pyo3(signature = (decoder, now_ns=0))]
    fn frame(&self, py: Python<'_>, decoder: &Bound<'_, Decoder>, now_ns: u64) -> bool {
        let now = now_or(now_ns);
        decoder.get().last(py, |core, outcome| {
            self.state
                .with(py, |(dedup, streams)| streams.is_first(dedup, core, outcome, now))
        })
    }

    /// Messages remembered now.
    fn __len__(&self, py: Python<'_>) -> usize {
        self.state.with(py, |(dedup, _)| dedup.len())
    }

    /// Most messages remembered at a time.
    #[getter]
    fn capacity(&self, py: Python<'_>) -> usize {
        self.state.with(py, |(dedup, _)| dedup.capacity())
    }

    /// All the memory it takes, whatever comes.
    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> usize {
        self.state.with(py, |(dedup, _)| dedup.memory_bytes())
    }

    /// ``checks``, ``duplicates``; ``expired`` after their time, ``early`` before it for want of room;
    /// ``unidentified`` messages that passed because nothing identified them.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counts, unidentified) =
            self.state.with(py, |(dedup, streams)| (dedup.counts(), streams.unidentified()));
        let by_name = PyDict::new(py);
        by_name.set_item("checks", counts.checks)?;
        by_name.set_item("duplicates", counts.duplicates)?;
        by_name.set_item("expired", counts.expired)?;
        by_name.set_item("early", counts.early)?;
        by_name.set_item("unidentified", unidentified)?;
        Ok(by_name)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("Dedup({}, held={})", self.capacity(py), self.__len__(py))
    }
}

fn now_or(given_ns: u64) -> u64 {
    if given_ns == 0 { now_ns() } else { given_ns }
}

fn id_of(identity: &Bound<'_, PyAny>) -> PyResult<u128> {
    if let Ok(number) = identity.cast::<PyInt>() {
        return number.extract().map_err(|_| {
            PyValueError::new_err(format!("identity {number} is not 0 to 2**128 - 1"))
        });
    }
    if let Ok(text) = identity.cast::<PyString>() {
        return Ok(text_id(text.to_str()?.as_bytes()));
    }
    if let Ok(bytes) = identity.cast::<PyBytes>() {
        return Ok(text_id(bytes.as_bytes()));
    }
    let kind = identity.get_type().name()?;
    Err(PyTypeError::new_err(format!("identity is a {kind}, not an int, str or bytes")))
}
