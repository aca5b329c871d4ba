//! A journal is one log to whoever asks it: hot, sealed and packed, at rest and while it is written.

#![cfg(not(loom))]

#[path = "archive/damage.rs"]
mod damage;
#[path = "archive/living.rs"]
mod living;
#[path = "archive/making.rs"]
mod making;
#[path = "archive/whole.rs"]
mod whole;
