//! A reader, one memory access a step: single events, runs, and joining a gated lane late.

use super::state::{Broken, Config, MAX_CLAIM, Mutant, Reading, Stamp, State, Words};

/// Events a run takes at most: enough for one between the first and the last.
const RUN: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reader {
    /// Publishers see it and its `ack`.
    pub gating: bool,
    pub ack: u8,
    /// Its cursor.
    pub next: u8,
    pub at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// Not there, now or ever.
    Absent,
    /// May join.
    Outside,
    Register {
        gate: u8,
    },
    JoinHint,
    JoinTail {
        next: u8,
    },
    JoinAck {
        start: u8,
    },
    Idle,
    /// The usual case: done, copy, look again.
    Copy {
        words: Words,
        word: u8,
    },
    Recheck {
        words: Words,
    },
    /// Everything else.
    Look,
    Cover {
        seen: Stamp,
        head: u8,
    },
    Again {
        seen: Stamp,
    },
    Take {
        witness: u8,
        seen: Stamp,
        words: Words,
        word: u8,
    },
    Vouch {
        witness: u8,
        seen: Stamp,
        words: Words,
    },
    RunLook {
        count: u8,
        run: [Words; RUN],
    },
    RunCopy {
        count: u8,
        run: [Words; RUN],
        word: u8,
    },
    RunRecheck {
        count: u8,
        run: [Words; RUN],
        index: u8,
    },
}

impl Reader {
    pub fn new(config: &Config) -> Reader {
        let at = if config.reader { At::Idle } else { At::Absent };
        let gating = config.gated && config.reader;
        Reader { gating, ack: config.start, next: config.start, at }
    }

    pub fn joiner() -> Reader {
        Reader { gating: false, ack: 0, next: 0, at: At::Outside }
    }

    /// The lowest sequence it may still read.
    pub fn needs(&self) -> Option<u8> {
        (!matches!(self.at, At::Absent | At::Outside)).then_some(self.next)
    }
}

/// One step of reader `i`; `None` when it has nothing to do. `alone` says no producer can move.
pub fn step(
    config: &Config,
    state: &State,
    i: usize,
    alone: bool,
) -> Result<Option<State>, Broken> {
    let mut after = *state;
    let Reader { next, at, .. } = state.readers[i];
    let done = Stamp::Done { laps: next / config.slots + 1 };
    let event = |sequence: u8| state.events[usize::from(sequence % config.slots)];
    let late = config.mutant == Mutant::JoinLate;
    let at = match at {
        At::Absent => return Ok(None),
        At::Outside if !config.joiner || i == 0 => return Ok(None),
        At::Outside => {
            // Not known to the reader: what the tail it is about to look for must reach.
            after.readers[i].next = state.appended;
            if late { At::JoinHint } else { At::Register { gate: state.gate } }
        }
        At::Register { gate } => {
            after.readers[i].gating = true;
            // Nobody looked at the cursor before: storing it and registering are one step.
            after.readers[i].ack = if late { next } else { gate };
            if late { At::Idle } else { At::JoinHint }
        }
        At::JoinHint => {
            after.readers[i].next = state.appended;
            At::JoinTail { next: state.hint }
        }
        At::JoinTail { next } => match State::walk(config, next, state.stamp(config, next)) {
            Some(next) => At::JoinTail { next },
            None => At::JoinAck { start: next },
        },
        At::JoinAck { start } => {
            if start < next {
                return Err(Broken::StaleTail);
            }
            after.readers[i].next = start;
            after.readers[i].ack = start;
            if late { At::Register { gate: start } } else { At::Idle }
        }
        At::Idle => {
            // Looking at the empty end matters only while somebody may publish meanwhile.
            if next > state.appended || (next == state.appended && alone) {
                return Ok(None);
            }
            if config.reading == Reading::Run {
                let run = [[0; 2]; RUN];
                return step_run(config, state, after, i, 0, run);
            }
            if state.stamp(config, next) == done {
                At::Copy { words: [0; 2], word: 0 }
            } else {
                At::Look
            }
        }
        At::Copy { mut words, word } => {
            words[usize::from(word)] = event(next)[usize::from(word)];
            if word == 0 { At::Copy { words, word: 1 } } else { At::Recheck { words } }
        }
        At::Recheck { words } => {
            if config.mutant == Mutant::NoRecheck || state.stamp(config, next) == done {
                deliver(state, &mut after, i, &[words])?
            } else {
                At::Look
            }
        }
        At::Look => look(config, state, &mut after, i)?,
        At::Cover { seen, head } => match state.stamp(config, head) {
            stamp if stamp.laps() != head / config.slots + 1 => before(config, next, seen, head),
            stamp @ Stamp::Head { len, .. } if head + len > next => {
                At::Take { witness: head, seen: stamp, words: [0; 2], word: 0 }
            }
            // Claims do not nest: the nearest published slot before us ends the search.
            _ => At::Again { seen },
        },
        At::Again { seen } if state.stamp(config, next) != seen => At::Look,
        At::Again { .. } => At::Idle,
        At::Take { witness, seen, mut words, word } => {
            let from = match seen {
                Stamp::Done { .. } => event(next),
                Stamp::Head { owner, .. } => {
                    state.staging[usize::from(owner)][usize::from(next - witness)]
                }
                Stamp::Body { owner, index, .. } => {
                    state.staging[usize::from(owner)][usize::from(index)]
                }
            };
            words[usize::from(word)] = from[usize::from(word)];
            match word {
                0 => At::Take { witness, seen, words, word: 1 },
                _ => At::Vouch { witness, seen, words },
            }
        }
        At::Vouch { witness, seen, words } => {
            if config.mutant == Mutant::NoRecheck || state.stamp(config, witness) == seen {
                deliver(state, &mut after, i, &[words])?
            } else {
                At::Look
            }
        }
        At::RunLook { count, run } => return step_run(config, state, after, i, count, run),
        At::RunCopy { count, mut run, word } => {
            run[usize::from(count)][usize::from(word)] = event(next + count)[usize::from(word)];
            match (word, usize::from(count) + 1) {
                (0, _) => At::RunCopy { count, run, word: 1 },
                (_, RUN) => At::RunRecheck { count: count + 1, run, index: 0 },
                _ => At::RunLook { count: count + 1, run },
            }
        }
        At::RunRecheck { count, run, index } => {
            let sequence = next + index;
            let same =
                state.stamp(config, sequence) == Stamp::Done { laps: sequence / config.slots + 1 };
            let following = match config.mutant {
                Mutant::NoRecheck | Mutant::RecheckFirst => count,
                Mutant::RecheckEnds if index == 0 && count > 1 => count - 1,
                _ => index + 1,
            };
            if !same && config.mutant != Mutant::NoRecheck {
                match index {
                    0 => At::Look,
                    // Each slot is vouched for by its own stamp, so what was looked at is good.
                    vouched => deliver(state, &mut after, i, &run[..usize::from(vouched)])?,
                }
            } else if following < count {
                At::RunRecheck { count, run, index: following }
            } else {
                deliver(state, &mut after, i, &run[..usize::from(count)])?
            }
        }
    };
    after.readers[i].at = at;
    Ok(Some(after))
}

