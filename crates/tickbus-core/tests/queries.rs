//! A query finds what a look at every event finds, in an order that follows from the events alone.

#![cfg(not(loom))]

mod segments;

use proptest::prelude::*;
use segments::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::fault::SegmentError;
use tickbus_core::journal::folder::Form;
use tickbus_core::journal::index::{BLOCK_LEN, LaneIndex};
use tickbus_core::journal::query::{Buffer, Query, Rows, Segment, Span};
use tickbus_core::{Event, Priority};

type Found = Vec<(u8, u64, Event)>;

/// The answer by looking at every event of every lane, which `events` lists in their order.
fn naive(query: &Query, events: &[(Priority, u64, Event)]) -> Found {
    let asked = |event: &Event| {
        let kind = event.event_type;
        (query.start_ns..=query.end_ns).contains(&event.timestamp)
            && query.types[usize::from(kind / 64)] & 1 << (kind % 64) != 0
            && query.symbols.as_ref().is_none_or(|symbols| symbols.contains(&event.symbol))
            && query.sources.as_ref().is_none_or(|sources| sources.contains(&event.source))
    };
    let mut clocks = [0; 3];
    let mut found: Vec<_> = events
        .iter()
        .map(|(lane, sequence, event)| {
            let number = *lane as usize;
            clocks[number] = event.timestamp.max(clocks[number]);
            ((clocks[number], 2 - number), (*lane as u8, *sequence, *event))
        })
        .filter(|(_, (lane, sequence, event))| {
            asked(event) && *sequence >= query.from[usize::from(*lane)]
        })
        .collect();
    // Stable: within a lane the order stays.
    found.sort_by_key(|(key, _)| *key);
    found.into_iter().map(|(_, event)| event).collect()
}

fn read_all(
    query: &Query,
    segments: &[Arc<dyn Segment>],
    step: usize,
) -> Result<Found, SegmentError> {
    let mut results = query.run(segments)?;
    let mut rows = Rows::default();
    while results.read(&mut rows, step)? > 0 {}
    let columns = rows.lanes.iter().zip(&rows.sequences).zip(&rows.events);
    Ok(columns.map(|((lane, sequence), event)| (*lane, *sequence, *event)).collect())
}

/// Events that are in no file yet.
struct Hot {
    first: u64,
    rows: Vec<u8>,
    lane: Priority,
}

impl Segment for Hot {
    fn span(&self, lane: Priority) -> Span {
        let rows = if lane == self.lane { &self.rows[..] } else { &[] };
        let count = rows.len() as u64 / 32;
        let index = LaneIndex::of(rows);
        let least = index.entries().iter().map(|entry| entry.least).min().unwrap_or(u64::MAX);
        let greatest = index.entries().last().map_or(0, |entry| entry.greatest_so_far);
        let first_sequence = if lane == self.lane { self.first } else { u64::MAX };
        Span {
            first_sequence,
            next_sequence: first_sequence.saturating_add(count),
            count,
            least,
            greatest,
        }
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        Ok(Arc::new(LaneIndex::of(if lane == self.lane { &self.rows } else { &[] })))
    }

    fn sequence(&self, _: Priority, row: u64) -> u64 {
        self.first + row
    }

    fn block<'b>(
        &self,
        _: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        let rows = self.rows.chunks(BLOCK_LEN).nth(block).unwrap();
        let bytes = buffer.rows(rows.len());
        bytes.copy_from_slice(rows);
        Ok(bytes)
    }
}

/// Some logs, each beginning where the one before ended, and all their events lane by lane.
fn logs(pieces: Vec<Vec<Owned>>) -> (Vec<Log>, Vec<(Priority, u64, Event)>) {
    let mut logs = Vec::new();
    let mut next = [0; 3];
    for (number, pieces) in pieces.into_iter().enumerate() {
        let log = Log::new(number as u64, next, pieces);
        for piece in &log.pieces {
            match piece {
                Owned::Events(lane, events) => next[*lane as usize] += events.len() as u64,
                Owned::Gap(lane, count, _) => next[*lane as usize] += count,
                Owned::Record(..) => {}
            }
        }
        logs.push(log);
    }
    let of_lane = |wanted| {
        let all = logs.iter().flat_map(Log::events);
        all.filter(move |(lane, ..)| *lane == wanted)
    };
    let events = PRIORITIES.into_iter().flat_map(of_lane).collect();
    (logs, events)
}

