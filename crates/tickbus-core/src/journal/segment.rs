//! What sealed and packed segments have in common: whose they are, what they hold and where.
//!
//! ```text
//! header │ events (sealed: lane by lane; packed: frames) │ records │ gaps │ index │ (frame list) │ footer
//! ```
//!
//! Every part starts at a multiple of 4,096 with zeros before it. Header and footer are 4,096 bytes
//! each and carry their own checksum; the footer is the last thing of the file, so a file that was
//! cut has none.

use super::fault::SegmentError;
use super::folder::Form;
use super::index::{BLOCK_EVENTS, ENTRY_LEN, EVENT_LEN};
use crate::event::{Event, Priority};
use std::path::Path;

/// Parts start at multiples of this; header and footer are this long.
pub const PAGE: usize = 4096;
pub const LANES: usize = 3;
pub const GAP_LEN: usize = 32;
/// Bytes before a record's own.
pub const RECORD_HEAD_LEN: usize = 24;
const CRC_AT: usize = PAGE - 4;

pub type Page = [u8; PAGE];

/// Whose segment it is, and which part of the log it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The same in all files of a journal.
    pub journal: [u8; 16],
    /// Position of the log segment's header, and the file's name.
    pub first_position: u64,
    /// Slots of the log segment: the next one starts at first + slots.
    pub slots: u64,
    /// Sequence that each lane's next event had before this segment.
    pub first_sequence: [u64; LANES],
    pub created_ns: u64,
}

/// Sequences of a lane that nobody will ever see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub lane: Priority,
    pub first: u64,
    pub count: u64,
    /// The writer's own number.
    pub why: u64,
}

/// Something that is no event: a name, a payload, an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stood in the log.
    pub position: u64,
    pub kind: u32,
    pub bytes: &'a [u8],
}

/// A piece of a log segment.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    Events {
        lane: Priority,
        first: u64,
        events: &'a [Event],
    },
    Gap(Gap),
    Record(Record<'a>),
}

/// A log segment that is to be sealed: its pieces in the log's order.
pub trait Source {
    fn identity(&self) -> Identity;
    /// Events of each lane; known first, as the lanes are written side by side.
    fn counts(&self) -> [u64; LANES];
    fn next(&mut self) -> Result<Option<Piece<'_>>, SegmentError>;
}

/// Bytes of a file, and how many things they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    pub offset: u64,
    pub length: u64,
    pub count: u64,
    /// CRC32C of all of it; 0 where its things have their own.
    pub crc: u32,
}

/// Events of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanePart {
    pub count: u64,
    /// First byte in a sealed file; 0 in a packed one.
    pub offset: u64,
    pub least: u64,
    pub greatest: u64,
}

/// What the footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub identity: Identity,
    pub file_len: u64,
    pub lanes: [LanePart; LANES],
    pub records: Part,
    pub gaps: Part,
    pub index: Part,
    /// Packed only: the compressed frames, and where each of them is.
    pub frames: Part,
    pub frame_list: Part,
}

pub fn round_up(offset: u64) -> u64 {
    offset.next_multiple_of(PAGE as u64)
}

pub fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

