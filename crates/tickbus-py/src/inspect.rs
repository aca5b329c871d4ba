//! Whether a journal is whole, what is in it, and what can be saved of it, from Python.
//!
//! The reading is the core's; here it becomes dictionaries, of which `tickbus.journal` makes its reports.

use crate::error;
use crate::event::id_of;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::path::PathBuf;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::JournalError;
use tickbus_core::journal::audit::{Audit, Finding, Lost, PartReport, audit};
use tickbus_core::journal::contents::{Contents, Placed};
use tickbus_core::journal::dictionary::decode_type;
use tickbus_core::journal::salvage::salvage;

/// Calls back to Python now and then, and remembers what it raised.
struct Shown {
    callable: Option<Py<PyAny>>,
    raised: Option<PyErr>,
}

impl Shown {
    /// Whether to go on. Without a callable this is where Ctrl-C is noticed.
    fn show(&mut self, done: u64, total: u64) -> bool {
        let shown = Python::attach(|py| match &self.callable {
            Some(callable) => callable.call1(py, (done, total)).map(drop),
            None => py.check_signals(),
        });
        self.raised = shown.err();
        self.raised.is_none()
    }

    fn error(self, py: Python<'_>, error: JournalError) -> PyErr {
        self.raised.unwrap_or_else(|| error::journal(py, error, 0))
    }
}

/// Read all of a journal, check it and count what is in it; `events` of the first and last of each lane
/// come with it.
#[pyfunction]
#[pyo3(signature = (path, progress=None, events=0))]
pub fn journal_audit<'py>(
    py: Python<'py>,
    path: PathBuf,
    progress: Option<Py<PyAny>>,
    events: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let mut shown = Shown { callable: progress, raised: None };
    let mut contents = Contents::new(events);
    let read = py.detach(|| audit(&path, &mut contents, &mut |done, all| shown.show(done, all)));
    let found = match read {
        Ok(found) => found,
        Err(error) => return Err(shown.error(py, error)),
    };
    contents.finish();
    let report = report(py, &found)?;
    report.set_item("contents", counted(py, &found, &contents)?)?;
    Ok(report)
}

/// Write what can be read of a journal as a new one.
#[pyfunction]
#[pyo3(signature = (path, out, progress=None))]
pub fn journal_salvage<'py>(
    py: Python<'py>,
    path: PathBuf,
    out: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut shown = Shown { callable: progress, raised: None };
    let saved = match py.detach(|| salvage(&path, &out, &mut |done, all| shown.show(done, all))) {
        Ok(saved) => saved,
        Err(error) => return Err(shown.error(py, error)),
    };
    let of = PyDict::new(py);
    of.set_item("report", report(py, &saved.audit)?)?;
    of.set_item("events", by_lane(py, saved.events)?)?;
    of.set_item("records", saved.records)?;
    of.set_item("lost", each(py, &saved.lost, lost)?)?;
    of.set_item("made_up", saved.made_up)?;
    Ok(of)
}

fn each<'py, T>(
    py: Python<'py>,
    things: impl IntoIterator<Item = T>,
    convert: impl Fn(Python<'py>, T) -> PyResult<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for thing in things {
        list.append(convert(py, thing)?)?;
    }
    Ok(list)
}

fn by_lane(py: Python<'_>, figures: [u64; 3]) -> PyResult<Bound<'_, PyDict>> {
    let by_lane = PyDict::new(py);
    for priority in PRIORITIES {
        by_lane.set_item(priority.name(), figures[priority as usize])?;
    }
    Ok(by_lane)
}

fn report<'py>(py: Python<'py>, found: &Audit) -> PyResult<Bound<'py, PyDict>> {
    let report = PyDict::new(py);
    report.set_item("id", found.id.map(|id| PyBytes::new(py, &id)))?;
    report.set_item("writer", found.writer)?;
    report.set_item("closed", found.closed)?;
    report.set_item("position", found.position)?;
    report.set_item("begins", by_lane(py, found.begins)?)?;
    report.set_item("next", by_lane(py, found.next)?)?;
    report.set_item("bytes_read", found.bytes_read)?;
    report.set_item("parts", each(py, &found.parts, part)?)?;
    report.set_item("findings", each(py, &found.findings, finding)?)?;
    report.set_item("lost", each(py, &found.lost, lost)?)?;
    let gaps = each(py, &found.gaps, |py, gap| {
        let of = PyDict::new(py);
        of.set_item("lane", gap.lane.name())?;
        of.set_item("first", gap.first)?;
        of.set_item("count", gap.count)?;
        of.set_item("reason", gap.why)?;
        Ok(of)
    })?;
    report.set_item("gaps", gaps)?;
    Ok(report)
}

