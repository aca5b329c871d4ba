//! The events of a time, of types, symbols and sources, from any segments.
//!
//! ```text
//! each lane:  segments ─ by first and last time ─ blocks ─ by index ─ events ─ exactly ─┐
//!                                                             merge of three lanes ◄────┘
//! ```
//!
//! **Order.** Events of a lane come in its order, whatever their timestamps. The lanes are merged by
//! their clocks: a lane's clock at an event is the greatest timestamp of the lane up to there, found or
//! not, from the first segment on. Of equals the most urgent lane comes first. So what is found comes
//! in the order of the whole, and how that is cut into segments, and whether those are sealed, packed
//! or still hot, changes nothing. It costs no reading: footers and index entries know the clocks.
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
    /// For each lane the first sequence that is wanted.
    pub from: [u64; 3],
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

/// A segment that is opened when its turn comes, so that many take few open files.
pub trait Hold: Send + Sync {
    fn span(&self, lane: Priority) -> Span;
    fn open(&self) -> Result<Arc<dyn Segment>, SegmentError>;
}

impl Hold for Arc<dyn Segment> {
    fn span(&self, lane: Priority) -> Span {
        (**self).span(lane)
    }

    fn open(&self) -> Result<Arc<dyn Segment>, SegmentError> {
        Ok(Arc::clone(self))
    }
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

    /// Have room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.lanes.reserve_exact(more);
        self.sequences.reserve_exact(more);
        self.events.reserve_exact(more);
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
        let (types, from) = (super::index::ALL_TYPES, [0; 3]);
        Query { start_ns, end_ns, types, symbols: None, sources: None, from }
    }

    /// Ask it of segments, which must be in the order of their sequences and share none.
    pub fn run<H: Hold + Clone + 'static>(&self, segments: &[H]) -> Result<Results, SegmentError> {
        for lane in PRIORITIES {
            for pair in segments.windows(2) {
                let sequence = pair[1].span(lane).first_sequence;
                if sequence < pair[0].span(lane).next_sequence {
                    return Err(SegmentError::Order { lane, sequence });
                }
            }
        }
        let filter = Arc::new(Filter::new(self));
        let boxed = |segment: &H| Box::new(segment.clone()) as Box<dyn Hold>;
        let segments: Arc<[Box<dyn Hold>]> = segments.iter().map(boxed).collect();
        let lanes = PRIORITIES.map(|lane| Cursor {
            lane,
            filter: Arc::clone(&filter),
            from: self.from[lane as usize],
            segments: Arc::clone(&segments),
            segment: 0,
            clock: 0,
            open: None,
            buffer: Buffer::default(),
            found: Vec::new(),
            taken: 0,
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
    /// First sequence that is wanted.
    from: u64,
    segments: Arc<[Box<dyn Hold>]>,
    segment: usize,
    /// Greatest timestamp of the segments behind us.
    clock: u64,
    open: Option<Reading>,
    buffer: Buffer,
    /// What the last block had, and how many of them are handed out.
    found: Vec<Found>,
    taken: usize,
}

/// A segment that a cursor is in.
struct Reading {
    segment: Arc<dyn Segment>,
    index: Arc<LaneIndex>,
    /// Its blocks that are left.
    blocks: Range<usize>,
    count: u64,
    /// The lane's clock in front of it.
    clock: u64,
}

#[derive(Clone, Copy)]
struct Found {
    sequence: u64,
    clock: u64,
    event: Event,
}

impl Cursor {
    /// What the lanes are merged by: their clocks, then urgency.
    fn key(&self, found: &Found) -> u128 {
        u128::from(found.clock) << 2 | (2 - self.lane as u128)
    }

    /// The key of the next event, or `None` at the end.
    fn head(&mut self) -> Result<Option<u128>, SegmentError> {
        while self.taken == self.found.len() {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        Ok(Some(self.key(&self.found[self.taken])))
    }

    fn hand_out(&mut self, rows: &mut Rows, until: u128, max: usize) {
        let end = self.found.len().min(self.taken.saturating_add(max));
        let waiting = &self.found[self.taken..end];
        // Keys ascend.
        let count = match waiting.last() {
            Some(last) if self.key(last) < until => waiting.len(),
            _ => waiting.partition_point(|found| self.key(found) < until),
        };
        let now = &waiting[..count];
        rows.lanes.resize(rows.lanes.len() + count, self.lane as u8);
        rows.sequences.extend(now.iter().map(|found| found.sequence));
        rows.events.extend(now.iter().map(|found| found.event));
        self.taken += count;
    }

    /// Look through the next block that may hold something; `false` when there is none. Whatever
    /// fails is behind us by then, so that the next call goes on.
    fn next_block(&mut self) -> Result<bool, SegmentError> {
        self.found.clear();
        self.taken = 0;
        loop {
            let Some(reading) = &mut self.open else {
                if self.segment == self.segments.len() {
                    return Ok(false);
                }
                self.next_segment()?;
                continue;
            };
            let (filter, index) = (&self.filter, &reading.index);
            let may_hold = |block: &usize| filter.may_hold(&index.entries()[*block]);
            let Some(block) = reading.blocks.find(may_hold) else {
                self.open = None;
                continue;
            };
            self.look_through(block)?;
            return Ok(true);
        }
    }

    fn next_segment(&mut self) -> Result<(), SegmentError> {
        let segment = &self.segments[self.segment];
        let (span, filter, clock) = (segment.span(self.lane), &self.filter, self.clock);
        self.segment += 1;
        if span.count == 0 {
            return Ok(());
        }
        self.clock = clock.max(span.greatest);
        let wanted = span.least <= filter.end
            && span.greatest >= filter.start
            && span.next_sequence > self.from;
        if wanted {
            let segment = segment.open()?;
            let index = segment.index(self.lane)?;
            let mut blocks = index.blocks_of(filter.start, filter.end);
            if self.from > span.first_sequence {
                let last_row = |block| (((block + 1) * BLOCK_EVENTS) as u64).min(span.count) - 1;
                let before =
                    |block: &usize| segment.sequence(self.lane, last_row(*block)) < self.from;
                blocks.start += blocks.clone().take_while(before).count();
            }
            self.open = Some(Reading { segment, index, blocks, count: span.count, clock });
        }
        Ok(())
    }

    fn look_through(&mut self, block: usize) -> Result<(), SegmentError> {
        let Some(reading) = &self.open else {
            return Ok(());
        };
        let (segment, lane) = (&reading.segment, self.lane);
        let before = block.checked_sub(1).map(|before| reading.index.entries()[before]);
        let mut clock = reading.clock.max(before.map_or(0, |entry| entry.greatest_so_far));
        let rows = segment.block(lane, block, &mut self.buffer)?;
        let rows = rows.as_chunks::<EVENT_LEN>().0;
        let first_row = (block * BLOCK_EVENTS) as u64;
        let rows = &rows[..rows.len().min((reading.count - first_row) as usize)];
        let first = segment.sequence(lane, first_row);
        let last_place = rows.len() as u64 - 1;
        // Hardly a block has a gap.
        let is_run = segment.sequence(lane, first_row + last_place) - first == last_place;
        for (place, row) in (0..).zip(rows) {
            let words = words(row);
            clock = clock.max(words[0]);
            if self.filter.takes(words[0], words[1]) {
                let sequence = match is_run {
                    true => first + place,
                    false => segment.sequence(lane, first_row + place),
                };
                if sequence >= self.from {
                    self.found.push(Found { sequence, clock, event: Event::from_words(words) });
                }
            }
        }
        Ok(())
    }
}
