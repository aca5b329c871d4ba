//! Logs to damage: small, and known to the last event.

use super::model::{Model, event};
use super::sim::{Random, SimDisk};
use std::fmt::Display;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use tickbus_core::event::{Event, PRIORITIES, Priority};
use tickbus_core::journal::format::segment_name;
use tickbus_core::journal::{Found, JournalError, Log, LogReader, Options, Recovered, Until};

pub struct Built {
    pub disk: SimDisk,
    pub model: Model,
    pub options: Options,
    pub random: Random,
}

impl Built {
    pub fn new(segment_bytes: u64) -> Built {
        let options = Options { segment_bytes, ..Options::default() };
        Built { disk: SimDisk::new(1), model: Model::default(), options, random: Random(2) }
    }

    pub fn open(&self) -> Log<SimDisk> {
        Log::open(self.disk.clone(), &self.options).unwrap().0
    }

    pub fn shared(&self) -> Arc<SimDisk> {
        Arc::new(self.disk.clone())
    }

    pub fn events(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| event(&mut self.random)).collect()
    }

    /// A commit of `count` events of a lane.
    pub fn commit(&mut self, log: &mut Log<SimDisk>, lane: Priority, count: usize, sync: bool) {
        let events = self.events(count);
        self.model.append_events(log, lane, &events);
        let committed = log.commit(sync).unwrap();
        self.model.committed(committed, sync);
    }

    /// Synced commits of all lanes until so many segments are there.
    pub fn fill(&mut self, log: &mut Log<SimDisk>, segments: usize) {
        let mut lane = 0;
        while self.segments().len() < segments {
            lane = (lane + 1) % 3;
            let count = 1 + self.random.below(200) as usize;
            self.commit(log, PRIORITIES[lane], count, true);
        }
    }

    pub fn segments(&self) -> Vec<String> {
        let names = self.disk.names().into_iter();
        names.filter(|name| name.ends_with(".log")).collect()
    }

    /// A copy of the disk with one file changed.
    pub fn damaged(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
        let disk = self.disk.copy();
        disk.tamper(name, change);
        disk
    }

    /// Greatest position that any batch calls durable.
    pub fn vouched(&self) -> u64 {
        let mut reader = LogReader::first(&self.shared()).unwrap().unwrap();
        let mut durable = 0;
        while let Some(Found::Batch(position, header)) =
            reader.next(Until::Written, |_| true).unwrap()
        {
            durable = durable.max(header.durable(position));
        }
        durable
    }
}

pub fn recover(disk: &SimDisk, options: &Options) -> Result<Recovered, JournalError> {
    Log::open(disk.clone(), options).map(|(_, recovered)| recovered)
}

pub fn flip(bit: usize) -> impl FnOnce(&mut Vec<u8>) {
    move |bytes| bytes[bit / 8] ^= 1 << (bit % 8)
}

/// All cases when asked for, else every so many of them: the whole run takes minutes.
pub fn stride(sampled: usize) -> usize {
    if std::env::var_os("TICKBUS_EVERY_CASE").is_some() { 1 } else { sampled }
}

/// Try every case, on all cores. A failure names its case.
pub fn try_all<T: Copy + Display + Sync>(cases: &[T], attempt: impl Fn(T) + Sync) {
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let attempt = &attempt;
            scope.spawn(move || {
                for &case in cases.iter().skip(worker).step_by(workers) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| attempt(case))) {
                        eprintln!("failed with case {case}");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}

pub fn first_segment() -> String {
    segment_name(0)
}
