//! All books of one connection, fed from its decoder.

use super::integrity::{Change, Reason};
use super::rules::Rule;
use super::shared::SharedTop;
use super::stream::{Message, Stream};
use super::watch::Thresholds;
use crate::exchange::{Decoder, Depth, DepthLevel, Market, Outcome};
use crate::taxonomy::PRICE_UPDATE;
use std::sync::Arc;

/// When silence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A book that heard nothing for so long is stale; `None` never.
    pub stale_after_ns: Option<u64>,
    /// A snapshot that takes longer than this is asked for again.
    pub recovery_ns: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { stale_after_ns: Some(30_000_000_000), recovery_ns: 10_000_000_000 }
    }
}

/// The books of one connection: one per instrument and depth.
#[derive(Debug)]
pub struct Books {
    rule: Rule,
    settings: Settings,
    streams: Vec<Stream>,
    /// Numbers of the streams of each instrument: one, rarely two.
    by_instrument: Vec<Vec<u32>>,
    /// The connection's number of its last frame.
    connection: Option<u64>,
    thresholds: Option<Thresholds>,
    changes: Vec<Change>,
}

impl Books {
    pub fn new(market: Market, settings: Settings) -> Books {
        Books {
            rule: Rule::of(market),
            settings,
            streams: Vec::new(),
            by_instrument: Vec::new(),
            connection: None,
            thresholds: None,
            changes: Vec::new(),
        }
    }

    /// Every book, in the order they were first told.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// The book of an instrument by our name, of the greatest depth where there are several.
    pub fn find(&self, symbol: &str) -> Option<&Stream> {
        let of_it = self.streams.iter().filter(|stream| stream.symbol() == symbol);
        of_it.max_by_key(|stream| stream.limit().unwrap_or(u32::MAX))
    }

    /// What changed by the last call.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Take the frame that `decoder` read last; what changed, until the next call.
    pub fn update(&mut self, decoder: &Decoder, outcome: Outcome, now_ns: u64) -> &[Change] {
        self.changes.clear();
        if let Outcome::Malformed(_) = outcome {
            for stream in &mut self.streams {
                stream.lost_frame(now_ns, &mut self.changes);
            }
            return &self.changes;
        }
        let sequence = decoder.connection_sequence();
        if let Some(number) = sequence
            && !self.follows_on_connection(number, now_ns)
        {
            return &self.changes;
        }
        for depth in decoder.depths() {
            self.take(decoder, depth, sequence.is_some(), now_ns);
        }
        if self.thresholds.is_some() {
            for record in decoder.records().iter().filter(|one| one.event_type == PRICE_UPDATE) {
                let known = self.by_instrument.get(record.instrument as usize);
                if let Some(&number) = known.and_then(|numbers| numbers.first()) {
                    let base_units = f64::from_bits(record.metadata);
                    self.streams[number as usize].trade(base_units, now_ns, &mut self.changes);
                }
            }
        }
        &self.changes
    }

    /// Take one book message that came without a frame.
    pub fn take_depth(
        &mut self,
        decoder: &Decoder,
        depth: &Depth,
        levels: &[DepthLevel],
        now_ns: u64,
    ) -> &[Change] {
        self.changes.clear();
        let at = self.stream_of(decoder, depth);
        let message = Message { depth, levels, is_numbered_frame: false, now_ns };
        self.streams[at].take(&message, &mut self.changes);
        &self.changes
    }

    /// What the clock says: silent books become stale, snapshots that never came are asked for again.
    pub fn tick(&mut self, now_ns: u64) -> &[Change] {
        self.changes.clear();
        let Settings { stale_after_ns, recovery_ns } = self.settings;
        for stream in &mut self.streams {
            stream.tick(now_ns, stale_after_ns, recovery_ns, &mut self.changes);
        }
        &self.changes
    }

