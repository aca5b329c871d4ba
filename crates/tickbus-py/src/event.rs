//! `tickbus.Event`: 32 bytes behind Python attributes.
//!
//! To Python an event is immutable. The bus itself refills an event object that nobody else holds
//! any more (reference count 1) with the next event, so that delivering one allocates nothing; the
//! fields are atomics because that needs a write behind a shared reference, and cost a plain move.

use crate::error::{invalid, raise};
use crate::{arguments, tables};
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::quote;
use tickbus_core::taxonomy::{self, Category, Encoding};

/// `sequence << 2 | priority`, what `publish` returns.
#[inline(always)]
pub fn id_of(sequence: u64, lane: usize) -> u64 {
    sequence << 2 | lane as u64
}

/// Lane and sequence of an id.
#[inline(always)]
pub fn place_of(id: u64) -> (usize, u64) {
    ((id & 3) as usize, id >> 2)
}

const UNPUBLISHED: u64 = u64::MAX;

/// One immutable event of 32 bytes; a delivered one also knows its id.
///
/// Fields of its type (`price`, `side`, `bid`, ...) are attributes as well: the taxonomy table says
/// which. Two events are equal when their 32 bytes are.
///
/// Args:
///     event_type: Number of a registered type, such as ``EventType.PRICE_UPDATE``.
///     symbol: Instrument, by name or number; 0 for none.
///     value: What the type says, for example a price.
///     metadata: What the type says, as 64 bits; see ``pack_quantity`` and ``pack_quote``.
///     source: Exchange, strategy or service, by name or number.
///     priority: Lane; the category's default when left out.
///     timestamp: Nanoseconds since the Unix epoch, UTC; 0 is stamped at publish.
/// Raises:
///     InvalidEventError: A field is out of range.
#[pyclass(frozen, module = "tickbus")]
pub struct Event {
    words: [AtomicU64; 4],
    id: AtomicU64,
    table: AtomicU32,
}

impl Event {
    #[inline(always)]
    pub fn new(event: &CoreEvent, id: u64, table: u32) -> Event {
        let words = event.to_words().map(AtomicU64::new);
        Event { words, id: AtomicU64::new(id), table: AtomicU32::new(table) }
    }

    /// Make this object another event. Only for one that no Python code holds.
    #[inline(always)]
    pub fn refill(&self, event: &CoreEvent, id: u64) {
        for (cell, word) in self.words.iter().zip(event.to_words()) {
            cell.store(word, Relaxed);
        }
        self.id.store(id, Relaxed);
    }

    /// Whether `object` is the only reference: no Python code can see it change.
    #[inline(always)]
    pub fn is_unshared(object: &Py<Event>, _py: Python<'_>) -> bool {
        #[expect(unsafe_code, reason = "reads a reference count")]
        // SAFETY: `object` is a live reference and the GIL is held, so the count is stable.
        let count = unsafe { pyo3::ffi::Py_REFCNT(object.as_ptr()) };
        count == 1
    }

    #[inline(always)]
    pub fn core(&self) -> CoreEvent {
        CoreEvent::from_words(std::array::from_fn(|i| self.words[i].load(Relaxed)))
    }

    /// Lane and sequence of a published event.
    pub fn place(&self) -> Option<(usize, u64)> {
        let id = self.id.load(Relaxed);
        (id != UNPUBLISHED).then(|| place_of(id))
    }

    pub fn table(&self) -> u32 {
        self.table.load(Relaxed)
    }

    fn encoding(&self, py: Python<'_>) -> Encoding {
        let number = self.core().event_type;
        // Built-in types first: their rows are static, a registered one's is read from the bus.
        match taxonomy::builtin(number) {
            Some(row) => row.encoding,
            None => tables::type_row(py, self.table(), number)
                .map_or(Encoding::Unused, |row| row.encoding),
        }
    }

    fn no_field(&self, py: Python<'_>, field: &str) -> PyErr {
        PyAttributeError::new_err(format!("a {} event has no {field}", self.type_name(py)))
    }

    fn quote(&self, py: Python<'_>, field: &str) -> PyResult<quote::Quote> {
        let event = self.core();
        match self.encoding(py) {
            Encoding::Quote => Ok(quote::unpack(event.value, event.metadata)),
            _ => Err(self.no_field(py, field)),
        }
    }

