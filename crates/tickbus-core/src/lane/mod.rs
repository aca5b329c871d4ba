//! Lanes: the rings events travel in, and the memory they live in.
//!
//! - [`stamp`]: the word that orders and guards a slot
//! - [`ring`]: append, read, repair
//! - [`counter`]: what is counted
//! - [`layout`]: where everything stands
//! - [`memory`]: private or shared mappings; the crate's only `unsafe`

pub mod counter;
pub mod layout;
pub mod memory;
pub mod ring;
pub mod stamp;
