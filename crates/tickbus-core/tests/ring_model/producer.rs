//! A producer, one memory access a step: append, rescan of the gate, repair of the dead.

use super::state::{Broken, Config, MAX_CLAIM, MAX_READERS, Mutant, NOBODY, Stamp, State};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Producer {
    pub alive: bool,
    pub number: u8,
    /// Batch it is at, and how much of it is published.
    pub batch: u8,
    pub progress: u8,
    pub local_tail: u8,
    pub at: At,
}

/// Whose claim is being finished, and what comes after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    pub first: u8,
    pub len: u8,
    pub owner: u8,
    /// A repairer's place in its search, and whom it repairs.
    pub repair: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    Idle,
    Stage {
        index: u8,
        word: u8,
    },
    Hint,
    Look {
        next: u8,
    },
    FreeRun {
        next: u8,
        seen: Stamp,
        found: u8,
    },
    Room {
        next: u8,
        seen: Stamp,
        len: u8,
    },
    Swap {
        next: u8,
        seen: Stamp,
        len: u8,
    },
    HintLook(Job),
    HintStore(Job),
    Mark(Job, u8),
    Copy(Job, u8, u8),
    Done(Job, u8),
    /// The slot's previous claim is unfinished.
    Unfinished {
        next: u8,
    },
    Lock,
    Seek {
        slot: u8,
        dead: u8,
    },
    /// The slot's event has not been read by every gating reader.
    Full {
        next: u8,
    },
    ScanTail {
        next: u8,
    },
    Scan {
        tail: u8,
        reader: u8,
        slowest: Option<u8>,
    },
    Raise {
        gate: u8,
    },
}

impl Producer {
    pub fn new(p: usize, config: &Config) -> Producer {
        let late = config.successor && p + 1 == config.batches.len();
        let number = if p < config.batches.len() && !late { p as u8 } else { NOBODY };
        Producer { alive: true, number, batch: 0, progress: 0, local_tail: 0, at: At::Idle }
    }

    pub fn is_finished(&self, p: usize, config: &Config) -> bool {
        config
            .batches
            .get(p)
            .is_none_or(|batches| usize::from(self.batch) == batches.len())
    }
}

/// What producer `p` publishes as entry `index` of its present claim.
fn id(config: &Config, state: &State, p: usize, index: u8) -> u8 {
    let Producer { batch, progress, .. } = state.producers[p];
    let before: u8 = config.batches[p][..usize::from(batch)].iter().sum();
    (p as u8 + 1) * 16 + before + progress + index
}

fn wanted(config: &Config, state: &State, p: usize) -> u8 {
    let Producer { batch, progress, .. } = state.producers[p];
    (config.batches[p][usize::from(batch)] - progress).min(MAX_CLAIM as u8)
}

/// Kill producer `p`; `None` when it makes no difference.
pub fn kill(state: &State, p: usize) -> Option<State> {
    let mut killed = *state;
    let producer = &mut killed.producers[p];
    if state.kills_left == 0 || !producer.alive || producer.at == At::Idle {
        return None;
    }
    *producer = Producer { alive: false, at: At::Idle, local_tail: 0, ..*producer };
    killed.kills_left -= 1;
    if killed.lock == Some(p as u8) {
        killed.lock = None;
    }
    Some(killed)
}

