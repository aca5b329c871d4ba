//! Events as rows of NumPy arrays. The array's memory is the events' memory: no field is converted.

use crate::error::invalid;
use numpy::{
    Element, PyArray1, PyArrayDescr, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyList;
use tickbus_core::event::Event as CoreEvent;

/// One row: an event, as NumPy knows it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Row(pub CoreEvent);

static DTYPE: PyOnceLock<Py<PyArrayDescr>> = PyOnceLock::new();

/// `tickbus.EVENT_DTYPE`: the event's fields at the event's offsets.
pub fn dtype(py: Python<'_>) -> PyResult<Bound<'_, PyArrayDescr>> {
    let made = DTYPE.get_or_try_init(py, || {
        let fields = PyList::new(
            py,
            [
                ("timestamp", "<u8"),
                ("event_type", "u1"),
                ("priority", "u1"),
                ("source", "<u2"),
                ("symbol", "<u4"),
                ("value", "<f8"),
                ("metadata", "<u8"),
            ],
        )?;
        PyResult::Ok(PyArrayDescr::new(py, fields)?.unbind())
    })?;
    Ok(made.bind(py).clone())
}

#[expect(unsafe_code, reason = "vouches for the layout NumPy is told")]
// SAFETY: `dtype` describes exactly the fields of the `repr(C)` event at their offsets (asserted at
// compile time in tickbus-core; a test compares itemsize and offsets), every bit pattern of the 32
// bytes is an event, and an event holds no Python object.
unsafe impl Element for Row {
    const IS_COPY: bool = true;

    fn get_dtype(py: Python<'_>) -> Bound<'_, PyArrayDescr> {
        dtype(py).expect("the field list is constant and valid")
    }

    fn clone_ref(&self, _py: Python<'_>) -> Row {
        *self
    }
}

/// `object` as an array of events, or an error that says what it is instead.
pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyArray1<Row>>> {
    let py = object.py();
    if let Ok(array) = object.cast::<PyArray1<Row>>() {
        if !array.data().is_aligned() {
            return Err(invalid(py, "events is not aligned to 8 bytes; use events.copy()"));
        }
        return Ok(array);
    }
    let Ok(array) = object.cast::<PyUntypedArray>() else {
        let kind = object.get_type().name()?;
        return Err(invalid(py, format!("events is a {kind}, not a NumPy array of EVENT_DTYPE")));
    };
    if !array.dtype().is_equiv_to(&dtype(py)?) {
        return Err(invalid(py, format!("events has dtype {}, not EVENT_DTYPE", array.dtype())));
    }
    Err(invalid(py, format!("events has shape {:?}; one dimension is needed", array.shape())))
}

/// The events of rows.
pub fn events(rows: &[Row]) -> &[CoreEvent] {
    #[expect(unsafe_code, reason = "looks through a transparent wrapper")]
    // SAFETY: `Row` is `repr(transparent)` over the event: same size, alignment and validity.
    unsafe {
        std::slice::from_raw_parts(rows.as_ptr().cast(), rows.len())
    }
}

/// A new array for `len` events, zeroed.
pub fn new(py: Python<'_>, len: usize) -> Bound<'_, PyArray1<Row>> {
    PyArray1::zeros(py, [len], false)
}

/// An array that takes over the memory of events.
pub fn of_vec(py: Python<'_>, events: Vec<CoreEvent>) -> Bound<'_, PyArray1<Row>> {
    // Equal size and alignment: the vector is collected where it is.
    PyArray1::from_vec(py, events.into_iter().map(Row).collect())
}

/// The largest of each field over some events, and the set of their types.
#[derive(Default)]
pub struct Extremes {
    pub types: [u64; 4],
    pub nan: bool,
    priority: u8,
    source: u16,
    symbol: u32,
}

impl Extremes {
    pub fn of(events: &[CoreEvent]) -> Extremes {
        events.iter().fold(Extremes::default(), |mut all, event| {
            all.types[usize::from(event.event_type >> 6)] |= 1 << (event.event_type & 63);
            all.nan |= event.value.is_nan();
            all.priority = all.priority.max(event.priority);
            all.source = all.source.max(event.source);
            all.symbol = all.symbol.max(event.symbol);
            all
        })
    }

    /// Whether priorities, symbols and sources are known ones.
    pub fn fit(&self, symbols: u64, sources: u64) -> bool {
        self.priority <= 2 && u64::from(self.symbol) <= symbols && u64::from(self.source) <= sources
    }
}
