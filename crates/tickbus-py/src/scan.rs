//! A journal's directory, from Python: what is in it, and queries as batches of NumPy arrays.
//!
//! Reading happens without the GIL; it is taken to hand a batch over, whose arrays are the memory that
//! the rows were collected in.

use crate::error::raise;
use crate::rows::{self, Row};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tickbus_core::event::{PRIORITIES, Priority};
use tickbus_core::journal::archive::{self, Answer, Archive};
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::index::ALL_TYPES;
use tickbus_core::journal::query::{Query, Rows};

/// What is wrong with a journal, as an exception of ``tickbus.errors``.
#[cold]
fn failure(py: Python<'_>, error: &SegmentError) -> PyErr {
    let class = match error {
        SegmentError::Damaged(_) | SegmentError::Foreign { .. } | SegmentError::Order { .. } => {
            "CorruptJournalError"
        }
        SegmentError::Missing { .. } => "MissingSegmentError",
        _ => "JournalError",
    };
    let make = || -> PyResult<PyErr> {
        let class = py.import("tickbus.errors")?.getattr(class)?;
        let exception = class.call1((error.to_string(),))?;
        if let SegmentError::Damaged(_) | SegmentError::Foreign { .. } = error {
            for (name, value) in told(py, error)?.iter() {
                exception.setattr(name.extract::<String>()?.as_str(), value)?;
            }
        }
        Ok(PyErr::from_value(exception))
    };
    make().unwrap_or_else(|error| error)
}

/// Where it is and what it costs: file, offset, lane, first and last sequence, why.
fn told<'py>(py: Python<'py>, error: &SegmentError) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    let (mut offset, mut lane, mut sequences) = (None, None, None);
    let (path, why) = match error {
        SegmentError::Damaged(damage) => {
            offset = Some(damage.offset);
            lane = damage.lane.map(Priority::name);
            sequences = damage.sequences;
            (Some(&damage.path), damage.why.to_owned())
        }
        SegmentError::Foreign { path, why } => (Some(path), (*why).to_owned()),
        SegmentError::Missing { path, .. } | SegmentError::Removed { path } => {
            (Some(path), error.to_string())
        }
        _ => (None, error.to_string()),
    };
    fields.set_item("file", path.map(|path| path.display().to_string()))?;
    fields.set_item("offset", offset)?;
    fields.set_item("lane", lane)?;
    fields.set_item("sequences", sequences)?;
    fields.set_item("why", why)?;
    Ok(fields)
}

fn list_of<'py>(py: Python<'py>, errors: &[SegmentError]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for error in errors {
        list.append(told(py, error)?)?;
    }
    Ok(list)
}

/// Whether a directory has a part of a journal.
#[pyfunction]
pub fn is_journal(py: Python<'_>, path: PathBuf) -> bool {
    py.detach(|| archive::is_journal(&path))
}

/// A journal's directory; see ``tickbus.store.JournalSource``. Reads, and changes nothing. Threads may
/// share it.
#[pyclass(frozen, module = "tickbus._native")]
pub struct JournalArchive {
    archive: Arc<Archive>,
}

#[pymethods]
impl JournalArchive {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<JournalArchive> {
        let opened = py.detach(|| Archive::open(&path));
        let archive = Arc::new(opened.map_err(|error| failure(py, &error))?);
        Ok(JournalArchive { archive })
    }

    /// The directory.
    #[getter]
    fn path(&self) -> PathBuf {
        self.archive.path().to_path_buf()
    }

