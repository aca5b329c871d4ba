//! State guarded by the GIL instead of a lock.
//!
//! A publish from Python takes some 60 ns; an uncontended lock would add a tenth to that for a
//! guarantee the interpreter gives anyway. On a free-threaded interpreter it does not, so there the
//! crate does not build.

#[cfg(Py_GIL_DISABLED)]
compile_error!("tickbus relies on the GIL: build it for an interpreter that has one");

use pyo3::{PyVisit, Python};
use std::cell::{Cell, UnsafeCell};

/// A value that only the thread holding the GIL touches.
pub struct GilCell<T> {
    busy: Cell<bool>,
    value: UnsafeCell<T>,
}

#[expect(unsafe_code, reason = "the GIL is the lock; see the module's head")]
// SAFETY: `with` hands the value only to a thread that is attached to the interpreter, which with
// a GIL is one at a time, and the value is created and dropped by such threads as well (it lives in
// Python objects and statics). `busy` keeps that thread from a second, nested access.
unsafe impl<T> Sync for GilCell<T> {}

#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above: whichever thread it is on, access needs the GIL.
unsafe impl<T> Send for GilCell<T> {}

impl<T> GilCell<T> {
    pub const fn new(value: T) -> GilCell<T> {
        GilCell { busy: Cell::new(false), value: UnsafeCell::new(value) }
    }

    /// Access the value. `access` must not run Python code: that could come back here, or let
    /// another thread take the GIL, and finds the cell busy: `None`.
    #[inline(always)]
    pub fn try_with<R>(&self, _py: Python<'_>, access: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.busy.replace(true) {
            return None;
        }
        let release = Release(&self.busy);
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the GIL is held (`_py`) and `busy` was clear, so no other reference exists;
        // `release` clears it after `access`, also when that panics.
        let result = access(unsafe { &mut *self.value.get() });
        drop(release);
        Some(result)
    }

    /// Look at the value for the garbage collector, which calls with the GIL held but hands out no
    /// token for it: its visitor stands for that. `None` when the value is in use.
    pub fn visit<R>(&self, _visit: &PyVisit<'_>, look: impl FnOnce(&T) -> R) -> Option<R> {
        if self.busy.get() {
            return None;
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: a collection runs in the thread that holds the GIL, and `busy` says that no
        // reference exists; `look` only reads and visits, which runs no Python code.
        Some(look(unsafe { &*self.value.get() }))
    }

    /// Access the value.
    ///
    /// # Panics
    /// When nested, which our own code never does.
    #[inline(always)]
    pub fn with<R>(&self, py: Python<'_>, access: impl FnOnce(&mut T) -> R) -> R {
        self.try_with(py, access)
            .expect("no Python code runs while the cell is borrowed")
    }
}

struct Release<'a>(&'a Cell<bool>);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