fn step_run(
    config: &Config,
    state: &State,
    mut after: State,
    i: usize,
    count: u8,
    run: [Words; RUN],
) -> Result<Option<State>, Broken> {
    let sequence = state.readers[i].next + count;
    let done = Stamp::Done { laps: sequence / config.slots + 1 };
    after.readers[i].at = if state.stamp(config, sequence) == done {
        At::RunCopy { count, run, word: 0 }
    } else if count == 0 {
        At::Look
    } else {
        At::RunRecheck { count, run, index: 0 }
    };
    Ok(Some(after))
}

fn look(config: &Config, state: &State, after: &mut State, i: usize) -> Result<At, Broken> {
    let reader = state.readers[i];
    let next = reader.next;
    let seen = state.stamp(config, next);
    let laps = next / config.slots + 1;
    if seen.laps() == laps {
        return Ok(At::Take { witness: next, seen, words: [0; 2], word: 0 });
    }
    if seen.laps() < laps {
        return Ok(before(config, next, seen, next));
    }
    if reader.gating {
        return Err(Broken::GatedLoss);
    }
    if next + config.slots >= state.appended {
        return Err(Broken::FalseLoss);
    }
    // The gap is counted as the cursor's jump, so any jump is exact.
    after.readers[i].next = state.appended - config.slots;
    after.forget();
    Ok(At::Idle)
}

/// Look for a claim that covers `next`, one slot further back than `head`.
fn before(config: &Config, next: u8, seen: Stamp, head: u8) -> At {
    let furthest = next
        .saturating_sub(MAX_CLAIM as u8 - 1)
        .max((next + 1).saturating_sub(config.slots));
    if head <= furthest || config.mutant == Mutant::NoCoveringHead {
        At::Again { seen }
    } else {
        At::Cover { seen, head: head - 1 }
    }
}

fn deliver(state: &State, after: &mut State, i: usize, run: &[Words]) -> Result<At, Broken> {
    let reader = &mut after.readers[i];
    for words in run {
        if *words != [state.log[usize::from(reader.next)]; 2] || reader.next >= state.appended {
            return Err(Broken::WrongDelivery);
        }
        reader.next += 1;
    }
    reader.ack = reader.next;
    after.forget();
    Ok(At::Idle)
}
