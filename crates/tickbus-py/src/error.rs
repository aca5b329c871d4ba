//! Core errors as the exceptions of `tickbus.errors`, each naming what was found and what is allowed.

use crate::event::id_of;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tickbus_core::bus::Bus;
use tickbus_core::error::BusError;
use tickbus_core::event::PRIORITIES;
use tickbus_core::history::HistoryError;
use tickbus_core::journal::error::JournalError;
use tickbus_core::lane::layout::{Foreign, LANE_SIZES, MAX_NAME};
use tickbus_core::names::NamingError;
use tickbus_core::persistence::Unpersisted;
use tickbus_core::sys::LockTimeout;

/// The exception `class` of `tickbus.errors` with a message.
#[cold]
pub fn raise(py: Python<'_>, class: &str, message: impl Into<String>) -> PyErr {
    raise_with(py, class, message, &[])
}

/// The same with figures as attributes.
#[cold]
pub fn raise_with(
    py: Python<'_>,
    class: &str,
    message: impl Into<String>,
    attributes: &[(&str, u64)],
) -> PyErr {
    let make = || -> PyResult<PyErr> {
        let class = py.import("tickbus.errors")?.getattr(class)?;
        let keywords = PyDict::new(py);
        for (name, value) in attributes {
            keywords.set_item(name, value)?;
        }
        Ok(PyErr::from_value(class.call((message.into(),), Some(&keywords))?))
    };
    make().unwrap_or_else(|error| error)
}

/// An event that cannot be published.
#[cold]
pub fn invalid(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, "InvalidEventError", message)
}

/// Any core error.
#[cold]
pub fn of(py: Python<'_>, error: BusError) -> PyErr {
    match error {
        BusError::Foreign { path, why } => {
            raise(py, "LayoutError", format!("{path}: {}", foreign(why)))
        }
        BusError::Owner { path, uid } => raise(
            py,
            "BusOwnerError",
            format!("{path} belongs to user {uid}; a bus is open to its owner only"),
        ),
        BusError::Sizes { what, asked, found } => raise(
            py,
            "LayoutError",
            format!(
                "the bus exists with {found} for {what}, not {asked}; leave the sizes out to attach \
                 to it as it is"
            ),
        ),
        BusError::LaneSize { size } => raise(
            py,
            "InvalidSizeError",
            format!(
                "lane size {size} is no power of two from {} to {}",
                LANE_SIZES.start(),
                LANE_SIZES.end()
            ),
        ),
        BusError::BusName { name } => raise(
            py,
            "InvalidNameError",
            format!("bus name {name:?}: use 1 to 100 ASCII letters, digits, '-' or '_'"),
        ),
        BusError::NoBus { name } => {
            raise(py, "UnknownNameError", format!("no bus runs under the name {name:?}"))
        }
        BusError::Capacity { what, limit } => {
            raise(py, "CapacityError", format!("all {limit} places for {what} are taken"))
        }
        BusError::Io { what, error } => match error.raw_os_error() {
            Some(code) if code == NO_SPACE => raise(
                py,
                "CapacityError",
                format!("{what}: no space left in shared memory (/dev/shm)"),
            ),
            _ => std::io::Error::new(error.kind(), format!("{what}: {error}")).into(),
        },
        BusError::Lock(timeout) => lock(py, timeout),
        BusError::Naming(error) => naming(py, error),
        BusError::Pattern(error) => raise(py, "PatternError", error.to_string()),
        BusError::Start { lane, sequence, tail } => raise(
            py,
            "StartError",
            format!(
                "start {} has not been published yet: the {} lane goes on with {}",
                id_of(sequence, lane),
                PRIORITIES[lane].name(),
                id_of(tail, lane)
            ),
        ),
        BusError::Journaled { pid } => raise_with(
            py,
            "JournalLockedError",
            format!("process {pid} keeps a journal of this bus already"),
            &[("pid", pid)],
        ),
        BusError::OtherBus { lane, next, tail } => raise(
            py,
            "JournalError",
            format!(
                "the journal ends at {next} in lane {lane} and the bus at {tail}: the bus was started \
                 without this journal; close it everywhere, or journal to another directory"
            ),
        ),
        BusError::NoHistory => {
            raise(py, "StartError", "a start by time is found in a journal, and this bus has none")
        }
        BusError::History(error) => history(py, &error),
    }
}

