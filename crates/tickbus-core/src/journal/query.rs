//! The events of a time, of types, symbols and sources, from any segments.
//!
//! ```text
//! each lane:  segments ─ by first and last time ─ blocks ─ by index ─ events ─ exactly ─┐
//!                                                             merge of three lanes ◄────┘
//! ```
//!
//! **Order.** Events of a lane come in its order, whatever their timestamps. The lanes are merged by
//! the greatest timestamp that the query has found in each so far; of equals the most urgent lane comes
//! first. The order follows from what is found alone: how it is cut into segments, and whether those
//! are sealed, packed or still hot, changes nothing.
//!
//! **Memory.** One block a lane, or one frame where segments are packed. **Damage** is an error that
//! names the sequences it costs; reading on goes on behind it.

use super::fault::SegmentError;
use super::index::{
    BLOCK_EVENTS, EVENT_LEN, Entry, LaneIndex, Types, source_bit, symbol_bit, words,
};
use crate::event::{Event, PRIORITIES, Priority};
use std::ops::Range;
use std::sync::Arc;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// First nanosecond, since the Unix epoch.
    pub start_ns: u64,
    /// Last nanosecond: an event of this very timestamp is found.
    pub end_ns: u64,
    pub types: Types,
    /// Only these; `None`: all.
    pub symbols: Option<Vec<u32>>,
    /// Only these; `None`: all.
    pub sources: Option<Vec<u16>>,
}

/// What a segment holds of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub first_sequence: u64,
    /// Sequence of the lane's next event behind the segment.
    pub next_sequence: u64,
    pub count: u64,
    /// Least and greatest timestamp; the least is the greater one when there is none.
    pub least: u64,
    pub greatest: u64,
}

/// A run of events of all lanes that a query can look through: a file, or what is not in one yet.
pub trait Segment: Send + Sync {
    fn span(&self, lane: Priority) -> Span;
    /// An entry for every [`BLOCK_EVENTS`] events.
    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError>;
    /// Sequence of the event with this place in the segment.
    fn sequence(&self, lane: Priority, row: u64) -> u64;
    /// The bytes of a block's events, read and checked. They stay in the buffer.
    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError>;
}

/// Memory for reading blocks; one for each reader, to be used again.
#[derive(Debug, Default)]
pub struct Buffer {
    pub(super) bytes: Vec<u8>,
    /// The packed frame that the bytes are: journal, first position, lane, frame.
    pub(super) frame: Option<([u8; 16], u64, Priority, usize)>,
    pub(super) packed: Vec<u8>,
}

impl Buffer {
    /// Room for a block's rows; what it holds is overwritten.
    pub fn rows(&mut self, length: usize) -> &mut [u8] {
        self.frame = None;
        self.bytes.resize(length.max(self.bytes.len()), 0);
        &mut self.bytes[..length]
    }
}

/// A query, ready to be asked of entries and events.
#[derive(Debug)]
struct Filter {
    start: u64,
    end: u64,
    types: Types,
    symbols: Option<(u128, Vec<u32>)>,
    /// All 65,536 sources, a bit each.
    sources: Option<(u64, Vec<u64>)>,
}

impl Filter {
    fn new(query: &Query) -> Filter {
        let symbols = query.symbols.as_ref().map(|symbols| {
            let mut sorted = symbols.clone();
            sorted.sort_unstable();
            sorted.dedup();
            (sorted.iter().fold(0, |bits, symbol| bits | symbol_bit(*symbol)), sorted)
        });
        let sources = query.sources.as_ref().map(|sources| {
            let mut all = vec![0; 1024];
            for source in sources {
                all[usize::from(source / 64)] |= 1 << (source % 64);
            }
            (sources.iter().fold(0, |bits, source| bits | source_bit(*source)), all)
        });
        Filter { start: query.start_ns, end: query.end_ns, types: query.types, symbols, sources }
    }

    /// Whether a block may hold an event that is asked for.
    fn may_hold(&self, entry: &Entry) -> bool {
        entry.least <= self.end
            && entry.greatest >= self.start
            && entry
                .types
                .iter()
                .zip(&self.types)
                .any(|(in_block, asked)| in_block & asked != 0)
            && self.symbols.as_ref().is_none_or(|(bits, _)| bits & entry.symbols != 0)
            && self.sources.as_ref().is_none_or(|(bits, _)| bits & entry.sources != 0)
    }

    #[inline]
    fn takes(&self, timestamp: u64, kind: u64) -> bool {
        (self.start..=self.end).contains(&timestamp)
            && self.types[usize::from(kind as u8 >> 6)] >> (kind & 63) & 1 != 0
            && self.symbols.as_ref().is_none_or(|(bits, sorted)| {
                let symbol = (kind >> 32) as u32;
                bits & symbol_bit(symbol) != 0 && sorted.binary_search(&symbol).is_ok()
            })
            && self.sources.as_ref().is_none_or(|(_, all)| {
                let source = (kind >> 16) as u16;
                all[usize::from(source / 64)] >> (source % 64) & 1 != 0
            })
    }
}

/// Events that were found: a column each for lane, sequence and event.
#[derive(Debug, Default)]
pub struct Rows {
    pub lanes: Vec<u8>,
    pub sequences: Vec<u64>,
    pub events: Vec<Event>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn clear(&mut self) {
        self.lanes.clear();
        self.sequences.clear();
        self.events.clear();
    }
}

/// What a query finds, as far as it was read.
pub struct Results {
    lanes: [Cursor; 3],
    /// Found after events that were handed out first.
    pending: Option<SegmentError>,
}

