//! A damaged journal written anew: everything that can be read, and gaps in the place of the rest.
//!
//! The damaged one is read twice, first to know what is wrong with it and every name in it, then to
//! copy; nothing of it is changed. Events keep their lane, sequence and numbers. What is lost becomes a
//! gap with the reason [`LOST`], so that readers count it as missed. A number whose name is lost gets a
//! name that says so.
//!
//! The new journal appears under its name when it is whole and on the disk. It has an id of its own.

use super::audit::{Audit, Lost, Names, Progress, Visitor, audit};
use super::disk::FsDisk;
use super::error::JournalError;
use super::format::{BLOCK, LANES, SLOT, record};
use super::log::{Log, Options};
use super::verify::Gap;
use crate::event::{Event, PRIORITIES, Priority};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Why there is a gap: the events were damaged, and left out when the rest was written anew.
pub const LOST: u64 = 2;
/// Why there is a gap: the events were not in the journal any more when it was written anew.
pub const REMOVED: u64 = 3;
/// Of sealed segments only: sequences where a process opened the journal.
const SEQUENCES: u32 = 9;
/// Written at a time.
const CHUNK: usize = 1 << 20;
/// Longest record that a log takes needs segments of twice its size.
const LEAST_SEGMENT: u64 = 1 << 20;

/// What was saved.
#[derive(Debug, Clone)]
pub struct Salvaged {
    /// What was wrong with the damaged one.
    pub audit: Audit,
    /// Events copied, of each lane.
    pub events: [u64; LANES],
    pub records: u64,
    /// Sequences that are gaps in the new one and were none in the damaged one.
    pub lost: Vec<Lost>,
    /// Names that had to be made up.
    pub made_up: Vec<String>,
}

/// Write what can be read of the journal in `path` as a new one in `out`, which must not exist.
///
/// # Errors
/// [`JournalError::Locked`] while a process writes the journal, what [`audit`] returns, and whatever
/// keeps the new one from being written; `out` is not there then.
pub fn salvage(path: &Path, out: &Path, progress: Progress<'_>) -> Result<Salvaged, JournalError> {
    let place = out.display().to_string();
    let unfinished = PathBuf::from(format!("{place}.new"));
    for taken in [out, &unfinished] {
        if fs::symlink_metadata(taken).is_ok() {
            let error = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(JournalError::io("make", &taken.display().to_string())(error));
        }
    }
    // Numbers of events are known only when they have been read; names come before them all the same.
    let mut highest = Highest::default();
    let found = audit(path, &mut highest, &mut |done, total| progress(done, 2 * total))?;
    if let Some(pid) = found.writer {
        return Err(JournalError::Locked { path: path.display().to_string(), pid: Some(pid) });
    }
    let copied = copy(path, &unfinished, found, &highest, progress).and_then(|saved| {
        fs::rename(&unfinished, out).map_err(JournalError::io("rename to", &place))?;
        let parent = std::path::absolute(out).ok().and_then(|out| Some(out.parent()?.to_owned()));
        if let Some(parent) = parent {
            File::open(parent)
                .and_then(|parent| parent.sync_all())
                .map_err(JournalError::io("sync the folder of", &place))?;
        }
        Ok(saved)
    });
    if copied.is_err() {
        // What could not be finished is of no use; that it cannot be removed changes nothing.
        let _ = fs::remove_dir_all(&unfinished);
    }
    copied
}

fn copy(
    path: &Path,
    out: &Path,
    found: Audit,
    highest: &Highest,
    progress: Progress<'_>,
) -> Result<Salvaged, JournalError> {
    let largest = found.parts.iter().map(|part| (part.end - part.first) * SLOT as u64).max();
    let segment_bytes = largest.unwrap_or(0).max(LEAST_SEGMENT).next_multiple_of(BLOCK as u64);
    let options = Options { segment_bytes, name: "salvaged".into(), ..Options::default() };
    let disk =
        FsDisk::open(out, true).map_err(JournalError::io("make", &out.display().to_string()))?;
    let (log, _) = Log::open(disk, &options)?;
    let mut copy = Copy {
        log,
        events: [0; LANES],
        records: 0,
        lost: Vec::new(),
        made_up: Vec::new(),
        highest: [highest.symbol, highest.source.into()],
        bus: None,
        buffer: Vec::new(),
    };
    copy.names(&found.names)?;
    for priority in PRIORITIES {
        let begins = found.begins[priority as usize];
        if begins > 0 {
            copy.log.append_gap(priority, 0, begins, REMOVED)?;
        }
    }
    audit(path, &mut copy, &mut |done, total| progress(total + done, 2 * total))?;
    for priority in PRIORITIES {
        copy.skip_to(priority, found.next[priority as usize])?;
    }
    copy.log.commit(true)?;
    copy.log.close()?;
    let mut lost = copy.lost;
    // Behind the last hole nothing says how much there was.
    lost.extend(found.lost.iter().filter(|lost| lost.count.is_none()));
    let (events, records, made_up) = (copy.events, copy.records, copy.made_up);
    Ok(Salvaged { audit: found, events, records, lost, made_up })
}

