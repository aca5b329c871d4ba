//! Venue frames from Python: decoded to tuples, or published without a Python object in between.

use crate::bus::Bus;
use crate::error;
use crate::gil::GilCell;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};
use std::ops::Range;
use std::sync::{Arc, Weak};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::exchange::{
    Decoded, Decoder as CoreDecoder, Depth, DepthKind, Market, Outcome, Tally, VENUES, Venue,
};
use tickbus_core::names::{BusNames, NamingError};
use tickbus_core::sys::now_ns;
use tickbus_core::taxonomy::Category;

/// Decodes the frames of one venue's market; see ``tickbus.exchanges``.
///
/// Args:
///     venue: "binance", "coinbase", "kraken", "okx" or "bybit".
///     market: "spot"; Binance also has "spot-us", "usdm" and "coinm", Bybit "linear" and "inverse".
///         OKX has one feed for all its instruments, called "spot".
///     instrument: The venue's name of the instrument that frames without one are about: Binance's
///         REST snapshots and raw partial books.
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
    /// The same, to be handed to Python.
    rows: Vec<Row>,
    /// The symbols by instrument, as Python's texts.
    texts: Vec<Option<Py<PyString>>>,
    numbers: Numbers,
}

/// What the names are on the bus that was published to last.
#[derive(Default)]
struct Numbers {
    /// Weak: a decoder keeps no bus. While this exists, no other names have their address.
    names: Weak<BusNames>,
    source: u16,
    /// By instrument.
    symbols: Vec<Option<u32>>,
}

/// (event type, symbol, value, metadata, venue's time in ns, trade id, sequence)
type Row = (u8, Py<PyString>, f64, u64, Option<u64>, Option<u128>, Option<u64>);
/// (price units, price scale, size units, size scale)
type Level = (u64, u8, u64, u8);

#[pymethods]
impl Decoder {
    #[new]
    #[pyo3(signature = (venue, market="spot", *, instrument=None))]
    fn py_new(venue: &str, market: &str, instrument: Option<&str>) -> PyResult<Decoder> {
        let market = market_of(venue, market)?;
        let mut decoder = CoreDecoder::of_market(market);
        decoder.assume(instrument);
        let state = State {
            decoder,
            outcome: Outcome::Ignored("no_frame"),
            events: Vec::new(),
            rows: Vec::new(),
            texts: Vec::new(),
            numbers: Numbers::default(),
        };
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
    ///     A tuple per event: (event_type, symbol, value, metadata, venue_time_ns, trade_id,
    ///     sequence), the last three ``None`` where the venue does not say. Empty for a frame that
    ///     tells no event; ``outcome`` says why, ``depths`` has its order book messages.
    fn decode<'py>(&self, py: Python<'py>, frame: &[u8]) -> PyResult<Bound<'py, PyList>> {
        let mut rows = self.state.with(py, |state| state.rows(py, frame));
        // Outside the cell: making a list may collect garbage, and with it run anything.
        let told = PyList::empty(py);
        let mut made = Ok(());
        for (event_type, symbol, value, metadata, venue_time_ns, trade_id, sequence) in
            rows.drain(..)
        {
            // Python's numbers of up to 64 bits are made in a third of the time.
            let trade_id = match trade_id.map(u64::try_from) {
                Some(Ok(short)) => short.into_pyobject(py)?.into_any(),
                Some(Err(_)) => trade_id.into_pyobject(py)?,
                None => py.None().into_bound(py),
            };
            let row = (event_type, symbol, value, metadata, venue_time_ns, trade_id, sequence);
            made = row.into_pyobject(py).and_then(|row| told.append(row));
            if made.is_err() {
                break;
            }
        }
        self.state.with(py, |state| state.rows = rows);
        made.map(|()| told)
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

