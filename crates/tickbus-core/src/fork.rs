//! Whether this is still the process that made something.

use crate::lane::memory::{Cells, Memory, PAGE_CELLS};
use crate::sync::Ordering;

/// A mark of the process that made it, which no fork takes along: asking costs one load, where the
/// PID costs a system call.
pub struct Mark {
    /// A page that a child finds zeroed; `None` where the kernel does not do that (before 4.14).
    page: Option<Cells>,
    pid: u32,
}

impl Mark {
    pub fn new() -> Mark {
        Mark { page: marked_page(), pid: std::process::id() }
    }

    /// Whether this is the process that made the mark.
    pub fn is_ours(&self) -> bool {
        match &self.page {
            Some(page) => page[0].load(Ordering::Relaxed) != 0,
            None => std::process::id() == self.pid,
        }
    }

    /// Process that made the mark.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Default for Mark {
    fn default() -> Mark {
        Mark::new()
    }
}

fn marked_page() -> Option<Cells> {
    if cfg!(miri) {
        return None;
    }
    let memory = Memory::private(PAGE_CELLS).ok()?;
    memory.wipe_on_fork().ok()?;
    let page = memory.cells(0, PAGE_CELLS);
    page[0].store(1, Ordering::Relaxed);
    Some(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_its_makers() {
        let mark = Mark::new();
        assert!(mark.is_ours());
        assert_eq!(mark.pid(), std::process::id());
        assert!(Mark { page: None, pid: mark.pid() }.is_ours());
        assert!(!Mark { page: None, pid: mark.pid() + 1 }.is_ours());
    }
}
