//! A journal in a temporary directory that is written, sealed, packed and cut as a test wants it, and
//! what it must hold.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::catalog::Catalog;
use tickbus_core::journal::compact::compact_old;
use tickbus_core::journal::format::record;
use tickbus_core::journal::opening::Opening;
use tickbus_core::journal::upkeep::{Plan, Upkeep};
use tickbus_core::journal::whole::Whole;
use tickbus_core::journal::{FsDisk, Log, Preparer};
use tickbus_core::{Event, Priority};

/// The smallest segment there is: 256 slots.
pub const SEGMENT: u64 = 8192;

pub fn never() -> AtomicBool {
    AtomicBool::new(false)
}

/// A log that is being written, and the model of it: for each lane, sequences and events.
pub struct Kept {
    pub folder: tempfile::TempDir,
    pub log: Option<Log<FsDisk>>,
    pub upkeep: Upkeep,
    pub preparer: Preparer<FsDisk>,
    pub lanes: [Vec<(u64, Event)>; 3],
    named: bool,
}

pub fn upkeep_of(path: &Path, log: &Log<FsDisk>) -> Upkeep {
    let disk = Arc::clone(log.disk());
    Upkeep::new(Catalog::of(path).unwrap(), disk, log.preparer(), Plan::default()).unwrap()
}

impl Kept {
    pub fn new() -> Kept {
        Kept::of(SEGMENT)
    }

    /// With a first segment of another size.
    pub fn of(segment_bytes: u64) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        let Opening { log, .. } = Opening::of(folder.path(), segment_bytes).unwrap();
        let (upkeep, preparer) = (upkeep_of(folder.path(), &log), log.preparer());
        let lanes = [const { Vec::new() }; 3];
        Kept { folder, log: Some(log), upkeep, preparer, lanes, named: false }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn log(&mut self) -> &mut Log<FsDisk> {
        self.log.as_mut().expect("open")
    }

    /// Append events with these timestamps to a lane.
    pub fn write(&mut self, lane: Priority, timestamps: &[u64]) {
        if !self.named {
            self.named = true;
            let name = [&1u32.to_le_bytes()[..], b"BTC-USDT"].concat();
            self.log().append_name(record::SYMBOL, &name).unwrap();
        }
        let first = self.log().next(lane);
        let made: Vec<Event> = timestamps
            .iter()
            .enumerate()
            .map(|(number, &timestamp)| Event {
                timestamp,
                event_type: 0,
                priority: lane as u8,
                source: 0,
                symbol: 1,
                value: (first + number as u64) as f64,
                metadata: number as u64,
            })
            .collect();
        self.log().append_events(lane, first, &made).unwrap();
        self.lanes[lane as usize].extend((first..).zip(made));
    }

    pub fn gap(&mut self, lane: Priority, count: u64) {
        let first = self.log().next(lane);
        self.log().append_gap(lane, first, count, 1).unwrap();
    }

    pub fn commit(&mut self) {
        self.log().commit(false).unwrap();
    }

    /// Full segments that are on the disk.
    pub fn finished(&self) -> Vec<u64> {
        self.preparer.prepare_next().unwrap();
        self.preparer.finished()
    }

    /// Seal up to `count` segments.
    pub fn seal(&self, count: usize) {
        self.finished();
        for _ in 0..count {
            if !self.upkeep.seal_oldest(&never()).unwrap() {
                return;
            }
        }
    }

    /// Pack all that is sealed.
    pub fn pack(&self) {
        let done = compact_old(self.path(), Duration::ZERO, &never(), &mut |_, _| {}).unwrap();
        assert_eq!(done.failed, Vec::<String>::new());
    }

    /// Go on as after the writer's death.
    pub fn reopen(&mut self) {
        self.log = None;
        let Opening { log, dictionary, .. } = Opening::of(self.path(), SEGMENT).unwrap();
        let names: Vec<_> = dictionary.records().collect();
        assert_eq!(names.is_empty(), !self.named, "the names are found in any form");
        self.upkeep = upkeep_of(self.folder.path(), &log);
        self.preparer = log.preparer();
        self.log = Some(log);
    }

    pub fn ends(&self) -> [u64; 3] {
        PRIORITIES.map(|lane| self.log.as_ref().expect("open").next(lane))
    }

    /// Every event is there once, from any sequence on, and found by its time.
    pub fn assert_whole(&self) {
        let mut whole = Whole::open(self.path()).unwrap();
        assert_eq!(whole.catalog().holes(), []);
        for lane in PRIORITIES {
            let (number, model) = (lane as usize, &self.lanes[lane as usize]);
            let end = self.ends()[number];
            assert_eq!(read_lane(&mut whole, number, 0, end), *model);
            for from in [1, end / 3, end / 2, end.saturating_sub(1), end] {
                let after = model.partition_point(|(sequence, _)| *sequence < from);
                assert_eq!(read_lane(&mut whole, number, from, end), model[after..], "from {from}");
            }
            let times = model.iter().map(|(_, event)| event.timestamp);
            for time in times.step_by(37).chain([0, u64::MAX]) {
                let found = model.iter().find(|(_, event)| event.timestamp >= time);
                let expected = found.map_or(end, |(sequence, _)| *sequence);
                let at = whole.at(number, time, end).unwrap();
                // With nothing to be found, any place behind the last event will do.
                assert!(
                    at == expected || found.is_none() && at >= end.min(expected),
                    "{time}: {at}"
                );
            }
        }
    }

    pub fn forms(&self) -> Vec<&'static str> {
        let catalog = Catalog::of(self.path()).unwrap();
        catalog.parts().iter().map(|part| part.form.name()).collect()
    }
}

/// Sequences and events of a lane.
pub fn read_lane(whole: &mut Whole, lane: usize, from: u64, end: u64) -> Vec<(u64, Event)> {
    let (mut at, mut found, mut events) = (from, Vec::new(), Vec::new());
    while at < end {
        at = whole.read(lane, at, end, &mut events).unwrap();
        if events.is_empty() {
            break;
        }
        found.extend((at..).zip(events.iter().copied()));
        at += events.len() as u64;
    }
    found
}
