//! The order books of one connection, from Python.

use crate::book::Book;
use crate::error;
use crate::exchange::Decoder;
use crate::gil::GilCell;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tickbus_core::exchange::book::{
    Books as CoreBooks, Change, Settings, Stream, Threshold, Thresholds, What,
};
use tickbus_core::sys::now_ns as clock_ns;

/// The order books of one connection, kept from its decoder's frames.
///
/// Args:
///     decoder: Whose frames they are; one per connection.
///     stale_after_s: A book that heard nothing for so long is stale; ``None`` never.
///     recovery_s: A snapshot that takes longer than this is asked for again.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Books {
    state: GilCell<CoreBooks>,
    decoder: Py<Decoder>,
}

/// Something that changed about a book.
///
/// Attributes:
///     number: Of the book, as ``Books.recovery_begun`` takes it.
///     kind: "integrity", "need_snapshot" (get one, or subscribe again), or "signal".
#[pyclass(frozen, get_all, module = "tickbus._native")]
pub struct BookChange {
    number: u32,
    symbol: String,
    /// Levels a side of the book's subscription, or ``None``.
    limit: Option<u32>,
    kind: &'static str,
    /// What the book was, and is now; both the same unless that is the change.
    before: &'static str,
    integrity: &'static str,
    /// Why; empty for a signal.
    reason: &'static str,
    /// Of a signal: type, value and metadata as the taxonomy says; else ``None``.
    signal: Option<(u8, f64, f64)>,
}

#[pymethods]
impl BookChange {
    fn __repr__(&self) -> String {
        let Self { kind, symbol, before, integrity, reason, .. } = self;
        match self.signal {
            Some((number, value, metadata)) => {
                format!("BookChange({symbol:?}, signal {number}: {value}, {metadata})")
            }
            None if *kind == "integrity" => {
                format!("BookChange({symbol:?}, {before} -> {integrity}: {reason})")
            }
            None => format!("BookChange({symbol:?}, {kind}: {reason})"),
        }
    }
}

#[pymethods]
impl Books {
    #[new]
    #[pyo3(signature = (decoder, *, stale_after_s=Some(30.0), recovery_s=10.0))]
    fn py_new(
        decoder: Bound<'_, Decoder>,
        stale_after_s: Option<f64>,
        recovery_s: f64,
    ) -> PyResult<Books> {
        let stale_after_ns = match stale_after_s {
            None => None,
            Some(seconds) => Some(nanoseconds("stale_after_s", seconds)?),
        };
        let settings =
            Settings { stale_after_ns, recovery_ns: nanoseconds("recovery_s", recovery_s)? };
        let books = CoreBooks::new(decoder.get().of_market(), settings);
        Ok(Books { state: GilCell::new(books), decoder: decoder.unbind() })
    }

    /// Take the frame that the decoder read last.
    ///
    /// Args:
    ///     now_ns: When it was received, in nanoseconds; 0 is now.
    /// Returns:
    ///     What changed, in order.
    #[pyo3(signature = (now_ns=0))]
    fn update(&self, py: Python<'_>, now_ns: u64) -> Vec<BookChange> {
        let now = now_or(now_ns);
        self.decoder.get().last(py, |decoder, outcome| {
            self.changes(py, |books| books.update(decoder, outcome, now).len())
        })
    }

    /// Decode a frame and take it: ``decoder.decode`` and ``update`` in one, without its events.
    #[pyo3(signature = (frame, now_ns=0))]
    fn feed(&self, py: Python<'_>, frame: &[u8], now_ns: u64) -> Vec<BookChange> {
        self.decoder.get().take(py, frame);
        self.update(py, now_ns)
    }

    /// What the clock says: silent books become stale, snapshots that never came are asked for again.
    #[pyo3(signature = (now_ns=0))]
    fn tick(&self, py: Python<'_>, now_ns: u64) -> Vec<BookChange> {
        self.changes(py, |books| books.tick(now_or(now_ns)).len())
    }

    /// The connection is alive, and its venue tells all that happens: silence is no fault.
    #[pyo3(signature = (now_ns=0))]
    fn alive(&self, py: Python<'_>, now_ns: u64) -> Vec<BookChange> {
        self.changes(py, |books| books.alive(now_or(now_ns)).len())
    }

    /// The connection is a new one: every book needs a snapshot.
    #[pyo3(signature = (now_ns=0))]
    fn reconnected(&self, py: Python<'_>, now_ns: u64) -> Vec<BookChange> {
        self.changes(py, |books| books.reconnected(now_or(now_ns)).len())
    }

    /// The snapshot that a change asked for has been asked of the venue.
    fn recovery_begun(&self, py: Python<'_>, number: u32) -> Vec<BookChange> {
        self.changes(py, |books| books.recovery_begun(number).len())
    }

    /// It could not be had: it will be asked for again.
    fn recovery_failed(&self, py: Python<'_>, number: u32) {
        self.state.with(py, |books| books.recovery_failed(number));
    }