/// One step of producer `p`; `None` when it waits or has nothing to do.
pub fn step(config: &Config, state: &State, p: usize) -> Result<Option<State>, Broken> {
    let mut after = *state;
    let me = state.producers[p];
    if !me.alive || me.is_finished(p, config) {
        return Ok(None);
    }
    let slot = |sequence: u8| usize::from(sequence % config.slots);
    let at = match me.at {
        At::Idle if me.number == NOBODY => {
            if state.free == 0 {
                return Ok(None);
            }
            let number = state.free.trailing_zeros() as u8;
            after.free &= !(1 << number);
            after.producers[p].number = number;
            At::Idle
        }
        At::Idle => At::Stage { index: 0, word: 0 },
        At::Stage { index, word } => {
            after.staging[usize::from(me.number)][usize::from(index)][usize::from(word)] =
                id(config, state, p, index);
            match (index + 1 < wanted(config, state, p), word) {
                (_, 0) => At::Stage { index, word: 1 },
                (true, _) => At::Stage { index: index + 1, word: 0 },
                (false, _) => At::Hint,
            }
        }
        At::Hint => At::Look { next: me.local_tail.max(state.hint) },
        At::Look { next } => {
            let seen = state.stamp(config, next);
            let lap = next / config.slots;
            let unfinished = seen.laps() == lap && config.mutant == Mutant::IgnoreUnfinished;
            if seen == (Stamp::Done { laps: lap }) || unfinished {
                free_run(config, state, p, At::FreeRun { next, seen, found: 1 })
            } else if let Some(next) = State::walk(config, next, seen) {
                At::Look { next }
            } else {
                if !matches!(seen, Stamp::Head { laps, .. } if laps == lap) {
                    return Err(Broken::MetInterior);
                }
                after.producers[p].local_tail = next;
                At::Unfinished { next }
            }
        }
        At::FreeRun { next, seen, found } if state.is_free(config, next + found) => {
            free_run(config, state, p, At::FreeRun { next, seen, found: found + 1 })
        }
        At::FreeRun { next, seen, found } => At::Room { next, seen, len: found },
        At::Room { next, seen, len } if config.gated => {
            match len.min((state.gate + config.slots).saturating_sub(next)) {
                0 => {
                    after.producers[p].local_tail = next;
                    At::Full { next }
                }
                len => At::Swap { next, seen, len },
            }
        }
        // Without a gate nothing is loaded: room and swap are one step.
        At::Room { next, seen, len } | At::Swap { next, seen, len } => {
            if state.stamp(config, next) != seen {
                At::Look { next }
            } else {
                publish(config, state, &mut after, p, next, len)?;
                At::HintLook(Job { first: next, len, owner: me.number, repair: None })
            }
        }
        At::HintLook(job) if state.hint < job.first + job.len => At::HintStore(job),
        At::HintLook(job) => begin_marks(config, job),
        At::HintStore(job) => {
            after.hint = job.first + job.len;
            begin_marks(config, job)
        }
        At::Mark(job, index) => {
            let sequence = job.first + index;
            let laps = sequence / config.slots + 1;
            after.set_stamp(config, sequence, Stamp::Body { laps, owner: job.owner, index });
            match config.mutant {
                Mutant::MarkForward if index + 1 < job.len => At::Mark(job, index + 1),
                Mutant::MarkForward => At::Copy(job, 0, 0),
                _ if index > 1 => At::Mark(job, index - 1),
                _ => At::Copy(job, 0, 0),
            }
        }
        At::Copy(job, index, word) => {
            let staged = state.staging[usize::from(job.owner)][usize::from(index)];
            after.events[slot(job.first + index)][usize::from(word)] = staged[usize::from(word)];
            match (index + 1 < job.len, word) {
                (_, 0) => At::Copy(job, index, 1),
                (true, _) => At::Copy(job, index + 1, 0),
                (false, _) if config.mutant == Mutant::DoneForward => At::Done(job, 0),
                (false, _) => At::Done(job, job.len - 1),
            }
        }
        At::Done(job, index) => {
            let sequence = job.first + index;
            let laps = sequence / config.slots + 1;
            after.set_stamp(config, sequence, Stamp::Done { laps });
            match config.mutant {
                Mutant::DoneForward if index + 1 < job.len => At::Done(job, index + 1),
                Mutant::DoneForward => finished(config, &mut after, p, job),
                _ if index > 0 => At::Done(job, index - 1),
                _ => finished(config, &mut after, p, job),
            }
        }
        At::Unfinished { next } => match state.stamp(config, next) {
            Stamp::Head { laps, owner, .. } if laps == next / config.slots => {
                if !state.is_dead(owner) {
                    return Ok(None);
                }
                At::Lock
            }
            _ => At::Hint,
        },
        At::Lock => {
            if state.lock.is_some() {
                return Ok(None);
            }
            let dead = (0..config.batches.len() as u8).filter(|number| state.is_dead(*number));
            match dead.fold(0, |bits, number| bits | 1 << number) {
                // Somebody else was faster.
                0 => At::Hint,
                dead => {
                    after.lock = Some(p as u8);
                    if config.mutant == Mutant::RecycleEarly {
                        release_numbers(&mut after, dead);
                    }
                    At::Seek { slot: 0, dead }
                }
            }
        }
        At::Seek { slot, dead } if slot == config.slots => {
            release_numbers(&mut after, dead);
            after.lock = None;
            At::Hint
        }
        At::Seek { slot, dead } => match state.stamps[usize::from(slot)] {
            Stamp::Head { laps, owner, len } if dead & 1 << owner != 0 => {
                let first = (laps - 1) * config.slots + slot;
                At::HintLook(Job { first, len, owner, repair: Some((slot, dead)) })
            }
            _ => At::Seek { slot: slot + 1, dead },
        },
        At::Full { next } => {
            // It may look at any time; here, when a look can change something.
            if state.slowest().max(state.gate) + config.slots <= next {
                return Ok(None);
            }
            At::ScanTail { next: state.hint }
        }
        At::ScanTail { next } => match State::walk(config, next, state.stamp(config, next)) {
            Some(next) => At::ScanTail { next },
            None => At::Scan { tail: next, reader: MAX_READERS as u8 - 1, slowest: None },
        },
        At::Scan { tail, reader, slowest } => {
            let found = state.readers[usize::from(reader)];
            let slowest = match slowest {
                _ if !found.gating => slowest,
                None => Some(found.ack),
                Some(other) => Some(other.min(found.ack)),
            };
            if reader > 0 {
                At::Scan { tail, reader: reader - 1, slowest }
            } else if config.mutant == Mutant::GateUnbounded {
                At::Raise { gate: slowest.unwrap_or(tail) }
            } else {
                At::Raise { gate: slowest.unwrap_or(tail).min(tail) }
            }
        }
        At::Raise { gate } => {
            after.gate = state.gate.max(gate);
            At::Hint
        }
    };
    after.producers[p].at = at;
    Ok(Some(after))
}