/// Events that a journal should have and cannot give.
#[cold]
pub fn history(py: Python<'_>, error: &HistoryError) -> PyErr {
    raise(py, "CorruptJournalError", error.to_string())
}

/// A critical event that this process could not persist, or a journal that could not be opened (id 0).
#[cold]
pub fn journal(py: Python<'_>, error: JournalError, event_id: u64) -> PyErr {
    let class = match &error {
        JournalError::Corrupt(_)
        | JournalError::NotAJournal { .. }
        | JournalError::OtherJournal { .. } => "CorruptJournalError",
        JournalError::Segment(_) => "CorruptJournalError",
        JournalError::MissingSegment { .. } | JournalError::Hole { .. } => "MissingSegmentError",
        JournalError::Locked { pid, .. } => {
            let pid = u64::from(pid.unwrap_or(0));
            return raise_with(py, "JournalLockedError", error.to_string(), &[("pid", pid)]);
        }
        JournalError::StorageFull { .. } => "StorageFullError",
        JournalError::Poisoned { .. } => "DurabilityUnknownError",
        JournalError::Bus(_) => {
            let JournalError::Bus(error) = error else {
                unreachable!("matched above")
            };
            return of(py, *error);
        }
        _ => "JournalError",
    };
    raise_with(py, class, error.to_string(), &[("event_id", event_id)])
}

/// A critical event that another process has not persisted.
#[cold]
pub fn unpersisted(py: Python<'_>, bus: &Bus, why: Unpersisted, event_id: u64) -> PyErr {
    let path = bus.persistence().path().unwrap_or_default();
    let path = path.display();
    let (class, message, pid) = match why {
        Unpersisted::Full => {
            ("StorageFullError", format!("no space left for the journal {path}"), 0)
        }
        Unpersisted::Failed => (
            "DurabilityUnknownError",
            format!(
                "a write or sync of the journal {path} has failed; after a sync it takes no more \
                 until it is opened again"
            ),
            0,
        ),
        Unpersisted::Late { pid: Some(pid) } => (
            "JournalLateError",
            format!(
                "process {pid}, which keeps the journal, has not persisted the event in time; if it is \
                 dead or stopped, start the journal again"
            ),
            pid,
        ),
        Unpersisted::Late { pid: None } => (
            "JournalLateError",
            "the process that kept the journal is gone; open the bus with journal= again"
                .to_owned(),
            0,
        ),
    };
    raise_with(py, class, message, &[("event_id", event_id), ("pid", pid)])
}

/// ENOSPC on Linux.
const NO_SPACE: i32 = 28;

/// A name that was not taken.
#[cold]
pub fn naming(py: Python<'_>, error: NamingError) -> PyErr {
    match error {
        NamingError::Invalid(error) => raise(py, "InvalidNameError", error.to_string()),
        NamingError::Capacity { table, limit, name } => raise(
            py,
            "CapacityError",
            format!("no number left for {name:?}: all {limit} {table} of the bus are taken"),
        ),
        NamingError::TypeTaken { number, name, holder } => raise(
            py,
            "TypeTakenError",
            format!("cannot register {name} = {number}: the bus has {holder}"),
        ),
        NamingError::Lock(timeout) => lock(py, timeout),
    }
}

fn lock(py: Python<'_>, _: LockTimeout) -> PyErr {
    raise(
        py,
        "BusLockedError",
        "another process holds the bus's admin lock and does not move (stopped or in a debugger?)",
    )
}

fn foreign(why: Foreign) -> String {
    match why {
        Foreign::NotABus { magic } => format!("no tickbus memory (starts with {magic:#018x})"),
        Foreign::Version { found, known } => {
            format!("layout version {found}, this tickbus knows {known}")
        }
        Foreign::Corrupt { found, expected } => {
            format!("damaged header: checksum {found:#018x}, expected {expected:#018x}")
        }
        Foreign::Length { found, expected } => {
            format!("{found} cells long, its header says {expected}")
        }
        Foreign::EarlierBoot => "written before the last boot; remove it".to_owned(),
    }
}

/// For messages about names.
pub const NAME_LIMIT: usize = MAX_NAME;
