//! The checker: every state that any order of steps and kills can reach, depth first.

use super::producer;
use super::reader::{self, At};
use super::state::{Broken, Config, MAX_PRODUCERS, MAX_READERS, State};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// How a search that found nothing wrong went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Searched {
    pub states: usize,
    /// States where everything was done.
    pub ends: usize,
    /// Kills that were tried.
    pub kills: usize,
}

/// A broken promise and the steps that lead there.
pub struct Found {
    pub broken: Broken,
    pub trace: Vec<String>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?} after", self.broken)?;
        self.trace.iter().try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Steps a reader alone may need for one event: the longest way has a search back and two copies.
const ALONE: usize = 40;

struct Frame {
    state: State,
    successors: Vec<State>,
}

/// Visit every state of `config`.
pub fn search(config: &Config) -> Result<Searched, Found> {
    let mut seen: HashSet<u128, BuildHasherDefault<Fingerprinted>> = HashSet::default();
    let mut searched = Searched::default();
    let first = State::new(config);
    seen.insert(fingerprint(&first));
    let mut path = vec![Frame { state: first, successors: Vec::new() }];
    match successors(config, &first, &mut searched) {
        Ok(next) => path[0].successors = next,
        Err(broken) => return Err(found(&path, broken)),
    }
    while let Some(frame) = path.last_mut() {
        let Some(state) = frame.successors.pop() else {
            path.pop();
            continue;
        };
        if !seen.insert(fingerprint(&state)) {
            continue;
        }
        path.push(Frame { state, successors: Vec::new() });
        match successors(config, &state, &mut searched) {
            Ok(next) => path.last_mut().expect("just pushed").successors = next,
            Err(broken) => return Err(found(&path, broken)),
        }
    }
    searched.states = seen.len();
    Ok(searched)
}

fn successors(
    config: &Config,
    state: &State,
    searched: &mut Searched,
) -> Result<Vec<State>, Broken> {
    let mut next = Vec::with_capacity(MAX_PRODUCERS + MAX_READERS);
    for p in 0..MAX_PRODUCERS {
        next.extend(producer::step(config, state, p)?);
    }
    let alone = next.is_empty();
    for i in 0..MAX_READERS {
        next.extend(reader::step(config, state, i, alone)?);
        gets_on_alone(config, state, i)?;
    }
    if next.is_empty() {
        searched.ends += 1;
        all_done(config, state)?;
    }
    for p in 0..config.batches.len() {
        if let Some(killed) = producer::kill(state, p) {
            searched.kills += 1;
            next.push(killed);
        }
    }
    Ok(next)
}

/// A published event is readable at once, whatever has become of its producer.
fn gets_on_alone(config: &Config, state: &State, i: usize) -> Result<(), Broken> {
    let cursor = state.readers[i].next;
    if state.readers[i].at != At::Idle || cursor >= state.appended {
        return Ok(());
    }
    let mut alone = *state;
    for _ in 0..ALONE {
        match reader::step(config, &alone, i, true)? {
            Some(after) if after.readers[i].next > cursor => return Ok(()),
            Some(after) => alone = after,
            None => break,
        }
    }
    Err(Broken::ReaderWaits)
}

/// Nobody can move: is that because everything is done?
fn all_done(config: &Config, state: &State) -> Result<(), Broken> {
    let left = |(p, producer): (usize, &producer::Producer)| {
        // A successor whose predecessor nobody had to reap has nothing to take over.
        let waits = config.successor && producer.number == super::state::NOBODY;
        producer.alive && !waits && !producer.is_finished(p, config)
    };
    let unread = state
        .readers
        .iter()
        .any(|r| matches!(r.at, At::Idle) && r.next != state.appended);
    if state.producers.iter().enumerate().any(left) || unread {
        return Err(Broken::Stuck);
    }
    Ok(())
}

fn found(path: &[Frame], broken: Broken) -> Found {
    let mut trace: Vec<String> =
        path.windows(2).map(|pair| difference(&pair[0].state, &pair[1].state)).collect();
    trace.push(format!("{:?}", path.last().expect("the state that broke it").state));
    Found { broken, trace }
}

/// Who moved between two states, from where.
fn difference(before: &State, after: &State) -> String {
    for (p, (old, new)) in before.producers.iter().zip(&after.producers).enumerate() {
        if old.alive && !new.alive {
            return format!("producer {p} killed at {:?}", old.at);
        }
        if old.at != new.at || old.number != new.number {
            return format!("producer {p}: {:?}", old.at);
        }
    }
    for (i, (old, new)) in before.readers.iter().zip(&after.readers).enumerate() {
        if old != new {
            return format!("reader {i} at {}: {:?}", old.next, old.at);
        }
    }
    "nothing".to_owned()
}

/// 128 bits of a state. Two of 10^8 states share one with a probability of 10^-23: we store these
/// instead of the states, which are ten times as long.
fn fingerprint(state: &State) -> u128 {
    let mut hasher = Mixer { low: 0x9e37_79b9_7f4a_7c15, high: 0xc2b2_ae3d_27d4_eb4f };
    state.hash(&mut hasher);
    let finish = |mut word: u64| {
        word ^= word >> 32;
        word = word.wrapping_mul(0xd6e8_feb8_6659_fd93);
        word ^ word >> 32
    };
    u128::from(finish(hasher.high)) << 64 | u128::from(finish(hasher.low))
}

/// Two multiply-and-rotate hashes side by side.
struct Mixer {
    low: u64,
    high: u64,
}

impl Mixer {
    #[inline]
    fn mix(&mut self, word: u64) {
        self.low = (self.low ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(29);
        self.high = (self.high ^ word).wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(37);
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// Fingerprints are hashes already.
#[derive(Default)]
struct Fingerprinted(u64);

impl Hasher for Fingerprinted {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are stored")
    }

    fn write_u128(&mut self, word: u128) {
        self.0 = word as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
