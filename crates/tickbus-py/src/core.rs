//! What one open bus keeps for publishing, together in memory.

use crate::dispatch::{Frames, Handlers, Route};
use crate::event::{Event, id_of, place_of};
use crate::symbols::Cache;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tickbus_core::bus::{Bus as CoreBus, CRITICAL};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::journal::committer::Committer;
use tickbus_core::lane::ring::Blocked;
use tickbus_core::producer::Producer;

/// What publishing needs, together in memory.
pub struct Core {
    pub bus: Arc<CoreBus>,
    pub producer: Producer,
    pub symbols: Cache,
    pub handlers: Handlers,
    pub frames: Frames,
    /// Types that may be published: registered ones.
    pub types: [u64; 4],
    pub default_source: u16,
    pub allow_nan: bool,
    pub patience: Duration,
    pub published: u64,
    /// Given to the next handler when nobody else holds it any more.
    pub spare: Option<Py<Event>>,
    pub table: u32,
    pub forks: u64,
    /// What keeps the bus's journal, if this handle does.
    pub journal: Option<Arc<Committer>>,
}

impl Core {
    /// Publish an event that has been checked, leaving `reserve` slots (or the lane's own) free; its
    /// id. Its handlers are for the caller to run.
    #[inline(always)]
    pub fn try_publish(&mut self, event: &CoreEvent, reserve: Option<u64>) -> Result<u64, Blocked> {
        let lane = usize::from(event.priority);
        let reserve = reserve.unwrap_or_else(|| self.bus.reserve(lane));
        let sequence = self.producer.try_publish(event, reserve)?;
        self.published += 1;
        Ok(id_of(sequence, lane))
    }

    /// Whether nobody may see the event yet, because it is not persisted.
    #[inline(always)]
    pub fn is_held(&self, id: u64) -> bool {
        let (lane, sequence) = place_of(id);
        lane == CRITICAL && !self.bus.lanes()[CRITICAL].is_visible(sequence)
    }

    /// The handlers of an event; `None` when there are none.
    #[inline(always)]
    pub fn route(&mut self, event: &CoreEvent) -> Option<Route> {
        self.handlers.route(event, self.bus.names().as_ref())
    }

    /// Whether type and value are ones this bus publishes.
    #[inline(always)]
    pub fn may_publish(&mut self, event: &CoreEvent) -> bool {
        self.is_registered(event.event_type) && (self.allow_nan || !event.value.is_nan())
    }

    /// Whether events of this type may be published.
    #[inline(always)]
    pub fn is_registered(&mut self, number: u8) -> bool {
        let known = |types: &[u64; 4]| types[usize::from(number >> 6)] >> (number & 63) & 1 != 0;
        // Another process may have registered it meanwhile.
        known(&self.types) || {
            self.types = self.bus.names().type_mask();
            known(&self.types)
        }
    }
}
