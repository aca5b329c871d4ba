//! One book of several venues, from Python.

use crate::book::{Book, side_of};
use crate::books::{nanoseconds, now_or};
use crate::gil::GilCell;
use numpy::{PyArray1, PyArrayDescr};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tickbus_core::exchange::book::{Aggregate, BookSide, Contributor};

/// The best levels of several venues' books merged by price.
///
/// Args:
///     levels: Levels a side, at most 1000.
///     fresh_s: Venues of a crossing heard so lately make it an arbitrage; else the older quote is
///         probably gone.
///     stale_after_s: A venue silent for longer is left out.
#[pyclass(frozen, module = "tickbus._native")]
pub struct AggregatedBook {
    state: GilCell<Aggregate>,
    levels: usize,
}

/// One venue would buy for at least what another sells for.
#[pyclass(frozen, get_all, module = "tickbus._native")]
pub struct Crossing {
    /// "arbitrage", or "stale" where one of the two was not heard lately.
    kind: &'static str,
    bid_venue: String,
    ask_venue: String,
    /// What selling to the one and buying from the other earns a unit, after fees; may be negative.
    net: f64,
    /// Base units that both have.
    size: f64,
}

#[pymethods]
impl Crossing {
    fn __repr__(&self) -> String {
        let Crossing { kind, bid_venue, ask_venue, net, size } = self;
        format!(
            "Crossing({kind}, sell to {bid_venue}, buy from {ask_venue}, net {net}, size {size})"
        )
    }
}

#[pymethods]
impl AggregatedBook {
    #[new]
    #[pyo3(signature = (levels=20, *, fresh_s=1.0, stale_after_s=5.0))]
    fn py_new(levels: usize, fresh_s: f64, stale_after_s: f64) -> PyResult<AggregatedBook> {
        if !(1..=1000).contains(&levels) {
            return Err(PyValueError::new_err(format!("levels {levels} is not 1 to 1000")));
        }
        let fresh = nanoseconds("fresh_s", fresh_s)?;
        let stale = nanoseconds("stale_after_s", stale_after_s)?;
        Ok(AggregatedBook { state: GilCell::new(Aggregate::new(fresh, stale)), levels })
    }

    /// Add a venue's book.
    ///
    /// Args:
    ///     venue: A name of your own for it.
    ///     book: The book; sizes are converted to the base asset.
    ///     taker_fee: Share of the price that taking there costs; 0.001 is ten basis points.
    /// Raises:
    ///     ValueError: The name is taken, or the fee is no share.
    #[pyo3(signature = (venue, book, *, taker_fee=0.0))]
    fn add(
        &self,
        py: Python<'_>,
        venue: &str,
        book: &Bound<'_, Book>,
        taker_fee: f64,
    ) -> PyResult<()> {
        if !(-0.1..=0.1).contains(&taker_fee) {
            return Err(PyValueError::new_err(format!("taker_fee {taker_fee} is not -0.1 to 0.1")));
        }
        if self.venues(py).iter().any(|known| known == venue) {
            return Err(PyValueError::new_err(format!("venue {venue:?} is there already")));
        }
        if let Some(top) = book.get().share(py, self.levels) {
            self.state.with(py, |aggregate| aggregate.add(venue, top, taker_fee));
        }
        Ok(())
    }

    /// Names of the venues, in the order they were added.
    #[getter]
    fn venues(&self, py: Python<'_>) -> Vec<String> {
        self.state.with(py, |aggregate| {
            aggregate.contributors().iter().map(|one| one.name.to_string()).collect()
        })
    }

    /// Merge what the venues have now; everything else here tells of the last merge.
    ///
    /// Args:
    ///     now_ns: The time, on the clock of the books' ``now_ns``; 0 is now.
    #[pyo3(signature = (now_ns=0))]
    fn build(&self, py: Python<'_>, now_ns: u64) {
        self.state.with(py, |aggregate| aggregate.build(self.levels, now_or(now_ns)));
    }

    /// Why each venue that is not in the book is not: "suspect", "stale", "rebuilding", "empty" or
    /// "contract_size_unknown".
    #[getter]
    fn absent<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let absent: Vec<(String, &'static str)> = self.state.with(py, |aggregate| {
            let why = |one: &Contributor| Some((one.name.to_string(), one.absent()?));
            aggregate.contributors().iter().filter_map(why).collect()
        });
        let by_name = PyDict::new(py);
        for (name, why) in absent {
            by_name.set_item(name, why)?;
        }
        Ok(by_name)
    }

    /// Levels of a side, best first.
    ///
    /// Args:
    ///     side: "bid" or "ask".
    /// Returns:
    ///     A structured array of ``price``, ``size`` (over all venues, base units), ``venues`` (how
    ///     many) and ``by_venue`` (each one's size, in the order of ``venues``); the caller owns it.
    /// Raises:
    ///     ValueError: No such side.
    fn depth<'py>(&self, py: Python<'py>, side: &str) -> PyResult<Bound<'py, PyAny>> {
        let side = side_of(side)?;
        let (words, count) = self.state.with(py, |aggregate| {
            let count = aggregate.contributors().len();
            let sizes = aggregate.sizes(side).chunks_exact(count.max(1));
            let mut words = Vec::with_capacity(aggregate.levels(side).len() * (count + 3));
            for (level, by_venue) in aggregate.levels(side).iter().zip(sizes) {
                words.extend([
                    level.price.to_bits(),
                    level.size.to_bits(),
                    level.venues.into(),
                ]);
                words.extend(by_venue.iter().map(|size| size.to_bits()));
            }
            (words, count)
        });
        let fields = PyList::new(py, [("price", "<f8"), ("size", "<f8"), ("venues", "<u8")])?;
        fields.append(("by_venue", "<f8", (count,)))?;
        let dtype = PyArrayDescr::new(py, fields)?;
        PyArray1::from_vec(py, words).call_method1("view", (dtype,))
    }

    /// Whose price is best to trade against once the fee is paid: (venue, price, price after the
    /// fee), or ``None`` where nobody has that side.
    ///
    /// Args:
    ///     side: "bid" to sell, "ask" to buy.
    fn best_after_fees(&self, py: Python<'_>, side: &str) -> PyResult<Option<(String, f64, f64)>> {
        let side: BookSide = side_of(side)?;
        Ok(self.state.with(py, |aggregate| {
            let best = aggregate.best_after_fees(side)?;
            let name = aggregate.contributors()[best.venue].name.to_string();
            Some((name, best.price, best.net))
        }))
    }

    /// Set where the best bid is at or above the best ask, else ``None``.
    #[getter]
    fn crossing(&self, py: Python<'_>) -> Option<Crossing> {
        self.state.with(py, |aggregate| {
            let crossing = aggregate.crossing()?;
            let name = |venue: usize| aggregate.contributors()[venue].name.to_string();
            Some(Crossing {
                kind: if crossing.is_fresh { "arbitrage" } else { "stale" },
                bid_venue: name(crossing.bid_venue),
                ask_venue: name(crossing.ask_venue),
                net: crossing.net,
                size: crossing.size,
            })
        })
    }

    /// When it was last built, in nanoseconds; 0 is never.
    #[getter]
    fn built_ns(&self, py: Python<'_>) -> u64 {
        self.state.with(py, |aggregate| aggregate.built_ns())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("AggregatedBook({}, {:?})", self.levels, self.venues(py))
    }
}
