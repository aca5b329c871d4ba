//! The state of delivery for Python: read from a subscription without an object for each event.

use crate::bus::Bus;
use crate::error::{invalid, raise};
use crate::event::Event;
use crate::gil::GilCell;
use crate::subscription::Subscription;
use crate::tables;
use crate::tracked::{Tracked, name_of};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tickbus_core::delivery::{self, Fate, Kind, Note, Required, Rule, State};
use tickbus_core::event::Event as CoreEvent;
use tickbus_core::names::BusNames;
use tickbus_core::subscription::Delivered;
use tickbus_core::topic::Matcher;

/// A rule from Python: "all", "any" or "roles" and these; for each step of the ladder its role, if it
/// has one.
type GivenRule = (String, Vec<String>, Vec<Option<String>>);

/// What has become of every followed event; see ``tickbus.delivery.replica``.
#[pyclass(frozen, module = "tickbus._native")]
pub struct DeliveryState {
    core: GilCell<State>,
    names: Arc<BusNames>,
    table: u32,
}

impl DeliveryState {
    fn number(&self, py: Python<'_>, role: &str) -> PyResult<u16> {
        number(py, &self.names, role)
    }

    /// Take an event that was read. A record about an event that was not read yet counts only if that is on
    /// the lane: else it would be about whatever event gets its sequence one day.
    #[inline]
    fn take(
        &self,
        py: Python<'_>,
        reader: &Subscription,
        delivered: &Delivered,
    ) -> PyResult<Option<u64>> {
        let Delivered { sequence, event } = delivered;
        let about = event.metadata;
        if Kind::of(event.event_type).is_some_and(Kind::is_note)
            && about >= self.core.with(py, |state| state.next())
        {
            let (next, end) = reader.critical(py)?;
            if !(next..end).contains(&about) {
                self.core.with(py, |state| state.unknown += 1);
                return Ok(None);
            }
        }
        Ok(self.core.with(py, |state| state.take(*sequence, event)))
    }

    fn tracked(
        &self,
        py: Python<'_>,
        choose: impl FnOnce(&State) -> Vec<delivery::Tracked>,
    ) -> PyResult<Vec<Tracked>> {
        // Python objects are made when the state is free again: making one may run anything.
        let found = self.core.with(py, |state| choose(state));
        found.iter().map(|tracked| Tracked::new(py, tracked, &self.names)).collect()
    }
}

fn number(py: Python<'_>, names: &BusNames, role: &str) -> PyResult<u16> {
    names.source(role).map_err(|error| crate::error::of(py, error.into()))
}

