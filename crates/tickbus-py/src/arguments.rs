//! Python arguments to numbers, with errors that name the argument.

use crate::error::{invalid, naming, raise};
use pyo3::prelude::*;
use pyo3::types::PyString;
use tickbus_core::lane::layout::{MAX_NAME, Sizes};
use tickbus_core::names::{BusNames, NamingError};
use tickbus_core::open::Asked;
use tickbus_core::taxonomy::Category;
use tickbus_core::topic::valid_name;

/// Number of an event type.
#[inline(always)]
pub fn event_type(argument: &Bound<'_, PyAny>) -> PyResult<u8> {
    argument
        .extract::<u8>()
        .map_err(|_| bad(argument, "event_type", "a type number, 0 to 255"))
}

/// The lane asked for, or the type's default.
#[inline(always)]
pub fn priority(argument: Option<&Bound<'_, PyAny>>, event_type: u8) -> PyResult<u8> {
    let Some(argument) = argument else {
        return Ok(Category::of(event_type).default_priority() as u8);
    };
    match argument.extract::<u8>() {
        Ok(number) if number <= 2 => Ok(number),
        _ => Err(bad(argument, "priority", "0 normal, 1 high or 2 critical")),
    }
}

/// 64 bits, 0 when left out.
#[inline(always)]
pub fn word(argument: Option<&Bound<'_, PyAny>>, name: &str) -> PyResult<u64> {
    let Some(argument) = argument else {
        return Ok(0);
    };
    argument
        .extract::<u64>()
        .map_err(|_| bad(argument, name, "a number from 0 to 2**64 - 1"))
}

/// A number of events or bytes.
pub fn size(argument: &Bound<'_, PyAny>, name: &str) -> PyResult<usize> {
    argument.extract::<usize>().map_err(|_| {
        let shown = argument.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
        raise(argument.py(), "InvalidSizeError", format!("{name}={shown} is no size"))
    })
}

/// Sizes of a bus's lanes, by priority number, and of its payload ring in bytes: with defaults, and
/// as asked for.
pub fn sizes(
    lanes: [Option<&Bound<'_, PyAny>>; 3],
    payload_bytes: Option<&Bound<'_, PyAny>>,
) -> PyResult<(Sizes, Asked)> {
    let of = |argument: Option<&Bound<'_, PyAny>>, name| {
        argument.map(|argument| size(argument, name)).transpose()
    };
    let cells = |bytes: usize| bytes.div_ceil(8).next_power_of_two().max(64);
    let asked = [
        of(lanes[0], "normal_size")?,
        of(lanes[1], "high_size")?,
        of(lanes[2], "critical_size")?,
        of(payload_bytes, "payload_bytes")?.map(cells),
    ];
    let defaults = [1 << 16, 1 << 16, 1 << 12];
    let sizes = Sizes {
        lanes: std::array::from_fn(|lane| asked[lane].unwrap_or(defaults[lane])),
        payload_cells: asked[3].unwrap_or(1 << 17),
    };
    Ok((sizes, asked))
}

/// Refuse what cannot be a symbol, without giving it a number.
pub fn check_symbol(argument: &Bound<'_, PyAny>, names: &BusNames) -> PyResult<()> {
    match argument.cast::<PyString>() {
        Ok(text) => check_name(text),
        Err(_) => symbol(argument, names).map(|_| ()),
    }
}

/// Refuse what cannot be a source, likewise.
pub fn check_source(argument: &Bound<'_, PyAny>, names: &BusNames) -> PyResult<()> {
    match argument.cast::<PyString>() {
        Ok(text) => check_name(text),
        Err(_) => source(argument, names).map(|_| ()),
    }
}

fn check_name(text: &Bound<'_, PyString>) -> PyResult<()> {
    valid_name(text.to_str()?, MAX_NAME)
        .map_err(|error| naming(text.py(), NamingError::Invalid(error)))
}

/// Number of a symbol given by name (numbered if new) or number.
pub fn symbol(argument: &Bound<'_, PyAny>, names: &BusNames) -> PyResult<u32> {
    if let Ok(text) = argument.cast::<PyString>() {
        return names.symbol(text.to_str()?).map_err(|error| naming(argument.py(), error));
    }
    match argument.extract::<u32>() {
        Ok(number) if u64::from(number) <= names.counts().0 => Ok(number),
        _ => Err(bad(argument, "symbol", "a name, or the number of a known symbol")),
    }
}

/// Number of a source, likewise.
pub fn source(argument: &Bound<'_, PyAny>, names: &BusNames) -> PyResult<u16> {
    if let Ok(text) = argument.cast::<PyString>() {
        return names.source(text.to_str()?).map_err(|error| naming(argument.py(), error));
    }
    match argument.extract::<u16>() {
        Ok(number) if u64::from(number) <= names.counts().1 => Ok(number),
        _ => Err(bad(argument, "source", "a name, or the number of a known source")),
    }
}

#[cold]
fn bad(argument: &Bound<'_, PyAny>, name: &str, allowed: &str) -> PyErr {
    let shown = argument.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string());
    invalid(argument.py(), format!("{name}={shown} is not {allowed}"))
}
