//! Forks: a child's copies of its parent's handles must not be used, since both would write to the
//! same places in shared memory.

use pyo3::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many forks lie between this process and the one that loaded the module.
static FORKS: AtomicU64 = AtomicU64::new(0);

/// Called in the child after a fork: handles of the parent must not be used there.
#[pyfunction]
#[pyo3(name = "_after_fork")]
pub fn after_fork() {
    FORKS.fetch_add(1, Relaxed);
}

/// Whether a handle made at fork count `made` belongs to this process.
pub fn forked_since(made: u64) -> bool {
    FORKS.load(Relaxed) != made
}

/// The fork count of now, for a handle to remember.
pub fn forks() -> u64 {
    FORKS.load(Relaxed)
}
