//! Seeded lives of a journal on a disk that fails, loses and stops.
//!
//! `TICKBUS_SEEDS=20000 cargo test --release -p tickbus-core --test journal` runs more of them, from
//! `TICKBUS_FIRST_SEED` on, and `TICKBUS_SEED=77` one. A failure names its seed.

use super::building::try_all;
use super::model::Model;
use super::sim::{Faults, Random, SimDisk};
use std::sync::Arc;
use tickbus_core::event::PRIORITIES;
use tickbus_core::journal::{JournalError, LaneReader, Log, Options, Until, verify};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Run `life` with every seed, and say which one failed.
fn with_seeds(default_count: u64, life: impl Fn(u64) + Sync) {
    let seeds: Vec<u64> = match from_environment("TICKBUS_SEED") {
        Some(one) => vec![one],
        None => {
            let first = from_environment("TICKBUS_FIRST_SEED").unwrap_or(0);
            let count = from_environment("TICKBUS_SEEDS").unwrap_or(default_count);
            (first..first + count).collect()
        }
    };
    try_all(&seeds, life);
    println!("{} lives, seeds from {}", seeds.len(), seeds[0]);
}

struct Life {
    disk: SimDisk,
    random: Random,
    model: Model,
    options: Options,
}

impl Life {
    fn new(seed: u64) -> Life {
        let mut random = Random(seed);
        let blocks = [2, 3, 4, 16][random.below(4) as usize];
        let disk = SimDisk::new(random.next());
        let options = Options { segment_bytes: blocks * 4096, ..Options::default() };
        Life { disk, random, model: Model::default(), options }
    }

    fn faults(&mut self) -> Faults {
        let random = &mut self.random;
        let mut sometimes = |chances: u64| if random.one_in(3) { chances } else { 0 };
        Faults {
            io_error: sometimes(150),
            sync_error: sometimes(40),
            short: sometimes(4),
            interrupted: sometimes(5),
            full: false,
        }
    }

    /// Open, work, end. Whether the machine's state is worth going on with is up to the caller.
    fn process(&mut self) {
        let opened = Log::open(self.disk.clone(), &self.options);
        let (mut log, recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.may_fail(&error),
        };
        let faults = self.disk.faults();
        let disk = Arc::new(self.disk.clone());
        if !self.undisturbed(|life| life.model.recovered(&disk, &recovered)) {
            return;
        }
        let start = |lane| recovered.next[lane as usize];
        let mut readers =
            PRIORITIES.map(|lane| (lane, LaneReader::at(&disk, lane, start(lane)).ok()));
        for _ in 0..self.random.below(40) {
            if self.step(&mut log, &mut readers).is_err() {
                return;
            }
        }
        self.disk.set_faults(Faults { full: false, ..faults });
        if self.random.one_in(2) {
            match log.close() {
                Ok(committed) => self.model.committed(committed, true),
                Err(error) => self.may_fail(&error),
            }
        }
    }

    fn step(
        &mut self,
        log: &mut Log<SimDisk>,
        readers: &mut [(tickbus_core::Priority, Option<LaneReader<SimDisk>>); 3],
    ) -> Result<(), ()> {
        match self.random.below(20) {
            0..10 => self.model.append_some(log, &mut self.random),
            10..15 => {
                let sync = self.random.one_in(2);
                match log.commit(sync) {
                    Ok(committed) => self.model.committed(committed, sync),
                    Err(JournalError::Poisoned { .. }) => {
                        let again = log.commit(sync);
                        assert!(matches!(again, Err(JournalError::Poisoned { .. })), "{again:?}");
                        return Err(());
                    }
                    Err(error) => self.may_fail(&error),
                }
                if self.disk.has_stopped() {
                    return Err(());
                }
                if log.staged_bytes() == 0 {
                    for (lane, reader) in readers.iter_mut() {
                        let until = Until::Position(log.written());
                        self.undisturbed(|life| {
                            if let Some(reader) = reader {
                                life.model.check_lane(reader, *lane, until);
                            }
                        });
                    }
                }
            }
            15..17 => {
                if let Err(error) = log.preparer().prepare_next() {
                    self.may_fail(&error);
                }
            }
            17 => {
                let finished = log.preparer().finished();
                // Readers may stand in a segment that goes away; they are not the subject here.
                if finished.len() > 1 && self.random.one_in(2) {
                    self.options.sealed_to = finished[1];
                    readers.iter_mut().for_each(|(_, reader)| *reader = None);
                    if let Err(error) = log.preparer().recycle(finished[0]) {
                        self.may_fail(&error);
                    }
                }
            }
            _ => {
                let faults = self.disk.faults();
                self.disk.set_faults(Faults { full: !faults.full, ..faults });
            }
        }
        if self.disk.has_stopped() { Err(()) } else { Ok(()) }
    }

