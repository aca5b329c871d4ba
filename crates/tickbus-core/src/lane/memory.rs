//! The memory lanes live in: zeroed, private to the process or mapped by several.
//!
//! All of it is one array of [`AtomicU64`]: every access by every process is an atomic of the same
//! size, so a racing write is never undefined behaviour, only an old or a new value. This file is
//! the only one in the crate with `unsafe`; `docs/safety.md` has the argument as a whole.

use crate::sync::AtomicU64;
use std::ops::Deref;
use std::sync::Arc;

#[cfg(not(loom))]
pub use mapped::{Cells, Memory};
#[cfg(loom)]
pub use modelled::{Cells, Memory};

/// Cells in a 4 KiB page.
pub const PAGE_CELLS: usize = 512;

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "maps memory and lends it as atomics")]
mod mapped {
    use super::*;
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
    use std::os::fd::BorrowedFd;
    use std::ptr::{NonNull, null_mut};

    /// A mapping; unmapped when the last [`Cells`] of it goes.
    pub struct Memory {
        base: NonNull<AtomicU64>,
        cells: usize,
    }

    // SAFETY: the mapping is plain memory reached only as `&AtomicU64`; it is not tied to a thread.
    unsafe impl Send for Memory {}
    // SAFETY: as above; atomics are made to be shared.
    unsafe impl Sync for Memory {}

    impl Memory {
        /// `cells` zeroed cells that only this process sees.
        pub fn private(cells: usize) -> std::io::Result<Arc<Memory>> {
            // Miri, which knows no other flag, has to be able to run all of this.
            let flags = if cfg!(miri) { MapFlags::empty() } else { MapFlags::NORESERVE };
            // SAFETY: a new anonymous mapping at an address of the kernel's choice aliases nothing.
            let base = unsafe {
                mmap_anonymous(
                    null_mut(),
                    cells * 8,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | flags,
                )
            }?;
            Ok(Memory::new(base, cells))
        }

        /// The first `cells` cells of a file that is at least that long (the caller has checked;
        /// a shorter one would fault on access).
        pub fn shared(file: BorrowedFd<'_>, cells: usize) -> std::io::Result<Arc<Memory>> {
            // SAFETY: a new mapping at an address of the kernel's choice; other processes' writes
            // to it are atomics of the same size as ours, see the module's head.
            let base = unsafe {
                mmap(
                    null_mut(),
                    cells * 8,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED,
                    file,
                    0,
                )
            }?;
            Ok(Memory::new(base, cells))
        }

        /// Have a child of a fork find this memory, private to the process, zeroed.
        pub fn wipe_on_fork(&self) -> std::io::Result<()> {
            // SAFETY: zeros are valid atomics, and the parent's memory stays as it is.
            let done = unsafe {
                madvise(self.base.as_ptr().cast(), self.cells * 8, Advice::LinuxWipeOnFork)
            };
            Ok(done?)
        }

        fn new(base: *mut std::ffi::c_void, cells: usize) -> Arc<Memory> {
            let base = NonNull::new(base.cast()).expect("mmap returns no null on success");
            Arc::new(Memory { base, cells })
        }

        /// `len` cells from `offset` on.
        ///
        /// # Panics
        /// When they lie outside the mapping: offsets come from our own layout, never from the file.
        pub fn cells(self: &Arc<Memory>, offset: usize, len: usize) -> Cells {
            assert!(offset + len <= self.cells, "layout reaches past the mapping");
            // SAFETY: `offset` is within the mapping, checked above.
            let base = unsafe { self.base.add(offset) };
            Cells { base, len, _memory: Arc::clone(self) }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            // SAFETY: every `Cells` holds an `Arc` of this, so nobody can reach the memory now. A
            // failure to unmap leaves it mapped, which is harmless.
            let _ = unsafe { munmap(self.base.as_ptr().cast(), self.cells * 8) };
        }
    }

    /// A run of cells that keeps its mapping alive.
    #[derive(Clone)]
    pub struct Cells {
        base: NonNull<AtomicU64>,
        len: usize,
        _memory: Arc<Memory>,
    }

    // SAFETY: as for `Memory`.
    unsafe impl Send for Cells {}
    // SAFETY: as for `Memory`.
    unsafe impl Sync for Cells {}

    impl Deref for Cells {
        type Target = [AtomicU64];

        #[inline(always)]
        fn deref(&self) -> &[AtomicU64] {
            // SAFETY: `Memory::cells` checked the range; a mapping starts on a page, so cells are
            // aligned; it stays mapped while `_memory` is held; all-zero and any other bits are
            // valid atomics; nobody holds a `&mut` or a plain reference into it.
            unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
        }
    }
}

#[cfg(loom)]
mod modelled {
    use super::*;

    /// Stand-in for a mapping: loom's atomics are no plain words, so each run is its own array.
    pub struct Memory {
        cells: Arc<[AtomicU64]>,
    }

    impl Memory {
        pub fn private(cells: usize) -> std::io::Result<Arc<Memory>> {
            let cells = (0..cells).map(|_| AtomicU64::new(0)).collect();
            Ok(Arc::new(Memory { cells }))
        }

        pub fn wipe_on_fork(&self) -> std::io::Result<()> {
            Err(std::io::ErrorKind::Unsupported.into())
        }

        pub fn cells(self: &Arc<Memory>, offset: usize, len: usize) -> Cells {
            Cells { offset, len, cells: Arc::clone(&self.cells) }
        }
    }

    #[derive(Clone)]
    pub struct Cells {
        offset: usize,
        len: usize,
        cells: Arc<[AtomicU64]>,
    }

    impl Deref for Cells {
        type Target = [AtomicU64];

        fn deref(&self) -> &[AtomicU64] {
            &self.cells[self.offset..self.offset + self.len]
        }
    }
}
