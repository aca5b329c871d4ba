//! What can go wrong at the bus, by what the caller does next.

use crate::history::HistoryError;
use crate::lane::layout::Foreign;
use crate::names::NamingError;
use crate::sys::LockTimeout;
use crate::topic::PatternError;

/// Why an operation on the bus did not happen. It changed nothing.
#[derive(Debug)]
pub enum BusError {
    /// The file behind a bus's name is no bus of this version.
    Foreign {
        path: String,
        why: Foreign,
    },
    /// The bus belongs to another user.
    Owner {
        path: String,
        uid: u32,
    },
    /// The bus exists with other sizes than asked for.
    Sizes {
        what: &'static str,
        asked: usize,
        found: usize,
    },
    /// A lane size that is no power of two in the allowed range.
    LaneSize {
        size: usize,
    },
    /// A name that cannot be a bus's.
    BusName {
        name: String,
    },
    /// No process has a bus of this name open.
    NoBus {
        name: String,
    },
    /// A table of the bus is full.
    Capacity {
        what: &'static str,
        limit: usize,
    },
    /// The operating system refused.
    Io {
        what: &'static str,
        error: std::io::Error,
    },
    Lock(LockTimeout),
    Naming(NamingError),
    Pattern(PatternError),
    /// A start that has not been published yet.
    Start {
        lane: usize,
        sequence: u64,
        tail: u64,
    },
    /// Another process keeps a journal of this bus.
    Journaled {
        pid: u64,
    },
    /// The journal is of another bus than the one that runs under this name.
    OtherBus {
        lane: usize,
        next: u64,
        tail: u64,
    },
    /// A start that only a journal can find, on a bus without one.
    NoHistory,
    /// The history cannot be read where the start would be.
    History(HistoryError),
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {$(
        impl From<$source> for BusError {
            fn from(error: $source) -> BusError {
                BusError::$variant(error)
            }
        }
    )*};
}
from!(LockTimeout => Lock, NamingError => Naming, PatternError => Pattern);

impl BusError {
    /// For `map_err` on system calls.
    pub fn io<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> BusError {
        move |error| BusError::Io { what, error: error.into() }
    }
}
