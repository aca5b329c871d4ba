//! Inline handlers: called in the publisher's thread, at once.
//!
//! **Run to completion, critical first**: what a handler publishes is on the bus at once, but its
//! own handlers run after all handlers of the current event, critical events before the others.
//! **Flat cost**: which handlers an event concerns is looked up in a table of routes by (type,
//! source, symbol); handlers that do not match cost nothing once the route is known.

use crate::event::Event;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::topic::{Matcher, Names};

/// One handler of one bus.
pub struct Handler {
    pub callable: Py<PyAny>,
    pub matcher: RefCell<Matcher>,
    /// Events published through the bus object before it was registered.
    pub start: u64,
    pub delivered: Cell<u64>,
    pub errors: Cell<u64>,
    pub active: Cell<bool>,
}

/// The handlers an event concerns, in the order of their registration.
pub type Route = Rc<[Rc<Handler>]>;

const ROUTES: usize = 4096;

/// All handlers of one bus object.
#[derive(Default)]
pub struct Handlers {
    all: Vec<Rc<Handler>>,
    /// Types that any handler wants: everything else is told apart by one bit.
    types: [u64; 4],
    /// Routes by type, source and symbol; key 0 is free. Empty until there is a handler.
    routes: Vec<(u64, Option<Route>)>,
}

impl Handlers {
    pub fn add(&mut self, handler: Rc<Handler>) {
        self.all.push(handler);
        self.rebuild();
    }

    pub fn remove(&mut self, handler: &Rc<Handler>) {
        handler.active.set(false);
        self.all.retain(|other| !Rc::ptr_eq(other, handler));
        self.rebuild();
    }

    /// Show the collector the handlers, each once.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.all.iter().try_for_each(|handler| visit.call(&handler.callable))
    }

    pub fn all(&self) -> &[Rc<Handler>] {
        &self.all
    }

    fn rebuild(&mut self) {
        self.types = [0; 4];
        for handler in &self.all {
            let mask = handler.matcher.borrow().type_mask();
            self.types = std::array::from_fn(|i| self.types[i] | mask[i]);
        }
        self.routes.clear();
        self.routes.resize(if self.all.is_empty() { 0 } else { ROUTES }, (0, None));
    }

    /// The handlers for an event; `None` when it concerns none.
    #[inline(always)]
    pub fn route(&mut self, event: &CoreEvent, names: &dyn Names) -> Option<Route> {
        let number = event.event_type;
        if self.types[usize::from(number >> 6)] >> (number & 63) & 1 == 0 {
            return None;
        }
        self.find(event, names)
    }

    #[inline]
    fn find(&mut self, event: &CoreEvent, names: &dyn Names) -> Option<Route> {
        // The second word of an event is type, priority, source and symbol; the priority does not
        // matter to a route, and one bit in its place keeps the key from being 0.
        let key = event.to_words()[1] & !0xff00 | 0x100;
        let slot =
            (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - ROUTES.trailing_zeros())) as usize;
        let place = &mut self.routes[slot];
        if place.0 == key {
            return place.1.clone();
        }
        let matches = |handler: &&Rc<Handler>| {
            let mut matcher = handler.matcher.borrow_mut();
            matcher.matches(event.event_type, event.source, event.symbol, names)
        };
        let route: Vec<Rc<Handler>> = self.all.iter().filter(matches).cloned().collect();
        let route = (!route.is_empty()).then(|| Route::from(route));
        *place = (key, route.clone());
        route
    }
}

/// An event whose handlers have to wait for those of another.
pub struct Pending {
    pub event: CoreEvent,
    pub id: u64,
    pub route: Route,
}

/// A thread that is running handlers, and what they published meanwhile.
struct Frame {
    thread: usize,
    waiting: [VecDeque<Pending>; 3],
    /// Events in `waiting`.
    count: usize,
}

/// Who runs handlers right now. Kept between publishes, so that nothing is allocated again.
#[derive(Default)]
pub struct Frames(Vec<Frame>);

/// A number for the current thread, without a call.
fn thread() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}

const NO_THREAD: usize = 0;

impl Frames {
    /// Begin to run handlers in this thread; the number of its frame. `None` when it is running
    /// handlers already: then [`Frames::wait`].
    #[inline(always)]
    pub fn begin(&mut self) -> Option<usize> {
        let thread = thread();
        let mut free = None;
        for (at, frame) in self.0.iter_mut().enumerate() {
            if frame.thread == thread {
                return None;
            }
            if frame.thread == NO_THREAD {
                free = Some(at);
            }
        }
        let at = free.unwrap_or_else(|| {
            self.0.push(Frame { thread, waiting: Default::default(), count: 0 });
            self.0.len() - 1
        });
        self.0[at].thread = thread;
        Some(at)
    }

    /// Leave an event to the frame that this thread has begun.
    pub fn wait(&mut self, pending: Pending) {
        let thread = thread();
        if let Some(frame) = self.0.iter_mut().find(|frame| frame.thread == thread) {
            frame.waiting[usize::from(pending.event.priority)].push_back(pending);
            frame.count += 1;
        }
    }

    /// The next event of a frame, critical first; `None` ends the frame.
    #[inline(always)]
    pub fn next(&mut self, at: usize) -> Option<Pending> {
        let frame = &mut self.0[at];
        if frame.count == 0 {
            frame.thread = NO_THREAD;
            return None;
        }
        frame.count -= 1;
        frame.waiting.iter_mut().rev().find_map(VecDeque::pop_front)
    }
}

/// Run the handlers of one event. Their exceptions are reported and counted; only what is meant to
/// end the program (KeyboardInterrupt, SystemExit) is returned, after the other handlers have run.
#[inline(always)]
pub fn run(py: Python<'_>, route: &Route, object: &Py<Event>) -> PyResult<()> {
    let mut ending = Ok(());
    for handler in route.iter() {
        if !handler.active.get() {
            continue;
        }
        handler.delivered.set(handler.delivered.get() + 1);
        if let Err(error) = handler.callable.bind(py).call1((object,)) {
            handler.errors.set(handler.errors.get() + 1);
            if error.is_instance_of::<pyo3::exceptions::PyException>(py) {
                report(py, handler, object, error);
            } else {
                ending = Err(error);
            }
        }
    }
    ending
}

#[cold]
fn report(py: Python<'_>, handler: &Handler, event: &Py<Event>, error: PyErr) {
    let reported = py
        .import("tickbus._report")
        .and_then(|module| module.getattr("handler_failed"))
        .and_then(|report| report.call1((&handler.callable, event, &error)));
    if let Err(failure) = reported {
        failure.write_unraisable(py, None);
        error.write_unraisable(py, Some(handler.callable.bind(py)));
    }
}
