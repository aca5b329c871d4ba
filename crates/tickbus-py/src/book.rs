//! One order book, from Python.

use crate::books::{self, Books};
use numpy::{PyArray1, PyArrayDescr};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList};
use std::sync::Arc;
use tickbus_core::exchange::book::{BookSide, SharedTop, Stream};

/// One instrument's order book at one venue; it follows its ``Books``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Book {
    books: Py<Books>,
    number: u32,
}

/// (price units, price scale, size units, size scale)
type Row = (u64, u8, u64, u8);

static LEVEL: PyOnceLock<Py<PyArrayDescr>> = PyOnceLock::new();

#[pymethods]
impl Book {
    /// Of the book among its connection's.
    #[getter]
    fn number(&self) -> u32 {
        self.number
    }

    #[getter]
    fn symbol(&self, py: Python<'_>) -> String {
        self.read(py, |stream| stream.symbol().to_owned())
    }

    /// Levels a side of the subscription, or ``None``.
    #[getter]
    fn limit(&self, py: Python<'_>) -> Option<u32> {
        self.read(py, |stream| stream.limit())
    }

    /// "verified", "unverified", "suspect", "stale" or "rebuilding".
    #[getter]
    fn integrity(&self, py: Python<'_>) -> &'static str {
        self.read(py, |stream| stream.integrity().name())
    }

    /// Whether a snapshot has been asked for and has not come.
    #[getter]
    fn is_recovering(&self, py: Python<'_>) -> bool {
        self.read(py, |stream| stream.is_recovering())
    }

    /// When its venue was last heard, in nanoseconds.
    #[getter]
    fn heard_ns(&self, py: Python<'_>) -> u64 {
        self.read(py, |stream| stream.heard_ns())
    }

    /// The venue's time of the last message in it, or ``None``.
    #[getter]
    fn venue_time_ns(&self, py: Python<'_>) -> Option<u64> {
        self.read(py, |stream| stream.venue_time_ns())
    }

    /// The venue's id of the last message in it, or ``None``.
    #[getter]
    fn last_id(&self, py: Python<'_>) -> Option<u64> {
        self.read(py, |stream| stream.last_id())
    }

    /// Levels on both sides.
    fn __len__(&self, py: Python<'_>) -> usize {
        self.read(py, |stream| stream.book().len(BookSide::Bid) + stream.book().len(BookSide::Ask))
    }

    /// (bid, bid size, ask, ask size), or ``None`` where a side is empty; sizes as the venue counts
    /// them.
    ///
    /// Raises:
    ///     UntrustedBookError: It is neither verified nor unverified.
    #[getter]
    fn best(&self, py: Python<'_>) -> PyResult<Option<(f64, f64, f64, f64)>> {
        self.check(py, false)?;
        Ok(self.read(py, |stream| {
            let (bid, bid_size) = stream.book().numbers(BookSide::Bid).next()?;
            let (ask, ask_size) = stream.book().numbers(BookSide::Ask).next()?;
            Some((bid, bid_size, ask, ask_size))
        }))
    }

    /// Best levels of each side.
    ///
    /// Args:
    ///     levels: Most levels a side.
    ///     untrusted: Read it whatever its integrity is.
    /// Returns:
    ///     (bids, asks), structured arrays of ``price`` and ``size`` (float64), best first; the
    ///     caller owns them. Sizes as the venue counts them, which may be contracts.
    /// Raises:
    ///     UntrustedBookError: It is neither verified nor unverified.
    #[pyo3(signature = (levels=20, *, untrusted=false))]
    fn depth<'py>(
        &self,
        py: Python<'py>,
        levels: usize,
        untrusted: bool,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        self.check(py, untrusted)?;
        let dtype = LEVEL.get_or_try_init(py, || {
            let fields = PyList::new(py, [("price", "<f8"), ("size", "<f8")])?;
            PyResult::Ok(PyArrayDescr::new(py, fields)?.unbind())
        })?;
        let side = |side| {
            let numbers: Vec<f64> = self.read(py, |stream| {
                let pairs = stream.book().numbers(side).take(levels);
                pairs.flat_map(|(price, size)| [price, size]).collect()
            });
            PyArray1::from_vec(py, numbers).call_method1("view", (dtype.bind(py),))
        };
        Ok((side(BookSide::Bid)?, side(BookSide::Ask)?))
    }

    /// Levels of a side as they were written, best first.
    ///
    /// Args:
    ///     side: "bid" or "ask".
    ///     levels: Most levels; ``None`` for all.
    ///     untrusted: Read it whatever its integrity is.
    /// Returns:
    ///     Tuples (price_units, price_scale, size_units, size_scale): a price is its units /
    ///     10**scale, with the zeros it was sent with.
    /// Raises:
    ///     UntrustedBookError: It is neither verified nor unverified.
    ///     ValueError: No such side.
    #[pyo3(signature = (side, levels=None, *, untrusted=false))]
    fn exact(
        &self,
        py: Python<'_>,
        side: &str,
        levels: Option<usize>,
        untrusted: bool,
    ) -> PyResult<Vec<Row>> {
        let side = side_of(side)?;
        self.check(py, untrusted)?;
        Ok(self.read(py, |stream| {
            let taken = stream.book().exact(side).take(levels.unwrap_or(usize::MAX));
            taken
                .map(|one| (one.price.units, one.price.scale, one.size.units, one.size.scale))
                .collect()
        }))
    }

    /// What its messages came to: ``messages`` = ``snapshots`` + ``updates`` + ``duplicates`` +
    /// ``dropped`` + ``kept``; and ``failures``, ``levels``, ``checksums``, ``recoveries``,
    /// ``overflows``.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.read(py, |stream| stream.counts());
        let by_name = PyDict::new(py);
        for (name, count) in [
            ("messages", counts.messages),
            ("snapshots", counts.snapshots),
            ("updates", counts.updates),
            ("duplicates", counts.duplicates),
            ("dropped", counts.dropped),
            ("kept", counts.kept),
            ("failures", counts.failures),
            ("levels", counts.levels),
            ("checksums", counts.checksums),
            ("recoveries", counts.recoveries),
            ("overflows", counts.overflows),
        ] {
            by_name.set_item(name, count)?;
        }
        Ok(by_name)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        self.read(py, |stream| {
            format!("Book({:?}, {})", stream.symbol(), stream.integrity().name())
        })
    }
}

impl Book {
    pub fn new(books: Py<Books>, number: u32) -> Book {
        Book { books, number }
    }

    /// Its best levels for an aggregate, from now on.
    pub fn share(&self, py: Python<'_>, levels: usize) -> Option<Arc<SharedTop>> {
        self.books.get().core(py, |books| books.share(self.number, levels))
    }

    fn read<R>(&self, py: Python<'_>, read: impl FnOnce(&Stream) -> R) -> R {
        self.books.get().core(py, |books| read(&books.streams()[self.number as usize]))
    }

    fn check(&self, py: Python<'_>, untrusted: bool) -> PyResult<()> {
        let integrity = self.read(py, |stream| stream.integrity());
        if untrusted || integrity.is_trusted() {
            return Ok(());
        }
        Err(books::untrusted(py, &self.symbol(py), integrity.name()))
    }
}

pub fn side_of(side: &str) -> PyResult<BookSide> {
    match side {
        "bid" => Ok(BookSide::Bid),
        "ask" => Ok(BookSide::Ask),
        _ => Err(PyValueError::new_err(format!("side {side:?} is neither \"bid\" nor \"ask\""))),
    }
}