    /// 16 bytes that no other journal has.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let view = py.detach(|| self.archive.view());
        Ok(PyBytes::new(py, &view.map_err(|error| failure(py, &error))?.id))
    }

    /// How many symbols, sources and registered event types the journal has named by now.
    fn named(&self, py: Python<'_>) -> PyResult<(usize, usize, usize)> {
        let counts = py.detach(|| self.archive.named());
        counts.map_err(|error| failure(py, &error))
    }

    /// Their texts: symbols and sources by number, and of each type number, name, meaning of value and
    /// metadata, and encoding.
    fn names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let dictionary = py.detach(|| self.archive.names()).map_err(|error| failure(py, &error))?;
        let (symbols, sources) = (PyDict::new(py), PyDict::new(py));
        for (number, text) in dictionary.symbols() {
            symbols.set_item(number, text)?;
        }
        for (number, text) in dictionary.sources() {
            sources.set_item(number, text)?;
        }
        let types = PyList::empty(py);
        for row in dictionary.types() {
            let fields = (row.number, &row.name, &row.value, &row.metadata, row.encoding.name());
            types.append(fields)?;
        }
        (symbols, sources, types).into_pyobject(py)
    }

    /// The parts in their order, oldest first: form, file, positions, and what each lane has in it.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let view = py.detach(|| self.archive.view()).map_err(|error| failure(py, &error))?;
        let parts = PyList::empty(py);
        for part in &view.parts {
            let fields = PyDict::new(py);
            fields.set_item("form", part.form.name())?;
            fields.set_item("file", part.path.display().to_string())?;
            fields.set_item("first", part.first())?;
            fields.set_item("end", part.end())?;
            let lanes = PyDict::new(py);
            for lane in PRIORITIES {
                let span = part.span(lane);
                let said = PyDict::new(py);
                said.set_item("first", span.first_sequence)?;
                said.set_item("next", span.next_sequence)?;
                said.set_item("events", span.count)?;
                said.set_item("least_ns", (span.count > 0).then_some(span.least))?;
                said.set_item("greatest_ns", (span.count > 0).then_some(span.greatest))?;
                said.set_item("offset", part.offsets.map(|offsets| offsets[lane as usize]))?;
                lanes.set_item(lane.name(), said)?;
            }
            fields.set_item("lanes", lanes)?;
            parts.append(fields)?;
        }
        Ok(parts)
    }

    /// By lane number, the first sequence that the journal still has, and the next one it will get.
    fn lanes(&self, py: Python<'_>) -> PyResult<[(u64, u64); 3]> {
        let view = py.detach(|| self.archive.view()).map_err(|error| failure(py, &error))?;
        let (first, last) = (view.parts.first(), view.parts.last());
        Ok(PRIORITIES.map(|lane| {
            let first = first.map_or(0, |part| part.span(lane).first_sequence);
            (first, last.map_or(first, |part| part.span(lane).next_sequence))
        }))
    }

    /// What is known to be damaged or missing, without reading every event.
    fn damage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let view = py.detach(|| self.archive.view()).map_err(|error| failure(py, &error))?;
        list_of(py, &view.faults)
    }

    /// The payload that the event at a sequence of a lane refers to, or None.
    fn payload<'py>(
        &self,
        py: Python<'py>,
        lane: u8,
        sequence: u64,
        reference: u64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(lane) = Priority::from_number(lane) else {
            return Err(raise(py, "QueryError", format!("lane {lane} is none of 0, 1, 2")));
        };
        let found = py.detach(|| self.archive.payload(lane, sequence, reference));
        let found = found.map_err(|error| failure(py, &error))?;
        Ok(found.map(|bytes| PyBytes::new(py, &bytes)))
    }

    /// Ask for what is written by now.
    ///
    /// Args:
    ///     start_ns, last_ns: First and last timestamp, both included.
    ///     types, symbols, sources: Numbers; None is all.
    ///     from_sequences: For each lane the first sequence that is wanted.
    ///     max_rows: No batch is longer.
    ///     salvage: Leave out what is damaged or missing, and list it, instead of failing.
    #[pyo3(signature = (start_ns, last_ns, *, types, symbols, sources, from_sequences, max_rows, salvage))]
    #[expect(clippy::too_many_arguments, reason = "a query has as many fields")]
    fn scan(
        &self,
        py: Python<'_>,
        start_ns: u64,
        last_ns: u64,
        types: Option<Vec<u8>>,
        symbols: Option<Vec<u32>>,
        sources: Option<Vec<u16>>,
        from_sequences: [u64; 3],
        max_rows: usize,
        salvage: bool,
    ) -> PyResult<JournalScan> {
        let mut bits = [0; 4];
        for kind in types.iter().flatten() {
            bits[usize::from(kind / 64)] |= 1 << (kind % 64);
        }
        let types = if types.is_some() { bits } else { ALL_TYPES };
        let from = from_sequences;
        let query = Query { start_ns, end_ns: last_ns, types, symbols, sources, from };
        let answer = py.detach(|| self.archive.query(&query, salvage));
        let answer = answer.map_err(|error| failure(py, &error))?;
        let reading = Mutex::new(Reading { answer, pending: None });
        Ok(JournalScan { reading, max_rows: max_rows.max(1) })
    }
}

/// What a query finds: batches of events, their lanes and their sequences, in replay order.
#[pyclass(frozen, module = "tickbus._native")]
pub struct JournalScan {
    reading: Mutex<Reading>,
    max_rows: usize,
}

struct Reading {
    answer: Answer,
    /// Came behind rows that were handed out first.
    pending: Option<SegmentError>,
}

impl Reading {
    fn batch(&mut self, max: usize) -> Result<Rows, SegmentError> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let (mut rows, first) = (Rows::default(), max.min(FIRST_ROWS));
        let count = self.answer.read(&mut rows, first)?;
        if count == first && first < max {
            // There is more than a little.
            rows.reserve(max - count);
            self.pending = self.answer.read(&mut rows, max - count).err();
        }
        Ok(rows)
    }
}

/// Memory that is taken at first for the rows of a batch.
const FIRST_ROWS: usize = 4_096;

type Arrays<'py> = (Bound<'py, PyArray1<Row>>, Bound<'py, PyArray1<u8>>, Bound<'py, PyArray1<u64>>);

#[pymethods]
impl JournalScan {
    fn __iter__(slf: Py<JournalScan>) -> Py<JournalScan> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Arrays<'py>>> {
        let reading = || self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let found = py.detach(|| reading().batch(self.max_rows));
        let found = found.map_err(|error| failure(py, &error))?;
        if found.is_empty() {
            return Ok(None);
        }
        Ok(Some((
            rows::of_vec(py, found.events),
            PyArray1::from_vec(py, found.lanes),
            PyArray1::from_vec(py, found.sequences),
        )))
    }

    /// What could not be read so far, when salvaging.
    #[getter]
    fn left_out<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        list_of(py, &reading.answer.left_out)
    }
}
