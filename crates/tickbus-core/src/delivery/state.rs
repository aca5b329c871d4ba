//! The state after some records; each `apply` takes one more.

use super::record::{Kind, Note, is_followed};
use crate::event::Event;
use crate::names::BusNames;
use crate::topic::Matcher;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Settled events that are remembered, to answer who acknowledged them and to know a repeated record.
const REMEMBERED: usize = 65_536;
/// Records kept for events that have not been read yet.
const MOST_EARLY: usize = 65_536;
/// Kinds of events for which it is remembered which roles want them.
const MOST_WANTED: usize = 4_096;

/// Whose acknowledgement is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    All,
    Any,
    Roles(Vec<u16>),
}

/// What is asked for events of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub required: Required,
    /// For each step of the ladder the role that it hands the event to, if it does.
    pub next_roles: Vec<Option<u16>>,
}

/// What has become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Pending,
    Escalated,
    Acked,
    Dead,
    /// It is not followed, or nobody has published it.
    Unknown,
}

/// A followed event. Roles are their source numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracked {
    pub sequence: u64,
    pub event_type: u8,
    pub source: u16,
    pub symbol: u32,
    pub time: u64,
    /// Roles that were registered for it when it was published.
    pub roles: Arc<[u16]>,
    /// Who has acknowledged it, and when first.
    pub acked: Vec<(u16, u64)>,
    /// Of each role, how often it was handed out, where that was more than once.
    pub attempts: Vec<(u16, u32)>,
    pub steps: u32,
    pub steps_done: Vec<u32>,
    pub redrives: u32,
}

impl Tracked {
    pub fn has_acked(&self, role: u16) -> bool {
        self.acked.iter().any(|(acked, _)| *acked == role)
    }

    /// Roles registered for it that have not acknowledged it.
    pub fn missing(&self) -> impl Iterator<Item = u16> + '_ {
        self.roles.iter().copied().filter(|role| !self.has_acked(*role))
    }
}

struct Role {
    number: u16,
    patterns: Vec<String>,
    matcher: Matcher,
}

/// What has become of every followed event.
pub struct State {
    names: Arc<BusNames>,
    /// By type number; `None` is not followed.
    rules: Vec<Option<Rule>>,
    roles: Vec<Role>,
    pending: BTreeMap<u64, Tracked>,
    dead: BTreeMap<u64, Tracked>,
    settled: HashMap<u64, Tracked>,
    /// The settled, in the order in which they were.
    order: VecDeque<u64>,
    /// Events of this process that nobody has told the end of.
    in_flight: HashSet<u64>,
    /// Roles that want an event, by its type, source and symbol.
    wanted: HashMap<(u8, u16, u32), Arc<[u16]>>,
    early: HashMap<u64, Vec<Note>>,
    early_count: usize,
    next: u64,
    /// Acknowledgements of what their role had acknowledged.
    pub repeated: u64,
    /// Records about events that nobody follows.
    pub unknown: u64,
}

impl State {
    /// # Panics
    /// Unless there is a rule, or none, for each type number.
    pub fn new(names: Arc<BusNames>, rules: Vec<Option<Rule>>) -> State {
        assert_eq!(rules.len(), 256, "a rule for each type number");
        State {
            names,
            rules,
            roles: Vec::new(),
            pending: BTreeMap::new(),
            dead: BTreeMap::new(),
            settled: HashMap::new(),
            order: VecDeque::new(),
            in_flight: HashSet::new(),
            wanted: HashMap::new(),
            early: HashMap::new(),
            early_count: 0,
            next: 0,
            repeated: 0,
            unknown: 0,
        }
    }

    /// Take one more event of the log, unless it is about a role; whether it says something of an event that
    /// is followed, and then of which.
    #[inline]
    pub fn take(&mut self, sequence: u64, event: &Event) -> Option<u64> {
        match Kind::of(event.event_type) {
            Some(Kind::Role | Kind::Loop) => None,
            Some(kind) => {
                let note = Note::of(kind, event);
                self.apply(note).then_some(note.sequence)
            }
            None if is_followed(event) => self.event(sequence, event).then_some(sequence),
            None => None,
        }
    }

    /// Follow an event; whether it is followed.
    pub fn event(&mut self, sequence: u64, event: &Event) -> bool {
        if sequence < self.next {
            return self.find(sequence).is_some();
        }
        self.next = sequence + 1;
        let early = self.early.remove(&sequence).unwrap_or_default();
        self.early_count -= early.len();
        let Event { event_type, source, symbol, timestamp, .. } = *event;
        if self.rules[usize::from(event_type)].is_none() {
            self.in_flight.remove(&sequence);
            return false;
        }
        let roles = self.who_wants(event_type, source, symbol);
        self.pending.insert(
            sequence,
            Tracked {
                sequence,
                event_type,
                source,
                symbol,
                time: timestamp,
                roles,
                acked: Vec::new(),
                attempts: Vec::new(),
                steps: 0,
                steps_done: Vec::new(),
                redrives: 0,
            },
        );
        for note in early {
            self.apply(note);
        }
        true
    }

