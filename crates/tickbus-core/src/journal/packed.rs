//! Packed segments: a sealed segment at a fraction of its size.
//!
//! [`pack`] reads a sealed segment, writes each lane in frames of 65,536 events ([`super::columns`]),
//! syncs, reads all of it back from the device and compares, renames, and only then removes the
//! sealed file. Records, gaps and index are the sealed segment's, byte for byte.
//!
//! [`Packed`] decodes a frame at a time; the frame has a checksum, and so has every block of events
//! in it once it is decoded. Memory: a frame of 2 MiB and its columns.

use super::columns::{Columns, FRAME_EVENTS};
use super::draft::{Appender, Draft, Ledger};
use super::fault::SegmentError;
use super::folder::{Folder, Form};
use super::index::{BLOCK_EVENTS, BLOCK_LEN, EVENT_LEN, LaneIndex};
use super::opened::Opened;
use super::query::{Buffer, Segment, Span};
use super::sealed::{Sealed, span, verify_blocks};
use super::segment::{PAGE, get, put, round_up};
use crate::event::{PRIORITIES, Priority};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes an entry of the frame list: offset, length, checksum.
pub const FRAME_ENTRY_LEN: usize = 16;
const BLOCKS_A_FRAME: usize = FRAME_EVENTS / BLOCK_EVENTS;

/// Replace the sealed segment of `folder` by a packed one. May be stopped anywhere and done again: the
/// sealed file stays until the packed one has been compared with it and is on the disk for good.
pub fn pack<F: Folder>(folder: &F, sealed: &Sealed) -> Result<(), SegmentError> {
    let identity = sealed.opened().layout().identity;
    let draft = Draft::create(folder, Form::Packed, identity)?;
    let written = fill(&draft, sealed).and_then(|()| {
        let packed = Opened::open(draft.path(), Form::Packed, identity.first_position)?;
        packed.forget_cached()?;
        compare(sealed, &Packed::new(packed))
    });
    match written {
        Ok(()) => draft.publish()?,
        Err(error) => {
            draft.discard();
            return Err(error);
        }
    }
    let name = Form::Sealed.name(identity.first_position);
    let path = folder.path(&name);
    folder.remove(&name).map_err(SegmentError::io("remove", &path))?;
    folder.sync_names().map_err(SegmentError::io("sync the folder of", &path))
}

fn fill<F: Folder>(draft: &Draft<F>, sealed: &Sealed) -> Result<(), SegmentError> {
    let opened = sealed.opened();
    let mut ledger = Ledger::new(&opened.layout().identity);
    let mut frames = Appender::new(PAGE as u64);
    let mut list = Vec::new();
    let mut columns = Columns::default();
    let (mut rows, mut frame, mut buffer) = (Vec::new(), Vec::new(), Buffer::default());
    for lane in PRIORITIES {
        let blocks = sealed.index(lane)?.entries().len();
        for first in (0..blocks).step_by(BLOCKS_A_FRAME) {
            rows.clear();
            for block in first..blocks.min(first + BLOCKS_A_FRAME) {
                let block = sealed.block(lane, block, &mut buffer)?;
                ledger.block(lane as usize, block);
                rows.extend_from_slice(block);
            }
            frame.clear();
            columns
                .encode(&rows, &mut frame)
                .map_err(SegmentError::io("compress for", draft.path()))?;
            let mut entry = [0; FRAME_ENTRY_LEN];
            put(&mut entry, 0, PAGE as u64 + frames.length());
            let crc = u64::from(crc32c::crc32c(&frame));
            put(&mut entry, 8, frame.len() as u64 | crc << 32);
            list.extend_from_slice(&entry);
            frames.push(draft, &frame)?;
        }
        ledger.lane_of(lane, sealed.lane(lane).count);
    }
    ledger.gaps.extend_from_slice(opened.gaps());
    frames.flush(draft)?;
    let frames = frames.part((list.len() / FRAME_ENTRY_LEN) as u64);
    let mut appender = Appender::new(round_up(frames.offset + frames.length));
    let mut records = opened.records();
    let mut count = 0;
    while let Some(record) = records.next()? {
        appender.record(draft, &record)?;
        count += 1;
    }
    appender.flush(draft)?;
    draft.finish(&ledger, [0; 3], appender.part(count), frames, &list)
}

/// Whether both hold the same, to the bit; reads all of both.
fn compare(sealed: &Sealed, packed: &Packed) -> Result<(), SegmentError> {
    let (one, other) = (sealed.opened(), packed.opened());
    let differs = |offset, why| SegmentError::damaged(other.path(), offset, why);
    let (mut left, mut right) = (Buffer::default(), Buffer::default());
    for lane in PRIORITIES {
        let index = sealed.index(lane)?;
        if sealed.span(lane) != packed.span(lane)
            || packed.index(lane)?.entries() != index.entries()
        {
            return Err(differs(0, "another index than in the sealed segment"));
        }
        for block in 0..index.entries().len() {
            let rows = sealed.block(lane, block, &mut left)?;
            if packed.block(lane, block, &mut right)? != rows {
                let first = (block * BLOCK_EVENTS) as u64;
                let rows = first..first + BLOCK_EVENTS as u64;
                let why = "other events than in the sealed segment";
                return Err(other.damaged_rows(lane, rows, 0, why));
            }
        }
    }
    if one.gaps() != other.gaps() {
        return Err(differs(other.layout().gaps.offset, "other gaps than in the sealed segment"));
    }
    let (mut records, mut others) = (one.records(), other.records());
    loop {
        let record = records.next()?;
        if others.next()? != record {
            let at = other.layout().records.offset;
            return Err(differs(at, "other records than in the sealed segment"));
        }
        if record.is_none() {
            return Ok(());
        }
    }
}

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u64,
    length: usize,
    crc: u32,
}

