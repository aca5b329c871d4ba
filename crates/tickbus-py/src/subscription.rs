//! The native half of `tickbus.Subscription`.

use crate::arguments;
use crate::bus::Bus;
use crate::error::{self, invalid, raise};
use crate::event::{Event, id_of};
use crate::fork::{forked_since, forks};
use crate::gil::GilCell;
use crate::reader::Reader;
use crate::rows::{self, Row};
use crate::start::start_of;
use crate::stats;
use numpy::{PyArray1, PyArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tickbus_core::bus::{Bus as CoreBus, CRITICAL};
use tickbus_core::event::{Event as CoreEvent, PRIORITIES};
use tickbus_core::ledger::{Ledger, Observer};
use tickbus_core::subscription::{Delivered, Subscription as Core};
use tickbus_core::topic::Matcher;
use tickbus_core::waiting::{STRATEGIES, Strategy, wait};

enum State {
    Open(Box<Reader>),
    /// A thread has it and waits without the GIL.
    Waiting,
    Closed,
}

/// The native subscription; see ``tickbus.Subscription``.
#[pyclass(subclass, frozen, module = "tickbus._native", weakref)]
pub struct Subscription {
    state: GilCell<State>,
    closing: AtomicBool,
    strategy: Strategy,
    table: u32,
    forks: u64,
    /// Kept open as long as somebody reads.
    bus: Py<Bus>,
    core_bus: Arc<CoreBus>,
    observer: Observer,
    /// The last books of a closed subscription.
    books: GilCell<Option<[Ledger; 3]>>,
    patterns: Vec<String>,
}

/// Events one drain hands out at most, and how many of them are kept for the next.
const MOST_DRAINED: usize = 1 << 20;
const POOLED: usize = 4096;

/// The ``max`` of a drain or batch.
fn most(max: Option<&Bound<'_, PyAny>>) -> PyResult<usize> {
    max.map_or(Ok(4096), |max| arguments::size(max, "max"))
}

impl Subscription {
    #[inline(always)]
    pub fn with<R>(
        &self,
        py: Python<'_>,
        use_reader: impl FnOnce(&mut Reader) -> R,
    ) -> PyResult<R> {
        let result = self.state.with(py, |state| match state {
            State::Open(reader) if !forked_since(self.forks) => Some(use_reader(reader)),
            _ => None,
        });
        result.ok_or_else(|| self.unusable(py))
    }

    #[cold]
    fn unusable(&self, py: Python<'_>) -> PyErr {
        if forked_since(self.forks) {
            return raise(py, "BusForkedError", "the subscription belongs to the parent process");
        }
        if self.state.with(py, |state| matches!(state, State::Waiting)) {
            return PyRuntimeError::new_err(
                "another thread is waiting on this subscription; give each thread its own",
            );
        }
        raise(py, "BusClosedError", "the subscription is closed")
    }

    /// The object of a delivered event.
    fn hand_out(&self, py: Python<'_>, delivered: &Delivered) -> PyResult<Py<Event>> {
        // Closed meanwhile, the event is still the caller's, but there is nothing to keep it in.
        match self.with(py, |reader| reader.refill(py, delivered)) {
            Ok(Some(object)) => Ok(object),
            Ok(None) | Err(_) => self.make(py, delivered),
        }
    }

    /// A new object, kept for the event after the next.
    fn make(&self, py: Python<'_>, delivered: &Delivered) -> PyResult<Py<Event>> {
        let object = Py::new(py, self.event(delivered))?;
        let kept = object.clone_ref(py);
        let dropped = self.with(py, |reader| reader.spares[0].replace(kept));
        drop(dropped);
        Ok(object)
    }

    /// The books by priority number, also while another thread waits with the subscription.
    fn ledgers(&self, py: Python<'_>) -> PyResult<[Ledger; 3]> {
        if forked_since(self.forks) {
            return Err(self.unusable(py));
        }
        match self.books.with(py, |books| *books) {
            Some(books) => Ok(books),
            None if self.closed(py) => Err(self.unusable(py)),
            None => Ok(self.observed()),
        }
    }

    fn observed(&self) -> [Ledger; 3] {
        std::array::from_fn(|lane| self.observer.ledger(lane))
    }

    /// Give the reader's places back, keeping what the books said last.
    fn retire(&self, py: Python<'_>, reader: Box<Reader>) {
        let books = self.observed();
        self.books.with(py, |kept| *kept = Some(books));
        drop(reader);
    }

    /// The next event without an object for it.
    #[inline]
    pub fn take(&self, py: Python<'_>) -> PyResult<Option<Delivered>> {
        self.with(py, |reader| reader.core.poll())
    }

    /// Where the critical lane is read next, and where it ends now.
    pub fn critical(&self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let next = self.ledgers(py)?[CRITICAL].position();
        Ok((next, self.core_bus.lanes()[CRITICAL].end()))
    }

    /// A new object for an event that was taken.
    pub fn event(&self, delivered: &Delivered) -> Event {
        let Delivered { sequence, event } = delivered;
        Event::new(event, id_of(*sequence, usize::from(event.priority)), self.table)
    }

    /// Wait without the GIL, in slices, so that signals are served.
    pub fn wait(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<Option<Delivered>> {
        loop {
            let taken = self.state.with(py, |state| match state {
                State::Open(_) => Some(std::mem::replace(state, State::Waiting)),
                _ => None,
            });
            let Some(State::Open(mut reader)) = taken else {
                return Err(self.unusable(py));
            };
            let strategy = self.strategy;
            let (reader, outcome) = py.detach(move || {
                let outcome = wait(&mut reader.core, &mut reader.sleeper, strategy, deadline);
                (reader, outcome)
            });
            let closing = self.closing.load(Ordering::Acquire);
            let rest = if closing {
                // Before anybody can see that it is closed: its places may be given to others then.
                self.retire(py, reader);
                State::Closed
            } else {
                State::Open(reader)
            };
            self.state.with(py, |state| *state = rest);
            if let Some(delivered) = outcome.map_err(|error| error::of(py, error))? {
                return Ok(Some(delivered));
            }
            py.check_signals()?;
            if closing || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            if self.bus.get().with(py, |_| ()).is_err() {
                return Ok(None);
            }
        }
    }
}

/// A list of made events, or the first error.
fn collect<'py>(
    py: Python<'py>,
    events: impl ExactSizeIterator<Item = PyResult<Py<Event>>>,
) -> PyResult<Bound<'py, PyList>> {
    let mut failed = None;
    let list = PyList::new(
        py,
        events.map(|event| match event {
            Ok(event) => event.into_any(),
            Err(error) => {
                failed = Some(error);
                py.None()
            }
        }),
    )?;
    failed.map_or(Ok(list), Err)
}

