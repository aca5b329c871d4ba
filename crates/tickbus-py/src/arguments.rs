//! Python arguments to numbers, with errors that name the argument.

use crate::error::{invalid, naming};
use pyo3::prelude::*;
use pyo3::types::PyString;
use tickbus_core::names::BusNames;
use tickbus_core::taxonomy::Category;

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