fn any_query() -> impl Strategy<Value = Query> {
    let time = prop_oneof![
        3 => (1_000_000..1_000_900u64, 0..500u64).prop_map(|(from, long)| (from, from + long)),
        1 => Just((0, u64::MAX)),
        1 => (any::<u64>(), any::<u64>()),
    ];
    let types = prop_oneof![
        Just([u64::MAX; 4]),
        Just([1 << 32 | 1, 0, 0, 0]),
        any::<[u64; 4]>()
    ];
    let symbols = prop::option::of(prop::collection::vec(prop_oneof![0..6u32, 128..134u32], 0..5));
    let sources = prop::option::of(prop::collection::vec(prop_oneof![0..3u16, 64..66u16], 0..3));
    let from = prop_oneof![4 => Just([0; 3]), 1 => [0..50u64, 0..50, 0..50]];
    (time, types, symbols, sources, from).prop_map(
        |((start_ns, end_ns), types, symbols, sources, from)| Query {
            start_ns,
            end_ns,
            types,
            symbols,
            sources,
            from,
        },
    )
}

fn any_pieces() -> impl Strategy<Value = Vec<Owned>> {
    any_log().prop_map(|log| log.pieces)
}

proptest! {
    /// Sealed, packed and hot segments side by side, read in steps of any size.
    #[test]
    fn a_query_finds_what_looking_at_every_event_finds(
        pieces in prop::collection::vec(any_pieces(), 0..4),
        is_packed in prop::collection::vec(any::<bool>(), 4),
        hot in prop::collection::vec(any_event(), 0..20),
        hot_lane in any_lane(), query in any_query(), step in 1usize..70,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (logs, mut events) = logs(pieces);
        let open = |(log, is_packed): (&Log, &bool)| match is_packed {
            true => shared(packed(folder.path(), log)),
            false => shared(sealed(folder.path(), log)),
        };
        let mut segments: Vec<_> = logs.iter().zip(&is_packed).map(open).collect();
        let first = segments.last().map_or(0, |last| last.span(hot_lane).next_sequence);
        events.extend(hot.iter().zip(first..).map(|(event, sequence)| (hot_lane, sequence, *event)));
        let rows = hot.iter().flat_map(Event::to_bytes).collect();
        segments.push(shared(Hot { first, rows, lane: hot_lane }));
        prop_assert_eq!(read_all(&query, &segments, step).unwrap(), naive(&query, &events));
    }
}

/// Trades in six blocks and two lanes, the timestamps of the second going backwards.
fn many() -> (Vec<Log>, Vec<(Priority, u64, Event)>) {
    let mut backwards = ticks(9_000, 0);
    backwards.reverse();
    logs(vec![
        vec![
            Owned::Events(Priority::High, ticks(9_000, 0)),
            Owned::Events(Priority::Normal, backwards),
        ],
        vec![Owned::Events(Priority::High, ticks(3_000, 4_000_000))],
    ])
}

#[test]
fn many_blocks_are_searched_as_one_would_look_through_them() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, events) = many();
    let segments = [
        shared(packed(folder.path(), &logs[0])),
        shared(sealed(folder.path(), &logs[1])),
    ];
    for start in (0..9_000_000).step_by(700_000) {
        let mut query = Query::of_time(start, start + 1_500_000);
        query.symbols = Some(vec![3, 1]);
        let found = read_all(&query, &segments, 1_000).unwrap();
        assert_eq!(found, naive(&query, &events));
        assert!(!found.is_empty());
    }
}

/// Reads the blocks it is asked for and keeps count.
struct Counting(Arc<dyn Segment>, std::sync::atomic::AtomicUsize);

