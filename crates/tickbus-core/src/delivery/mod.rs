//! What has become of every followed event: a function of the records in the log, and of nothing else.
//!
//! No clock, no file, no bus. Records of one lane come in its order; how the lanes are merged does not
//! matter, so every process that reads the log comes to the same state. Deciding what to do about it
//! (retries, escalations) is Python's; `docs/parts/delivery.md` has the whole.

mod record;
mod state;

pub use record::{Kind, Note, TYPES, followed_type};
pub use state::{Fate, Required, Rule, State, Tracked};