    fn signed_quantity(&self, py: Python<'_>, field: &str) -> PyResult<f64> {
        match self.encoding(py) {
            Encoding::SignedQuantity => Ok(f64::from_bits(self.core().metadata)),
            _ => Err(self.no_field(py, field)),
        }
    }
}

#[pymethods]
impl Event {
    #[classattr]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __match_args__: (&'static str, &'static str, &'static str, &'static str) =
        ("event_type", "symbol", "value", "metadata");

    #[new]
    #[pyo3(signature = (event_type, symbol, value, *, metadata=None, source=None, priority=None, timestamp=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn py_new(
        py: Python<'_>,
        event_type: &Bound<'_, PyAny>,
        symbol: &Bound<'_, PyAny>,
        value: f64,
        metadata: Option<&Bound<'_, PyAny>>,
        source: Option<&Bound<'_, PyAny>>,
        priority: Option<&Bound<'_, PyAny>>,
        timestamp: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Event> {
        let names =
            tickbus_core::bus::process_names().map_err(|error| crate::error::of(py, error))?;
        let table = tables::add(py, names);
        let event_type = arguments::event_type(event_type)?;
        arguments::check_symbol(symbol, names)?;
        let event = CoreEvent {
            timestamp: arguments::word(timestamp, "timestamp")?,
            event_type,
            priority: arguments::priority(priority, event_type)?,
            source: source.map_or(Ok(0), |source| arguments::source(source, names))?,
            symbol: arguments::symbol(symbol, names)?,
            value,
            metadata: arguments::word(metadata, "metadata")?,
        };
        Ok(Event::new(&event, UNPUBLISHED, table))
    }

    /// Nanoseconds since the Unix epoch, UTC: when this desk learnt it.
    #[getter]
    fn timestamp(&self) -> u64 {
        self.words[0].load(Relaxed)
    }

    /// Number of the type; equals its ``EventType``.
    #[getter]
    fn event_type(&self) -> u8 {
        self.words[1].load(Relaxed) as u8
    }

    /// Number of the lane; equals its ``Priority``.
    #[getter]
    fn priority(&self) -> u8 {
        self.core().priority
    }