    /// The connection is alive and its venue tells all that happens: silence is no fault.
    pub fn alive(&mut self, now_ns: u64) -> &[Change] {
        self.changes.clear();
        for stream in &mut self.streams {
            stream.alive(now_ns, &mut self.changes);
        }
        &self.changes
    }

    /// The connection is a new one.
    pub fn reconnected(&mut self, now_ns: u64) -> &[Change] {
        self.changes.clear();
        self.restart(now_ns);
        &self.changes
    }

    /// The owner has begun to get a snapshot of a book, as a change asked it to.
    pub fn recovery_begun(&mut self, stream: u32) -> &[Change] {
        self.changes.clear();
        if let Some(stream) = self.streams.get_mut(stream as usize) {
            stream.recovery_begun(&mut self.changes);
        }
        &self.changes
    }

    /// That has failed: it will be asked for again.
    pub fn recovery_failed(&mut self, stream: u32) {
        if let Some(stream) = self.streams.get_mut(stream as usize) {
            stream.recovery_failed();
        }
    }

    /// A book's best levels, kept up to date for other threads; `None` if there is no such book.
    pub fn share(&mut self, stream: u32, levels: usize) -> Option<Arc<SharedTop>> {
        self.streams.get_mut(stream as usize).map(|stream| stream.share(levels))
    }

    /// Tell when figures of the books and their trades pass thresholds; `None` stops that.
    pub fn watch(&mut self, thresholds: Option<Thresholds>) {
        self.thresholds = thresholds;
        for stream in &mut self.streams {
            stream.watch(thresholds);
        }
    }

    fn restart(&mut self, now_ns: u64) {
        self.connection = None;
        for stream in &mut self.streams {
            stream.reconnected(now_ns, &mut self.changes);
        }
    }

    /// Whether the frame with that number is to be read.
    fn follows_on_connection(&mut self, number: u64, now_ns: u64) -> bool {
        match self.connection {
            Some(last) if number == 0 && last > 0 => self.restart(now_ns),
            Some(last) if number <= last => return false,
            Some(last) if number > last + 1 => {
                for stream in &mut self.streams {
                    stream.distrust(Reason::ConnectionGap, now_ns, &mut self.changes);
                }
            }
            // The frames of all channels are counted: no number is missing, so nothing is.
            Some(_) => {
                for stream in &mut self.streams {
                    stream.alive(now_ns, &mut self.changes);
                }
            }
            None => {}
        }
        self.connection = Some(number);
        true
    }

    fn take(&mut self, decoder: &Decoder, depth: &Depth, is_numbered_frame: bool, now_ns: u64) {
        let at = self.stream_of(decoder, depth);
        let message = Message { depth, levels: decoder.levels(), is_numbered_frame, now_ns };
        self.streams[at].take(&message, &mut self.changes);
    }

    #[inline]
    fn stream_of(&mut self, decoder: &Decoder, depth: &Depth) -> usize {
        let known = self.by_instrument.get(depth.instrument as usize);
        let numbers = known.map(Vec::as_slice).unwrap_or_default();
        let is_it = |&&number: &&u32| self.streams[number as usize].limit() == depth.limit;
        let at = match numbers.iter().find(is_it) {
            Some(&number) => number as usize,
            None => self.open(decoder, depth),
        };
        if self.streams[at].needs_contract()
            && let Some(contract) = decoder.contract(depth.instrument)
        {
            self.streams[at].set_contract(contract);
        }
        at
    }

    #[cold]
    fn open(&mut self, decoder: &Decoder, depth: &Depth) -> usize {
        let number = self.streams.len() as u32;
        let instrument = depth.instrument as usize;
        if self.by_instrument.len() <= instrument {
            self.by_instrument.resize_with(instrument + 1, Vec::new);
        }
        self.by_instrument[instrument].push(number);
        let symbol = decoder.symbol(depth.instrument).unwrap_or_default();
        let mut stream = Stream::new(number, depth, symbol, self.rule);
        stream.watch(self.thresholds);
        self.streams.push(stream);
        number as usize
    }
}
