//! The native half of `tickbus.Bus`, as Python sees it. `publish.rs` has the work.

use crate::core::Core;
use crate::dispatch::{Frames, Handler, Handlers};
use crate::error::{self, invalid, raise};
use crate::event::Event;
use crate::fork::{forked_since, forks};
use crate::gil::{GilCell, Held};
use crate::handle::HandlerHandle;
use crate::journal::{Asked, JournalHandle};
use crate::publisher::Publisher;
use crate::symbols::{Cache, SYMBOLS_CACHED};
use crate::{arguments, rows, stats, tables};
use numpy::{PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use pyo3::{PyTraverseError, PyVisit};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::journal::history as journal_history;
use tickbus_core::journal::opening::Opening;
use tickbus_core::names::TypeRow;
use tickbus_core::open::Absent;
use tickbus_core::producer::Producer;
use tickbus_core::sys::now_ns;
use tickbus_core::taxonomy::Encoding;
use tickbus_core::topic::Matcher;

/// The native bus; see ``tickbus.Bus``.
#[pyclass(subclass, frozen, module = "tickbus._native", weakref)]
pub struct Bus {
    /// `None` once closed.
    pub core: GilCell<Option<Core>>,
    name: Option<String>,
}

impl Bus {
    /// The core, if the bus is open and ours. No Python code may run while it is held.
    #[inline(always)]
    pub fn hold<'a>(&'a self, py: Python<'a>) -> PyResult<Held<'a, Core>> {
        let core = self.core.hold(py).inner().filter(|core| !forked_since(core.forks));
        core.ok_or_else(|| self.unusable(py))
    }

    /// Use the core, if the bus is open and ours.
    #[inline(always)]
    pub fn with<R>(&self, py: Python<'_>, use_core: impl FnOnce(&mut Core) -> R) -> PyResult<R> {
        self.hold(py).map(|mut core| use_core(&mut core))
    }

    #[cold]
    fn unusable(&self, py: Python<'_>) -> PyErr {
        let name = self.name.as_ref().map_or("(private)".to_owned(), |name| format!("{name:?}"));
        if self.core.with(py, |core| core.is_some()) {
            raise(
                py,
                "BusForkedError",
                format!(
                    "bus {name} was opened before a fork and belongs to the parent process; open it \
                 again in the child"
                ),
            )
        } else {
            raise(py, "BusClosedError", format!("bus {name} is closed"))
        }
    }

    pub fn names(&self, py: Python<'_>) -> PyResult<Arc<tickbus_core::names::BusNames>> {
        self.with(py, |core| Arc::clone(core.bus.names()))
    }

    /// Number the names of an event and store its payload, after checking all of them.
    #[cold]
    fn fill_in(
        &self,
        py: Python<'_>,
        event: &mut CoreEvent,
        symbol: &Bound<'_, PyAny>,
        source: Option<&Bound<'_, PyAny>>,
        payload: Option<&Bound<'_, PyBytes>>,
    ) -> PyResult<()> {
        self.check_publishable(py, event)?;
        let names = self.names(py)?;
        arguments::check_symbol(symbol, &names)?;
        if let Some(source) = source {
            arguments::check_source(source, &names)?;
        }
        if let Some(payload) = payload {
            event.metadata = self.store_payload(py, payload.as_bytes())?;
        }
        event.symbol = arguments::symbol(symbol, &names)?;
        event.source = match source {
            Some(source) => arguments::source(source, &names)?,
            None => self.with(py, |core| core.default_source)?,
        };
        self.with(py, |core| core.symbols.put(symbol, event.symbol))
    }
}

#[pymethods]
impl Bus {
    #[new]
    #[pyo3(signature = (name=None, *, critical_size=None, high_size=None, normal_size=None,
                        payload_bytes=None, allow_nan=false, critical_timeout_s=1.0, source=None,
                        journal=None, create=true))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn py_new(
        py: Python<'_>,
        name: Option<String>,
        critical_size: Option<&Bound<'_, PyAny>>,
        high_size: Option<&Bound<'_, PyAny>>,
        normal_size: Option<&Bound<'_, PyAny>>,
        payload_bytes: Option<&Bound<'_, PyAny>>,
        allow_nan: bool,
        critical_timeout_s: f64,
        source: Option<&Bound<'_, PyAny>>,
        journal: Option<&Bound<'_, PyAny>>,
        create: bool,
    ) -> PyResult<Bus> {
        let (sizes, asked) =
            arguments::sizes([normal_size, high_size, critical_size], payload_bytes)?;
        let patience = Duration::try_from_secs_f64(critical_timeout_s).map_err(|_| {
            invalid(py, format!("critical_timeout_s={critical_timeout_s} is no number of seconds"))
        })?;
        let journal = journal.map(Asked::of).transpose()?;
        let absent = if create { Absent::Create } else { Absent::Refuse };
        if let (Some(name), Absent::Refuse) = (&name, absent) {
            // Before a journal is made for it.
            CoreBus::exists(name).map_err(|error| error::of(py, error))?;
        }
        // The log first: a new bus goes on where it ends, and has its names.
        let opening = journal.as_ref().map(|journal| journal.open(py)).transpose()?;
        let origins = opening.as_ref().map_or([0; 3], Opening::next);
        let bus = match &name {
            Some(name) => CoreBus::named_from(name, sizes, &asked, origins, absent),
            None => CoreBus::private_from(sizes, origins),
        }
        .map_err(|error| error::of(py, error))?;
        journal_history::attach(&bus);
        let journal = match (journal, opening) {
            (Some(journal), Some(opening)) => Some(journal.start(py, &bus, opening)?),
            _ => None,
        };
        let default_source =
            source.map_or(Ok(0), |source| arguments::source(source, bus.names().as_ref()))?;
        let core = Core {
            producer: Producer::of_handle(&bus),
            symbols: Cache::new(SYMBOLS_CACHED),
            handlers: Handlers::default(),
            frames: Frames::default(),
            types: bus.names().type_mask(),
            default_source,
            allow_nan,
            patience,
            published: 0,
            spare: None,
            table: tables::add(py, bus.names()),
            forks: forks(),
            journal,
            bus,
        };
        Ok(Bus { core: GilCell::new(Some(core)), name })
    }

    // A handler that publishes holds its bus, and the bus its handler: the collector has to know.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let traverse =
            |core: &Option<Core>| core.as_ref().map(|core| core.handlers.traverse(&visit));
        self.core.visit(&visit, traverse).flatten().unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        // What a journal cannot write now, whoever waited for it has been told.
        let _ = Python::attach(|py| self.close(py));
    }

    /// Name of a shared bus; ``None`` for a private one.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The journal, if this handle keeps it.
    #[getter]
    fn journal(&self, py: Python<'_>) -> PyResult<Option<JournalHandle>> {
        self.with(py, |core| {
            let committer = core.journal.clone()?;
            Some(JournalHandle { bus: Arc::clone(&core.bus), committer })
        })
    }

    /// Directory of the journal, whichever process keeps it.
    #[getter]
    fn _journal_path(&self, py: Python<'_>) -> PyResult<Option<std::path::PathBuf>> {
        self.with(py, |core| core.bus.persistence().path())
    }

    /// Whether the bus has been closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.core.with(py, |core| core.is_none())
    }

    /// Publish one event and run the inline handlers it concerns.
    ///
    /// Args:
    ///     event_type: Number of a registered type, such as ``EventType.PRICE_UPDATE``.
    ///     symbol: Instrument, by name (numbered when new) or number.
    ///     value: What the type says; not NaN unless the bus allows it.
    ///     metadata: What the type says, as 64 bits; see ``pack_quantity`` and ``pack_quote``.
    ///     source: Exchange, strategy or service; the bus's own when left out.
    ///     priority: Lane; the category's default when left out.
    ///     timestamp: Nanoseconds since the Unix epoch, UTC; now when left out or 0.
    ///     payload: Bytes kept beside the lanes; ``metadata`` becomes their reference.
    /// Returns:
    ///     The event's id: ``sequence << 2 | priority``.
    /// Raises:
    ///     InvalidEventError: A field is out of range, or the type is not registered.
    ///     BackpressureError: The critical lane is full and stayed full; the event is not published.
    ///     StalledError: A stopped process blocks the lane; the event is not published.
    #[pyo3(signature = (event_type, symbol, value, *, metadata=None, source=None, priority=None,
                        timestamp=None, payload=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn publish(
        &self,
        py: Python<'_>,
        event_type: &Bound<'_, PyAny>,
        symbol: &Bound<'_, PyAny>,
        value: f64,
        metadata: Option<&Bound<'_, PyAny>>,
        source: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
        payload: Option<&Bound<'_, PyBytes>>,
    ) -> PyResult<u64> {
        let number = arguments::event_type(event_type)?;
        let mut event = CoreEvent {
            timestamp: arguments::word(timestamp, "timestamp")?,
            event_type: number,
            priority: arguments::priority(priority, number)?,
            source: 0,
            symbol: 0,
            value,
            metadata: arguments::word(metadata, "metadata")?,
        };
        if event.timestamp == 0 {
            event.timestamp = now_ns();
        }
        if source.is_some() || payload.is_some() {
            if payload.is_some() && metadata.is_some() {
                return Err(invalid(
                    py,
                    "payload puts its reference into metadata: give one of them",
                ));
            }
            self.fill_in(py, &mut event, symbol, source, payload)?;
            return self.publish_core(py, &event);
        }
        // The usual case in one go: no name to look up that was not used before.
        let mut core = self.hold(py)?;
        if let Some(number) = core.symbols.get(symbol)
            && core.may_publish(&event)
        {
            event.symbol = number;
            event.source = core.default_source;
            return self.publish_held(py, core, &event);
        }
        drop(core);
        self.fill_in(py, &mut event, symbol, source, payload)?;
        self.publish_core(py, &event)
    }

    /// Publish an event made by hand or taken from a bus; its id. Names are translated.
    ///
    /// Raises:
    ///     InvalidEventError, BackpressureError, StalledError: As ``publish``.
    fn publish_event(&self, py: Python<'_>, event: &Bound<'_, Event>) -> PyResult<u64> {
        let mut core = event.get().core();
        let from = event.get().table();
        self.check_publishable(py, &core)?;
        if from != self.with(py, |this| this.table)? {
            let names = self.names(py)?;
            if let Some(text) = tables::symbol(py, from, core.symbol) {
                core.symbol = arguments::symbol(text.bind(py), &names)?;
            }
            if let Some(text) = tables::source(py, from, core.source) {
                core.source = arguments::source(text.bind(py), &names)?;
            }
        }
        if core.timestamp == 0 {
            core.timestamp = now_ns();
        }
        self.publish_core(py, &core)
    }

    /// Publish the rows of an array, in order, and run the inline handlers they concern.
    ///
    /// Args:
    ///     events: One-dimensional, contiguous, dtype ``EVENT_DTYPE``. It is only read; rows with
    ///         timestamp 0 are published with the time of this call.
    /// Returns:
    ///     How many events were published: all.
    /// Raises:
    ///     InvalidEventError: Wrong dtype, shape or layout, or a row that is no valid event; the
    ///         message names the row, and nothing is published.
    ///     BackpressureError, StalledError: As ``publish``; ``published`` says how many rows were.
    fn publish_batch(&self, py: Python<'_>, events: &Bound<'_, PyAny>) -> PyResult<usize> {
        let array = rows::of(events)?;
        let readonly =
            array.try_readonly().map_err(|error| invalid(py, format!("events: {error}")))?;
        let rows = readonly.as_slice().map_err(|_| {
            invalid(py, format!("events is not contiguous (strides {:?})", array.strides()))
        })?;
        let rows = rows::events(rows);
        let inline = self.with(py, |core| !core.handlers.all().is_empty())?;
        let types = self.check_rows(py, rows)?;
        if inline {
            for (at, row) in rows.iter().enumerate() {
                let timestamp = if row.timestamp == 0 { now_ns() } else { row.timestamp };
                self.publish_core(py, &CoreEvent { timestamp, ..*row }).inspect_err(|error| {
                    // Best effort: the exception is the news, the count an attribute of it.
                    let _ = error.value(py).setattr("published", at);
                })?;
            }
            return Ok(rows.len());
        }
        self.publish_rows(py, rows, types)?;
        Ok(rows.len())
    }

    /// A callable ``f(value, metadata=0, timestamp=0) -> id`` that publishes one type and symbol:
    /// the fastest way from Python. Timestamp 0 is now.
    ///
    /// Raises:
    ///     InvalidEventError: As ``publish``.
    #[pyo3(signature = (event_type, symbol, *, source=None, priority=None))]
    fn publisher<'py>(
        slf: &Bound<'py, Self>,
        event_type: &Bound<'_, PyAny>,
        symbol: &Bound<'_, PyAny>,
        source: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let publisher = Publisher::of(slf, event_type, symbol, source, priority)?;
        // The bound method, not the object: calling it needs no tuple.
        Bound::new(slf.py(), publisher)?.getattr("publish")
    }

    /// Register an inline handler; returns its subscription. ``tickbus.Bus.on`` is the decorator.
    fn _add_handler(
        slf: &Bound<'_, Self>,
        patterns: Vec<String>,
        handler: Bound<'_, PyAny>,
    ) -> PyResult<HandlerHandle> {
        let py = slf.py();
        if !handler.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "handler {} is not callable",
                handler.repr()?
            )));
        }
        let this = slf.get();
        let names = this.names(py)?;
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let matcher = Matcher::compile(&patterns, names.as_ref())
            .map_err(|error| raise(py, "PatternError", error.to_string()))?;
        let handler = this.with(py, |core| {
            let handler = Rc::new(Handler {
                callable: handler.unbind(),
                matcher: RefCell::new(matcher),
                start: core.published,
                delivered: Cell::new(0),
                errors: Cell::new(0),
                active: Cell::new(true),
            });
            core.handlers.add(Rc::clone(&handler));
            handler
        })?;
        Ok(HandlerHandle { bus: slf.clone().unbind(), handler: GilCell::new(handler) })
    }

    /// The payload an event refers to: from the bus's memory or, when it is gone there, the journal.
    ///
    /// Raises:
    ///     PayloadOverwrittenError: It was there and is not any more.
    ///     InvalidEventError: The event's metadata is no reference to a payload.
    fn payload<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, Event>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.payload_of(py, event.get()).map(|bytes| PyBytes::new(py, &bytes))
    }

    /// Number of a symbol, given one when it is new.
    fn symbol_id(&self, py: Python<'_>, name: &str) -> PyResult<u32> {
        self.names(py)?.symbol(name).map_err(|error| error::naming(py, error))
    }

    /// Name of a symbol's number. Raises KeyError when there is none.
    fn symbol_name(&self, py: Python<'_>, symbol_id: u32) -> PyResult<String> {
        let name = self.names(py)?.symbol_text(symbol_id);
        name.map(|name| name.to_string()).ok_or_else(|| PyKeyError::new_err(symbol_id))
    }

    /// Number of a source, given one when it is new.
    fn source_id(&self, py: Python<'_>, name: &str) -> PyResult<u16> {
        self.names(py)?.source(name).map_err(|error| error::naming(py, error))
    }

    /// Name of a source's number. Raises KeyError when there is none.
    fn source_name(&self, py: Python<'_>, source_id: u16) -> PyResult<String> {
        let name = self.names(py)?.source_text(source_id);
        name.map(|name| name.to_string()).ok_or_else(|| PyKeyError::new_err(source_id))
    }

    /// Give a free type number a name and a meaning, for everybody on the bus.
    ///
    /// Args:
    ///     number: A free one; its range is its category, see ``EventType``.
    ///     name: Second level of its topics, lower case.
    ///     value, metadata: Names of its fields, which become attributes of its events.
    ///     encoding: What ``metadata`` holds: "unused", "u64", "f64", "signed_quantity", "quote".
    /// Raises:
    ///     TypeTakenError: The number or name stands for something else.
    ///     InvalidNameError: A name is too long or has forbidden characters.
    #[pyo3(signature = (number, name, *, value="value", metadata="", encoding="unused"))]
    fn register_type(
        &self,
        py: Python<'_>,
        number: &Bound<'_, PyAny>,
        name: &str,
        value: &str,
        metadata: &str,
        encoding: &str,
    ) -> PyResult<u8> {
        let number = arguments::event_type(number)?;
        let found = Encoding::from_name(encoding)
            .ok_or_else(|| invalid(py, format!("encoding {encoding:?} is none of the five")))?;
        if metadata.is_empty() != (found == Encoding::Unused) {
            return Err(invalid(
                py,
                format!(
                    "metadata={metadata:?} does not go with encoding {encoding:?}: name it, or leave both out"
                ),
            ));
        }
        let row = TypeRow {
            number,
            name: name.to_owned(),
            value: value.to_owned(),
            metadata: metadata.to_owned(),
            encoding: found,
        };
        self.names(py)?.register_type(&row).map_err(|error| error::naming(py, error))?;
        Ok(number)
    }

    /// Number of every registered type by name, built in or not.
    fn types(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let types = PyDict::new(py);
        for row in self.names(py)?.type_rows() {
            types.set_item(row.name, row.number)?;
        }
        Ok(types.unbind())
    }

    /// Lanes with their counters, names, participants; what ``tickbus.Bus.stats`` builds on.
    fn _stats(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let (bus, published) = self.with(py, |core| (Arc::clone(&core.bus), core.published))?;
        stats::of(py, &bus, self.name.as_deref(), published)
    }

    /// Leave the bus. Its subscriptions end; the last to leave a named bus removes it. Safe to
    /// call twice.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(core) = self.core.with(py, Option::take) else {
            return Ok(());
        };
        let mut closed = Ok(());
        if !forked_since(core.forks) {
            if let Some(journal) = &core.journal {
                closed = py.detach(|| journal.close());
            }
            core.bus.leave();
            if self.name.is_some() {
                tables::retire(py, core.table);
            }
        }
        // Dropped here, outside the cell: handlers are Python objects and may run code.
        drop(core);
        closed.map_err(|error| error::journal(py, error, 0))
    }
}