#[pymethods]
impl Subscription {
    #[new]
    #[pyo3(signature = (bus, patterns, start, wait, gating))]
    fn py_new(
        py: Python<'_>,
        bus: &Bound<'_, Bus>,
        patterns: Vec<String>,
        start: &Bound<'_, PyAny>,
        wait: &str,
        gating: Option<bool>,
    ) -> PyResult<Subscription> {
        let (core_bus, table) = bus.get().with(py, |core| (Arc::clone(&core.bus), core.table))?;
        let Some((_, strategy)) = STRATEGIES.iter().find(|(name, _)| *name == wait) else {
            return Err(invalid(
                py,
                format!("wait={wait:?} is none of spin, yield, sleep, adaptive"),
            ));
        };
        let given = patterns;
        let patterns: Vec<&str> = given.iter().map(String::as_str).collect();
        let start = start_of(py, start)?;
        start.check(&core_bus).map_err(|error| error::of(py, error))?;
        // Who asks for risk or critical events is someone those events must not be lost to.
        let wants_critical = || -> PyResult<bool> {
            let matcher = Matcher::compile(&patterns, core_bus.names().as_ref())
                .map_err(|error| raise(py, "PatternError", error.to_string()))?;
            let mask = matcher.type_mask();
            Ok(mask[1] as u32 != 0 || mask[2] != 0 || mask[3] != 0)
        };
        let gating = gating.map_or_else(wants_critical, Ok)?;
        let core =
            Core::new(&core_bus, &patterns, start, gating).map_err(|error| error::of(py, error))?;
        let observer = core.observer();
        let reader = Reader {
            core,
            sleeper: None,
            buffer: Vec::new(),
            pools: Default::default(),
            spares: [None, None],
        };
        Ok(Subscription {
            state: GilCell::new(State::Open(Box::new(reader))),
            closing: AtomicBool::new(false),
            strategy: *strategy,
            table,
            forks: forks(),
            bus: bus.clone().unbind(),
            core_bus,
            observer,
            books: GilCell::new(None),
            patterns: given,
        })
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.bus)
    }

    /// The next event; ``None`` when none comes within ``timeout_s`` seconds (0: look once, None:
    /// wait for ever). The GIL is released while waiting.
    ///
    /// Raises:
    ///     BusClosedError: The subscription or its bus has been closed.
    #[pyo3(signature = (timeout_s=Some(0.0)), text_signature = "($self, timeout_s=0.0)")]
    fn poll(&self, py: Python<'_>, timeout_s: Option<f64>) -> PyResult<Option<Py<Event>>> {
        match self.with(py, |reader| reader.poll(py))? {
            Some((_, Some(object))) => return Ok(Some(object)),
            Some((delivered, None)) => return self.make(py, &delivered).map(Some),
            None => {}
        }
        let deadline = match timeout_s {
            Some(0.0) => return Ok(None),
            None => None,
            Some(timeout_s) => {
                let timeout = Duration::try_from_secs_f64(timeout_s).map_err(|_| {
                    invalid(py, format!("timeout_s={timeout_s} is no number of seconds"))
                })?;
                Some(Instant::now() + timeout)
            }
        };
        match self.wait(py, deadline)? {
            Some(delivered) => self.hand_out(py, &delivered).map(Some),
            None => Ok(None),
        }
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// Wait for the next event; the loop ends when the subscription or its bus is closed.
    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<Event>>> {
        let found = self.state.with(py, |state| match state {
            State::Open(reader) if !forked_since(self.forks) => Some(reader.poll(py)),
            _ => None,
        });
        match found {
            Some(Some((_, Some(object)))) => Ok(Some(object)),
            Some(Some((delivered, None))) => self.make(py, &delivered).map(Some),
            Some(None) => match self.wait(py, None)? {
                Some(delivered) => self.hand_out(py, &delivered).map(Some),
                None => Ok(None),
            },
            None if self.closing.load(Ordering::Acquire) => Ok(None),
            None => Err(self.unusable(py)),
        }
    }

    /// Events that are there now, at most ``max``, as a list. Never waits.
    ///
    /// Raises:
    ///     InvalidSizeError: ``max`` is no number of events.
    #[pyo3(signature = (max=None), text_signature = "($self, max=4096)")]
    fn drain<'py>(
        &self,
        py: Python<'py>,
        max: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let max = most(max)?;
        let (mut buffer, mut pool, filled) = self.with(py, |reader| {
            let mut buffer = std::mem::take(&mut reader.buffer);
            if buffer.len() < max {
                buffer.resize(max.min(MOST_DRAINED), (0, CoreEvent::default()));
            }
            let limit = max.min(buffer.len());
            let fill = |sequence, event| (sequence, event);
            let filled = reader.core.read_batch(&mut buffer[..limit], fill);
            reader.pools.swap(0, 1);
            (buffer, std::mem::take(&mut reader.pools[0]), filled)
        })?;
        let table = self.table;
        let events = buffer[..filled].iter().enumerate().map(|(at, (sequence, event))| {
            let id = id_of(*sequence, usize::from(event.priority));
            match pool.get_mut(at) {
                Some(object) if Event::is_unshared(object, py) => {
                    object.get().refill(event, id);
                    Ok(object.clone_ref(py))
                }
                kept => {
                    let made = Py::new(py, Event::new(event, id, table))?;
                    match kept {
                        Some(kept) => *kept = made.clone_ref(py),
                        None if at < POOLED => pool.push(made.clone_ref(py)),
                        None => {}
                    }
                    Ok(made)
                }
            }
        });
        let events = collect(py, events);
        buffer.truncate(POOLED);
        self.with(py, |reader| {
            reader.buffer = buffer;
            reader.pools[0] = pool;
        })?;
        events
    }

    /// Events that are there now, at most ``max``, as rows of ``EVENT_DTYPE``. Never waits.
    ///
    /// The array is a copy that the caller owns: a view of a lane could change under its reader.
    /// With ``out`` (contiguous, ``EVENT_DTYPE``) rows go there, and a view of the filled part is
    /// returned: no memory is allocated.
    ///
    /// Raises:
    ///     InvalidEventError: ``out`` has another dtype or shape, or cannot be written.
    ///     InvalidSizeError: ``max`` is no number of events.
    #[pyo3(signature = (max=None, out=None), text_signature = "($self, max=4096, out=None)")]
    fn read_batch<'py>(
        &self,
        py: Python<'py>,
        max: Option<&Bound<'py, PyAny>>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let max = most(max)?;
        let array: Bound<'py, PyArray1<Row>> = match out {
            Some(out) => rows::of(out)?.clone(),
            None => {
                let pending = self.with(py, |reader| {
                    (0..3).map(|lane| reader.core.ledger(lane).pending).sum::<u64>()
                })?;
                rows::new(py, max.min(pending as usize))
            }
        };
        let filled = {
            let mut writable =
                array.try_readwrite().map_err(|error| invalid(py, format!("out: {error}")))?;
            let rows = writable.as_slice_mut().map_err(|_| invalid(py, "out is not contiguous"))?;
            let len = rows.len().min(max);
            self.with(py, |reader| reader.core.read_batch(&mut rows[..len], |_, event| Row(event)))?
        };
        let array = array.into_any();
        if filled == array.len()? {
            return Ok(array);
        }
        array.get_item(pyo3::types::PySlice::new(py, 0, filled as isize, 1))
    }

    /// Events overwritten before this subscription read them, over all lanes.
    #[getter]
    fn missed(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.ledgers(py)?.iter().map(|ledger| ledger.missed).sum())
    }

    /// Events published and not looked at yet, over all lanes.
    #[getter]
    fn lag(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.ledgers(py)?.iter().map(|ledger| ledger.pending).sum())
    }

    /// Next id of each lane, by lane name. ``subscribe(start=position)`` goes on there.
    #[getter]
    fn position<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let by_lane = PyDict::new(py);
        let ledgers = self.ledgers(py)?;
        for priority in PRIORITIES.into_iter().rev() {
            let lane = priority as usize;
            by_lane.set_item(priority.name(), id_of(ledgers[lane].position(), lane))?;
        }
        Ok(by_lane)
    }

    /// Next sequence by lane number.
    fn _next(&self, py: Python<'_>) -> PyResult<(u64, u64, u64)> {
        let [normal, high, critical] = self.ledgers(py)?.map(|ledger| ledger.position());
        Ok((normal, high, critical))
    }

    /// The books by lane name: ``published = delivered + filtered + missed + pending``, counted
    /// since the subscription began. A closed subscription keeps its last.
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ledgers = self.ledgers(py)?;
        let by_lane = PyDict::new(py);
        for priority in PRIORITIES.into_iter().rev() {
            let ledger = &ledgers[priority as usize];
            by_lane.set_item(priority.name(), stats::books(py, ledger)?)?;
        }
        Ok(by_lane)
    }

    /// What each pattern matches now, in plain words.
    fn explain(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        let names = self.core_bus.names().as_ref();
        let matcher = Matcher::compile(&patterns, names)
            .map_err(|error| raise(py, "PatternError", error.to_string()))?;
        Ok(matcher.explain(names))
    }

    /// The patterns as given.
    #[getter]
    fn patterns(&self) -> Vec<String> {
        self.patterns.clone()
    }

    /// Whether the subscription has been closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.closing.load(Ordering::Acquire)
            || self.state.with(py, |state| matches!(state, State::Closed))
    }

    /// End the subscription. A thread waiting on it returns within 50 ms. Safe to call twice.
    fn close(&self, py: Python<'_>) {
        self.closing.store(true, Ordering::Release);
        let open = self.state.with(py, |state| match state {
            State::Open(_) => Some(std::mem::replace(state, State::Closed)),
            State::Waiting | State::Closed => None,
        });
        if let Some(State::Open(reader)) = open {
            if forked_since(self.forks) {
                drop(reader);
            } else {
                self.retire(py, reader);
            }
        }
        // Whoever waits has the reader; when this returns, nobody reads any more.
        while !forked_since(self.forks)
            && self.state.with(py, |state| matches!(state, State::Waiting))
        {
            py.detach(|| std::thread::sleep(Duration::from_micros(200)));
        }
    }
}
