//! The module `tickbus._native`: what Python sees of the core. Converts, decides nothing.
//!
//! - [`event`]: `Event`, and the packings
//! - [`bus`], [`core`], [`publish`], [`publisher`]: publishing
//! - [`dispatch`], [`handle`]: inline handlers
//! - [`subscription`], [`reader`], [`sleeper`]: reading and sleeping
//! - [`exchange`], [`books`], [`book`], [`aggregate`], [`dedup`]: venue frames, order books, duplicates
//! - [`rows`]: events as NumPy arrays
//! - [`journal`], [`scan`]: keeping a journal, and asking one
//! - [`arrow`]: events as Arrow record batches
//! - [`arguments`], [`symbols`], [`tables`]: names to numbers and back
//! - [`stats`]: figures of a bus
//! - [`journal`], [`inspect`]: keeping a journal, and looking at one
//! - [`error`]: core errors as Python exceptions
//! - [`gil`], [`fork`]: state that the GIL guards, and handles that a fork makes void

mod aggregate;
mod arguments;
mod arrow;
mod book;
mod books;
mod bus;
mod core;
mod cursor;
mod dedup;
mod delivery;
mod dispatch;
mod error;
mod event;
mod exchange;
mod fork;
mod gil;
mod handle;
mod inspect;
mod journal;
mod matcher;
mod payloads;
mod publish;
mod publisher;
mod reader;
mod rows;
mod scan;
mod sleeper;
mod start;
mod stats;
mod subscription;
mod symbols;
mod tables;
mod tracked;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tickbus_core::exchange::{VENUES, Venue};
use tickbus_core::taxonomy::{ALL_ENCODINGS, Category, TABLE};

/// Rows of the one table of event types.
#[pyfunction]
fn taxonomy(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let rows = PyList::empty(py);
    for info in &TABLE {
        let row = PyDict::new(py);
        let category = Category::of(info.number);
        row.set_item("number", info.number)?;
        row.set_item("name", info.name)?;
        row.set_item("category", category.name())?;
        row.set_item("priority", category.default_priority() as u8)?;
        row.set_item("value", info.value)?;
        row.set_item("value_unit", info.value_unit)?;
        row.set_item("metadata", info.metadata)?;
        row.set_item("metadata_unit", info.metadata_unit)?;
        row.set_item("encoding", info.encoding.name())?;
        rows.append(row)?;
    }
    Ok(rows)
}

/// Nanoseconds the core takes by itself, without Python, measured over ``events`` events.
#[pyfunction]
fn bench_core(py: Python<'_>, events: u64) -> PyResult<Bound<'_, PyDict>> {
    let figures = py
        .detach(|| tickbus_core::measure::lane(events))
        .map_err(|error| error::of(py, error))?;
    let by_name = PyDict::new(py);
    by_name.set_item("publish_ns", figures.publish_ns)?;
    by_name.set_item("publish_followed_ns", figures.publish_followed_ns)?;
    by_name.set_item("followed_share", figures.followed_share)?;
    by_name.set_item("publish_batch_ns", figures.publish_batch_ns)?;
    by_name.set_item("poll_ns", figures.poll_ns)?;
    by_name.set_item("read_batch_ns", figures.read_batch_ns)?;
    Ok(by_name)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // Without NumPy this says so; asking its C interface first would panic.
    py.import("numpy")?;
    module.add("DEBUG_BUILD", cfg!(debug_assertions))?;
    module.add("ENCODINGS", ALL_ENCODINGS.map(|encoding| encoding.name()))?;
    module.add("DELIVERY_TYPES", delivery::types(py)?)?;
    module.add("VENUES", VENUES.map(Venue::name))?;
    module.add("MAX_NAME", error::NAME_LIMIT)?;
    module.add("EVENT_DTYPE", rows::dtype(py)?)?;
    module.add_class::<event::Event>()?;
    module.add_class::<arrow::ArrowBatch>()?;
    module.add_class::<exchange::Decoder>()?;
    module.add_class::<books::Books>()?;
    module.add_class::<books::BookChange>()?;
    module.add_class::<book::Book>()?;
    module.add_class::<aggregate::AggregatedBook>()?;
    module.add_class::<aggregate::Crossing>()?;
    module.add_class::<dedup::Dedup>()?;
    module.add_class::<bus::Bus>()?;
    module.add_class::<publisher::Publisher>()?;
    module.add_class::<handle::HandlerHandle>()?;
    module.add_class::<journal::Compaction>()?;
    module.add_class::<journal::JournalHandle>()?;
    module.add_class::<scan::JournalArchive>()?;
    module.add_class::<scan::JournalScan>()?;
    module.add_class::<cursor::Cursor>()?;
    module.add_class::<delivery::DeliveryState>()?;
    module.add_class::<tracked::Tracked>()?;
    module.add_class::<matcher::Matcher>()?;
    module.add_class::<subscription::Subscription>()?;
    module.add_class::<sleeper::LoopSleeper>()?;
    module.add_function(wrap_pyfunction!(arrow::arrow_columns, module)?)?;
    module.add_function(wrap_pyfunction!(arrow::arrow_rows, module)?)?;
    module.add_function(wrap_pyfunction!(stats::bus_readers, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::bus_life, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::bus_places, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::list_cursors, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::least_cursors, module)?)?;
    module.add_function(wrap_pyfunction!(cursor::drop_cursor, module)?)?;
    module.add_function(wrap_pyfunction!(delivery::is_followed_type, module)?)?;
    module.add_function(wrap_pyfunction!(event::pack_quantity, module)?)?;
    module.add_function(wrap_pyfunction!(event::pack_quote, module)?)?;
    module.add_function(wrap_pyfunction!(event::rebuild_event, module)?)?;
    module.add_function(wrap_pyfunction!(journal::compact_old, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::journal_audit, module)?)?;
    module.add_function(wrap_pyfunction!(inspect::journal_salvage, module)?)?;
    module.add_function(wrap_pyfunction!(fork::after_fork, module)?)?;
    module.add_function(wrap_pyfunction!(scan::is_journal, module)?)?;
    module.add_function(wrap_pyfunction!(taxonomy, module)?)?;
    module.add_function(wrap_pyfunction!(bench_core, module)?)?;
    module.add_function(wrap_pyfunction!(exchange::bench_decode, module)?)?;
    module.add_function(wrap_pyfunction!(books::bench_books, module)?)?;
    Ok(())
}