pub fn get(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn sealed_page(mut page: Page) -> Page {
    let crc = crc32c::crc32c(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    page
}

fn is_whole(page: &Page) -> bool {
    crc32c::crc32c(&page[..CRC_AT]).to_le_bytes() == page[CRC_AT..]
}

/// The first page of a segment file.
pub fn header(form: Form, identity: &Identity) -> Page {
    let mut page = [0; PAGE];
    page[..8].copy_from_slice(&form.magic());
    page[8..24].copy_from_slice(&identity.journal);
    put(&mut page, 24, identity.first_position);
    put(&mut page, 32, identity.slots);
    for (lane, first) in identity.first_sequence.iter().enumerate() {
        put(&mut page, 40 + lane * 8, *first);
    }
    put(&mut page, 64, identity.created_ns);
    put(&mut page, 80, EVENT_LEN as u64);
    sealed_page(page)
}

/// What a header or footer page says about whose it is.
pub fn read_identity(
    form: Form,
    page: &Page,
    path: &Path,
    at: u64,
) -> Result<Identity, SegmentError> {
    let foreign = |why| SegmentError::Foreign { path: path.to_path_buf(), why };
    if !is_whole(page) {
        return Err(SegmentError::damaged(path, at, "header or footer fails its checksum"));
    }
    if page[..8] != form.magic() {
        return Err(foreign("not a segment of this version"));
    }
    if get(page, 80) != EVENT_LEN as u64 {
        return Err(foreign("events are not of 32 bytes"));
    }
    Ok(Identity {
        journal: page[8..24].try_into().expect("sixteen bytes"),
        first_position: get(page, 24),
        slots: get(page, 32),
        first_sequence: [get(page, 40), get(page, 48), get(page, 56)],
        created_ns: get(page, 64),
    })
}

impl Layout {
    /// The last page of a segment file.
    pub fn footer(&self, form: Form) -> Page {
        let mut page = header(form, &self.identity);
        put(&mut page, 88, self.file_len);
        for (number, lane) in self.lanes.iter().enumerate() {
            let fields = [lane.count, lane.offset, lane.least, lane.greatest];
            for (field, value) in fields.into_iter().enumerate() {
                put(&mut page, 96 + number * 32 + field * 8, value);
            }
        }
        let parts = [
            self.records,
            self.gaps,
            self.index,
            self.frames,
            self.frame_list,
        ];
        for (number, part) in parts.iter().enumerate() {
            let fields = [part.offset, part.length, part.count, u64::from(part.crc)];
            for (field, value) in fields.into_iter().enumerate() {
                put(&mut page, 192 + number * 32 + field * 8, value);
            }
        }
        sealed_page(page)
    }

    /// The layout of a file with this footer and length.
    pub fn read(
        form: Form,
        page: &Page,
        path: &Path,
        file_len: u64,
    ) -> Result<Layout, SegmentError> {
        let at = file_len - PAGE as u64;
        let identity = read_identity(form, page, path, at)?;
        let part = |number: usize| {
            let field = |field: usize| get(page, 192 + number * 32 + field * 8);
            Part { offset: field(0), length: field(1), count: field(2), crc: field(3) as u32 }
        };
        let lane = |number: usize| {
            let field = |field: usize| get(page, 96 + number * 32 + field * 8);
            LanePart { count: field(0), offset: field(1), least: field(2), greatest: field(3) }
        };
        let layout = Layout {
            identity,
            file_len: get(page, 88),
            lanes: [lane(0), lane(1), lane(2)],
            records: part(0),
            gaps: part(1),
            index: part(2),
            frames: part(3),
            frame_list: part(4),
        };
        if layout.file_len != file_len {
            return Err(SegmentError::damaged(path, at, "the file is not as long as it was"));
        }
        if !layout.is_consistent(form) {
            return Err(SegmentError::damaged(path, at, "the footer contradicts itself"));
        }
        Ok(layout)
    }

    /// Blocks of the lanes before this one: where its index entries start.
    pub fn blocks_before(&self, lane: usize) -> u64 {
        self.lanes[..lane]
            .iter()
            .map(|lane| lane.count.div_ceil(BLOCK_EVENTS as u64))
            .sum()
    }

    /// Where every byte that is no padding lies, in order.
    pub fn parts(&self, form: Form) -> Vec<(u64, u64)> {
        let page = PAGE as u64;
        let mut parts = vec![(0, page)];
        match form {
            Form::Sealed => {
                parts.extend(self.lanes.map(|lane| (lane.offset, lane.count * EVENT_LEN as u64)));
            }
            Form::Packed => parts.push((self.frames.offset, self.frames.length)),
        }
        let parts_behind = [self.records, self.gaps, self.index, self.frame_list];
        parts.extend(parts_behind.map(|part| (part.offset, part.length)));
        parts.push((self.file_len - page, page));
        parts
    }

    /// A page that passes its checksum is what was written; this guards against a writer gone
    /// wrong, so that no reader has to.
    fn is_consistent(&self, form: Form) -> bool {
        let most = self.file_len * 256;
        if self.lanes.iter().any(|lane| lane.count > most) {
            return false;
        }
        let parts = self.parts(form);
        let ordered = parts.windows(2).all(|pair| {
            let end = pair[0].0.checked_add(pair[0].1).map(round_up);
            end == Some(pair[1].0)
        });
        ordered
            && self.index.count == self.blocks_before(LANES)
            && self.index.length == self.index.count * ENTRY_LEN as u64
            && self.gaps.count.checked_mul(GAP_LEN as u64) == Some(self.gaps.length)
            && self.records.length <= self.file_len
    }
}

impl Gap {
    pub fn to_bytes(&self) -> [u8; GAP_LEN] {
        let mut bytes = [0; GAP_LEN];
        for (field, value) in
            [self.lane as u64, self.first, self.count, self.why].into_iter().enumerate()
        {
            put(&mut bytes, field * 8, value);
        }
        bytes
    }

    /// The inverse of [`Gap::to_bytes`]; `None` for a lane that does not exist.
    pub fn from_bytes(bytes: &[u8]) -> Option<Gap> {
        let lane = Priority::from_number(u8::try_from(get(bytes, 0)).ok()?)?;
        Some(Gap { lane, first: get(bytes, 8), count: get(bytes, 16), why: get(bytes, 24) })
    }
}

impl Record<'_> {
    /// Position, kind, length, checksum, zero; then the bytes, filled up to a multiple of eight.
    pub fn head(&self) -> [u8; RECORD_HEAD_LEN] {
        let mut head = [0; RECORD_HEAD_LEN];
        put(&mut head, 0, self.position);
        head[8..12].copy_from_slice(&self.kind.to_le_bytes());
        head[12..16].copy_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head[..16]), self.bytes);
        head[16..20].copy_from_slice(&crc.to_le_bytes());
        head
    }
}
