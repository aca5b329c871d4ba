//! The native half of `tickbus.Bus`.

use crate::dispatch::{self, Frames, Handler, Handlers, Pending};
use crate::error::{self, invalid, raise, raise_with};
use crate::event::{Event, id_of};
use crate::gil::GilCell;
use crate::symbols::{Cache, SYMBOLS_CACHED};
use crate::{arguments, rows, tables};
use numpy::{PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::{Event as CoreEvent, PRIORITIES};
use tickbus_core::lane::layout::Sizes;
use tickbus_core::lane::ring::Blocked;
use tickbus_core::names::TypeRow;
use tickbus_core::payload::PayloadError;
use tickbus_core::producer::{Batch, Producer, Refused, Wait};
use tickbus_core::sys::now_ns;
use tickbus_core::taxonomy::Encoding;
use tickbus_core::topic::Matcher;

/// Raised in a forked child: bumped by `_after_fork`.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Called in the child after a fork: handles of the parent must not be used there.
#[pyfunction]
#[pyo3(name = "_after_fork")]
pub fn after_fork() {
    FORKS.fetch_add(1, Relaxed);
}

/// Whether a handle made at fork count `made` belongs to this process.
pub fn forked_since(made: u64) -> bool {
    FORKS.load(Relaxed) != made
}

pub fn forks() -> u64 {
    FORKS.load(Relaxed)
}

/// What publishing needs, together in memory.
pub struct Core {
    pub bus: Arc<CoreBus>,
    producer: Producer,
    symbols: Cache,
    handlers: Handlers,
    frames: Frames,
    /// Types that may be published: registered ones.
    types: [u64; 4],
    default_source: u16,
    allow_nan: bool,
    patience: Duration,
    published: u64,
    /// Given to the next handler when nobody else holds it any more.
    spare: Option<Py<Event>>,
    pub table: u32,
    forks: u64,
}

/// The native bus; see ``tickbus.Bus``.
#[pyclass(subclass, frozen, module = "tickbus._native", weakref)]
pub struct Bus {
    core: GilCell<Option<Core>>,
    name: Option<String>,
}

/// What an attempt to publish came to.
enum Attempt {
    Published(u64, Option<dispatch::Route>),
    Blocked(Blocked, Arc<CoreBus>, Duration),
}

impl Bus {
    /// Use the core, if the bus is open and ours.
    #[inline(always)]
    pub fn with<R>(&self, py: Python<'_>, use_core: impl FnOnce(&mut Core) -> R) -> PyResult<R> {
        self.core.with(py, |core| match core {
            Some(core) if !forked_since(core.forks) => Some(use_core(core)),
            _ => None,
        }).ok_or_else(|| self.unusable(py))
    }

    #[cold]
    fn unusable(&self, py: Python<'_>) -> PyErr {
        let name = self.name.as_ref().map_or("(private)".to_owned(), |name| format!("{name:?}"));
        if self.core.with(py, |core| core.is_some()) {
            raise(py, "BusForkedError", format!(
                "bus {name} was opened before a fork and belongs to the parent process; open it \
                 again in the child"
            ))
        } else {
            raise(py, "BusClosedError", format!("bus {name} is closed"))
        }
    }

    /// Publish `event`, whose fields have been checked; its id.
    #[inline(always)]
    pub fn publish_core(&self, py: Python<'_>, event: &CoreEvent) -> PyResult<u64> {
        let attempt = self.with(py, |core| core.attempt(event, None))?;
        match attempt {
            Attempt::Published(id, None) => Ok(id),
            Attempt::Published(id, Some(route)) => {
                self.dispatch(py, Pending { event: *event, id, route })?;
                Ok(id)
            }
            Attempt::Blocked(blocked, bus, patience) => {
                self.publish_waiting(py, event, blocked, &bus, patience)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn publish_waiting(
        &self,
        py: Python<'_>,
        event: &CoreEvent,
        mut blocked: Blocked,
        bus: &Arc<CoreBus>,
        patience: Duration,
    ) -> PyResult<u64> {
        let mut wait = Wait::new(bus, usize::from(event.priority), patience);
        loop {
            // The reader that is waited for may need the GIL to go on.
            py.detach(|| wait.for_room(blocked)).map_err(|why| refused(py, bus, why, 0))?;
            match self.with(py, |core| core.attempt(event, Some(wait.reserve)))? {
                Attempt::Published(id, route) => {
                    wait.done();
                    if let Some(route) = route {
                        self.dispatch(py, Pending { event: *event, id, route })?;
                    }
                    return Ok(id);
                }
                Attempt::Blocked(again, ..) => blocked = again,
            }
        }
    }

    /// Run the handlers of an event, and of what they publish; or leave it to the publish further
    /// up this thread's stack that is doing so already.
    #[inline(never)]
    fn dispatch(&self, py: Python<'_>, pending: Pending) -> PyResult<()> {
        let begun = self.with(py, |core| {
            core.frames.begin(pending).map(|(at, pending)| (at, pending, core.spare.take(), core.table))
        })?;
        let Some((at, mut pending, spare, table)) = begun else { return Ok(()) };
        let mut object = spare;
        let mut ending = Ok(());
        loop {
            let shared = match object.take() {
                Some(object) if Event::is_unshared(&object, py) => {
                    object.get().refill(&pending.event, pending.id);
                    object
                }
                _ => Py::new(py, Event::new(&pending.event, pending.id, table))?,
            };
            let outcome = dispatch::run(py, &pending, &shared);
            if ending.is_ok() {
                ending = outcome;
            }
            object = Some(shared);
            // A handler may have closed the bus; then nothing waits.
            match self.core.with(py, |core| core.as_mut().and_then(|core| core.frames.next(at))) {
                Some(next) => pending = next,
                None => break,
            }
        }
        self.core.with(py, |core| {
            if let Some(core) = core {
                std::mem::swap(&mut core.spare, &mut object);
            }
        });
        ending
    }
}

impl Core {
    #[inline(always)]
    fn attempt(&mut self, event: &CoreEvent, reserve: Option<u64>) -> Attempt {
        let lane = usize::from(event.priority);
        let reserve = reserve.unwrap_or_else(|| self.bus.reserve(lane));
        match self.producer.try_publish(event, reserve) {
            Ok(sequence) => {
                self.published += 1;
                let route = self.handlers.route(event, self.bus.names().as_ref());
                Attempt::Published(id_of(sequence, lane), route)
            }
            Err(blocked) => Attempt::Blocked(blocked, Arc::clone(&self.bus), self.patience),
        }
    }

    #[inline(always)]
    fn is_registered(&mut self, number: u8) -> bool {
        let known = |types: &[u64; 4]| types[usize::from(number >> 6)] >> (number & 63) & 1 != 0;
        // Another process may have registered it meanwhile.
        known(&self.types) || {
            self.types = self.bus.names().type_mask();
            known(&self.types)
        }
    }
}

#[cold]
pub fn refused(py: Python<'_>, bus: &CoreBus, why: Refused, published: u64) -> PyErr {
    match why {
        Refused::Backpressure { waited } => {
            let (pid, behind) = bus.slowest_gating().unwrap_or((0, 0));
            raise_with(
                py,
                "BackpressureError",
                format!(
                    "the critical lane ({} events) and its reserve are full after {:.3} s: process \
                     {pid} has a subscription that is {behind} events behind",
                    bus.lanes()[2].size(),
                    waited.as_secs_f64()
                ),
                &[("published", published), ("pid", pid), ("behind", behind)],
            )
        }
        Refused::Stalled { owner } => {
            let pid = bus.pid_of(owner).unwrap_or(0);
            raise_with(
                py,
                "StalledError",
                format!("process {pid} is stopped in the middle of a publish, a lap ago"),
                &[("published", published), ("pid", pid)],
            )
        }
    }
}

#[pymethods]
impl Bus {
    #[new]
    #[pyo3(signature = (name=None, *, critical_size=None, high_size=None, normal_size=None,
                        payload_bytes=None, allow_nan=false, critical_timeout_s=1.0, source=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn py_new(
        py: Python<'_>,
        name: Option<String>,
        critical_size: Option<usize>,
        high_size: Option<usize>,
        normal_size: Option<usize>,
        payload_bytes: Option<usize>,
        allow_nan: bool,
        critical_timeout_s: f64,
        source: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Bus> {
        let explicit = [critical_size, high_size, normal_size, payload_bytes].iter().any(Option::is_some);
        let sizes = Sizes {
            lanes: [
                normal_size.unwrap_or(1 << 16),
                high_size.unwrap_or(1 << 16),
                critical_size.unwrap_or(1 << 12),
            ],
            payload_cells: payload_bytes.unwrap_or(1 << 20).div_ceil(8).next_power_of_two().max(64),
        };
        let patience = Duration::try_from_secs_f64(critical_timeout_s).map_err(|_| {
            invalid(py, format!("critical_timeout_s={critical_timeout_s} is no number of seconds"))
        })?;
        let bus = match &name {
            Some(name) => CoreBus::named(name, sizes, explicit),
            None => CoreBus::private(sizes),
        }
        .map_err(|error| error::of(py, error))?;
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
            bus,
        };
        Ok(Bus { core: GilCell::new(Some(core)), name })
    }

    /// Name of a shared bus; ``None`` for a private one.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
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
    ///     timestamp: Nanoseconds since the Unix epoch, UTC; now when left out.
    ///     payload: Bytes kept beside the lanes; ``metadata`` becomes their reference.
    /// Returns:
    ///     The event's id: ``sequence << 2 | priority``.
    /// Raises:
    ///     InvalidEventError: A field is out of range, or the type is not registered.
    ///     BackpressureError: The critical lane is full and stayed full; the event is not published.
    ///     StalledError: A stopped process blocks the lane; the event is not published.
    #[pyo3(signature = (event_type, symbol, value, *, metadata=0, source=None, priority=None,
                        timestamp=None, payload=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn publish(
        &self,
        py: Python<'_>,
        event_type: &Bound<'_, PyAny>,
        symbol: &Bound<'_, PyAny>,
        value: f64,
        metadata: u64,
        source: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
        timestamp: Option<u64>,
        payload: Option<&Bound<'_, PyBytes>>,
    ) -> PyResult<u64> {
        let number = arguments::event_type(event_type)?;
        let priority = arguments::priority(priority, number)?;
        let timestamp = timestamp.unwrap_or_else(now_ns);
        let known = self.with(py, |core| {
            let ok = core.is_registered(number) && (core.allow_nan || !value.is_nan());
            (ok, core.symbols.get(symbol), core.default_source)
        })?;
        let (ok, cached, default_source) = known;
        if !ok {
            return Err(self.not_publishable(py, number, value));
        }
        let symbol = match cached {
            Some(number) => number,
            None => self.symbol_number(py, symbol)?,
        };
        let source = match source {
            None => default_source,
            Some(source) => arguments::source(source, self.names(py)?.as_ref())?,
        };
        let metadata = match payload {
            None => metadata,
            Some(payload) => self.store_payload(py, payload.as_bytes())?,
        };
        let event = CoreEvent { timestamp, event_type: number, priority, source, symbol, value, metadata };
        self.publish_core(py, &event)
    }

    /// Publish an event made by hand or taken from a bus; its id. Names are translated.
    ///
    /// Raises:
    ///     InvalidEventError, BackpressureError, StalledError: As ``publish``.
    fn publish_event(&self, py: Python<'_>, event: &Bound<'_, Event>) -> PyResult<u64> {
        let mut core = event.get().core();
        let from = event.get().table();
        let ok = self.with(py, |this| {
            (this.is_registered(core.event_type) && (this.allow_nan || !core.value.is_nan()), this.table)
        })?;
        if !ok.0 {
            return Err(self.not_publishable(py, core.event_type, core.value));
        }
        if from != ok.1 {
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
        let readonly = array.try_readonly().map_err(|error| invalid(py, format!("events: {error}")))?;
        let rows = readonly.as_slice().map_err(|_| {
            invalid(py, format!("events is not contiguous (strides {:?})", array.strides()))
        })?;
        let rows = rows::events(rows);
        let (bus, patience, inline) = self.with(py, |core| {
            (Arc::clone(&core.bus), core.patience, !core.handlers.all().is_empty())
        })?;
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
        let now = now_ns();
        let mut done = 0;
        while done < rows.len() {
            let priority = rows[done].priority;
            let run = rows[done..].iter().take_while(|row| row.priority == priority).count();
            let lane = usize::from(priority);
            let mut left = &rows[done..done + run];
            let mut wait: Option<Wait> = None;
            while !left.is_empty() {
                let batch = Batch { lane, events: left, types, now };
                let reserve = wait.as_ref().map_or(bus.reserve(lane), |wait| wait.reserve);
                let (count, blocked) = self.with(py, |core| {
                    let outcome = core.producer.try_publish_batch(&batch, reserve);
                    core.published += outcome.0 as u64;
                    outcome
                })?;
                left = &left[count..];
                done += count;
                if let Some(blocked) = blocked {
                    let wait = wait.get_or_insert_with(|| Wait::new(&bus, lane, patience));
                    py.detach(|| wait.for_room(blocked))
                        .map_err(|why| refused(py, &bus, why, done as u64))?;
                }
            }
            if let Some(wait) = wait {
                wait.done();
            }
        }
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
        let py = slf.py();
        let this = slf.get();
        let number = arguments::event_type(event_type)?;
        let names = this.names(py)?;
        let (registered, default_source, allow_nan) = this.with(py, |core| {
            (core.is_registered(number), core.default_source, core.allow_nan)
        })?;
        if !registered {
            return Err(this.not_publishable(py, number, 0.0));
        }
        let event = CoreEvent {
            event_type: number,
            priority: arguments::priority(priority, number)?,
            source: source.map_or(Ok(default_source), |source| arguments::source(source, &names))?,
            symbol: arguments::symbol(symbol, &names)?,
            ..CoreEvent::default()
        };
        let publisher = Publisher { bus: slf.clone().unbind(), event, allow_nan };
        // The bound method, not the object: calling it needs no tuple.
        Bound::new(py, publisher)?.getattr("publish")
    }

    /// Register an inline handler; returns its subscription. ``tickbus.Bus.on`` is the decorator.
    fn _add_handler(
        slf: &Bound<'_, Self>,
        patterns: Vec<String>,
        handler: Bound<'_, PyAny>,
    ) -> PyResult<HandlerHandle> {
        let py = slf.py();
        if !handler.is_callable() {
            return Err(PyTypeError::new_err(format!("handler {} is not callable", handler.repr()?)));
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

    /// The payload an event refers to.
    ///
    /// Raises:
    ///     PayloadOverwrittenError: It was there and is not any more.
    ///     InvalidEventError: The event's metadata is no reference to a payload.
    fn payload<'py>(&self, py: Python<'py>, event: &Bound<'py, Event>) -> PyResult<Bound<'py, PyBytes>> {
        let reference = event.get().core().metadata;
        let bytes = self.with(py, |core| core.bus.payloads().read(reference))?;
        bytes.map(|bytes| PyBytes::new(py, &bytes)).map_err(|why| payload_error(py, why))
    }

    /// Number of a symbol, given one when it is new.
    fn symbol_id(&self, py: Python<'_>, name: &str) -> PyResult<u32> {
        self.names(py)?.symbol(name).map_err(|error| error::naming(py, error))
    }

    /// Name of a symbol's number. Raises KeyError when there is none.
    fn symbol_name(&self, py: Python<'_>, symbol_id: u32) -> PyResult<String> {
        let name = self.names(py)?.symbol_text(symbol_id);
        name.map(|name| name.to_string())
            .ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(symbol_id))
    }

    /// Number of a source, given one when it is new.
    fn source_id(&self, py: Python<'_>, name: &str) -> PyResult<u16> {
        self.names(py)?.source(name).map_err(|error| error::naming(py, error))
    }

    /// Name of a source's number. Raises KeyError when there is none.
    fn source_name(&self, py: Python<'_>, source_id: u16) -> PyResult<String> {
        let name = self.names(py)?.source_text(source_id);
        name.map(|name| name.to_string())
            .ok_or_else(|| pyo3::exceptions::PyKeyError::new_err(source_id))
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
                format!("metadata={metadata:?} does not go with encoding {encoding:?}: name it, or leave both out"),
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
        // Whoever looks at the figures wants the dead out of them.
        bus.reap().map_err(|error| error::of(py, error))?;
        let lanes = PyDict::new(py);
        for priority in PRIORITIES.into_iter().rev() {
            let number = priority as usize;
            let lane = PyDict::new(py);
            lane.set_item("published", bus.lanes()[number].tail())?;
            lane.set_item("capacity", bus.lanes()[number].size())?;
            for (name, value) in bus.counters(number) {
                lane.set_item(name, value)?;
            }
            lanes.set_item(priority.name(), lane)?;
        }
        let (participants, subscriptions) = bus.population();
        let (symbols, sources) = bus.names().counts();
        let stats = PyDict::new(py);
        stats.set_item("name", &self.name)?;
        stats.set_item("lanes", lanes)?;
        stats.set_item("participants", participants)?;
        stats.set_item("readers", subscriptions)?;
        stats.set_item("symbols", symbols)?;
        stats.set_item("sources", sources)?;
        stats.set_item("published_here", published)?;
        Ok(stats.unbind())
    }

    /// Leave the bus. Its subscriptions end; the last to leave a named bus removes it. Safe to
    /// call twice.
    fn close(&self, py: Python<'_>) {
        let core = self.core.with(py, Option::take);
        if let Some(core) = core {
            if !forked_since(core.forks) {
                core.bus.leave();
                if self.name.is_some() {
                    tables::retire(py, core.table);
                }
            }
            // Dropped here, outside the cell: handlers are Python objects and may run code.
            drop(core);
        }
    }
}

impl Bus {
    pub fn names(&self, py: Python<'_>) -> PyResult<Arc<tickbus_core::names::BusNames>> {
        self.with(py, |core| Arc::clone(core.bus.names()))
    }

    #[cold]
    fn symbol_number(&self, py: Python<'_>, symbol: &Bound<'_, PyAny>) -> PyResult<u32> {
        let names = self.names(py)?;
        let number = arguments::symbol(symbol, &names)?;
        self.with(py, |core| core.symbols.put(symbol, number))?;
        Ok(number)
    }

    #[cold]
    fn not_publishable(&self, py: Python<'_>, number: u8, value: f64) -> PyErr {
        if value.is_nan() {
            return invalid(py, "value=nan is not published; open the bus with allow_nan=True to");
        }
        invalid(
            py,
            format!("event_type={number} is not registered; see EventType and Bus.register_type"),
        )
    }

    #[cold]
    fn store_payload(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<u64> {
        self.with(py, |core| core.bus.payloads().write(bytes))?.map_err(|why| payload_error(py, why))
    }

    /// Refuse rows that are no valid events, before any is published; the set of their types.
    fn check_rows(&self, py: Python<'_>, rows: &[CoreEvent]) -> PyResult<[u64; 4]> {
        // One pass without branches finds whether anything is wrong; only then it matters where.
        let extremes = rows::Extremes::of(rows);
        let valid = self.with(py, |core| {
            let (symbols, sources) = core.bus.names().counts();
            let registered = |core: &Core| (0..4).all(|i| extremes.types[i] & !core.types[i] == 0);
            if !registered(core) {
                core.types = core.bus.names().type_mask();
            }
            registered(core) && extremes.fit(symbols, sources) && (core.allow_nan || !extremes.nan)
        })?;
        if valid { Ok(extremes.types) } else { Err(self.bad_row(py, rows)) }
    }

    #[cold]
    fn bad_row(&self, py: Python<'_>, rows: &[CoreEvent]) -> PyErr {
        let found = self.with(py, |core| {
            let (symbols, sources) = core.bus.names().counts();
            rows.iter().enumerate().find_map(|(at, row)| {
                let one = rows::Extremes::of(std::slice::from_ref(row));
                if !core.is_registered(row.event_type) {
                    Some((at, "event_type", "is not registered"))
                } else if row.priority > 2 {
                    Some((at, "priority", "is none of 0, 1, 2"))
                } else if u64::from(row.symbol) > symbols {
                    Some((at, "symbol", "is no known symbol's number"))
                } else if u64::from(row.source) > sources {
                    Some((at, "source", "is no known source's number"))
                } else if one.nan && !core.allow_nan {
                    Some((at, "value", "is NaN, which only a bus with allow_nan=True publishes"))
                } else {
                    None
                }
            })
        });
        match found {
            Ok(Some((at, field, why))) => {
                invalid(py, format!("events[{at}]: {field} {why}: {:?}", rows[at]))
            }
            Ok(None) => invalid(py, "events changed while they were checked"),
            Err(error) => error,
        }
    }
}

#[cold]
fn payload_error(py: Python<'_>, why: PayloadError) -> PyErr {
    match why {
        PayloadError::Overwritten => raise(
            py,
            "PayloadOverwrittenError",
            "the payload was overwritten by newer ones; a larger payload_bytes keeps more",
        ),
        other => invalid(py, other.to_string()),
    }
}

/// One type and symbol to publish; made by ``Bus.publisher``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Publisher {
    bus: Py<Bus>,
    event: CoreEvent,
    allow_nan: bool,
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

/// A registered inline handler.
#[pyclass(frozen, module = "tickbus._native")]
pub struct HandlerHandle {
    bus: Py<Bus>,
    handler: GilCell<Rc<Handler>>,
}

#[pymethods]
impl HandlerHandle {
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
        Ok(self.handler.with(py, |handler| handler.matcher.borrow().explain(names.as_ref())))
    }

    /// Stop calling the handler.
    fn close(&self, py: Python<'_>) {
        let handler = self.handler.with(py, |handler| Rc::clone(handler));
        // A closed bus has no handlers any more.
        let _ = self.bus.get().with(py, |core| core.handlers.remove(&handler));
    }
}
