//! Publishing from Python: check, publish, wait without the GIL where a lane says so, dispatch.

use crate::bus::Bus;
use crate::core::Core;
use crate::dispatch::{self, Pending, Route};
use crate::error::{invalid, raise_with};
use crate::event::{Event, id_of, place_of};
use crate::gil::Held;
use crate::rows;
use pyo3::prelude::*;
use std::sync::Arc;
use std::time::Instant;
use tickbus_core::bus::Bus as CoreBus;
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::lane::ring::Blocked;
use tickbus_core::producer::{Batch, Refused, Wait};
use tickbus_core::sys::now_ns;

impl Bus {
    /// Publish `event`, whose fields have been checked, and run its handlers; its id.
    #[inline(always)]
    pub fn publish_core(&self, py: Python<'_>, event: &CoreEvent) -> PyResult<u64> {
        let core = self.hold(py)?;
        self.publish_held(py, core, event)
    }

    /// The same, with the core at hand.
    #[inline(always)]
    pub fn publish_held(
        &self,
        py: Python<'_>,
        mut core: Held<'_, Core>,
        event: &CoreEvent,
    ) -> PyResult<u64> {
        match core.try_publish(event, None) {
            Ok(id) => self.finish(py, core, event, id),
            Err(blocked) => {
                drop(core);
                self.publish_waiting(py, event, blocked)
            }
        }
    }

    /// What remains of a publish when the event is on its lane.
    #[inline(always)]
    fn finish(
        &self,
        py: Python<'_>,
        mut core: Held<'_, Core>,
        event: &CoreEvent,
        id: u64,
    ) -> PyResult<u64> {
        if core.is_held(id) {
            drop(core);
            return self.publish_persisted(py, event, id);
        }
        match core.route(event) {
            None => Ok(id),
            Some(route) => self.dispatch(py, core, event, id, route),
        }
    }

    /// The rest of a publish on a bus with a journal: persisted first, then seen.
    #[cold]
    #[inline(never)]
    fn publish_persisted(&self, py: Python<'_>, event: &CoreEvent, id: u64) -> PyResult<u64> {
        self.persist(py, id)?;
        let mut core = self.hold(py)?;
        match core.route(event) {
            None => Ok(id),
            Some(route) => self.dispatch(py, core, event, id, route),
        }
    }

    /// Wait until a critical event is persisted.
    fn persist(&self, py: Python<'_>, id: u64) -> PyResult<()> {
        let (bus, journal, patience) =
            self.with(py, |core| (Arc::clone(&core.bus), core.journal.clone(), core.patience))?;
        let (lane, sequence) = place_of(id);
        let outcome = py.detach(|| match journal {
            Some(journal) => journal.persist(lane, sequence).map_err(Ok),
            None => bus.await_visible(lane, sequence, Instant::now() + patience).map_err(Err),
        });
        outcome.map_err(|why| match why {
            Ok(error) => crate::error::journal(py, error, id),
            Err(why) => crate::error::unpersisted(py, &bus, why, id),
        })
    }

    #[cold]
    #[inline(never)]
    fn publish_waiting(
        &self,
        py: Python<'_>,
        event: &CoreEvent,
        mut blocked: Blocked,
    ) -> PyResult<u64> {
        let (bus, patience) = self.with(py, |core| (Arc::clone(&core.bus), core.patience))?;
        let mut wait = Wait::new(&bus, usize::from(event.priority), patience);
        loop {
            // The reader that is waited for may need the GIL to go on.
            py.detach(|| wait.for_room(blocked)).map_err(|why| refused(py, &bus, why, 0))?;
            let mut core = self.hold(py)?;
            match core.try_publish(event, Some(wait.reserve)) {
                Ok(id) => {
                    wait.done();
                    return self.finish(py, core, event, id);
                }
                Err(again) => blocked = again,
            }
        }
    }

