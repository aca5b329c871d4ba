//! Where a subscription starts, as Python says it: a word, an event id, a position or a time.

use crate::error::raise;
use pyo3::prelude::*;
use tickbus_core::subscription::Start;

const LATEST: &str = "latest";
const EARLIEST: &str = "earliest";

/// The start that an argument means.
pub fn start_of(py: Python<'_>, start: &Bound<'_, PyAny>) -> PyResult<Start> {
    if let Ok(text) = start.extract::<&str>() {
        return match text {
            LATEST => Ok(Start::Latest),
            EARLIEST => Ok(Start::Earliest),
            _ => Err(raise(
                py,
                "StartError",
                format!("start={text:?} is none of \"latest\", \"earliest\", an event id"),
            )),
        };
    }
    if let Ok((timestamp,)) = start.extract::<(u64,)>() {
        return Ok(Start::Time(timestamp));
    }
    if let Ok((normal, high, critical)) = start.extract::<(u64, u64, u64)>() {
        return Ok(Start::Each([normal, high, critical]));
    }
    match start.extract::<u64>() {
        Ok(id) if id & 3 <= 2 => Ok(Start::At { lane: (id & 3) as usize, sequence: id >> 2 }),
        _ => Err(raise(
            py,
            "StartError",
            format!("start={} is none of \"latest\", \"earliest\", an event id", start.repr()?),
        )),
    }
}