    /// Tell as changes of kind "signal" when figures pass thresholds; each is (on, off), or ``None``
    /// for not at all.
    ///
    /// Args:
    ///     levels: Levels a side that an imbalance is of.
    ///     imbalance: Of the absolute imbalance, 0 to 1.
    ///     spread: Of the spread, in times the usual one of ``spread_half_life_s``.
    ///     volume: Of the traded volume in ``volume_window_s``, in times the usual one of
    ///         ``volume_half_life`` windows.
    /// Raises:
    ///     ValueError: ``on`` is below ``off``, or a time or count is not positive.
    #[pyo3(signature = (*, levels=10, imbalance=Some((0.8, 0.6)), spread=Some((3.0, 1.5)),
        spread_half_life_s=60.0, volume=Some((5.0, 2.0)), volume_window_s=1.0, volume_half_life=60.0))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn watch(
        &self,
        py: Python<'_>,
        levels: usize,
        imbalance: Option<(f64, f64)>,
        spread: Option<(f64, f64)>,
        spread_half_life_s: f64,
        volume: Option<(f64, f64)>,
        volume_window_s: f64,
        volume_half_life: f64,
    ) -> PyResult<()> {
        if levels == 0 {
            return Err(PyValueError::new_err("levels is 0; at least 1"));
        }
        if !(volume_half_life > 0.0 && volume_half_life.is_finite()) {
            let message = format!("volume_half_life {volume_half_life} is not above 0");
            return Err(PyValueError::new_err(message));
        }
        let thresholds = Thresholds {
            levels,
            imbalance: threshold("imbalance", imbalance)?,
            spread: threshold("spread", spread)?,
            spread_half_life_ns: nanoseconds("spread_half_life_s", spread_half_life_s)?,
            volume: threshold("volume", volume)?,
            volume_window_ns: nanoseconds("volume_window_s", volume_window_s)?,
            volume_half_life,
        };
        self.state.with(py, |books| books.watch(Some(thresholds)));
        Ok(())
    }

    /// The book of an instrument; of the greatest depth, where there are several.
    ///
    /// Raises:
    ///     KeyError: No message of such a book has come.
    fn __getitem__(slf: &Bound<'_, Books>, symbol: &str) -> PyResult<Book> {
        let py = slf.py();
        let found = slf.get().state.with(py, |books| books.find(symbol).map(Stream::number));
        match found {
            Some(number) => Ok(Book::new(slf.clone().unbind(), number)),
            None => Err(pyo3::exceptions::PyKeyError::new_err(symbol.to_owned())),
        }
    }

    fn __contains__(&self, py: Python<'_>, symbol: &str) -> bool {
        self.state.with(py, |books| books.find(symbol).is_some())
    }

    /// Every book, in the order they were first told; their numbers are their places.
    fn all(slf: &Bound<'_, Books>) -> Vec<Book> {
        let count = slf.get().state.with(slf.py(), |books| books.streams().len());
        (0..count)
            .map(|number| Book::new(slf.clone().unbind(), number as u32))
            .collect()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.state.with(py, |books| books.streams().len())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let market = self.decoder.get().of_market();
        format!("Books({:?}, {:?}, {})", market.venue().name(), market.name(), self.__len__(py))
    }
}

/// Nanoseconds a book message of four levels takes without Python and decoding, of so many messages.
#[pyfunction]
pub fn bench_books(py: Python<'_>, messages: usize) -> f64 {
    py.detach(|| tickbus_core::exchange::book::measure::message_ns(messages))
}

impl Books {
    pub fn core<R>(&self, py: Python<'_>, access: impl FnOnce(&mut CoreBooks) -> R) -> R {
        self.state.with(py, access)
    }

    /// Run something that leaves so many changes behind, and tell them.
    fn changes(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&mut CoreBooks) -> usize,
    ) -> Vec<BookChange> {
        self.state.with(py, |books| {
            if run(books) == 0 {
                return Vec::new();
            }
            books.changes().iter().map(|change| told(books, change)).collect()
        })
    }
}

fn told(books: &CoreBooks, change: &Change) -> BookChange {
    let stream = &books.streams()[change.stream as usize];
    let now = stream.integrity().name();
    let (kind, before, integrity, reason, signal) = match change.what {
        What::Integrity { from, to, reason } => {
            ("integrity", from.name(), to.name(), reason.name(), None)
        }
        What::NeedSnapshot { reason } => ("need_snapshot", now, now, reason.name(), None),
        What::Signal(signal) => {
            ("signal", now, now, "", Some((signal.event_type, signal.value, signal.metadata)))
        }
    };
    BookChange {
        number: change.stream,
        symbol: stream.symbol().to_owned(),
        limit: stream.limit(),
        kind,
        before,
        integrity,
        reason,
        signal,
    }
}

pub fn now_or(given_ns: u64) -> u64 {
    if given_ns == 0 { clock_ns() } else { given_ns }
}

pub fn nanoseconds(name: &str, seconds: f64) -> PyResult<u64> {
    if !(seconds > 0.0 && seconds <= 1e9) {
        return Err(PyValueError::new_err(format!("{name} {seconds} is not above 0, to 1e9")));
    }
    Ok((seconds * 1e9) as u64)
}

fn threshold(name: &str, given: Option<(f64, f64)>) -> PyResult<Option<Threshold>> {
    let Some((on, off)) = given else {
        return Ok(None);
    };
    if !(on.is_finite() && off >= 0.0 && on >= off) {
        let message = format!("{name} is on at {on} and off at {off}; on >= off >= 0 is needed");
        return Err(PyValueError::new_err(message));
    }
    Ok(Some(Threshold { on, off }))
}

/// A book that must not be read.
#[cold]
pub fn untrusted(py: Python<'_>, symbol: &str, integrity: &str) -> PyErr {
    let message =
        format!("the book of {symbol} is {integrity}; pass untrusted=True to read it anyway");
    error::raise(py, "UntrustedBookError", message)
}