impl Query {
    /// Everything of a time.
    pub fn of_time(start_ns: u64, end_ns: u64) -> Query {
        Query { start_ns, end_ns, types: super::index::ALL_TYPES, symbols: None, sources: None }
    }

    /// Ask it of segments, which must be in the order of their sequences and share none.
    pub fn run(&self, segments: &[Arc<dyn Segment>]) -> Result<Results, SegmentError> {
        for lane in PRIORITIES {
            for pair in segments.windows(2) {
                let sequence = pair[1].span(lane).first_sequence;
                if sequence < pair[0].span(lane).next_sequence {
                    return Err(SegmentError::Order { lane, sequence });
                }
            }
        }
        let filter = Arc::new(Filter::new(self));
        let lanes = PRIORITIES.map(|lane| Cursor {
            lane,
            filter: Arc::clone(&filter),
            segments: segments.to_vec(),
            segment: 0,
            open: None,
            buffer: Buffer::default(),
            found: Vec::new(),
            taken: 0,
            greatest: 0,
        });
        Ok(Results { lanes, pending: None })
    }
}

impl Results {
    /// Append up to `max` events to `rows`; none when there are no more.
    ///
    /// An error comes when everything before it was handed out, and reading on leaves out what it
    /// names. It is then no complete answer, which is for the caller to say.
    pub fn read(&mut self, rows: &mut Rows, max: usize) -> Result<usize, SegmentError> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let before = rows.len();
        while rows.len() - before < max {
            match self.earliest() {
                Ok(Some((lane, until))) => {
                    let left = max - (rows.len() - before);
                    self.lanes[lane].hand_out(rows, until, left);
                }
                Ok(None) => break,
                Err(error) if rows.len() == before => return Err(error),
                Err(error) => {
                    self.pending = Some(error);
                    break;
                }
            }
        }
        Ok(rows.len() - before)
    }

    /// The lane whose turn it is, and the key below which it stays so.
    fn earliest(&mut self) -> Result<Option<(usize, u128)>, SegmentError> {
        let (mut first, mut second) = ((u128::MAX, 0), u128::MAX);
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let key = lane.head()?.unwrap_or(u128::MAX);
            if key < first.0 {
                second = first.0;
                first = (key, number);
            } else {
                second = second.min(key);
            }
        }
        Ok((first.0 != u128::MAX).then_some((first.1, second)))
    }
}

/// Goes through a lane of all segments, a block at a time.
struct Cursor {
    lane: Priority,
    filter: Arc<Filter>,
    segments: Vec<Arc<dyn Segment>>,
    segment: usize,
    /// The blocks of the current segment that are left.
    open: Option<(Arc<LaneIndex>, Range<usize>)>,
    buffer: Buffer,
    /// Sequences and events of the last block that had any, and how many of them are handed out.
    found: Vec<(u64, Event)>,
    taken: usize,
    greatest: u64,
}

impl Cursor {
    /// What the lanes are merged by: the greatest timestamp so far, then urgency.
    fn key(&self, event: &Event) -> u128 {
        u128::from(event.timestamp.max(self.greatest)) << 2 | (2 - self.lane as u128)
    }

    /// The key of the next event, or `None` at the end.
    fn head(&mut self) -> Result<Option<u128>, SegmentError> {
        while self.taken == self.found.len() {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        Ok(Some(self.key(&self.found[self.taken].1)))
    }

    fn hand_out(&mut self, rows: &mut Rows, until: u128, max: usize) {
        let end = self.found.len().min(self.taken.saturating_add(max));
        while self.taken < end {
            let (sequence, event) = self.found[self.taken];
            if self.key(&event) >= until {
                return;
            }
            self.greatest = self.greatest.max(event.timestamp);
            rows.lanes.push(self.lane as u8);
            rows.sequences.push(sequence);
            rows.events.push(event);
            self.taken += 1;
        }
    }

    /// Look through the next block that may hold something; `false` when there is none. Whatever
    /// fails is behind us by then, so that the next call goes on.
    fn next_block(&mut self) -> Result<bool, SegmentError> {
        self.found.clear();
        self.taken = 0;
        loop {
            let Some((index, blocks)) = &mut self.open else {
                let Some(segment) = self.segments.get(self.segment) else {
                    return Ok(false);
                };
                let (span, filter) = (segment.span(self.lane), &self.filter);
                self.segment += 1;
                if span.count > 0 && span.least <= filter.end && span.greatest >= filter.start {
                    let index = segment.index(self.lane)?;
                    let blocks = index.blocks_of(filter.start, filter.end);
                    self.open = Some((index, blocks));
                }
                continue;
            };
            let filter = &self.filter;
            let Some(block) = blocks.find(|block| filter.may_hold(&index.entries()[*block])) else {
                self.open = None;
                continue;
            };
            self.look_through(block)?;
            return Ok(true);
        }
    }

    fn look_through(&mut self, block: usize) -> Result<(), SegmentError> {
        let segment = &self.segments[self.segment - 1];
        let rows = segment.block(self.lane, block, &mut self.buffer)?;
        for (place, row) in rows.as_chunks::<EVENT_LEN>().0.iter().enumerate() {
            let words = words(row);
            if self.filter.takes(words[0], words[1]) {
                let sequence = segment.sequence(self.lane, (block * BLOCK_EVENTS + place) as u64);
                self.found.push((sequence, Event::from_words(words)));
            }
        }
        Ok(())
    }
}
