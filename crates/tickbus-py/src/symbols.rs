//! Symbol strings to numbers without hashing: by the address of the string object.
//!
//! A strategy passes the same string objects again and again. A slot keeps its string alive, so an
//! address in the cache always means that string.

use pyo3::prelude::*;

/// Slots of a bus's cache; a string that loses its slot costs one look-up by text.
pub const SYMBOLS_CACHED: usize = 1024;

/// A direct-mapped cache by object address.
pub struct Cache {
    slots: Vec<Option<(Py<PyAny>, u32)>>,
}

impl Cache {
    pub fn new(slots: usize) -> Cache {
        Cache { slots: (0..slots).map(|_| None).collect() }
    }

    #[inline(always)]
    fn slot(&self, object: &Bound<'_, PyAny>) -> usize {
        // Objects are at least 16 bytes apart; strings of one length more.
        let address = object.as_ptr() as usize;
        (address >> 4 ^ address >> 12) & (self.slots.len() - 1)
    }

    /// The number last put for this very object.
    #[inline(always)]
    pub fn get(&self, object: &Bound<'_, PyAny>) -> Option<u32> {
        match &self.slots[self.slot(object)] {
            Some((cached, number)) if cached.is(object) => Some(*number),
            _ => None,
        }
    }

    /// Remember a number.
    pub fn put(&mut self, object: &Bound<'_, PyAny>, number: u32) {
        // Only strings: small integers are shared objects, but they are their own number anyway.
        if object.is_exact_instance_of::<pyo3::types::PyString>() {
            let slot = self.slot(object);
            // The old string is dropped by our caller's frame: a plain str has no finalizer.
            self.slots[slot] = Some((object.clone().unbind(), number));
        }
    }
}
