//! One segment, batch by batch.
//!
//! [`Walk`] is what recovery, readers and `verify` share: it follows the chain of checksums from
//! batch to batch and says where it breaks. [`look_ahead`] says what lies behind a break, which is
//! how damage is told from a torn tail.

use super::disk::{Disk, DiskFile, read_full};
use super::error::JournalError;
use super::format::{
    BatchHeader, HEADER, HeaderState, JournalId, Kind, LANES, SLOT, SegmentHeader, Sequences,
    VERSION, segment_first, segment_name,
};
use std::sync::Arc;

/// Most that is read ahead at once.
const WINDOW: usize = 256 << 10;
/// Read at first, and at the end of what is written, where a window would be mostly zeros.
const FIRST_WINDOW: usize = 4 << 10;

/// The first positions of the segments in a directory, in order.
pub(super) fn segments(disk: &impl Disk) -> Result<Vec<u64>, JournalError> {
    let names = disk.list().map_err(JournalError::io("list", &disk.place()))?;
    let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment_first(name)).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// What the header of the segment called after `first` is; whole only if it says the same.
pub(super) fn read_header(
    file: &impl DiskFile,
    first: u64,
    id: Option<JournalId>,
) -> Result<HeaderState, JournalError> {
    let name = segment_name(first);
    let mut bytes = [0; HEADER];
    let read = read_full(file, &mut bytes, 0).map_err(JournalError::io("read", &name))?;
    match SegmentHeader::decode(&bytes) {
        HeaderState::Whole(_) if read < HEADER => Ok(HeaderState::Broken),
        HeaderState::Whole(header) if id.is_some_and(|id| id != header.id) => {
            Err(JournalError::OtherJournal { file: name })
        }
        HeaderState::Whole(header) if header.first != first => Ok(HeaderState::Broken),
        HeaderState::Version(found) => {
            Err(JournalError::Version { file: name, found, known: VERSION })
        }
        state => Ok(state),
    }
}

/// Where a walk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A batch at a position. Its payload is verified, and there, only if it was wanted.
    Batch(u64, BatchHeader),
    /// The segment goes on in the next one.
    Done,
    /// Zeros: nothing was written here yet.
    Blank,
    /// No valid batch, and why.
    Bad(&'static str),
}

pub(super) struct Walk<F> {
    file: Arc<F>,
    pub head: SegmentHeader,
    name: String,
    /// Where the next batch stands.
    pub position: u64,
    /// Checksum it has to name; `None` right behind a hole.
    pub chain: Option<u32>,
    buffer: Vec<u8>,
    /// Position of the buffer's first slot.
    buffered: u64,
    window: usize,
    last: std::ops::Range<usize>,
}

impl<F: DiskFile> Walk<F> {
    pub fn new(file: Arc<F>, head: SegmentHeader) -> Walk<F> {
        Walk {
            file,
            name: segment_name(head.first),
            position: head.first,
            chain: Some(head.chain),
            buffer: Vec::new(),
            buffered: head.first,
            window: FIRST_WINDOW,
            last: 0..0,
            head,
        }
    }

    pub fn file(&self) -> &Arc<F> {
        &self.file
    }

    /// Payload of the batch of the last step, if it was wanted.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[self.last.clone()]
    }

    /// Go on behind a hole: the batch at `position` is taken whatever it calls its predecessor.
    pub fn jump(&mut self, position: u64) {
        self.position = position;
        self.chain = None;
    }

    /// The next batch. `wanted` says of which one the payload is needed.
    pub fn step(&mut self, wanted: impl Fn(&BatchHeader) -> bool) -> Result<Step, JournalError> {
        let step = self.try_step(&wanted)?;
        if !matches!(step, Step::Blank | Step::Bad(_)) {
            return Ok(step);
        }
        // What was read ahead may be older than what the writer has written since.
        self.buffer.clear();
        self.window = FIRST_WINDOW;
        self.try_step(&wanted)
    }

    fn try_step(&mut self, wanted: &impl Fn(&BatchHeader) -> bool) -> Result<Step, JournalError> {
        let (position, salt) = (self.position, self.head.salt);
        if position >= self.head.end() {
            return Ok(Step::Done);
        }
        let Some(at) = self.load(position, 1)? else {
            return Ok(Step::Bad("the file is too short"));
        };
        let slot = &self.buffer[at..at + SLOT];
        let Some(header) = BatchHeader::decode(slot, salt, position) else {
            let blank = slot.iter().all(|&byte| byte == 0);
            return Ok(if blank { Step::Blank } else { Step::Bad("no batch starts here") });
        };
        if self.chain.is_some_and(|chain| chain != header.chain) {
            return Ok(Step::Bad("the batch does not follow the one before"));
        }
        let slots = 1 + u64::from(header.slots);
        if slots > self.head.end() - position {
            return Ok(Step::Bad("the batch is longer than its segment"));
        }
        self.last = 0..0;
        if header.slots == 0 || wanted(&header) {
            let Some(at) = self.load(position, slots)? else {
                return Ok(Step::Bad("the file is too short"));
            };
            let end = at + slots as usize * SLOT;
            if !BatchHeader::verify(&self.buffer[at..end], salt, position) {
                return Ok(Step::Bad("the checksum is wrong"));
            }
            self.last = at + SLOT..end;
        }
        let end = header.kind == Kind::End;
        self.position = if end { self.head.end() } else { position + slots };
        self.chain = Some(header.sum);
        Ok(Step::Batch(position, header))
    }

    /// Where in the buffer `slots` slots from `position` on are; `None` if the file ends before.
    fn load(&mut self, position: u64, slots: u64) -> Result<Option<usize>, JournalError> {
        let need = slots as usize * SLOT;
        if let Some(skipped) = position.checked_sub(self.buffered) {
            let at = skipped.saturating_mul(SLOT as u64);
            if at + need as u64 <= self.buffer.len() as u64 {
                return Ok(Some(at as usize));
            }
        }
        let left = (self.head.end() - position) as usize * SLOT;
        self.buffer.resize(self.window.max(need).min(left), 0);
        self.window = (2 * self.window).min(WINDOW);
        let offset = self.head.offset_of(position);
        let read = read_full(&*self.file, &mut self.buffer, offset)
            .map_err(JournalError::io("read", &self.name))?;
        self.buffer.truncate(read);
        self.buffered = position;
        Ok((read >= need).then_some(0))
    }
}

