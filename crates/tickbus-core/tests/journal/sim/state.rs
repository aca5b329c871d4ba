//! The machine behind a simulated disk: what is cached, what is durable, what fails next.

use std::collections::BTreeMap;
use std::io;

pub const SECTOR: usize = 512;
pub const SECTORS_A_PAGE: usize = 8;

/// Splitmix: small, fast, the same everywhere.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// How often what fails: once in so many operations; 0 is never.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub io_error: u64,
    pub sync_error: u64,
    pub short: u64,
    pub interrupted: u64,
    /// Files may not grow.
    pub full: bool,
}

#[derive(Clone, Default)]
pub struct Content {
    pub cached: Vec<u8>,
    pub durable: Vec<u8>,
    pub dirty: Vec<bool>,
}

impl Content {
    pub fn sectors(&self) -> usize {
        self.cached.len().div_ceil(SECTOR)
    }

    pub fn write_back(&mut self, sector: usize) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.cached.len());
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.cached[range]);
    }
}

#[derive(Clone)]
pub enum Change {
    Link(String, u64),
    Rename(String, String),
    Unlink(String),
}

pub fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Link(name, file) => {
            names.insert(name.clone(), *file);
        }
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
    }
}

pub struct State {
    pub random: Random,
    pub faults: Faults,
    pub files: BTreeMap<u64, Content>,
    pub names: BTreeMap<String, u64>,
    pub durable_names: BTreeMap<String, u64>,
    /// Since the last sync of the directory.
    pub changes: Vec<Change>,
    /// Operations until the machine stops.
    pub left: Option<u64>,
    pub stopped: bool,
    /// A sync has failed since the process started.
    pub sync_failed: bool,
    /// Of the process; files opened by an earlier one are closed.
    pub process: u64,
    pub locked: bool,
}

pub fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

pub fn input_output() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl State {
    pub fn new(seed: u64) -> State {
        State {
            random: Random(seed),
            faults: Faults::default(),
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            left: None,
            stopped: false,
            sync_failed: false,
            process: 0,
            locked: false,
        }
    }

    /// Before an operation: whether it happens at all.
    pub fn operation(&mut self, process: u64) -> io::Result<()> {
        if self.stopped || self.process != process {
            return Err(stopped());
        }
        if let Some(left) = &mut self.left {
            if *left == 0 {
                self.stopped = true;
                return Err(stopped());
            }
            *left -= 1;
        }
        if self.random.one_in(16) {
            self.write_some_back();
        }
        if self.chance(self.faults.io_error) {
            return Err(input_output());
        }
        Ok(())
    }

    /// An operation that a signal may interrupt.
    pub fn slow_operation(&mut self, process: u64) -> io::Result<()> {
        if self.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.operation(process)
    }

    pub fn chance(&mut self, chances: u64) -> bool {
        chances > 0 && self.random.one_in(chances)
    }

    pub fn write_some_back(&mut self) {
        let index = self.random.below(self.files.len().max(1) as u64) as usize;
        let Some(content) = self.files.values_mut().nth(index) else {
            return;
        };
        if content.sectors() == 0 {
            return;
        }
        let from = self.random.below(content.sectors() as u64) as usize;
        let to = from + 1 + self.random.below(32) as usize;
        for sector in from..to.min(content.sectors()) {
            if std::mem::take(&mut content.dirty[sector]) {
                content.write_back(sector);
            }
        }
    }

    pub fn lose(&mut self) {
        let keep = self.random.below(self.changes.len() as u64 + 1) as usize;
        for change in &self.changes[..keep] {
            apply(&mut self.durable_names, change);
        }
        self.changes.clear();
        self.names = self.durable_names.clone();
        let kept: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| kept.contains(file));
        let (mode, unit) = (self.random.below(5), 1 + 7 * self.random.below(2) as usize);
        for content in self.files.values_mut() {
            for first in (0..content.sectors()).step_by(unit) {
                let keep = match mode {
                    0 => false,
                    1 => true,
                    2 => self.random.one_in(8),
                    3 => !self.random.one_in(8),
                    _ => self.random.one_in(2),
                };
                let page = first..(first + unit).min(content.sectors());
                for sector in page.clone() {
                    if keep && content.dirty[sector] {
                        content.write_back(sector);
                    }
                }
                let in_flight = page.clone().any(|sector| content.dirty[sector]);
                if in_flight && mode > 1 && self.random.one_in(16) {
                    let end = (page.end * SECTOR).min(content.durable.len());
                    let shredded = content.durable.get_mut(page.start * SECTOR..end);
                    shredded
                        .into_iter()
                        .flatten()
                        .for_each(|byte| *byte = self.random.next() as u8);
                }
            }
            if content.durable.len() < content.cached.len() && self.random.one_in(2) {
                content.durable.resize(content.cached.len(), 0);
            }
            content.cached = content.durable.clone();
            content.dirty = vec![false; content.sectors()];
        }
    }
}
