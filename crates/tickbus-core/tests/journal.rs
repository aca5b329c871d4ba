//! The journal keeps what it acknowledged, on any disk that keeps what it synced.

#[path = "journal/building.rs"]
mod building;
#[path = "journal/crashes.rs"]
mod crashes;
#[path = "journal/damage.rs"]
mod damage;
#[path = "journal/files.rs"]
mod files;
#[path = "journal/model.rs"]
mod model;
#[path = "journal/sim/mod.rs"]
mod sim;
#[path = "journal/torn.rs"]
mod torn;
