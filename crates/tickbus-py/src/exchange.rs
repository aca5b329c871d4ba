//! Venue frames from Python: decoded to tuples, or published without a Python object in between.

use crate::bus::Bus;
use crate::error;
use crate::gil::GilCell;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::exchange::{
    Decoded, Decoder as CoreDecoder, Market, Outcome, Tally, VENUES, Venue,
};
use tickbus_core::names::{BusNames, NamingError};
use tickbus_core::sys::now_ns;
use tickbus_core::taxonomy::Category;

/// Decodes the frames of one venue's market; see ``tickbus.exchanges``.
///
/// Args:
///     venue: "binance", "coinbase" or "kraken".
///     market: "spot"; Binance also has "spot-us", "usdm" and "coinm".
/// Raises:
///     ValueError: No such venue or market.
#[pyclass(frozen, module = "tickbus._native")]
pub struct Decoder {
    state: GilCell<State>,
    market: Market,
}

struct State {
    decoder: CoreDecoder,
    outcome: Outcome,
    /// The events of the frame in hand; kept for its capacity.
    events: Vec<CoreEvent>,
}

/// (event type, symbol, value, metadata, venue's time in ns, trade id)
type Row = (u8, String, f64, u64, Option<u64>, Option<u64>);

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(signature = (venue, market="spot"))]
    fn py_new(venue: &str, market: &str) -> PyResult<Decoder> {
        let found = Venue::from_name(venue).ok_or_else(|| {
            let known = VENUES.map(Venue::name).join(", ");
            PyValueError::new_err(format!("venue {venue:?} is none of: {known}"))
        })?;
        let market = Market::from_name(found, market).ok_or_else(|| {
            let known: Vec<&str> = Market::of(found).map(Market::name).collect();
            PyValueError::new_err(format!(
                "market {market:?} of {venue} is none of: {}",
                known.join(", ")
            ))
        })?;
        let decoder = CoreDecoder::of_market(market);
        let state = State { decoder, outcome: Outcome::Ignored("no_frame"), events: Vec::new() };
        Ok(Decoder { state: GilCell::new(state), market })
    }

    /// Name of the venue.
    #[getter]
    fn venue(&self) -> &'static str {
        self.market.venue().name()
    }

    /// Name of the market within the venue.
    #[getter]
    fn market(&self) -> &'static str {
        self.market.name()
    }

    /// The source that published events carry.
    #[getter]
    fn source(&self) -> &'static str {
        self.market.source()
    }

    /// Decode one frame.
    ///
    /// Returns:
    ///     A tuple per event: (event_type, symbol, value, metadata, venue_time_ns, trade_id), the
    ///     last two ``None`` where the venue does not say. Empty for a frame that tells nothing;
    ///     ``outcome`` says why.
    fn decode<'py>(&self, py: Python<'py>, frame: &[u8]) -> PyResult<Bound<'py, PyList>> {
        let mut rows: Vec<Row> = Vec::new();
        self.state.with(py, |state| {
            state.outcome = state.decoder.decode(frame, &mut |event| {
                let symbol = event.symbol.to_owned();
                let Decoded { event_type, value, metadata, venue_time_ns, trade_id, .. } = event;
                rows.push((event_type, symbol, value, metadata, venue_time_ns, trade_id));
            });
        });
        PyList::new(py, rows)
    }

    /// Decode one frame and publish its events, in order, under the venue's name as source.
    ///
    /// Args:
    ///     bus: An open bus; its inline handlers run as after ``bus.publish``.
    ///     frame: One message as the venue sent it.
    ///     timestamp: When it was received, in nanoseconds since the Unix epoch, UTC; 0 is now.
    /// Returns:
    ///     How many events were published.
    /// Raises:
    ///     StalledError, CapacityError: As ``bus.publish``; a frame of several events may have been
    ///         published in part.
    #[pyo3(signature = (bus, frame, timestamp=0))]
    fn publish(
        &self,
        py: Python<'_>,
        bus: &Bound<'_, Bus>,
        frame: &[u8],
        timestamp: u64,
    ) -> PyResult<usize> {
        let bus = bus.get();
        let names = bus.names(py)?;
        let stamp = if timestamp == 0 { now_ns() } else { timestamp };
        let decoded = self.state.with(py, |state| state.decode(&names, frame, stamp));
        let mut events = decoded.map_err(|error| error::naming(py, error))?;
        // Outside the cell: handlers run here, and may decode a frame themselves.
        for event in &events {
            bus.publish_core(py, event)?;
        }
        let count = events.len();
        events.clear();
        self.state.with(py, |state| state.events = events);
        Ok(count)
    }

    /// What the last frame came to: ("events", 2), ("history", 100), ("ignored", "depth") or
    /// ("malformed", "not_json").
    #[getter]
    fn outcome<'py>(&self, py: Python<'py>) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let number = |count: u64| count.into_pyobject(py).map(Bound::into_any);
        let text = |reason: &str| reason.into_pyobject(py).map(Bound::into_any);
        Ok(match self.state.with(py, |state| state.outcome) {
            Outcome::Events(count) => ("events", number(count)?),
            Outcome::History(count) => ("history", number(count)?),
            Outcome::Ignored(reason) => ("ignored", text(reason)?),
            Outcome::Malformed(reason) => ("malformed", text(reason)?),
        })
    }

    /// What all frames came to. ``frames`` = ``event_frames`` + ``history_frames`` + the sums of
    /// ``ignored`` and ``malformed`` (counts by reason); ``trades``, ``quotes``, ``history`` and
    /// ``unpackable`` count what was in them.
    fn counters(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let counted = self.state.with(py, |state| state.decoder.counters().clone());
        let counters = PyDict::new(py);
        counters.set_item("frames", counted.frames)?;
        counters.set_item("event_frames", counted.event_frames)?;
        counters.set_item("history_frames", counted.history_frames)?;
        counters.set_item("ignored", by_reason(py, &counted.ignored)?)?;
        counters.set_item("malformed", by_reason(py, &counted.malformed)?)?;
        counters.set_item("trades", counted.trades)?;
        counters.set_item("quotes", counted.quotes)?;
        counters.set_item("history", counted.history)?;
        counters.set_item("unpackable", counted.unpackable)?;
        Ok(counters.unbind())
    }

    fn __repr__(&self) -> String {
        format!("Decoder({:?}, {:?})", self.venue(), self.market.name())
    }
}

impl State {
    /// The frame's events, ready to publish.
    fn decode(
        &mut self,
        names: &BusNames,
        frame: &[u8],
        timestamp: u64,
    ) -> Result<Vec<CoreEvent>, NamingError> {
        let mut events = std::mem::take(&mut self.events);
        let source = names.source(self.decoder.market().source())?;
        let mut failed = None;
        self.outcome = self.decoder.decode(frame, &mut |event| match names.symbol(event.symbol) {
            Ok(symbol) => events.push(CoreEvent {
                timestamp,
                event_type: event.event_type,
                priority: Category::of(event.event_type).default_priority() as u8,
                source,
                symbol,
                value: event.value,
                metadata: event.metadata,
            }),
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(events), Err)
    }
}

fn by_reason<'py>(py: Python<'py>, tally: &Tally) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    for (reason, count) in tally.iter() {
        counts.set_item(reason, count)?;
    }
    Ok(counts)
}
