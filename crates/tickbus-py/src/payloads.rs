//! Payloads from Python: kept beside the lanes, found there or in the journal.

use crate::bus::Bus;
use crate::error::{self, invalid, raise};
use crate::event::Event;
use pyo3::prelude::*;
use std::sync::Arc;
use tickbus_core::payload::PayloadError;

impl Bus {
    /// Keep bytes; their reference, for an event's metadata.
    #[cold]
    pub fn store_payload(&self, py: Python<'_>, bytes: &[u8]) -> PyResult<u64> {
        self.with(py, |core| core.bus.payloads().write(bytes))?
            .map_err(|why| payload_error(py, why))
    }

    /// The bytes an event refers to.
    pub fn payload_of(&self, py: Python<'_>, event: &Event) -> PyResult<Vec<u8>> {
        let reference = event.core().metadata;
        let place = event.place();
        let bus = self.with(py, |core| Arc::clone(&core.bus))?;
        // The numbers of an earlier run's payloads begin anew with the bus.
        let earlier = place.is_some_and(|(lane, sequence)| sequence < bus.lanes()[lane].origin());
        let here = if earlier {
            Err(PayloadError::Overwritten)
        } else {
            bus.payloads().read(reference)
        };
        let why = match here {
            Ok(bytes) => return Ok(bytes),
            Err(why) => why,
        };
        if let Some((lane, sequence)) = place
            && let Some(mut history) = bus.history()
        {
            let found = py.detach(|| history.payload(lane, sequence, reference));
            if let Some(bytes) = found.map_err(|error| error::history(py, &error))? {
                return Ok(bytes);
            }
        }
        Err(payload_error(py, why))
    }
}

#[cold]
fn payload_error(py: Python<'_>, why: PayloadError) -> PyErr {
    match why {
        PayloadError::Overwritten => raise(
            py,
            "PayloadOverwrittenError",
            "the payload was overwritten by newer ones; a larger payload_bytes keeps more",
        ),
        other => invalid(py, other.to_string()),
    }
}
