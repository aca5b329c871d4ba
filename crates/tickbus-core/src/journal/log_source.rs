//! A full log segment as what it is sealed from.
//!
//! It is read twice, front to back: the batch headers for how many events each lane has, then all of
//! it, with every checksum. What does not end where the next segment goes on is damage.
//!
//! A sealed segment does not know where between its records an event stood. Where a writer has opened
//! the log, a record of the next sequences is put in, so that what is valid for one run of the writer
//! only (references to payloads) can be told from the same thing of another run.

use super::disk::{Disk, FsDisk};
use super::error::JournalError;
use super::fault::{Damage, SegmentError};
use super::format::{HeaderState, Kind, SLOT, Sequences, record, segment_name, u64_at};
use super::segment::{Gap, Identity, LANES, Piece, Record, Source};
use super::walk::{Step, Walk, read_header};
use crate::event::{Event, PRIORITIES};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a record of kind [`record::SEQUENCES`]: the next sequence of each lane.
pub const SEQUENCES_LEN: usize = LANES * 8;

/// Reads one segment of a log.
pub struct LogSource {
    walk: Walk<File>,
    path: PathBuf,
    identity: Identity,
    counts: Sequences,
    next: Sequences,
    /// What the segment behind this one says the last batch's checksum is.
    chain_after: u32,
    events: Vec<Event>,
    /// The log was opened at this position: the sequences come next.
    opened: Option<u64>,
    sequences: [u8; SEQUENCES_LEN],
}

/// What was found, before it borrows from the reader.
enum Found {
    Events(usize, u64),
    Gap(usize, u64),
    Record(u64, u32, usize),
}

impl LogSource {
    /// The segment of a log that begins at `first`, which is full and on the disk.
    ///
    /// # Errors
    /// When it, or the one behind it, cannot be read.
    pub fn open(disk: &FsDisk, directory: &Path, first: u64) -> Result<LogSource, SegmentError> {
        let path = directory.join(segment_name(first));
        let head = |name: &str, first| {
            let path = directory.join(name);
            let file = disk.open(name, false).map_err(SegmentError::io("open", &path))?;
            match read_header(&file, first, None).map_err(|error| wrong(&path, error))? {
                HeaderState::Whole(head) => Ok((Arc::new(file), head)),
                _ => Err(SegmentError::damaged(&path, 0, "the header is wrong")),
            }
        };
        let (file, this) = head(&segment_name(first), first)?;
        let (_, after) = head(&segment_name(this.end()), this.end())?;
        let identity = Identity {
            journal: this.id,
            first_position: this.first,
            slots: this.slots,
            first_sequence: this.next,
            created_ns: this.created_ns,
        };
        let mut source = LogSource {
            walk: Walk::new(Arc::clone(&file), this),
            path,
            identity,
            counts: [0; LANES],
            next: this.next,
            chain_after: after.chain,
            events: Vec::new(),
            opened: None,
            sequences: [0; SEQUENCES_LEN],
        };
        loop {
            match source.walk.step(|_| false) {
                Ok(Step::Batch(_, header)) if header.kind == Kind::Events => {
                    source.counts[usize::from(header.lane)] += u64::from(header.slots);
                }
                Ok(Step::Batch(..)) => {}
                Ok(Step::Done) => break,
                Ok(Step::Blank) => return Err(source.damaged("zeros where a batch was")),
                Ok(Step::Bad(why)) => return Err(source.damaged(why)),
                Err(error) => return Err(wrong(&source.path, error)),
            }
        }
        source.walk = Walk::new(file, this);
        Ok(source)
    }

    fn damaged(&self, why: &'static str) -> SegmentError {
        let offset = self.walk.head.offset_of(self.walk.position);
        let path = self.path.clone();
        SegmentError::Damaged(Damage { path, offset, lane: None, sequences: None, why })
    }

    /// The next batch that is kept.
    fn step(&mut self) -> Result<Option<Found>, SegmentError> {
        loop {
            let step = self.walk.step(|_| true).map_err(|error| wrong(&self.path, error))?;
            let (position, header) = match step {
                Step::Batch(position, header) => (position, header),
                Step::Done if self.walk.chain == Some(self.chain_after) => return Ok(None),
                Step::Done => {
                    return Err(self.damaged("the next segment does not follow this one"));
                }
                Step::Blank => return Err(self.damaged("zeros where a batch was")),
                Step::Bad(why) => return Err(self.damaged(why)),
            };
            let lane = usize::from(header.lane);
            match header.kind {
                Kind::Events => {
                    let slots = self.walk.payload().as_chunks::<SLOT>().0;
                    self.events.clear();
                    self.events.extend(slots.iter().map(Event::from_bytes));
                    self.next[lane] = header.first + u64::from(header.slots);
                    return Ok(Some(Found::Events(lane, header.first)));
                }
                Kind::Gap => {
                    let count = u64_at(self.walk.payload(), 0);
                    self.next[lane] = header.first.saturating_add(count);
                    return Ok(Some(Found::Gap(lane, header.first)));
                }
                Kind::Record => {
                    if header.record_kind() == record::OPENED {
                        self.opened = Some(position);
                    }
                    let (kind, len) = (header.record_kind(), header.record_len());
                    return Ok(Some(Found::Record(position, kind, len)));
                }
                Kind::Padding | Kind::End => {}
            }
        }
    }
}

impl Source for LogSource {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn counts(&self) -> [u64; LANES] {
        self.counts
    }

    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError> {
        if let Some(position) = self.opened.take() {
            for (bytes, next) in self.sequences.chunks_exact_mut(8).zip(self.next) {
                bytes.copy_from_slice(&next.to_le_bytes());
            }
            let (kind, bytes) = (record::SEQUENCES, &self.sequences[..]);
            return Ok(Some(Piece::Record(Record { position, kind, bytes })));
        }
        let Some(found) = self.step()? else {
            return Ok(None);
        };
        let payload = self.walk.payload();
        Ok(Some(match found {
            Found::Events(lane, first) => {
                Piece::Events { lane: PRIORITIES[lane], first, events: &self.events }
            }
            Found::Gap(lane, first) => {
                let (count, why) = (u64_at(payload, 0), u64_at(payload, 8));
                Piece::Gap(Gap { lane: PRIORITIES[lane], first, count, why })
            }
            Found::Record(position, kind, len) => {
                Piece::Record(Record { position, kind, bytes: &payload[..len] })
            }
        }))
    }
}

fn wrong(path: &Path, error: JournalError) -> SegmentError {
    let path = path.to_path_buf();
    match error {
        JournalError::Io { what, error, .. } => SegmentError::Io { what, path, error },
        JournalError::Version { .. } => {
            SegmentError::Foreign { path, why: "a log segment of another version" }
        }
        _ => SegmentError::Foreign { path, why: "no segment of this log" },
    }
}