    /// Name of the exchange, strategy or service; empty for none.
    #[getter]
    fn source<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let text = tables::source(py, self.table(), self.core().source);
        text.map_or_else(|| PyString::intern(py, ""), |text| text.into_bound(py))
    }

    /// Number of the source; 0 for none.
    #[getter]
    fn source_id(&self) -> u16 {
        self.core().source
    }

    /// Name of the instrument; empty for none.
    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let text = tables::symbol(py, self.table(), self.core().symbol);
        text.map_or_else(|| PyString::intern(py, ""), |text| text.into_bound(py))
    }

    /// Number of the instrument; 0 for none.
    #[getter]
    fn symbol_id(&self) -> u32 {
        self.core().symbol
    }

    /// What the type says: a price, a ratio, a drawdown.
    #[getter]
    fn value(&self) -> f64 {
        f64::from_bits(self.words[2].load(Relaxed))
    }

    /// What the type says, as 64 bits.
    #[getter]
    fn metadata(&self) -> u64 {
        self.words[3].load(Relaxed)
    }

    /// What ``publish`` returned: ``sequence << 2 | priority``; ``None`` when never published.
    #[getter]
    fn id(&self) -> Option<u64> {
        let id = self.id.load(Relaxed);
        (id != UNPUBLISHED).then_some(id)
    }

    /// Place in the lane's total order; ``None`` when never published.
    #[getter]
    fn sequence(&self) -> Option<u64> {
        self.id().map(|id| id >> 2)
    }

    /// Second level of the topic, such as ``price_update``.
    #[getter]
    fn type_name(&self, py: Python<'_>) -> String {
        let number = self.core().event_type;
        tables::type_row(py, self.table(), number)
            .map_or_else(|| number.to_string(), |row| row.name)
    }

    /// ``category.type.source.symbol``; ``-`` where a level has no name.
    #[getter]
    fn topic(&self, py: Python<'_>) -> PyResult<String> {
        let dash = |text: Option<Py<PyString>>| match text {
            Some(text) => Ok(text.bind(py).to_str()?.to_owned()),
            None => PyResult::Ok("-".to_owned()),
        };
        let event = self.core();
        let category = Category::of(event.event_type).name();
        let source = dash(tables::source(py, self.table(), event.source))?;
        let symbol = dash(tables::symbol(py, self.table(), event.symbol))?;
        Ok(format!("{category}.{}.{source}.{symbol}", self.type_name(py)))
    }

    /// Price of a trade, an order or a position, in quote currency.
    ///
    /// Raises:
    ///     AttributeError: The type has no price.
    #[getter]
    fn price(&self, py: Python<'_>) -> PyResult<f64> {
        let event = self.core();
        let is_price = match taxonomy::builtin(event.event_type) {
            Some(row) => row.value == "price",
            None => tables::type_row(py, self.table(), event.event_type)
                .is_some_and(|row| row.value == "price"),
        };
        if is_price { Ok(event.value) } else { Err(self.no_field(py, "price")) }
    }

    /// Unsigned quantity in base units; ``side`` has the sign.
    ///
    /// Raises:
    ///     AttributeError: The type has no quantity.
    #[getter]
    fn quantity(&self, py: Python<'_>) -> PyResult<f64> {
        self.signed_quantity(py, "quantity").map(f64::abs)
    }

    /// +1 bought, -1 sold, 0 unknown; for a trade the taker's side.
    ///
    /// Raises:
    ///     AttributeError: The type has no side.
    #[getter]
    fn side(&self, py: Python<'_>) -> PyResult<i8> {
        let quantity = self.signed_quantity(py, "side")?;
        Ok(i8::from(quantity > 0.0) - i8::from(quantity < 0.0))
    }

    /// Best bid, in quote currency. Raises AttributeError unless a quote.
    #[getter]
    fn bid(&self, py: Python<'_>) -> PyResult<f64> {
        self.quote(py, "bid").map(|quote| quote.bid)
    }

    /// Best ask, in quote currency, exact as quoted. Raises AttributeError unless a quote.
    #[getter]
    fn ask(&self, py: Python<'_>) -> PyResult<f64> {
        self.quote(py, "ask").map(|quote| quote.ask)
    }

    /// Size at the bid in base units, to 13 significant bits. Raises AttributeError unless a quote.
    #[getter]
    fn bid_size(&self, py: Python<'_>) -> PyResult<f64> {
        self.quote(py, "bid_size").map(|quote| quote.bid_size)
    }

    /// Size at the ask in base units, to 13 significant bits. Raises AttributeError unless a quote.
    #[getter]
    fn ask_size(&self, py: Python<'_>) -> PyResult<f64> {
        self.quote(py, "ask_size").map(|quote| quote.ask_size)
    }

    /// Every field the taxonomy names for this type, decoded.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let event = self.core();
        let fields = PyDict::new(py);
        let Some(row) = tables::type_row(py, self.table(), event.event_type) else {
            return Ok(fields);
        };
        fields.set_item(&row.value, event.value)?;
        match row.encoding {
            Encoding::Unused => {}
            Encoding::U64 => fields.set_item(&row.metadata, event.metadata)?,
            Encoding::F64 => fields.set_item(&row.metadata, f64::from_bits(event.metadata))?,
            Encoding::SignedQuantity => {
                fields.set_item(&row.metadata, f64::from_bits(event.metadata).abs())?;
                fields.set_item("side", self.side(py)?)?;
            }
            Encoding::Quote => {
                let quote = quote::unpack(event.value, event.metadata);
                fields.set_item("ask", quote.ask)?;
                fields.set_item("bid_size", quote.bid_size)?;
                fields.set_item("ask_size", quote.ask_size)?;
            }
        }
        Ok(fields)
    }

    /// A field by the name the taxonomy (or ``register_type``) gives it.
    ///
    /// Raises:
    ///     AttributeError: The type has no such field.
    fn field<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.fields(py)?.get_item(name)?.ok_or_else(|| self.no_field(py, name))
    }

    /// The 32 bytes.
    fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core().to_bytes())
    }

    /// The event of 32 bytes, its numbers read as this process's own.
    ///
    /// Raises:
    ///     InvalidEventError: Not 32 bytes, or a priority that is none.
    #[classmethod]
    fn from_bytes(_class: &Bound<'_, PyType>, py: Python<'_>, data: &[u8]) -> PyResult<Event> {
        let bytes = data
            .try_into()
            .map_err(|_| invalid(py, format!("an event has 32 bytes, not {}", data.len())))?;
        let event = CoreEvent::from_bytes(bytes);
        if event.priority > 2 {
            return Err(invalid(py, format!("priority {} is none of 0, 1, 2", event.priority)));
        }
        let names =
            tickbus_core::bus::process_names().map_err(|error| crate::error::of(py, error))?;
        Ok(Event::new(&event, UNPUBLISHED, tables::add(py, names)))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Event>().is_ok_and(|other| self.core() == other.get().core())
    }

    fn __hash__(&self) -> u64 {
        // The usual 64-bit mix of the four words; -1 is reserved by Python, which maps it itself.
        let mix = |hash: u64, word: u64| {
            (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
        };
        self.core().to_words().into_iter().fold(0, mix)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let event = self.core();
        let fields = self.fields(py)?;
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let sequence = self.sequence().map(|n| format!(" #{n}")).unwrap_or_default();
        Ok(format!(
            "<Event{sequence} {} {} timestamp={}>",
            self.topic(py)?,
            fields.join(" "),
            event.timestamp
        ))
    }

    /// Pickled with its names, not its numbers, which are another process's.
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let this = slf.get();
        let rebuild = py.import("tickbus._native")?.getattr("_rebuild_event")?;
        let id = this.id();
        let arguments = (this.bytes(py), this.symbol(py), this.source(py), id).into_pyobject(py)?;
        Ok((rebuild, arguments))
    }
}