fn part<'py>(py: Python<'py>, part: &PartReport) -> PyResult<Bound<'py, PyDict>> {
    let of = PyDict::new(py);
    of.set_item("file", &part.file)?;
    of.set_item("form", part.form.name())?;
    of.set_item("first", part.first)?;
    of.set_item("end", part.end)?;
    of.set_item("bytes", part.bytes)?;
    of.set_item("created_ns", part.created_ns)?;
    of.set_item("prepared", part.prepared)?;
    of.set_item("batches", part.batches)?;
    of.set_item("records", part.records)?;
    of.set_item("events", by_lane(py, part.events)?)?;
    of.set_item("first_sequence", by_lane(py, part.first_sequence)?)?;
    of.set_item("next_sequence", by_lane(py, part.next_sequence)?)?;
    let times = (part.least <= part.greatest).then_some((part.least, part.greatest));
    of.set_item("times", times)?;
    Ok(of)
}

fn finding<'py>(py: Python<'py>, finding: &Finding) -> PyResult<Bound<'py, PyDict>> {
    let of = PyDict::new(py);
    of.set_item("kind", finding.kind.name())?;
    of.set_item("damage", finding.kind.is_damage())?;
    of.set_item("file", &finding.file)?;
    of.set_item("offset", finding.offset)?;
    of.set_item("position", finding.position)?;
    of.set_item("until", finding.until)?;
    of.set_item("bytes", finding.bytes)?;
    of.set_item("why", &finding.why)?;
    let sequences = PyDict::new(py);
    for (priority, (first, end)) in PRIORITIES.into_iter().zip(finding.sequences) {
        // From a number to itself is nothing: the lane goes on as if nothing had been.
        if first.is_some() && first != end {
            sequences.set_item(priority.name(), (first, end))?;
        }
    }
    of.set_item("sequences", sequences)?;
    Ok(of)
}

fn lost<'py>(py: Python<'py>, lost: &Lost) -> PyResult<Bound<'py, PyDict>> {
    let of = PyDict::new(py);
    of.set_item("lane", lost.lane.name())?;
    of.set_item("first", lost.first)?;
    of.set_item("count", lost.count)?;
    Ok(of)
}

fn counted<'py>(
    py: Python<'py>,
    found: &Audit,
    contents: &Contents,
) -> PyResult<Bound<'py, PyDict>> {
    let of = PyDict::new(py);
    let counts = contents.types.iter().enumerate().filter(|(_, count)| **count > 0);
    let types = PyDict::new(py);
    for (number, count) in counts {
        types.set_item(number, count)?;
    }
    of.set_item("types", types)?;
    of.set_item("symbols", &contents.symbols)?;
    of.set_item("sources", &contents.sources)?;
    of.set_item("records", &contents.records)?;
    of.set_item("buses", &contents.buses)?;
    of.set_item("symbol_names", &found.names.symbols)?;
    of.set_item("source_names", &found.names.sources)?;
    let rows = found.names.types.values().filter_map(|row| decode_type(row));
    let registered = each(py, rows, |py, row| {
        let of = PyDict::new(py);
        of.set_item("number", row.number)?;
        of.set_item("name", row.name)?;
        of.set_item("value", row.value)?;
        of.set_item("metadata", row.metadata)?;
        of.set_item("encoding", row.encoding.name())?;
        Ok(of)
    })?;
    of.set_item("registered", registered)?;
    let openings = each(py, &contents.openings, |py, opening| {
        let of = PyDict::new(py);
        of.set_item("position", opening.position)?;
        of.set_item("by", opening.by.clone())?;
        of.set_item("after_ns", opening.after_ns)?;
        Ok(of)
    })?;
    of.set_item("openings", openings)?;
    of.set_item("boot", tickbus_core::sys::boot_id().ok())?;
    of.set_item("first", placed(py, contents.first.iter().flatten())?)?;
    of.set_item("last", placed(py, contents.last.iter().flatten())?)?;
    Ok(of)
}

/// Events as id, lane's sequence and the 32 bytes, in the journal's numbers.
fn placed<'a, 'py>(
    py: Python<'py>,
    events: impl Iterator<Item = &'a Placed>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for Placed { lane, sequence, event } in events {
        let bytes = PyBytes::new(py, &event.to_bytes());
        list.append((id_of(*sequence, *lane as usize), sequence, bytes))?;
    }
    Ok(list)
}