    /// Take a record about an event; whether the event is known.
    pub fn apply(&mut self, note: Note) -> bool {
        let sequence = note.sequence;
        let Some(tracked) = self.pending.get_mut(&sequence) else {
            return self.apply_elsewhere(note);
        };
        self.repeated += u64::from(remember(tracked, &note));
        match note.kind {
            Kind::Ack | Kind::Escalated => self.settle(sequence),
            Kind::Dead if note.count() == tracked.redrives => {
                if let Some(tracked) = self.pending.remove(&sequence) {
                    self.dead.insert(sequence, tracked);
                    self.in_flight.remove(&sequence);
                }
            }
            _ => {}
        }
        true
    }

    /// A record about an event that is dead, settled, not read yet, or nobody's.
    fn apply_elsewhere(&mut self, note: Note) -> bool {
        let sequence = note.sequence;
        if let Some(tracked) = self.dead.get_mut(&sequence) {
            self.repeated += u64::from(remember(tracked, &note));
            match note.kind {
                Kind::Ack => self.settle(sequence),
                Kind::Redriven => {
                    if let Some(tracked) = self.dead.remove(&sequence) {
                        self.pending.insert(sequence, tracked);
                    }
                }
                _ => {}
            }
            return true;
        }
        if let Some(tracked) = self.settled.get_mut(&sequence) {
            self.repeated += u64::from(remember(tracked, &note));
            return true;
        }
        if sequence >= self.next && self.early_count < MOST_EARLY {
            self.early.entry(sequence).or_default().push(note);
            self.early_count += 1;
        } else {
            self.unknown += 1;
        }
        false
    }

    /// Whether records wait for their events, when all before `end` of the critical lane is read. What waits
    /// for something before that waits for no followed event.
    pub fn has_early(&mut self, end: u64) -> bool {
        let (early, mut dropped) = (&mut self.early, 0);
        early.retain(|sequence, notes| {
            dropped += if *sequence < end { notes.len() } else { 0 };
            *sequence >= end
        });
        self.early_count -= dropped;
        self.unknown += dropped as u64;
        !self.early.is_empty()
    }

    /// Register a role for the events after this.
    pub fn register(&mut self, number: u16, matcher: Matcher) {
        self.wanted.clear();
        let patterns = matcher.patterns().to_vec();
        let role = Role { number, patterns, matcher };
        match self.roles.iter_mut().find(|role| role.number == number) {
            Some(known) => *known = role,
            None => self.roles.push(role),
        }
    }

    /// Ask a role no more, also not for what is pending.
    pub fn drop_role(&mut self, number: u16) {
        self.wanted.clear();
        self.roles.retain(|role| role.number != number);
        let mut waited = Vec::new();
        let unsettled = self.pending.values_mut().chain(self.dead.values_mut());
        for tracked in unsettled.filter(|tracked| tracked.roles.contains(&number)) {
            tracked.roles = without(&tracked.roles, number);
            waited.push(tracked.sequence);
        }
        for tracked in self.settled.values_mut() {
            if tracked.roles.contains(&number) {
                tracked.roles = without(&tracked.roles, number);
            }
        }
        for sequence in waited {
            self.settle(sequence);
        }
    }

    /// Registered roles and their patterns, in the order in which they came.
    pub fn roles(&self) -> impl Iterator<Item = (u16, &[String])> {
        self.roles.iter().map(|role| (role.number, role.patterns.as_slice()))
    }

    /// Know an event from a snapshot.
    pub fn restore(&mut self, tracked: Tracked, is_dead: bool) {
        let kept = if is_dead { &mut self.dead } else { &mut self.pending };
        kept.insert(tracked.sequence, tracked);
    }

    /// Sequence after the last event read.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Go on behind a snapshot.
    pub fn begin(&mut self, next: u64) {
        self.next = next;
    }

    /// Count an event of this process as in flight until its end is read; how many are.
    pub fn fly(&mut self, sequence: u64) -> usize {
        if sequence >= self.next || self.pending.contains_key(&sequence) {
            self.in_flight.insert(sequence);
        }
        self.in_flight.len()
    }

    pub fn in_flight(&self) -> &HashSet<u64> {
        &self.in_flight
    }

    /// Neither settled nor dead, by sequence.
    pub fn pending(&self) -> &BTreeMap<u64, Tracked> {
        &self.pending
    }

    pub fn dead(&self) -> &BTreeMap<u64, Tracked> {
        &self.dead
    }

    /// The last that were settled, in no order.
    pub fn settled(&self) -> &HashMap<u64, Tracked> {
        &self.settled
    }

