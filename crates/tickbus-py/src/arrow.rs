//! Events as Arrow record batches, for every library that speaks the PyCapsule interface.
//!
//! - [`arrow_rows`]: one column of 32 bytes a row, which is the NumPy array's own memory
//! - [`arrow_columns`]: a column a field, copied once, since Arrow's columns are contiguous
//!
//! The C structs, their release callbacks and the check that buffers fit their types are arrow-rs's.
//! Ours is the owner of lent memory, [`Lent`]: a consumer may release it in any thread, with or
//! without the GIL, and after the interpreter has ended.

use crate::bus::Bus;
use crate::error::invalid;
use crate::rows::{self, Row};
use arrow_buffer::{ArrowNativeType, Buffer};
use arrow_data::ffi::FFI_ArrowArray;
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::extension::EXTENSION_TYPE_NAME_KEY;
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;
use std::sync::Arc;
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::names::BusNames;

/// What the 32 bytes are, for whoever finds them in a file.
const EXTENSION: &str = "tickbus.event";
const ROW_BYTES: usize = size_of::<Row>();

/// A record batch that any Arrow library takes; see ``tickbus.arrow``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct ArrowBatch {
    /// A struct array without nulls, which is how the interface passes a record batch.
    data: ArrayData,
}

#[pymethods]
impl ArrowBatch {
    /// The schema, as a capsule named ``arrow_schema``.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.data.data_type())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    /// The schema and the data, as capsules named ``arrow_schema`` and ``arrow_array``.
    ///
    /// Args:
    ///     requested_schema: Ignored, as the interface allows: the consumer converts.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        let array = FFI_ArrowArray::new(&self.data);
        Ok((self.__arrow_c_schema__(py)?, PyCapsule::new_with_value(py, array, c"arrow_array")?))
    }

    fn __len__(&self) -> usize {
        self.data.len()
    }
}

impl ArrowBatch {
    fn new(len: usize, columns: Vec<(Field, ArrayData)>) -> ArrowBatch {
        let (fields, children): (Vec<Field>, Vec<ArrayData>) = columns.into_iter().unzip();
        let all = ArrayData::builder(DataType::Struct(Fields::from(fields))).len(len);
        ArrowBatch { data: checked(all.child_data(children)) }
    }
}

/// The array, after arrow-rs has compared its buffers with its type and length.
fn checked(array: ArrayDataBuilder) -> ArrayData {
    array.build().expect("buffers are made for their type and length")
}

/// See ``tickbus.arrow.rows``.
#[pyfunction]
pub fn arrow_rows(events: &Bound<'_, PyAny>) -> PyResult<ArrowBatch> {
    let array = rows::of(events)?;
    let len = array.len();
    let kind = DataType::FixedSizeBinary(ROW_BYTES as i32);
    let column = ArrayData::builder(kind.clone()).len(len).add_buffer(lend(array)?);
    let field =
        Field::new("event", kind, false).with_metadata([(EXTENSION_TYPE_NAME_KEY, EXTENSION)]);
    Ok(ArrowBatch::new(len, vec![(field, checked(column))]))
}

/// See ``tickbus.arrow.columns``.
#[pyfunction]
#[pyo3(signature = (events, *, names=None))]
pub fn arrow_columns(
    events: &Bound<'_, PyAny>,
    names: Option<&Bound<'_, Bus>>,
) -> PyResult<ArrowBatch> {
    let py = events.py();
    let array = rows::of(events)?;
    let readonly = array.try_readonly().map_err(|error| invalid(py, format!("events: {error}")))?;
    let events = rows::events(readonly.as_slice().map_err(|_| strided(array))?);
    let columns = Columns::of(events);
    if let Some(at) = columns.timestamp.iter().position(|&ns| i64::try_from(ns).is_err()) {
        return Err(invalid(
            py,
            format!(
                "events[{at}]: timestamp {} is after the year 2262, where Arrow's nanoseconds end",
                columns.timestamp[at]
            ),
        ));
    }
    let texts = match names {
        Some(bus) => {
            let names = bus.get().names(py)?;
            Some(Texts::of(py, &names, &columns)?)
        }
        None => None,
    };
    Ok(columns.into_batch(texts))
}

#[cold]
fn strided(array: &Bound<'_, PyArray1<Row>>) -> PyErr {
    let strides = array.strides();
    invalid(
        array.py(),
        format!("events is not contiguous (strides {strides:?}); use events.copy()"),
    )
}

/// Keeps a NumPy array alive for as long as an Arrow buffer points into it.
struct Lent(Option<Py<PyArray1<Row>>>);

// The array is only ever dropped, so no panic can show it half changed.
impl RefUnwindSafe for Lent {}

impl Drop for Lent {
    /// Give the reference back without ever waiting for the GIL: whoever holds it may be waiting
    /// for the consumer that calls this. A thread without it leaves the reference to PyO3's queue,
    /// which the next call into tickbus empties; when there is none any more, it is leaked.
    fn drop(&mut self) {
        let array = self.0.take();
        #[expect(unsafe_code, reason = "PyO3 counts its own attachments only")]
        // SAFETY: callable in any thread at any time; it reads the thread's state and follows no
        // pointer. Nothing relies on its "yes", which it also says once there are subinterpreters:
        // it only decides whether to attach.
        let attached = unsafe { ffi::PyGILState_Check() } == 1;
        if attached {
            // Refused before and after the interpreter's life; then the closure is dropped as it is.
            Python::try_attach(move |_| drop(array));
        }
    }
}