/// What reading came to: how many events, records of events that are followed (and of loops) as
/// ``(kind, sequence or term, role, value)``, and the record of a role at which it ended.
type Read = (usize, Vec<(&'static str, u64, String, f64)>, Option<Event>);

#[pymethods]
impl DeliveryState {
    /// ``rules`` by type number; ``None`` is not followed.
    #[new]
    fn py_new(
        py: Python<'_>,
        bus: &Bound<'_, Bus>,
        rules: Vec<Option<GivenRule>>,
    ) -> PyResult<DeliveryState> {
        let (names, table) =
            bus.get().with(py, |core| (Arc::clone(core.bus.names()), core.table))?;
        let rule = |given: Option<GivenRule>| -> PyResult<Option<Rule>> {
            let Some((required, roles, ladder)) = given else {
                return Ok(None);
            };
            let roles = roles.iter().map(|role| number(py, &names, role));
            let required = match required.as_str() {
                "all" => Required::All,
                "any" => Required::Any,
                _ => Required::Roles(roles.collect::<PyResult<_>>()?),
            };
            let next = ladder.iter().map(|role| role.as_ref().map(|role| number(py, &names, role)));
            Ok(Some(Rule {
                required,
                next_roles: next.map(Option::transpose).collect::<PyResult<_>>()?,
            }))
        };
        let rules = rules.into_iter().map(rule).collect::<PyResult<Vec<_>>>()?;
        if rules.len() != 256 {
            return Err(invalid(
                py,
                format!("{} rules are not one for each type number", rules.len()),
            ));
        }
        let core = GilCell::new(State::new(Arc::clone(&names), rules));
        Ok(DeliveryState { core, names, table })
    }

    /// Read what is there, at most ``most`` events, or wait for it. Ends at a record of a role, which is the
    /// caller's to take in. ``tell``: say which records there were.
    fn read(
        &self,
        py: Python<'_>,
        subscription: &Bound<'_, Subscription>,
        timeout_s: f64,
        most: usize,
        tell: bool,
    ) -> PyResult<Read> {
        let reader = subscription.get();
        let (mut count, mut told) = (0, Vec::new());
        let mut taken = reader.take(py)?;
        if taken.is_none() && timeout_s > 0.0 {
            let wait = Duration::try_from_secs_f64(timeout_s).unwrap_or(Duration::MAX);
            taken = reader.wait(py, Instant::now().checked_add(wait))?;
        }
        while let Some(delivered) = taken {
            let Delivered { sequence, event } = delivered;
            count += 1;
            let kind = Kind::of(event.event_type);
            if kind == Some(Kind::Role) {
                return Ok((count, told, Some(reader.event(&Delivered { sequence, event }))));
            }
            if kind == Some(Kind::Loop) && tell {
                told.push((Kind::Loop.name(), event.metadata, String::new(), event.value));
            }
            let about = self.take(py, reader, &delivered)?;
            if let (Some(about), true) = (about, tell) {
                let name = kind.map_or("event", Kind::name);
                let role =
                    if kind.is_some() { name_of(&self.names, event.source) } else { String::new() };
                let value = kind.map_or(0.0, |kind| Note::of(kind, &event).value);
                told.push((name, about, role, value));
            }
            taken = if count < most { reader.take(py)? } else { None };
        }
        Ok((count, told, None))
    }

    /// Read until the event at ``sequence`` is settled or dead, for ``timeout_s`` seconds at most; whether
    /// it is, and the record of a role at which reading ended.
    fn wait(
        &self,
        py: Python<'_>,
        subscription: &Bound<'_, Subscription>,
        sequence: u64,
        timeout_s: f64,
    ) -> PyResult<(bool, Option<Event>)> {
        let reader = subscription.get();
        let mut deadline = None;
        loop {
            while let Some(delivered) = reader.take(py)? {
                if Kind::of(delivered.event.event_type) == Some(Kind::Role) {
                    return Ok((self.is_over(py, sequence), Some(reader.event(&delivered))));
                }
                self.take(py, reader, &delivered)?;
            }
            if self.is_over(py, sequence) {
                return Ok((true, None));
            }
            let deadline = *deadline.get_or_insert_with(|| {
                let wait = Duration::try_from_secs_f64(timeout_s.max(0.0)).unwrap_or(Duration::MAX);
                Instant::now().checked_add(wait)
            });
            match reader.wait(py, deadline)? {
                Some(delivered) if Kind::of(delivered.event.event_type) == Some(Kind::Role) => {
                    return Ok((self.is_over(py, sequence), Some(reader.event(&delivered))));
                }
                Some(delivered) => {
                    self.take(py, reader, &delivered)?;
                }
                None => return Ok((self.is_over(py, sequence), None)),
            }
        }
    }

    /// Follow an event; whether events of its type are followed.
    fn event(
        &self,
        py: Python<'_>,
        sequence: u64,
        event_type: u8,
        source: u16,
        symbol: u32,
        time: u64,
    ) -> bool {
        let event =
            CoreEvent { event_type, source, symbol, timestamp: time, ..CoreEvent::default() };
        self.core.with(py, |state| state.event(sequence, &event))
    }

    /// Take a record about an event; whether the event is known.
    ///
    /// Raises:
    ///     InvalidEventError: There is no such kind of record.
    fn note(
        &self,
        py: Python<'_>,
        kind: &str,
        sequence: u64,
        role: &str,
        value: f64,
        time: u64,
    ) -> PyResult<bool> {
        let kind = Kind::of_name(kind)
            .filter(|kind| !matches!(kind, Kind::Role | Kind::Loop))
            .ok_or_else(|| invalid(py, format!("kind={kind:?} is no record about an event")))?;
        let role = if role.is_empty() { 0 } else { self.number(py, role)? };
        let note = Note { kind, sequence, role, value, time };
        Ok(self.core.with(py, |state| state.apply(note)))
    }

    /// Whether records wait for their events, when all before ``end`` of the critical lane is read.
    fn has_early(&self, py: Python<'_>, end: u64) -> bool {
        self.core.with(py, |state| state.has_early(end))
    }

    /// Register a role for the events after this.
    ///
    /// Raises:
    ///     PatternError: A pattern is malformed.
    fn register(&self, py: Python<'_>, role: &str, patterns: Vec<String>) -> PyResult<()> {
        let number = self.number(py, role)?;
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let matcher = Matcher::compile(&patterns, self.names.as_ref())
            .map_err(|error| raise(py, "PatternError", error.to_string()))?;
        self.core.with(py, |state| state.register(number, matcher));
        Ok(())
    }

    /// Ask a role no more, also not for what is pending.
    fn drop_role(&self, py: Python<'_>, role: &str) -> PyResult<()> {
        let number = self.number(py, role)?;
        self.core.with(py, |state| state.drop_role(number));
        Ok(())
    }

    /// Registered roles with their patterns.
    #[getter]
    fn roles<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let owned = |(role, patterns): (u16, &[String])| (role, patterns.to_vec());
        let found: Vec<_> = self.core.with(py, |state| state.roles().map(owned).collect());
        let roles = PyDict::new(py);
        for (role, patterns) in found {
            roles.set_item(name_of(&self.names, role), PyTuple::new(py, patterns)?)?;
        }
        Ok(roles)
    }

    /// Know an event from a snapshot.
    #[expect(clippy::too_many_arguments, reason = "a row of a snapshot, by keyword")]
    #[pyo3(signature = (*, dead, sequence, event_type, source, symbol, time, roles, acked, attempts, steps, steps_done, redrives))]
    fn restore(
        &self,
        py: Python<'_>,
        dead: bool,
        sequence: u64,
        event_type: u8,
        source: u16,
        symbol: u32,
        time: u64,
        roles: Vec<String>,
        acked: Vec<(String, u64)>,
        attempts: Vec<(String, u32)>,
        steps: u32,
        steps_done: Vec<u32>,
        redrives: u32,
    ) -> PyResult<()> {
        let roles: Vec<u16> =
            roles.iter().map(|role| self.number(py, role)).collect::<PyResult<_>>()?;
        let by_number = |(role, time): (String, u64)| Ok((self.number(py, &role)?, time));
        let acked = acked.into_iter().map(by_number).collect::<PyResult<_>>()?;
        let by_number = |(role, count): (String, u32)| Ok((self.number(py, &role)?, count));
        let attempts = attempts.into_iter().map(by_number).collect::<PyResult<_>>()?;
        let roles = roles.into();
        let tracked = delivery::Tracked {
            sequence,
            event_type,
            source,
            symbol,
            time,
            roles,
            acked,
            attempts,
            steps,
            steps_done,
            redrives,
        };
        self.core.with(py, |state| state.restore(tracked, dead));
        Ok(())
    }

    /// Go on behind a snapshot.
    fn begin(&self, py: Python<'_>, next: u64) {
        self.core.with(py, |state| state.begin(next));
    }

    /// Count an event of this process as in flight until its end is read; how many are.
    fn fly(&self, py: Python<'_>, sequence: u64) -> usize {
        self.core.with(py, |state| state.fly(sequence))
    }

    /// Whether an event of this process is in flight.
    fn flies(&self, py: Python<'_>, sequence: u64) -> bool {
        self.core.with(py, |state| state.in_flight().contains(&sequence))
    }

    /// How many events of this process are in flight.
    #[getter]
    fn in_flight(&self, py: Python<'_>) -> usize {
        self.core.with(py, |state| state.in_flight().len())
    }

    /// Sequence after the last event read.
    #[getter]
    fn next(&self, py: Python<'_>) -> u64 {
        self.core.with(py, |state| state.next())
    }

    /// Acknowledgements of what their role had acknowledged.
    #[getter]
    fn repeated(&self, py: Python<'_>) -> u64 {
        self.core.with(py, |state| state.repeated)
    }

    /// Records about events that nobody follows.
    #[getter]
    fn unknown(&self, py: Python<'_>) -> u64 {
        self.core.with(py, |state| state.unknown)
    }

    /// Sequences of the events that are neither settled nor dead, ascending.
    fn pending(&self, py: Python<'_>) -> Vec<u64> {
        self.core.with(py, |state| state.pending().keys().copied().collect())
    }

    /// Sequences of the dead letters, ascending.
    fn dead(&self, py: Python<'_>) -> Vec<u64> {
        self.core.with(py, |state| state.dead().keys().copied().collect())
    }

    /// How many events are pending, and how many dead letters.
    fn counts(&self, py: Python<'_>) -> (usize, usize) {
        self.core.with(py, |state| (state.pending().len(), state.dead().len()))
    }

    /// The first sequence of an event that is pending or dead; ``end`` when there is none.
    fn low(&self, py: Python<'_>, end: u64) -> u64 {
        self.core.with(py, |state| {
            let first = [state.pending().keys().next(), state.dead().keys().next()];
            first.into_iter().flatten().copied().fold(end, u64::min)
        })
    }

    /// The pending events.
    fn all_pending(&self, py: Python<'_>) -> PyResult<Vec<Tracked>> {
        self.tracked(py, |state| state.pending().values().cloned().collect())
    }

    /// The dead letters.
    fn all_dead(&self, py: Python<'_>) -> PyResult<Vec<Tracked>> {
        self.tracked(py, |state| state.dead().values().cloned().collect())
    }

    /// The last events that were settled, by sequence.
    fn all_settled(&self, py: Python<'_>) -> PyResult<Vec<Tracked>> {
        self.tracked(py, |state| {
            let mut settled: Vec<_> = state.settled().values().cloned().collect();
            settled.sort_by_key(|tracked| tracked.sequence);
            settled
        })
    }

    /// Of each role how many pending events it has not acknowledged, and the oldest's time.
    fn owed(&self, py: Python<'_>) -> Vec<(String, u64, u64)> {
        let owed = self.core.with(py, |state| state.owed());
        owed.into_iter()
            .map(|(role, count, time)| (name_of(&self.names, role), count, time))
            .collect()
    }

    fn is_pending(&self, py: Python<'_>, sequence: u64) -> bool {
        self.core.with(py, |state| state.pending().contains_key(&sequence))
    }

    /// Whether the event is settled or dead, as far as that is remembered.
    fn is_over(&self, py: Python<'_>, sequence: u64) -> bool {
        self.core.with(py, |state| state.is_over(sequence))
    }

    /// "pending", "escalated", "acked", "dead" or "unknown".
    fn fate(&self, py: Python<'_>, sequence: u64) -> &'static str {
        word(self.core.with(py, |state| state.fate(sequence)))
    }

    /// Of an event: its fate, who has acknowledged it and when, who is missing, how often it was handed
    /// out, and how often it was escalated. ``None`` when nothing is known of it.
    #[expect(clippy::type_complexity, reason = "the fields of a result")]
    fn outcome<'py>(
        &self,
        py: Python<'py>,
        sequence: u64,
    ) -> PyResult<
        Option<(&'static str, Bound<'py, PyDict>, Bound<'py, PyTuple>, Bound<'py, PyDict>, u32)>,
    > {
        let found = self
            .core
            .with(py, |state| Some((state.fate(sequence), state.find(sequence)?.clone())));
        let Some((fate, tracked)) = found else {
            return Ok(None);
        };
        let name = |role: u16| tables::source(py, self.table, role);
        let (acked, attempts) = (PyDict::new(py), PyDict::new(py));
        for (role, time) in &tracked.acked {
            acked.set_item(name(*role), time)?;
        }
        for (role, count) in &tracked.attempts {
            attempts.set_item(name(*role), count)?;
        }
        let missing = PyTuple::new(py, tracked.missing().map(name).collect::<Vec<_>>())?;
        Ok(Some((word(fate), acked, missing, attempts, tracked.steps)))
    }

    /// What is known of an event.
    fn find(&self, py: Python<'_>, sequence: u64) -> PyResult<Option<Tracked>> {
        let found = self.core.with(py, |state| state.find(sequence).cloned());
        found.map(|tracked| Tracked::new(py, &tracked, &self.names)).transpose()
    }
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Pending => "pending",
        Fate::Escalated => "escalated",
        Fate::Acked => "acked",
        Fate::Dead => "dead",
        Fate::Unknown => "unknown",
    }
}

/// Type numbers of delivery by what they say.
pub fn types(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let types = PyDict::new(py);
    for (_, number, name) in delivery::TYPES {
        types.set_item(name, number)?;
    }
    Ok(types)
}

/// Whether it is the number of a risk or critical type.
#[pyfunction]
pub fn is_followed_type(number: u8) -> bool {
    delivery::followed_type(number)
}