    /// Of each role, registered ones first, how many pending events it has not acknowledged, and the
    /// oldest's time.
    pub fn owed(&self) -> Vec<(u16, u64, u64)> {
        let mut owed: Vec<(u16, u64, u64)> =
            self.roles.iter().map(|role| (role.number, 0, 0)).collect();
        for tracked in self.pending.values() {
            for missing in tracked.missing() {
                match owed.iter_mut().find(|(role, _, _)| *role == missing) {
                    Some((_, count, oldest)) => {
                        *oldest =
                            if *count == 0 { tracked.time } else { tracked.time.min(*oldest) };
                        *count += 1;
                    }
                    None => owed.push((missing, 1, tracked.time)),
                }
            }
        }
        owed
    }

    /// Whether the event is settled or dead, as far as that is remembered.
    pub fn is_over(&self, sequence: u64) -> bool {
        self.settled.contains_key(&sequence) || self.dead.contains_key(&sequence)
    }

    /// What is known of an event.
    pub fn find(&self, sequence: u64) -> Option<&Tracked> {
        self.pending
            .get(&sequence)
            .or_else(|| self.dead.get(&sequence))
            .or_else(|| self.settled.get(&sequence))
    }

    pub fn fate(&self, sequence: u64) -> Fate {
        match self.pending.get(&sequence) {
            Some(tracked) if tracked.steps > 0 => Fate::Escalated,
            Some(_) => Fate::Pending,
            None if self.dead.contains_key(&sequence) => Fate::Dead,
            None if self.settled.contains_key(&sequence) => Fate::Acked,
            None => Fate::Unknown,
        }
    }

    fn who_wants(&mut self, event_type: u8, source: u16, symbol: u32) -> Arc<[u16]> {
        let key = (event_type, source, symbol);
        if let Some(roles) = self.wanted.get(&key) {
            return Arc::clone(roles);
        }
        let names = self.names.as_ref();
        let wants = |role: &mut Role| {
            role.matcher.matches(event_type, source, symbol, names).then_some(role.number)
        };
        let roles: Arc<[u16]> = self.roles.iter_mut().filter_map(wants).collect();
        if self.wanted.len() >= MOST_WANTED {
            self.wanted.clear();
        }
        self.wanted.insert(key, Arc::clone(&roles));
        roles
    }

    /// Whether those have acknowledged it whose acknowledgement is needed.
    fn is_settled(&self, tracked: &Tracked) -> bool {
        let Some(rule) = &self.rules[usize::from(tracked.event_type)] else {
            return true;
        };
        if tracked.acked.is_empty() {
            return false;
        }
        let has_acked = |role: &u16| tracked.has_acked(*role);
        if rule.next_roles.iter().take(tracked.steps as usize).flatten().any(has_acked) {
            return true;
        }
        match &rule.required {
            Required::Any => tracked.roles.is_empty() || tracked.roles.iter().any(has_acked),
            Required::All => tracked.roles.iter().all(has_acked),
            Required::Roles(roles) => roles.iter().all(has_acked),
        }
    }

    fn settle(&mut self, sequence: u64) {
        let kept = self.pending.get(&sequence).or_else(|| self.dead.get(&sequence));
        if !kept.is_some_and(|tracked| self.is_settled(tracked)) {
            return;
        }
        let taken = self.pending.remove(&sequence).or_else(|| self.dead.remove(&sequence));
        let Some(tracked) = taken else { return };
        self.in_flight.remove(&sequence);
        self.settled.insert(sequence, tracked);
        self.order.push_back(sequence);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.settled.remove(&oldest);
        }
    }
}

fn without(roles: &[u16], number: u16) -> Arc<[u16]> {
    roles.iter().copied().filter(|role| *role != number).collect()
}

/// What a record adds, whatever the event's fate: in any order the same. Whether it is an
/// acknowledgement that was there.
fn remember(tracked: &mut Tracked, note: &Note) -> bool {
    let role = note.role;
    match note.kind {
        Kind::Ack => match tracked.acked.iter_mut().find(|(acked, _)| *acked == role) {
            Some((_, first)) => {
                *first = note.time.min(*first);
                return true;
            }
            None => tracked.acked.push((role, note.time)),
        },
        Kind::Redeliver => match tracked.attempts.iter_mut().find(|(of, _)| *of == role) {
            Some((_, attempts)) => *attempts = note.count().max(*attempts),
            None => tracked.attempts.push((role, note.count().max(1))),
        },
        Kind::Escalated => tracked.steps = tracked.steps.max(note.count()),
        Kind::StepDone if !tracked.steps_done.contains(&note.count()) => {
            tracked.steps_done.push(note.count());
        }
        Kind::Redriven => tracked.redrives = tracked.redrives.max(note.count()),
        _ => {}
    }
    false
}