/// What lies behind a place where no valid batch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Greatest position that a valid batch calls durable; 0: none does.
    pub durable: u64,
    /// The first valid batch.
    pub next: Option<u64>,
    /// For each lane the first sequence in a valid batch.
    pub sequences: [Option<u64>; LANES],
}

/// Search the rest of a segment, from position `from` on, for batches that are valid by themselves.
pub(super) fn look_ahead(
    file: &impl DiskFile,
    head: &SegmentHeader,
    from: u64,
) -> Result<Ahead, JournalError> {
    look_ahead_to(file, head, from, head.end())
}

/// As [`look_ahead`], but only up to a position.
pub(super) fn look_ahead_to(
    file: &impl DiskFile,
    head: &SegmentHeader,
    from: u64,
    to: u64,
) -> Result<Ahead, JournalError> {
    let name = segment_name(head.first);
    let range = head.offset_of(from)..head.offset_of(to);
    let written = written_bytes(file, range.clone()).map_err(JournalError::io("read", &name))?;
    let mut ahead = Ahead { durable: 0, next: None, sequences: [None; LANES] };
    let mut bytes = vec![0; (written as usize).next_multiple_of(SLOT)];
    let read = read_full(file, &mut bytes, range.start).map_err(JournalError::io("read", &name))?;
    bytes.truncate(read / SLOT * SLOT);
    let mut at = 0;
    while at < bytes.len() {
        let position = from + (at / SLOT) as u64;
        let length = BatchHeader::decode(&bytes[at..at + SLOT], head.salt, position)
            .map(|header| (header, (1 + header.slots as usize) * SLOT))
            .filter(|&(_, length)| length <= bytes.len() - at)
            .filter(|&(_, length)| {
                BatchHeader::verify(&bytes[at..at + length], head.salt, position)
            });
        let Some((header, length)) = length else {
            at += SLOT;
            continue;
        };
        ahead.durable = ahead.durable.max(header.durable(position));
        ahead.next.get_or_insert(position);
        if matches!(header.kind, Kind::Events | Kind::Gap) {
            ahead.sequences[usize::from(header.lane)].get_or_insert(header.first);
        }
        at += length;
    }
    Ok(ahead)
}

/// Bytes from the start of `range` to behind the last one that is not zero.
pub(super) fn written_bytes(
    file: &impl DiskFile,
    range: std::ops::Range<u64>,
) -> std::io::Result<u64> {
    const BLOCK: usize = 4096;
    let mut buffer = vec![0; WINDOW.min((range.end - range.start) as usize)];
    let (mut offset, mut written) = (range.start, 0);
    while offset < range.end {
        let count = buffer.len().min((range.end - offset) as usize);
        let read = read_full(file, &mut buffer[..count], offset)?;
        // Folding a block is what the compiler does 16 bytes at a time; a search for the byte is not.
        let mut blocks = buffer[..read].chunks(BLOCK);
        if let Some(block) = blocks.rposition(|block| block.iter().fold(0, |all, b| all | b) != 0) {
            let start = block * BLOCK;
            let last = buffer[start..read.min(start + BLOCK)].iter().rposition(|&byte| byte != 0);
            written = offset - range.start + (start + last.unwrap_or(0)) as u64 + 1;
        }
        if read < count {
            break;
        }
        offset += count as u64;
    }
    Ok(written)
}

/// What is wrong when the sequences of a batch are not the next ones, and what they are after it.
pub(super) fn follow(
    next: &mut Sequences,
    header: &BatchHeader,
    payload: &[u8],
) -> Result<(), &'static str> {
    let count = match header.kind {
        Kind::Events => u64::from(header.slots),
        Kind::Gap => super::format::u64_at(payload, 0),
        _ => return Ok(()),
    };
    let lane = &mut next[usize::from(header.lane)];
    if *lane != header.first {
        return Err("the batch's sequence is not the next one of its lane");
    }
    *lane = lane.checked_add(count).ok_or("the gap goes past the last sequence")?;
    Ok(())
}
