//! The shared memory of one tiny lane, and who runs on it.

use super::producer::Producer;
use super::reader::Reader;

pub const MAX_SLOTS: usize = 4;
pub const MAX_CLAIM: usize = 3;
pub const MAX_PRODUCERS: usize = 3;
pub const MAX_READERS: usize = 2;
pub const MAX_EVENTS: usize = 16;
/// A producer without a number: reaped, or not on the bus yet.
pub const NOBODY: u8 = u8::MAX;

/// An event is two words that are written and read one at a time, so that a mix shows.
pub type Words = [u8; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stamp {
    Done { laps: u8 },
    Head { laps: u8, owner: u8, len: u8 },
    Body { laps: u8, owner: u8, index: u8 },
}

impl Stamp {
    pub fn laps(self) -> u8 {
        match self {
            Stamp::Done { laps } | Stamp::Head { laps, .. } | Stamp::Body { laps, .. } => laps,
        }
    }

    /// How many events a walker that sees this stamp steps over.
    pub fn stride(self) -> u8 {
        match self {
            Stamp::Head { len, .. } => len,
            Stamp::Done { .. } | Stamp::Body { .. } => 1,
        }
    }
}

/// What the model promises; one broken promise ends the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A reader delivered something else than what was appended at that sequence.
    WrongDelivery,
    /// A claim was made elsewhere than at the end: inside a claim, twice, or leaving a hole.
    Order,
    /// A claim took a slot whose previous claim was unfinished.
    ClaimedUnfinished,
    /// An append met an interior slot of an unfinished claim, which it would not know to wait for.
    MetInterior,
    /// A walk to the end of the lane ended before what was published when it began.
    StaleTail,
    /// A gating reader missed an event.
    GatedLoss,
    /// A reader was told of a loss that had not happened.
    FalseLoss,
    /// A reader alone cannot get on though an event is published.
    ReaderWaits,
    /// Nobody can move, and something is left to do.
    Stuck,
}

/// Deliberate mistakes. Each must break a promise, else the model would prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    None,
    /// Interiors are marked first to last.
    MarkForward,
    /// Interiors are not marked before their events are written.
    NoMarks,
    /// The head is done first, then the interiors.
    DoneForward,
    /// Nobody looks at a stamp again after copying.
    NoRecheck,
    /// A run of events is vouched for by its first stamp alone.
    RecheckFirst,
    /// A run of events is vouched for by its first and last stamp.
    RecheckEnds,
    /// A slot whose previous claim is unfinished counts as free.
    IgnoreUnfinished,
    /// A reader takes an unmarked slot for an empty one without looking for a claim that covers it.
    NoCoveringHead,
    /// A dead producer's number is given away before its claims are finished.
    RecycleEarly,
    /// A walker steps into claims instead of over them.
    WalkByOne,
    /// A gating reader looks for the tail before it registers.
    JoinLate,
    /// The gate follows the readers past the tail that was true before they were looked at.
    GateUnbounded,
    /// A claim takes as many slots as it wants without looking at more than the first.
    NoFreeRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// One event at a time (`Lane::read`).
    Single,
    /// Runs of two (`Lane::read_run`), else one at a time.
    Run,
}

/// One experiment.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    pub slots: u8,
    /// Batch sizes of each producer.
    pub batches: &'static [&'static [u8]],
    /// Events in the lane at the start.
    pub prefill: u8,
    /// Where the first reader starts.
    pub start: u8,
    pub gated: bool,
    pub reading: Reading,
    /// A second, gating reader joins at any time.
    pub joiner: bool,
    /// Without a first reader the joiner is the only one.
    pub reader: bool,
    /// How many producers may be killed, any of them, anywhere.
    pub kills: u8,
    /// The last producer comes late, under the number of a dead one.
    pub successor: bool,
    /// Claims may go round the end of the ring. The lane cuts them there, to copy faster; the
    /// protocol does not need it.
    pub round: bool,
    pub mutant: Mutant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub stamps: [Stamp; MAX_SLOTS],
    pub events: [Words; MAX_SLOTS],
    /// By producer number.
    pub staging: [[Words; MAX_CLAIM]; MAX_PRODUCERS],
    /// The tail hint: racy, may go backwards.
    pub hint: u8,
    pub gate: u8,
    /// Producer that holds the admin lock.
    pub lock: Option<u8>,
    /// Numbers of reaped producers, as bits.
    pub free: u8,
    pub producers: [Producer; MAX_PRODUCERS],
    pub readers: [Reader; MAX_READERS],
    pub kills_left: u8,
    /// The truth the promises are checked against: what was appended, in order.
    pub log: [u8; MAX_EVENTS],
    pub appended: u8,
}

impl State {
    pub fn new(config: &Config) -> State {
        let mut state = State {
            stamps: [Stamp::Done { laps: 0 }; MAX_SLOTS],
            events: [[0; 2]; MAX_SLOTS],
            staging: [[[0; 2]; MAX_CLAIM]; MAX_PRODUCERS],
            hint: config.prefill,
            gate: config.start,
            lock: None,
            free: 0,
            producers: std::array::from_fn(|p| Producer::new(p, config)),
            readers: [Reader::new(config), Reader::joiner()],
            kills_left: config.kills,
            log: [0; MAX_EVENTS],
            appended: config.prefill,
        };
        for sequence in 0..config.prefill {
            let id = sequence + 1;
            let slot = usize::from(sequence % config.slots);
            state.stamps[slot] = Stamp::Done { laps: sequence / config.slots + 1 };
            state.events[slot] = [id; 2];
            state.log[usize::from(sequence)] = id;
        }
        state.forget();
        state
    }

    pub fn stamp(&self, config: &Config, sequence: u8) -> Stamp {
        self.stamps[usize::from(sequence % config.slots)]
    }

    pub fn set_stamp(&mut self, config: &Config, sequence: u8, stamp: Stamp) {
        self.stamps[usize::from(sequence % config.slots)] = stamp;
    }

    /// Whether the slot of `sequence` is free for it: done with its previous lap.
    pub fn is_free(&self, config: &Config, sequence: u8) -> bool {
        self.stamp(config, sequence) == Stamp::Done { laps: sequence / config.slots }
    }

    /// Where a walker that sees `seen` at `next` goes, or `None` when nothing is published there.
    pub fn walk(config: &Config, next: u8, seen: Stamp) -> Option<u8> {
        if seen.laps() <= next / config.slots {
            return None;
        }
        let stride = if config.mutant == Mutant::WalkByOne { 1 } else { seen.stride() };
        Some((seen.laps() - 1) * config.slots + next % config.slots + stride)
    }

    /// Whether the producer that has this number has been killed.
    pub fn is_dead(&self, number: u8) -> bool {
        self.producers
            .iter()
            .any(|producer| producer.number == number && !producer.alive)
    }

    /// Lowest cursor of the gating readers; without any, the end of the lane.
    pub fn slowest(&self) -> u8 {
        let acks = self.readers.iter().filter(|reader| reader.gating).map(|reader| reader.ack);
        acks.min().unwrap_or(self.appended)
    }

    /// Forget the part of the truth nobody will ask for, so that states differ only where it matters.
    pub fn forget(&mut self) {
        let needed = self.readers.iter().filter_map(Reader::needs).min().unwrap_or(self.appended);
        self.log[..usize::from(needed)].fill(0);
    }
}