/// The array's memory as an Arrow buffer that keeps the array alive.
fn lend(array: &Bound<'_, PyArray1<Row>>) -> PyResult<Buffer> {
    if !array.is_contiguous() {
        return Err(strided(array));
    }
    let start = NonNull::new(array.data().cast()).expect("an array of any length has an address");
    let owner = Arc::new(Lent(Some(array.clone().unbind())));
    #[expect(unsafe_code, reason = "lends NumPy's memory to Arrow")]
    // SAFETY: a contiguous array of `len` rows is `len * 32` initialised bytes from `start`, which
    // NumPy neither moves nor frees while `owner` holds a reference. Neither we nor arrow-rs make a
    // Rust reference to them: the pointer goes to consumers, which read what NumPy may write.
    Ok(unsafe { Buffer::from_custom_allocation(start, array.len() * ROW_BYTES, owner) })
}

/// A vector a field.
struct Columns {
    timestamp: Vec<u64>,
    event_type: Vec<u8>,
    priority: Vec<u8>,
    source: Vec<u16>,
    symbol: Vec<u32>,
    value: Vec<f64>,
    metadata: Vec<u64>,
}

impl Columns {
    /// Seven passes: a batch fits the second cache, and one pass with seven streams is no faster.
    fn of(events: &[CoreEvent]) -> Columns {
        Columns {
            timestamp: events.iter().map(|event| event.timestamp).collect(),
            event_type: events.iter().map(|event| event.event_type).collect(),
            priority: events.iter().map(|event| event.priority).collect(),
            source: events.iter().map(|event| event.source).collect(),
            symbol: events.iter().map(|event| event.symbol).collect(),
            value: events.iter().map(|event| event.value).collect(),
            metadata: events.iter().map(|event| event.metadata).collect(),
        }
    }

    fn into_batch(self, texts: Option<Texts>) -> ArrowBatch {
        let len = self.timestamp.len();
        let [types, sources, symbols] = texts.map_or([None, None, None], |texts| texts.0.map(Some));
        let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        ArrowBatch::new(
            len,
            vec![
                column("timestamp", utc, self.timestamp, None),
                column("event_type", DataType::UInt8, self.event_type, types),
                column("priority", DataType::UInt8, self.priority, None),
                column("source", DataType::UInt16, self.source, sources),
                column("symbol", DataType::UInt32, self.symbol, symbols),
                column("value", DataType::Float64, self.value, None),
                column("metadata", DataType::UInt64, self.metadata, None),
            ],
        )
    }
}

/// A column without nulls: of numbers, or of the texts that the numbers stand for.
fn column<T: ArrowNativeType>(
    name: &str,
    numbers: DataType,
    values: Vec<T>,
    texts: Option<ArrayData>,
) -> (Field, ArrayData) {
    let kind = match &texts {
        Some(_) => DataType::Dictionary(Box::new(numbers), Box::new(DataType::Utf8)),
        None => numbers,
    };
    let column = ArrayData::builder(kind.clone())
        .len(values.len())
        .add_buffer(Buffer::from_vec(values))
        .child_data(texts.into_iter().collect());
    (Field::new(name, kind, false), checked(column))
}

/// The texts of a bus's numbers: of types, sources and symbols. A number is its text's place, so
/// that the columns of numbers are the indices of the dictionaries as they are. What has no name is
/// spelled as an `Event` spells it: "" for no source or symbol, the number for a free type. So no
/// text stands twice, which pandas insists on.
struct Texts([ArrayData; 3]);

impl Texts {
    /// The texts of a bus, if it has one for every number of the columns.
    fn of(py: Python<'_>, names: &BusNames, columns: &Columns) -> PyResult<Texts> {
        let mut types: Vec<String> = (0..=255).map(|number: u8| number.to_string()).collect();
        for row in names.type_rows() {
            types[usize::from(row.number)] = row.name;
        }
        let (symbol_count, source_count) = names.counts();
        known(py, "source", &columns.source, source_count)?;
        known(py, "symbol", &columns.symbol, symbol_count)?;
        let sources = (0..=source_count).map(|number| names.source_text(number as u16));
        let symbols = (0..=symbol_count).map(|number| names.symbol_text(number as u32));
        Ok(Texts([
            utf8(types.into_iter()),
            utf8(sources.map(Option::unwrap_or_default)),
            utf8(symbols.map(Option::unwrap_or_default)),
        ]))
    }
}

/// Refuse numbers above the last that stands for something on the bus.
fn known<T: Copy + Into<u64>>(
    py: Python<'_>,
    field: &str,
    numbers: &[T],
    last: u64,
) -> PyResult<()> {
    match numbers.iter().position(|&number| number.into() > last) {
        Some(at) => {
            let number = numbers[at].into();
            Err(invalid(py, format!("events[{at}]: {field} {number} is no known {field}'s number")))
        }
        None => Ok(()),
    }
}

fn utf8(texts: impl Iterator<Item = impl AsRef<str>>) -> ArrayData {
    let mut bytes = Vec::new();
    let mut offsets = vec![0_i32];
    for text in texts {
        bytes.extend_from_slice(text.as_ref().as_bytes());
        offsets.push(i32::try_from(bytes.len()).expect("tables hold a few megabytes"));
    }
    let array = ArrayData::builder(DataType::Utf8)
        .len(offsets.len() - 1)
        .add_buffer(Buffer::from_vec(offsets))
        .add_buffer(Buffer::from_vec(bytes));
    checked(array)
}
