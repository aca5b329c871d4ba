//! What a journal has been told, what it acknowledged, and whether it still knows it.

use super::sim::Random;
use std::sync::Arc;
use tickbus_core::event::{Event, PRIORITIES, Priority};
use tickbus_core::journal::format::record;
use tickbus_core::journal::{Committed, Disk, LaneReader, Log, LogReader, Piece, Recovered, Until};

/// What a sequence is expected to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expected {
    Event(Event),
    Gap(u64),
}

/// One thing that was appended, in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Sequence(usize),
    Record,
}

/// How much of the order was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Acknowledged {
    written: usize,
    durable: usize,
}

#[derive(Default)]
pub struct Model {
    lanes: [Vec<Expected>; 3],
    records: Vec<(u32, Vec<u8>)>,
    order: Vec<Unit>,
    acknowledged: Acknowledged,
}

pub fn event(random: &mut Random) -> Event {
    Event::from_words([random.next(), random.next(), random.next(), random.next()])
}

impl Model {
    pub fn next(&self, lane: Priority) -> u64 {
        self.lanes[lane as usize].len() as u64
    }

    pub fn append_events<D: Disk>(&mut self, log: &mut Log<D>, lane: Priority, events: &[Event]) {
        log.append_events(lane, self.next(lane), events).unwrap();
        self.lanes[lane as usize].extend(events.iter().copied().map(Expected::Event));
        self.order.extend(events.iter().map(|_| Unit::Sequence(lane as usize)));
    }

    pub fn append_gap<D: Disk>(&mut self, log: &mut Log<D>, lane: Priority, count: u64, why: u64) {
        log.append_gap(lane, self.next(lane), count, why).unwrap();
        self.lanes[lane as usize].extend((0..count).map(|_| Expected::Gap(why)));
        self.order.extend((0..count).map(|_| Unit::Sequence(lane as usize)));
    }

    pub fn append_record<D: Disk>(&mut self, log: &mut Log<D>, kind: u32, bytes: &[u8]) {
        // Numbered, so that none is mistaken for another.
        let numbered = [&(self.records.len() as u64).to_le_bytes(), bytes].concat();
        log.append_record(kind, &numbered).unwrap();
        self.records.push((kind, numbered));
        self.order.push(Unit::Record);
    }

    /// Append anything.
    pub fn append_some<D: Disk>(&mut self, log: &mut Log<D>, random: &mut Random) {
        let lane = PRIORITIES[random.below(3) as usize];
        match random.below(8) {
            0 => self.append_gap(log, lane, 1 + random.below(20), random.next()),
            1 => {
                let bytes: Vec<u8> = (0..random.below(700)).map(|_| random.next() as u8).collect();
                self.append_record(log, 16 + random.below(4) as u32, &bytes);
            }
            2 => {
                let events: Vec<Event> = (0..random.below(700)).map(|_| event(random)).collect();
                self.append_events(log, lane, &events);
            }
            _ => {
                let events: Vec<Event> = (0..random.below(40)).map(|_| event(random)).collect();
                self.append_events(log, lane, &events);
            }
        }
    }

    /// A commit was acknowledged.
    pub fn committed(&mut self, committed: Committed, sync: bool) {
        assert_eq!(committed.next, PRIORITIES.map(|lane| self.next(lane)));
        assert!(committed.durable <= committed.written);
        self.acknowledged.written = self.order.len();
        if sync {
            assert_eq!(committed.durable, committed.written);
            self.acknowledged.durable = self.order.len();
        }
    }

    /// After the end of a process: what was not durable need not be there.
    pub fn only_durable(&mut self) {
        self.acknowledged.written = self.acknowledged.durable;
    }

    fn counts(&self, units: usize) -> ([u64; 3], usize) {
        let (mut lanes, mut records) = ([0; 3], 0);
        for unit in &self.order[..units] {
            match unit {
                Unit::Sequence(lane) => lanes[*lane] += 1,
                Unit::Record => records += 1,
            }
        }
        (lanes, records)
    }