    /// Run the handlers of an event, then those of what they published meanwhile; or leave it to the
    /// publish further up this thread's stack that is doing so already. Returns the event's id.
    #[inline(never)]
    fn dispatch(
        &self,
        py: Python<'_>,
        mut core: Held<'_, Core>,
        event: &CoreEvent,
        id: u64,
        route: Route,
    ) -> PyResult<u64> {
        let Some(frame) = core.frames.begin() else {
            core.frames.wait(Pending { event: *event, id, route });
            return Ok(id);
        };
        let (table, mut object) = (core.table, core.spare.take());
        drop(core);
        let mut ending = self.run(py, event, id, &route, table, &mut object);
        while let Some(Pending { event, id, route }) = self.next(py, frame, &mut object) {
            let outcome = self.run(py, &event, id, &route, table, &mut object);
            ending = ending.and(outcome);
        }
        ending.map(|()| id)
    }

    /// The next event whose handlers wait in a frame; without one the frame ends, and `object` is
    /// kept for the next turn.
    #[inline(always)]
    fn next(
        &self,
        py: Python<'_>,
        frame: usize,
        object: &mut Option<Py<Event>>,
    ) -> Option<Pending> {
        self.core.with(py, |core| {
            // A handler may have closed the bus; then nothing waits.
            let core = core.as_mut()?;
            let next = core.frames.next(frame);
            if next.is_none() {
                std::mem::swap(&mut core.spare, object);
            }
            next
        })
    }

    /// Run the handlers of one event, which they see in `object` unless somebody still holds that.
    #[inline(always)]
    fn run(
        &self,
        py: Python<'_>,
        event: &CoreEvent,
        id: u64,
        route: &Route,
        table: u32,
        object: &mut Option<Py<Event>>,
    ) -> PyResult<()> {
        match object {
            Some(object) if Event::is_unshared(object, py) => object.get().refill(event, id),
            _ => *object = None,
        }
        let object = match object {
            Some(object) => object,
            None => object.insert(Py::new(py, Event::new(event, id, table))?),
        };
        dispatch::run(py, route, object)
    }

    /// Publish checked rows, whose set of types is `types`, without inline handlers.
    pub fn publish_rows(
        &self,
        py: Python<'_>,
        rows: &[CoreEvent],
        types: [u64; 4],
    ) -> PyResult<()> {
        let (bus, patience) = self.with(py, |core| (Arc::clone(&core.bus), core.patience))?;
        let now = now_ns();
        let mut done = 0;
        while done < rows.len() {
            let priority = rows[done].priority;
            let run = rows[done..].iter().take_while(|row| row.priority == priority).count();
            let lane = usize::from(priority);
            let mut left = &rows[done..done + run];
            let mut wait: Option<Wait> = None;
            while !left.is_empty() {
                let batch = Batch { lane, events: left, types, now };
                let reserve = wait.as_ref().map_or(bus.reserve(lane), |wait| wait.reserve);
                let (count, blocked, held) = self.with(py, |core| {
                    let (count, blocked) = core.producer.try_publish_batch(&batch, reserve);
                    core.published += count as u64;
                    let last = core.producer.tail(lane).saturating_sub(1);
                    (count, blocked, (count > 0 && core.is_held(id_of(last, lane))).then_some(last))
                })?;
                if let Some(last) = held {
                    self.persist(py, id_of(last, lane)).inspect_err(|error| {
                        // Best effort: the exception is the news, the count an attribute of it.
                        let _ = error.value(py).setattr("published", done + count);
                    })?;
                }
                left = &left[count..];
                done += count;
                if let Some(blocked) = blocked {
                    let wait = wait.get_or_insert_with(|| Wait::new(&bus, lane, patience));
                    py.detach(|| wait.for_room(blocked))
                        .map_err(|why| refused(py, &bus, why, done as u64))?;
                }
            }
            if let Some(wait) = wait {
                wait.done();
            }
        }
        Ok(())
    }

