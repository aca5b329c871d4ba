//! State guarded by the GIL instead of a lock.
//!
//! A publish from Python takes some 60 ns; an uncontended lock would add a tenth to that for a
//! guarantee the interpreter gives anyway. On a free-threaded interpreter it does not, so there the
//! crate does not build.

#[cfg(Py_GIL_DISABLED)]
compile_error!("tickbus relies on the GIL: build it for an interpreter that has one");

use pyo3::{PyVisit, Python};
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A value that only the thread holding the GIL touches.
pub struct GilCell<T> {
    busy: Cell<bool>,
    value: UnsafeCell<T>,
}

#[expect(unsafe_code, reason = "the GIL is the lock; see the module's head")]
// SAFETY: `hold` hands the value only to a thread that is attached to the interpreter, which with
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

    /// Take the value for a while, in which no Python code may run: that could come back here, or
    /// let another thread take the GIL, and would find it taken.
    ///
    /// # Panics
    /// When it is taken, which our own code never lets happen.
    #[inline(always)]
    pub fn hold<'a>(&'a self, _py: Python<'a>) -> Held<'a, T> {
        assert!(!self.busy.replace(true), "no Python code runs while the cell is held");
        let release = Release { busy: &self.busy, _thread: PhantomData };
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the GIL is held (`_py`) and `busy` was clear, so no other reference exists;
        // `busy` is set until `release`, which lives as long as this one, is dropped.
        let value = unsafe { &mut *self.value.get() };
        Held { value, release }
    }

    /// Access the value, without running Python code.
    ///
    /// # Panics
    /// As [`GilCell::hold`].
    #[inline(always)]
    pub fn with<R>(&self, py: Python<'_>, access: impl FnOnce(&mut T) -> R) -> R {
        access(&mut self.hold(py))
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
}

/// The value of a [`GilCell`], until this is dropped.
pub struct Held<'a, T> {
    value: &'a mut T,
    release: Release<'a>,
}

struct Release<'a> {
    busy: &'a Cell<bool>,
    /// It stays in the thread that has the GIL.
    _thread: PhantomData<*const ()>,
}

impl<'a, T> Held<'a, Option<T>> {
    /// Hold what is in an option instead of the option.
    #[inline(always)]
    pub fn inner(self) -> Option<Held<'a, T>> {
        let Held { value, release } = self;
        value.as_mut().map(|value| Held { value, release })
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        self.value
    }
}

impl Drop for Release<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.busy.set(false);
    }
}