/// A packed segment, open for reading.
pub struct Packed {
    opened: Opened,
    frames: OnceLock<Vec<Frame>>,
    /// Memory for decoding, lent to one reader at a time; another one makes its own.
    columns: Mutex<Option<Box<Columns>>>,
}

impl Packed {
    /// The packed segment of a folder with this first position.
    pub fn open(folder: &Path, first_position: u64) -> Result<Packed, SegmentError> {
        let path = folder.join(Form::Packed.name(first_position));
        Opened::open(&path, Form::Packed, first_position).map(Packed::new)
    }

    fn new(opened: Opened) -> Packed {
        Packed { opened, frames: OnceLock::new(), columns: Mutex::new(None) }
    }

    /// Everything but the events: whose it is, gaps, records, sequences.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Read all of it and tell of everything that is wrong.
    pub fn verify(&self, tell: &mut dyn FnMut(SegmentError)) {
        self.opened.verify(tell);
        match self.frames() {
            Ok(_) => verify_blocks(self, tell),
            Err(error) => tell(error),
        }
    }

    fn frames(&self) -> Result<&[Frame], SegmentError> {
        if let Some(frames) = self.frames.get() {
            return Ok(frames);
        }
        let part = &self.opened.layout().frame_list;
        let bytes = self.opened.read_part(part, "the list of frames fails its checksum")?;
        let frames: Vec<Frame> = bytes
            .chunks_exact(FRAME_ENTRY_LEN)
            .map(|entry| {
                let length = get(entry, 8);
                Frame {
                    offset: get(entry, 0),
                    length: length as u32 as usize,
                    crc: (length >> 32) as u32,
                }
            })
            .collect();
        let lanes = &self.opened.layout().lanes;
        let needed: u64 = lanes.iter().map(|lane| lane.count.div_ceil(FRAME_EVENTS as u64)).sum();
        if frames.len() as u64 != needed {
            let path = self.opened.path();
            return Err(SegmentError::damaged(
                path,
                part.offset,
                "not as many frames as events need",
            ));
        }
        Ok(self.frames.get_or_init(|| frames))
    }

    /// A frame of a lane.
    fn frame(&self, lane: Priority, number: usize) -> Result<Frame, SegmentError> {
        let lanes_before = &self.opened.layout().lanes[..lane as usize];
        let frames_before: u64 =
            lanes_before.iter().map(|lane| lane.count.div_ceil(FRAME_EVENTS as u64)).sum();
        Ok(self.frames()?[frames_before as usize + number])
    }

    /// Make the buffer hold a frame's rows.
    fn decode(
        &self,
        lane: Priority,
        number: usize,
        buffer: &mut Buffer,
    ) -> Result<(), SegmentError> {
        let layout = self.opened.layout();
        let identity = &layout.identity;
        let key = Some((identity.journal, identity.first_position, lane, number));
        if buffer.frame == key {
            return Ok(());
        }
        buffer.frame = None;
        let Frame { offset, length, crc } = self.frame(lane, number)?;
        buffer.packed.resize(length, 0);
        self.opened.read(&mut buffer.packed, offset)?;
        let first = (number * FRAME_EVENTS) as u64;
        let count = (layout.lanes[lane as usize].count - first).min(FRAME_EVENTS as u64);
        let damaged = |why| self.opened.damaged_rows(lane, first..first + count, offset, why);
        if crc32c::crc32c(&buffer.packed) != crc {
            return Err(damaged("a frame fails its checksum"));
        }
        let lent = self.columns.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut columns = lent.unwrap_or_default();
        let decoded = columns.decode(&buffer.packed, count as usize, &mut buffer.bytes);
        *self.columns.lock().unwrap_or_else(PoisonError::into_inner) = Some(columns);
        decoded.ok_or_else(|| damaged("a frame cannot be decoded"))?;
        buffer.frame = key;
        Ok(())
    }
}

impl Segment for Packed {
    fn span(&self, lane: Priority) -> Span {
        span(&self.opened, lane)
    }

    fn index(&self, lane: Priority) -> Result<Arc<LaneIndex>, SegmentError> {
        self.opened.index(lane)
    }

    fn sequence(&self, lane: Priority, row: u64) -> u64 {
        self.opened.sequence(lane, row)
    }

    fn block<'b>(
        &self,
        lane: Priority,
        block: usize,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], SegmentError> {
        let frame = block / BLOCKS_A_FRAME;
        self.decode(lane, frame, buffer)?;
        let count = self.opened.layout().lanes[lane as usize].count as usize;
        let from = (block - frame * BLOCKS_A_FRAME) * BLOCK_LEN;
        let rows = (count - block * BLOCK_EVENTS).min(BLOCK_EVENTS);
        let rows = &buffer.bytes[from..from + rows * EVENT_LEN];
        self.opened.check_block(lane, block, rows, self.frame(lane, frame)?.offset)?;
        Ok(rows)
    }
}

const _: () = assert!(FRAME_EVENTS.is_multiple_of(BLOCK_EVENTS));