    /// Refuse an event of an unregistered type, or with a NaN that this bus does not publish.
    pub fn check_publishable(&self, py: Python<'_>, event: &CoreEvent) -> PyResult<()> {
        if self.with(py, |core| core.may_publish(event))? {
            return Ok(());
        }
        if self.with(py, |core| core.is_registered(event.event_type))? {
            Err(invalid(py, "value=nan is not published; open the bus with allow_nan=True to"))
        } else {
            Err(self.not_registered(py, event.event_type))
        }
    }

    #[cold]
    pub fn not_registered(&self, py: Python<'_>, number: u8) -> PyErr {
        invalid(
            py,
            format!("event_type={number} is not registered; see EventType and Bus.register_type"),
        )
    }

    /// Refuse rows that are no valid events, before any is published; the set of their types.
    pub fn check_rows(&self, py: Python<'_>, rows: &[CoreEvent]) -> PyResult<[u64; 4]> {
        // One pass without branches finds whether anything is wrong; only then it matters where.
        let extremes = rows::Extremes::of(rows);
        let valid = self.with(py, |core| {
            let (symbols, sources) = core.bus.names().counts();
            let registered = |core: &Core| (0..4).all(|i| extremes.types[i] & !core.types[i] == 0);
            if !registered(core) {
                core.types = core.bus.names().type_mask();
            }
            registered(core) && extremes.fit(symbols, sources) && (core.allow_nan || !extremes.nan)
        })?;
        if valid { Ok(extremes.types) } else { Err(self.bad_row(py, rows)) }
    }

    #[cold]
    fn bad_row(&self, py: Python<'_>, rows: &[CoreEvent]) -> PyErr {
        let found = self.with(py, |core| {
            let (symbols, sources) = core.bus.names().counts();
            rows.iter().enumerate().find_map(|(at, row)| {
                let one = rows::Extremes::of(std::slice::from_ref(row));
                if !core.is_registered(row.event_type) {
                    Some((at, "event_type", "is not registered"))
                } else if row.priority > 2 {
                    Some((at, "priority", "is none of 0, 1, 2"))
                } else if u64::from(row.symbol) > symbols {
                    Some((at, "symbol", "is no known symbol's number"))
                } else if u64::from(row.source) > sources {
                    Some((at, "source", "is no known source's number"))
                } else if one.nan && !core.allow_nan {
                    Some((at, "value", "is NaN, which only a bus with allow_nan=True publishes"))
                } else {
                    None
                }
            })
        });
        match found {
            Ok(Some((at, field, why))) => {
                invalid(py, format!("events[{at}]: {field} {why}: {:?}", rows[at]))
            }
            Ok(None) => invalid(py, "events changed while they were checked"),
            Err(error) => error,
        }
    }
}

#[cold]
fn refused(py: Python<'_>, bus: &CoreBus, why: Refused, published: u64) -> PyErr {
    match why {
        Refused::Backpressure { waited } => {
            let (pid, behind) = bus.slowest_gating().unwrap_or((0, 0));
            raise_with(
                py,
                "BackpressureError",
                format!(
                    "the critical lane ({} events) and its reserve are full after {:.3} s: process \
                     {pid} has a subscription that is {behind} events behind",
                    bus.lanes()[2].size(),
                    waited.as_secs_f64()
                ),
                &[("published", published), ("pid", pid), ("behind", behind)],
            )
        }
        Refused::Unpersisted(why) => {
            let error = crate::error::unpersisted(py, bus, why, 0);
            // Best effort: the exception is the news, the count an attribute of it.
            let _ = error.value(py).setattr("published", published);
            error
        }
        Refused::Stalled { owner } => {
            let pid = bus.pid_of(owner).unwrap_or(0);
            raise_with(
                py,
                "StalledError",
                format!("process {pid} is stopped in the middle of a publish, a lap ago"),
                &[("published", published), ("pid", pid)],
            )
        }
    }
}