/// Unpickle: numbers of this process for the names of another.
#[pyfunction]
#[pyo3(name = "_rebuild_event")]
pub fn rebuild_event(
    py: Python<'_>,
    data: &[u8],
    symbol: &Bound<'_, PyString>,
    source: &Bound<'_, PyString>,
    id: Option<u64>,
) -> PyResult<Event> {
    let made = Event::from_bytes(&py.get_type::<Event>(), py, data)?;
    let names = tickbus_core::bus::process_names().map_err(|error| crate::error::of(py, error))?;
    let number = |text: &Bound<'_, PyString>| Ok::<bool, PyErr>(!text.to_str()?.is_empty());
    let event = CoreEvent {
        symbol: if number(symbol)? { arguments::symbol(symbol, names)? } else { 0 },
        source: if number(source)? { arguments::source(source, names)? } else { 0 },
        ..made.core()
    };
    Ok(Event::new(&event, id.unwrap_or(UNPUBLISHED), made.table()))
}

/// Metadata of a quantity: the bits of the number, positive bought, negative sold.
///
/// Raises:
///     InvalidEventError: NaN is no quantity.
#[pyfunction]
pub fn pack_quantity(py: Python<'_>, quantity: f64) -> PyResult<u64> {
    if quantity.is_nan() {
        return Err(invalid(py, "quantity=nan is no quantity"));
    }
    Ok(quantity.to_bits())
}

/// ``(value, metadata)`` of a top of book.
///
/// Args:
///     bid, ask: Prices in quote currency; come back exactly.
///     bid_size, ask_size: Base units; come back to 13 significant bits.
///     decimals: How many decimals both prices were quoted with, 0 to 15.
/// Raises:
///     InvalidEventError: The quote has no exact form; the message says which part.
#[pyfunction]
pub fn pack_quote(
    py: Python<'_>,
    bid: f64,
    ask: f64,
    bid_size: f64,
    ask_size: f64,
    decimals: u32,
) -> PyResult<(f64, u64)> {
    let quote = quote::Quote { bid, ask, bid_size, ask_size };
    quote::pack(&quote, decimals).map_err(|why| {
        let why = match why {
            quote::QuoteError::Price => "a price is not finite, negative or has over 2^53 units",
            quote::QuoteError::Size => "a size is not 0 or from 9.4e-10 to 1.7e10",
            quote::QuoteError::Spread => "bid and ask are 2^23 or more units apart",
            quote::QuoteError::Decimals => "more than 15 decimals, or a price has more than that",
        };
        raise(
            py,
            "InvalidEventError",
            format!("no packed form for {quote:?}, {decimals} decimals: {why}"),
        )
    })
}