    /// Check something while the disk behaves. False if the machine has stopped.
    fn undisturbed(&mut self, check: impl FnOnce(&mut Life)) -> bool {
        if self.disk.has_stopped() {
            return false;
        }
        let faults = self.disk.faults();
        let left = self.disk.stop_after(None);
        self.disk.set_faults(Faults::default());
        check(self);
        self.disk.set_faults(faults);
        self.disk.stop_after(left);
        true
    }

    /// Errors have their cause in the disk; damage is never one of them.
    fn may_fail(&self, error: &JournalError) {
        let faults = self.disk.faults();
        let stopped = self.disk.has_stopped();
        let expected = match error {
            JournalError::Io { .. } => stopped || faults.io_error > 0 || faults.sync_error > 0,
            JournalError::StorageFull { .. } => faults.full,
            JournalError::Poisoned { .. } => {
                stopped || faults.io_error > 0 || faults.sync_error > 0
            }
            _ => false,
        };
        assert!(expected, "{error} ({error:?})");
    }

    fn end(&mut self, power_loss: bool) {
        if power_loss || self.disk.sync_failed() {
            self.model.only_durable();
        }
        if power_loss { self.disk.power_loss() } else { self.disk.kill() }
    }

    /// Without faults everything is there, whole, and readable without a limit.
    fn last_look(&mut self) {
        self.disk.set_faults(Faults::default());
        let (log, recovered) = Log::open(self.disk.clone(), &self.options).unwrap();
        let disk = Arc::new(self.disk.clone());
        self.model.recovered(&disk, &recovered);
        self.model.check(&disk, Until::Written);
        let report = verify(&disk).unwrap();
        assert_eq!((&report.damage[..], report.torn_bytes), (&[][..], 0));
        assert_eq!((report.next, report.position), (recovered.next, log.written()));
    }
}

fn life(seed: u64) {
    let mut life = Life::new(seed);
    for _ in 0..1 + life.random.below(5) {
        let faults = if life.random.one_in(2) { life.faults() } else { Faults::default() };
        life.disk.set_faults(faults);
        let stop = life.random.one_in(2).then(|| life.random.below(300));
        life.disk.stop_after(stop);
        life.process();
        let power_loss = life.random.one_in(2);
        life.end(power_loss);
    }
    life.last_look();
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_else_appears() {
    with_seeds(1500, life);
}

/// Synced commits over several segments, with the work of the background between them.
fn scripted(life: &mut Life) {
    let Ok((mut log, recovered)) = Log::open(life.disk.clone(), &life.options) else {
        return;
    };
    let disk = Arc::new(life.disk.clone());
    if !life.undisturbed(|life| life.model.recovered(&disk, &recovered)) {
        return;
    }
    let end = log.written() + 4 * life.options.segment_bytes / 32;
    for round in 0.. {
        life.model.append_some(&mut log, &mut life.random);
        let sync = round % 3 != 0;
        match log.commit(sync) {
            Ok(committed) => life.model.committed(committed, sync),
            Err(_) => return,
        }
        if round % 4 == 0 && log.preparer().prepare_next().is_err() {
            return;
        }
        let finished = log.preparer().finished();
        if finished.len() > 2 {
            life.options.sealed_to = finished[1];
            if log.preparer().recycle(finished[0]).is_err() {
                return;
            }
        }
        if log.written() > end {
            break;
        }
    }
    if let Ok(committed) = log.close() {
        life.model.committed(committed, true);
    }
}

#[test]
fn the_end_may_come_at_any_operation_and_again_in_the_next_process() {
    let ends = [(false, true), (true, true), (true, false)];
    for (first_is_power_loss, second_is_power_loss) in ends {
        let mut stopped = true;
        for operation in 0.. {
            if !stopped {
                break;
            }
            let mut life = Life::new(operation);
            life.options.segment_bytes = 8192;
            life.disk.stop_after(Some(operation));
            scripted(&mut life);
            stopped = life.disk.has_stopped();
            life.end(first_is_power_loss);
            let again = operation.is_multiple_of(2).then_some(operation / 2);
            life.disk.stop_after(again);
            scripted(&mut life);
            life.end(second_is_power_loss);
            life.last_look();
        }
    }
}