/// Go on looking for free slots, or stop when there are enough.
fn free_run(config: &Config, state: &State, p: usize, run: At) -> At {
    let most = |next: u8| {
        let slots = if config.round { config.slots } else { config.slots - next % config.slots };
        wanted(config, state, p).min(slots)
    };
    match run {
        At::FreeRun { next, seen, .. } if config.mutant == Mutant::NoFreeRun => {
            At::Room { next, seen, len: most(next) }
        }
        At::FreeRun { next, seen, found } if found == most(next) => {
            At::Room { next, seen, len: found }
        }
        longer => longer,
    }
}

/// The claim has just been made: what the truth says to it.
fn publish(
    config: &Config,
    state: &State,
    after: &mut State,
    p: usize,
    first: u8,
    len: u8,
) -> Result<(), Broken> {
    if first != state.appended {
        return Err(Broken::Order);
    }
    if config.mutant == Mutant::None && !(first..first + len).all(|t| state.is_free(config, t)) {
        return Err(Broken::ClaimedUnfinished);
    }
    let owner = state.producers[p].number;
    let laps = first / config.slots + 1;
    after.set_stamp(config, first, Stamp::Head { laps, owner, len });
    for index in 0..len {
        after.log[usize::from(first + index)] = id(config, state, p, index);
    }
    after.appended += len;
    Ok(())
}

fn begin_marks(config: &Config, job: Job) -> At {
    match (job.len, config.mutant) {
        (1, _) | (_, Mutant::NoMarks) => At::Copy(job, 0, 0),
        (_, Mutant::MarkForward) => At::Mark(job, 1),
        (len, _) => At::Mark(job, len - 1),
    }
}

fn finished(config: &Config, after: &mut State, p: usize, job: Job) -> At {
    if let Some((slot, dead)) = job.repair {
        return At::Seek { slot: slot + 1, dead };
    }
    let producer = &mut after.producers[p];
    producer.local_tail = job.first + job.len;
    producer.progress += job.len;
    if producer.progress == config.batches[p][usize::from(producer.batch)] {
        producer.progress = 0;
        producer.batch += 1;
        if producer.is_finished(p, config) {
            producer.local_tail = 0;
        }
    }
    At::Idle
}

fn release_numbers(after: &mut State, dead: u8) {
    for producer in &mut after.producers {
        if !producer.alive && producer.number != NOBODY && dead & 1 << producer.number != 0 {
            after.free |= 1 << producer.number;
            producer.number = NOBODY;
        }
    }
}
