//! The tickbus core: what every event passes through. Knows nothing of Python.
//!
//! - [`event`]: the 32 bytes and the three priorities
//! - [`taxonomy`]: the one table of event types
//! - [`quote`]: a top of book in one event
//! - [`lane`]: the rings events travel in, and their memory
//! - [`topic`]: patterns, compiled to masks
//! - [`names`]: symbols, sources and registered types
//! - [`payload`]: bytes too long for an event
//! - [`open`], [`registry`], [`wake`], [`sys`]: processes, and how they find and wake each other
//! - [`bus`], [`producer`], [`subscription`], [`ledger`], [`waiting`]: the bus itself
//! - [`history`], [`past`], [`persistence`]: what the bus asks of a journal, and knows of it
//! - [`journal`]: every event on disk
//! - [`backoff`], [`fork`], [`measure`]: how to spin, whose process it is, and how fast it all is
//! - [`exchange`]: venue frames to events
//! - [`delivery`]: what has become of critical events

pub mod backoff;
pub mod event;
pub mod fork;
pub mod lane;
pub mod names;
pub mod payload;
pub mod quote;
pub mod sync;
pub mod sys;
pub mod taxonomy;
pub mod text;
pub mod topic;

#[cfg(not(loom))]
pub mod bus;
#[cfg(not(loom))]
pub mod delivery;
#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod exchange;
#[cfg(not(loom))]
pub mod history;
#[cfg(not(loom))]
pub mod journal;
#[cfg(not(loom))]
pub mod ledger;
#[cfg(not(loom))]
pub mod measure;
#[cfg(not(loom))]
pub mod open;
#[cfg(not(loom))]
pub mod past;
#[cfg(not(loom))]
pub mod persistence;
#[cfg(not(loom))]
pub mod producer;
#[cfg(not(loom))]
pub mod registry;
#[cfg(not(loom))]
pub mod subscription;
#[cfg(not(loom))]
pub mod waiting;
#[cfg(not(loom))]
pub mod wake;

pub use event::{Event, Priority};