impl Segment for Counting {
    fn span(&self, lane: Priority) -> Span {
        self.0.span(lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.0.index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.0.sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.block(lane, block, buffer)
    }
}

#[test]
fn only_blocks_that_may_hold_something_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = ticks(100 * 4_096, 0);
    events[50 * 4_096].event_type = 200;
    events[60 * 4_096].symbol = 90;
    events[70 * 4_096].source = 40;
    // One clock far ahead must not make everything behind it a candidate.
    events[3].timestamp = u64::MAX;
    let (logs, _) = logs(vec![vec![Owned::Events(Priority::High, events)]]);
    let counting = Arc::new(Counting(shared(sealed(folder.path(), &logs[0])), 0.into()));
    let reads = |query: Query| {
        counting.1.store(0, std::sync::atomic::Ordering::Relaxed);
        let segment: Arc<dyn Segment> = Arc::clone(&counting) as Arc<dyn Segment>;
        let found = read_all(&query, &[segment], 1_000).unwrap().len();
        (found, counting.1.load(std::sync::atomic::Ordering::Relaxed))
    };
    let all = Query::of_time(0, u64::MAX);
    assert_eq!(reads(Query { types: [0, 0, 0, 1 << 8], ..all.clone() }), (1, 1));
    assert_eq!(reads(Query { symbols: Some(vec![90]), ..all.clone() }), (1, 1));
    assert_eq!(reads(Query { sources: Some(vec![40]), ..all.clone() }), (1, 1));
    assert_eq!(reads(Query { symbols: Some(vec![]), ..all.clone() }), (0, 0));
    let block_ns = 4_096 * 1_000;
    // The wild clock's own block is a candidate of no other time.
    assert_eq!(reads(Query::of_time(10 * block_ns, 12 * block_ns - 101)), (2 * 4_096, 2 + 1));
    assert_eq!(reads(Query::of_time(7, 3)), (0, 0));
}

/// What is damaged is told, with everything before it handed out; reading on finds the rest.
#[test]
fn damage_is_an_error_and_reading_on_leaves_out_only_what_it_named() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, events) = many();
    let segments = [
        shared(sealed(folder.path(), &logs[0])),
        shared(sealed(folder.path(), &logs[1])),
    ];
    let path = folder.path().join(Form::Sealed.name(0));
    flip(&path, &events[4_096 + 9_000].2);
    let mut results = Query::of_time(0, u64::MAX).run(&segments).unwrap();
    let (mut rows, mut faults) = (Rows::default(), Vec::new());
    loop {
        match results.read(&mut rows, 700) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => faults.push(error),
        }
    }
    let [SegmentError::Damaged(damage)] = &faults[..] else {
        panic!("{faults:?}")
    };
    assert_eq!((damage.lane, damage.sequences), (Some(Priority::High), Some((4_096, 8_191))));
    let lost = |lane: Priority, sequence: u64| {
        lane == Priority::High && (4_096..8_192).contains(&sequence)
    };
    let mut expected: Vec<_> = events
        .iter()
        .filter(|(lane, sequence, _)| !lost(*lane, *sequence))
        .map(|(lane, sequence, _)| (*lane as u8, *sequence))
        .collect();
    let mut found: Vec<_> =
        rows.lanes.iter().copied().zip(rows.sequences.iter().copied()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

/// Flip a bit of this event in a file.
fn flip(path: &Path, event: &Event) {
    let mut bytes = fs::read(path).unwrap();
    // The last one: the lane of the same events in another order comes first.
    let row = bytes.chunks_exact(32).rposition(|row| row == event.to_bytes()).unwrap();
    bytes[row * 32 + 16] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn segments_that_share_an_event_or_are_out_of_order_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, _) = many();
    let one = shared(sealed(folder.path(), &logs[0]));
    let other = shared(sealed(folder.path(), &logs[1]));
    let run = |segments: &[Arc<dyn Segment>]| Query::of_time(0, 1).run(segments).map(|_| ());
    assert!(run(&[Arc::clone(&one), Arc::clone(&other)]).is_ok());
    let order = |result| matches!(result, Err(SegmentError::Order { .. }));
    assert!(order(run(&[Arc::clone(&one), Arc::clone(&one)])));
    assert!(order(run(&[other, one])));
}