    /// The order book messages of the last frame, a dict each: ``symbol``, ``kind`` ("snapshot" or
    /// "update"), ``first_id``, ``last_id``, ``previous_id``, ``sequence``, ``checksum``, ``limit``
    /// and ``venue_time_ns`` (``None`` where the venue does not say), and ``bids`` and ``asks``,
    /// lists of (price_units, price_scale, size_units, size_scale): a price is its units /
    /// 10**scale, trailing zeros as they were sent, a size of 0 takes the level away.
    fn depths<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let messages: Vec<BookMessage> = self.state.with(py, |state| {
            let decoder = &state.decoder;
            decoder.depths().iter().map(|depth| BookMessage::of(decoder, depth)).collect()
        });
        let dicts: PyResult<Vec<_>> = messages.iter().map(|message| message.dict(py)).collect();
        PyList::new(py, dicts?)
    }

    /// What numbers the last frame on its connection, where the venue does that (Coinbase Advanced):
    /// one more than the frame's before, or something is missing.
    #[getter]
    fn connection_sequence(&self, py: Python<'_>) -> Option<u64> {
        self.state.with(py, |state| state.decoder.connection_sequence())
    }

    /// (symbol, sequence, last trade id) if the last frame was a heartbeat that says so (Coinbase
    /// Exchange), else ``None``.
    #[getter]
    fn heartbeat(&self, py: Python<'_>) -> Option<(String, u64, u128)> {
        self.state.with(py, |state| {
            let heartbeat = state.decoder.heartbeat()?;
            let symbol = state.decoder.symbol(heartbeat.instrument)?.to_owned();
            Some((symbol, heartbeat.sequence, heartbeat.last_trade_id))
        })
    }

    /// The venue's name of the instrument that frames without one are about, or ``None``.
    #[getter]
    fn instrument(&self, py: Python<'_>) -> Option<String> {
        self.state.with(py, |state| state.decoder.assumed().map(str::to_owned))
    }

    #[setter]
    fn set_instrument(&self, py: Python<'_>, instrument: Option<&str>) {
        self.state.with(py, |state| state.decoder.assume(instrument));
    }

    /// Forget what earlier frames said of values that later ones leave out: a new connection tells
    /// them again. Names, contract sizes and counters stay.
    fn reconnected(&self, py: Python<'_>) {
        self.state.with(py, |state| state.decoder.reconnected());
    }

    /// What the last frame came to: ("events", 2), ("books", 1), ("history", 100), ("ignored",
    /// "candle") or ("malformed", "not_json").
    #[getter]
    fn outcome<'py>(&self, py: Python<'py>) -> PyResult<(&'static str, Bound<'py, PyAny>)> {
        let number = |count: u64| count.into_pyobject(py).map(Bound::into_any);
        let text = |reason: &str| reason.into_pyobject(py).map(Bound::into_any);
        Ok(match self.state.with(py, |state| state.outcome) {
            Outcome::Events(count) => ("events", number(count)?),
            Outcome::Books(count) => ("books", number(count)?),
            Outcome::History(count) => ("history", number(count)?),
            Outcome::Ignored(reason) => ("ignored", text(reason)?),
            Outcome::Malformed(reason) => ("malformed", text(reason)?),
        })
    }

    /// What all frames came to. ``frames`` = ``event_frames`` + ``book_frames`` +
    /// ``history_frames`` + the sums of ``ignored`` and ``malformed`` (counts by reason);
    /// ``trades``, ``quotes``, ``books``, ``levels``, ``history``, ``unpackable`` and
    /// ``outside_book`` count what was in them.
    fn counters(&self, py: Python<'_>) -> PyResult<Py<PyDict>> {
        let counted = self.state.with(py, |state| state.decoder.counters().clone());
        let counters = PyDict::new(py);
        counters.set_item("frames", counted.frames)?;
        counters.set_item("event_frames", counted.event_frames)?;
        counters.set_item("book_frames", counted.book_frames)?;
        counters.set_item("history_frames", counted.history_frames)?;
        counters.set_item("ignored", by_reason(py, &counted.ignored)?)?;
        counters.set_item("malformed", by_reason(py, &counted.malformed)?)?;
        counters.set_item("trades", counted.trades)?;
        counters.set_item("quotes", counted.quotes)?;
        counters.set_item("books", counted.books)?;
        counters.set_item("levels", counted.levels)?;
        counters.set_item("history", counted.history)?;
        counters.set_item("unpackable", counted.unpackable)?;
        counters.set_item("outside_book", counted.outside_book)?;
        Ok(counters.unbind())
    }

    fn __repr__(&self) -> String {
        format!("Decoder({:?}, {:?})", self.venue(), self.market.name())
    }
}

fn market_of(venue: &str, market: &str) -> PyResult<Market> {
    let found = Venue::from_name(venue).ok_or_else(|| {
        let known = VENUES.map(Venue::name).join(", ");
        PyValueError::new_err(format!("venue {venue:?} is none of: {known}"))
    })?;
    Market::from_name(found, market).ok_or_else(|| {
        let known: Vec<&str> = Market::of(found).map(Market::name).collect();
        let known = known.join(", ");
        PyValueError::new_err(format!("market {market:?} of {venue} is none of: {known}"))
    })
}

/// Nanoseconds the core takes a frame, without Python: the fastest of ``rounds`` passes over ``frames``.
#[pyfunction]
pub fn bench_decode(
    py: Python<'_>,
    venue: &str,
    market: &str,
    frames: Vec<Vec<u8>>,
    rounds: u32,
) -> PyResult<f64> {
    let market = market_of(venue, market)?;
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    Ok(py.detach(|| tickbus_core::measure::decode(market, &frames, rounds)))
}