/// The greatest numbers that events have.
#[derive(Default)]
struct Highest {
    symbol: u32,
    source: u16,
}

impl Visitor for Highest {
    fn events(&mut self, _: Priority, _: u64, rows: &[u8]) -> Result<(), JournalError> {
        for row in rows.chunks_exact(SLOT) {
            let event = Event::from_bytes(row.try_into().expect("a whole event"));
            self.symbol = self.symbol.max(event.symbol);
            self.source = self.source.max(event.source);
        }
        Ok(())
    }

    fn gap(&mut self, _: Gap) -> Result<(), JournalError> {
        Ok(())
    }

    fn record(&mut self, _: u64, _: u32, _: &[u8]) -> Result<(), JournalError> {
        Ok(())
    }
}

struct Copy {
    log: Log<FsDisk>,
    events: [u64; LANES],
    records: u64,
    lost: Vec<Lost>,
    made_up: Vec<String>,
    /// Greatest number of a symbol and of a source that an event has.
    highest: [u32; 2],
    /// Which bus it was last the journal of.
    bus: Option<Vec<u8>>,
    buffer: Vec<Event>,
}

impl Copy {
    /// Every name, in the order of their numbers: whoever reads them takes a hole for damage.
    fn names(&mut self, names: &Names) -> Result<(), JournalError> {
        let kinds = [
            (record::SYMBOL, "symbol", &names.symbols),
            (record::SOURCE, "source", &names.sources),
        ];
        for (index, (kind, what, texts)) in kinds.into_iter().enumerate() {
            let last = texts.keys().copied().max().unwrap_or(0).max(self.highest[index]);
            for number in 1..=last {
                let text = match texts.get(&number) {
                    Some(text) => text.clone(),
                    None => self.make_up(what, number, texts),
                };
                let number = number.to_le_bytes();
                let width = if kind == record::SOURCE { 2 } else { 4 };
                self.log.append_name(kind, &[&number[..width], text.as_bytes()].concat())?;
                self.commit()?;
            }
        }
        for row in names.types.values() {
            self.log.append_name(record::EVENT_TYPE, row)?;
        }
        self.commit()
    }

    /// A name that nothing else has.
    fn make_up(&mut self, what: &str, number: u32, texts: &HashMap<u32, String>) -> String {
        let plain = format!("lost-{what}-{number}");
        let taken = |text: &String| texts.values().any(|known| known == text);
        let mut names = std::iter::once(plain.clone()).chain((2..).map(|n| format!("{plain}-{n}")));
        let name = names.find(|name| !taken(name)).unwrap_or(plain);
        self.made_up.push(name.clone());
        name
    }

    fn commit(&mut self) -> Result<(), JournalError> {
        if self.log.staged_bytes() >= CHUNK {
            self.log.commit(false)?;
        }
        Ok(())
    }

    /// Go on with `first`; what is before and not written is lost.
    fn skip_to(&mut self, lane: Priority, first: u64) -> Result<(), JournalError> {
        let next = self.log.next(lane);
        if first > next {
            let count = first - next;
            self.log.append_gap(lane, next, count, LOST)?;
            self.lost.push(Lost { lane, first: next, count: Some(count) });
        }
        Ok(())
    }
}

impl Visitor for Copy {
    fn events(&mut self, lane: Priority, first: u64, rows: &[u8]) -> Result<(), JournalError> {
        self.skip_to(lane, first)?;
        self.buffer.clear();
        let events = rows.chunks_exact(SLOT).map(|row| row.try_into().expect("a whole event"));
        self.buffer.extend(events.map(Event::from_bytes));
        self.log.append_events(lane, first, &self.buffer)?;
        self.events[lane as usize] += self.buffer.len() as u64;
        self.commit()
    }

    fn gap(&mut self, gap: Gap) -> Result<(), JournalError> {
        self.skip_to(gap.lane, gap.first)?;
        self.log.append_gap(gap.lane, gap.first, gap.count, gap.why)?;
        self.commit()
    }

    fn record(&mut self, _: u64, kind: u32, bytes: &[u8]) -> Result<(), JournalError> {
        // Names are there already. Who opened and closed the damaged one is of no use to a reader, and
        // a record that the journal was closed must not stand where it was not.
        let own = [
            record::SYMBOL,
            record::SOURCE,
            record::EVENT_TYPE,
            record::NAMES,
            record::OPENED,
            record::CLOSED,
            SEQUENCES,
        ];
        if own.contains(&kind) {
            return Ok(());
        }
        if kind != record::BUS {
            self.log.append_record(kind, bytes)?;
        } else if self.bus.as_deref() != Some(bytes) {
            // The heads of segments repeat it.
            self.log.append_name(kind, bytes)?;
            self.bus = Some(bytes.to_vec());
        } else {
            return Ok(());
        }
        self.records += 1;
        self.commit()
    }
}