    /// A log was opened: it has a prefix of what was appended, and all that was acknowledged. From
    /// here on that prefix is the truth.
    pub fn recovered<D: Disk>(&mut self, disk: &Arc<D>, recovered: &Recovered) {
        let records = self.check_records(disk, recovered.position);
        let lanes = recovered.next.iter().sum::<u64>() as usize;
        // Without a record to look at, recycled segments may have had any number of them.
        let possible = match records {
            Some(records) => lanes + records..=lanes + records,
            None => lanes..=lanes + self.records.len(),
        };
        let is_prefix =
            |&units: &usize| units <= self.order.len() && self.counts(units).0 == recovered.next;
        let prefixes: Vec<usize> = possible.filter(is_prefix).collect();
        assert!(!prefixes.is_empty(), "{recovered:?} with {records:?} records is no prefix");
        let acknowledged = self.acknowledged.written;
        let total = prefixes.into_iter().find(|&units| units >= acknowledged);
        let total = total.unwrap_or_else(|| panic!("{recovered:?} lacks what was acknowledged"));
        let records = self.counts(total).1;
        self.order.truncate(total);
        self.records.truncate(records);
        for (lane, next) in self.lanes.iter_mut().zip(recovered.next) {
            lane.truncate(next as usize);
        }
        // Recovery syncs what it found.
        self.acknowledged = Acknowledged { written: total, durable: total };
        self.check(disk, Until::Position(recovered.position));
    }

    /// The records still in the log are those appended. How many there were with them and before.
    fn check_records<D: Disk>(&self, disk: &Arc<D>, position: u64) -> Option<usize> {
        let mut end = None;
        let mut reader = LogReader::first(disk).unwrap()?;
        let from_the_start = reader.head().first == 0;
        while let Some(found) = reader.next_record(Until::Position(position)).unwrap() {
            if found.kind == record::OPENED || found.kind == record::CLOSED {
                continue;
            }
            let number = u64::from_le_bytes(found.bytes[..8].try_into().unwrap()) as usize;
            assert!(end.is_none_or(|end| end == number), "record {number} behind {end:?}");
            assert_eq!(
                (found.kind, found.bytes),
                (self.records[number].0, &*self.records[number].1)
            );
            end = Some(number + 1);
        }
        if from_the_start { end.or(Some(0)) } else { end }
    }

    /// Every lane holds what was appended to it, from the log's start up to `until`.
    pub fn check<D: Disk>(&self, disk: &Arc<D>, until: Until) {
        let Some(reader) = LogReader::first(disk).unwrap() else {
            return;
        };
        let starts = reader.head().next;
        for (lane, start) in PRIORITIES.into_iter().zip(starts) {
            let mut reader = LaneReader::at(disk, lane, start).unwrap();
            self.check_lane(&mut reader, lane, until);
            assert_eq!(reader.sequence(), self.next(lane), "lane {lane:?} ends early or late");
        }
    }

    /// These events are what was appended at `first`.
    pub fn assert_events(&self, lane: Priority, first: u64, events: &[Event]) {
        let expected = &self.lanes[lane as usize][first as usize..][..events.len()];
        assert!(expected.iter().zip(events).all(|(e, &event)| *e == Expected::Event(event)));
    }

    /// What a reader returns next is what was appended.
    pub fn check_lane<D: Disk>(&self, reader: &mut LaneReader<D>, lane: Priority, until: Until) {
        let mut sequence = reader.sequence();
        while let Some(piece) = reader.next(until).unwrap() {
            match piece {
                Piece::Events { first, events } => {
                    assert_eq!(first, sequence);
                    self.assert_events(lane, first, events);
                    sequence += events.len() as u64;
                }
                Piece::Gap { first, count, why } => {
                    assert_eq!(first, sequence);
                    let gap =
                        &self.lanes[lane as usize][sequence as usize..(sequence + count) as usize];
                    assert!(gap.iter().all(|&expected| expected == Expected::Gap(why)));
                    sequence += count;
                }
                other => panic!("{other:?} without salvaging"),
            }
        }
        assert_eq!(reader.sequence(), sequence);
    }
}