impl Decoder {
    /// What the last frame came to, for parts that go on from there.
    pub fn last<R>(&self, py: Python<'_>, read: impl FnOnce(&CoreDecoder, Outcome) -> R) -> R {
        self.state.with(py, |state| read(&state.decoder, state.outcome))
    }

    /// Read a frame for its order book messages; its events are counted only.
    pub fn take(&self, py: Python<'_>, frame: &[u8]) {
        self.state
            .with(py, |state| state.outcome = state.decoder.decode(frame, &mut |_| ()));
    }

    pub fn of_market(&self) -> Market {
        self.market
    }
}

impl State {
    /// The frame's events, ready for Python.
    fn rows(&mut self, py: Python<'_>, frame: &[u8]) -> Vec<Row> {
        let mut rows = std::mem::take(&mut self.rows);
        let texts = &mut self.texts;
        self.outcome = self.decoder.decode(frame, &mut |event| {
            let Decoded { event_type, value, metadata, venue_time_ns, trade_id, .. } = event;
            let at = event.instrument as usize;
            if texts.len() <= at {
                texts.resize_with(at + 1, || None);
            }
            let text = texts[at].get_or_insert_with(|| PyString::new(py, event.symbol).unbind());
            let symbol = text.clone_ref(py);
            let sequence = event.sequence;
            rows.push((event_type, symbol, value, metadata, venue_time_ns, trade_id, sequence));
        });
        rows
    }

    /// The frame's events, ready to publish.
    fn decode(
        &mut self,
        names: &Arc<BusNames>,
        frame: &[u8],
        timestamp: u64,
    ) -> Result<Vec<CoreEvent>, NamingError> {
        let mut events = std::mem::take(&mut self.events);
        let source = self.decoder.market().source();
        let numbers = &mut self.numbers;
        if !std::ptr::eq(numbers.names.as_ptr(), Arc::as_ptr(names)) {
            let source = names.source(source)?;
            *numbers = Numbers { names: Arc::downgrade(names), source, symbols: Vec::new() };
        }
        let mut failed = None;
        self.outcome =
            self.decoder.decode(frame, &mut |event| match numbers.symbol(names, &event) {
                Ok(symbol) => events.push(CoreEvent {
                    timestamp,
                    event_type: event.event_type,
                    priority: Category::of(event.event_type).default_priority() as u8,
                    source: numbers.source,
                    symbol,
                    value: event.value,
                    metadata: event.metadata,
                }),
                Err(error) => failed = Some(error),
            });
        failed.map_or(Ok(events), Err)
    }
}

impl Numbers {
    /// The number of the event's symbol on the bus; asked for once an instrument.
    fn symbol(&mut self, names: &BusNames, event: &Decoded) -> Result<u32, NamingError> {
        let at = event.instrument as usize;
        if let Some(&Some(known)) = self.symbols.get(at) {
            return Ok(known);
        }
        let number = names.symbol(event.symbol)?;
        if self.symbols.len() <= at {
            self.symbols.resize(at + 1, None);
        }
        self.symbols[at] = Some(number);
        Ok(number)
    }
}

fn by_reason<'py>(py: Python<'py>, tally: &Tally) -> PyResult<Bound<'py, PyDict>> {
    let counts = PyDict::new(py);
    for (reason, count) in tally.iter() {
        counts.set_item(reason, count)?;
    }
    Ok(counts)
}

/// One book message with its levels, apart from the decoder.
struct BookMessage {
    symbol: String,
    depth: Depth,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl BookMessage {
    fn of(decoder: &CoreDecoder, depth: &Depth) -> BookMessage {
        let levels = |range: &Range<u32>| {
            let levels = &decoder.levels()[range.start as usize..range.end as usize];
            levels
                .iter()
                .map(|level| {
                    (level.price.units, level.price.scale, level.size.units, level.size.scale)
                })
                .collect()
        };
        let symbol = decoder.symbol(depth.instrument).unwrap_or_default().to_owned();
        let (bids, asks) = (levels(&depth.bids), levels(&depth.asks));
        BookMessage { symbol, depth: depth.clone(), bids, asks }
    }

    fn dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let message = PyDict::new(py);
        message.set_item("symbol", &self.symbol)?;
        let kind = match self.depth.kind {
            DepthKind::Snapshot => "snapshot",
            DepthKind::Update => "update",
        };
        message.set_item("kind", kind)?;
        message.set_item("first_id", self.depth.first_id)?;
        message.set_item("last_id", self.depth.last_id)?;
        message.set_item("previous_id", self.depth.previous_id)?;
        message.set_item("sequence", self.depth.sequence)?;
        message.set_item("checksum", self.depth.checksum)?;
        message.set_item("limit", self.depth.limit)?;
        message.set_item("venue_time_ns", self.depth.venue_time_ns)?;
        message.set_item("bids", &self.bids)?;
        message.set_item("asks", &self.asks)?;
        Ok(message)
    }
}
