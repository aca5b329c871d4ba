//! A subscription's reader and the event objects it hands out again and again.

use crate::event::{Event, id_of};
use pyo3::prelude::*;
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::subscription::{Delivered, Subscription as Core};
use tickbus_core::waiting::Sleeper;

/// A core reader with what handing out its events needs.
pub struct Reader {
    pub core: Core,
    pub sleeper: Option<Sleeper>,
    /// Reused between drains.
    pub buffer: Vec<(u64, CoreEvent)>,
    /// Events of the last drain but one and of the last: those that the caller has let go of are
    /// filled again. Two, because `events = sub.drain()` holds the last while the next is made.
    pub pools: [Vec<Py<Event>>; 2],
    /// The last two events handed out by iteration: one is free again when the loop has moved on.
    pub spares: [Option<Py<Event>>; 2],
}

impl Reader {
    /// The object of the last event but one, made this event, when the caller has let go of it.
    #[inline(always)]
    pub fn refill(&mut self, py: Python<'_>, delivered: &Delivered) -> Option<Py<Event>> {
        self.spares.swap(0, 1);
        let object = self.spares[0].as_ref()?;
        if !Event::is_unshared(object, py) {
            return None;
        }
        let Delivered { sequence, event } = delivered;
        object.get().refill(event, id_of(*sequence, usize::from(event.priority)));
        Some(object.clone_ref(py))
    }

    /// The next event, with its object if one is at hand.
    #[inline(always)]
    pub fn poll(&mut self, py: Python<'_>) -> Option<(Delivered, Option<Py<Event>>)> {
        let delivered = self.core.poll()?;
        let object = self.refill(py, &delivered);
        Some((delivered, object))
    }
}
