//! Where everything stands in a bus's memory, and the header that proves it.
//!
//! ```text
//! header │ lane controls │ participants │ staging │ readers │ sleepers │ types │ sources │ symbols
//!        │ payloads │ per lane: stamps, events (page aligned)
//! ```
//!
//! The layout is a function of [`Sizes`], which stand in the header under a checksum. A file of
//! another version, with other sizes than its length, or from before the last boot is refused.

use super::memory::PAGE_CELLS;
use super::ring::{CONTROL_CELLS, STAGING_CELLS};
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u64 = u64::from_le_bytes(*b"tickbus\0");
const VERSION: u64 = 2;

/// Participants (open handles on the bus) at most; number 0 is nobody.
pub const PARTICIPANTS: usize = 256;
/// Subscriptions at most.
pub const READERS: usize = 2048;
/// Readers asleep at the same time at most: one bit each in one word.
pub const SLEEPERS: usize = 64;
/// Distinct sources and symbols at most; number 0 is "none".
pub const SOURCES: usize = 4096;
pub const SYMBOLS: usize = 65_536;
/// Longest symbol or source name, in bytes.
pub const MAX_NAME: usize = 56;

pub const PARTICIPANT_CELLS: usize = 16;
pub const READER_CELLS: usize = 32;
pub const SLEEPER_CELLS: usize = 16;
pub const TYPE_CELLS: usize = 16;
pub const NAME_CELLS: usize = 8;

/// Which of all buses ever this one is: random, given when it is made.
pub const ID: usize = 16;
/// Header cells that change; each on 128 bytes of its own.
pub const SLEEPING: usize = 64;
pub const PAYLOAD_TAIL: usize = 80;
pub const COUNTS: usize = 96;
/// Where the journal tells how it is, followed by its path.
pub const JOURNAL: usize = 112;
/// Longest path of a journal's directory.
pub const JOURNAL_PATH_BYTES: usize = 2048;

/// What the creator of a bus chose; all powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Events per lane, by priority number: normal, high, critical.
    pub lanes: [usize; 3],
    /// Cells (8 bytes) of the payload ring.
    pub payload_cells: usize,
}

/// Smallest and largest lane.
pub const LANE_SIZES: std::ops::RangeInclusive<usize> = 64..=1 << 26;

/// A run of cells: offset and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub at: usize,
    pub len: usize,
}

/// All regions of a bus's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub header: Region,
    pub controls: [Region; 3],
    pub participants: Region,
    pub staging: Region,
    pub readers: Region,
    pub sleepers: Region,
    pub types: Region,
    pub sources: Region,
    pub symbols: Region,
    pub payloads: Region,
    pub stamps: [Region; 3],
    pub events: [Region; 3],
    pub cells: usize,
}

/// Why memory is not a bus we can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    NotABus { magic: u64 },
    Version { found: u64, known: u64 },
    Corrupt { found: u64, expected: u64 },
    Length { found: u64, expected: u64 },
    EarlierBoot,
}

impl Layout {
    pub fn of(sizes: &Sizes) -> Layout {
        let mut end = 0;
        let mut region = |len: usize| {
            let at = end;
            end = (at + len).next_multiple_of(PAGE_CELLS);
            Region { at, len }
        };
        let header = region(PAGE_CELLS);
        let controls = [(); 3].map(|()| region(CONTROL_CELLS));
        Layout {
            header,
            controls,
            participants: region(PARTICIPANTS * PARTICIPANT_CELLS),
            staging: region(PARTICIPANTS * STAGING_CELLS),
            readers: region(READERS * READER_CELLS),
            sleepers: region(SLEEPERS * SLEEPER_CELLS),
            types: region(256 * TYPE_CELLS),
            sources: region(SOURCES * NAME_CELLS),
            symbols: region(SYMBOLS * NAME_CELLS),
            payloads: region(sizes.payload_cells),
            stamps: sizes.lanes.map(&mut region),
            events: sizes.lanes.map(|size| region(size * 4)),
            cells: end,
        }
    }
}

/// How many cells a bus of these sizes takes; 0 for sizes that no bus has.
fn cells_of(sizes: &Sizes) -> u64 {
    let lanes = sizes
        .lanes
        .iter()
        .all(|size| size.is_power_of_two() && LANE_SIZES.contains(size));
    // The bound on payloads is there so that the sum below is one.
    if lanes && sizes.payload_cells <= 1 << 48 {
        Layout::of(sizes).cells as u64
    } else {
        0
    }
}

fn checksum(words: &[u64]) -> u64 {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

fn described(sizes: &Sizes, boot: u64) -> [u64; 7] {
    let [normal, high, critical] = sizes.lanes.map(|size| size as u64);
    let cells = Layout::of(sizes).cells as u64;
    [
        VERSION,
        cells,
        normal,
        high,
        critical,
        sizes.payload_cells as u64,
        boot,
    ]
}

/// Write the header of a new bus; `boot` is [`crate::sys::boot_id`].
pub fn write_header(header: &[AtomicU64], sizes: &Sizes, boot: u64) {
    let words = described(sizes, boot);
    for (cell, word) in header[2..].iter().zip(words) {
        cell.store(word, Ordering::Relaxed);
    }
    header[1].store(checksum(&words), Ordering::Relaxed);
    header[ID].store(crate::sys::random_id(), Ordering::Relaxed);
    // The magic is last; nobody else can see the file before it is linked, this is for a reader.
    header[0].store(MAGIC, Ordering::Release);
}

/// Check a header (its first page) of a file that is `file_cells` long, since `boot`.
pub fn read_header(header: &[u64; 9], file_cells: u64, boot: u64) -> Result<Sizes, Foreign> {
    if header[0] != MAGIC {
        return Err(Foreign::NotABus { magic: header[0] });
    }
    let words = &header[2..];
    if words[0] != VERSION {
        return Err(Foreign::Version { found: words[0], known: VERSION });
    }
    if header[1] != checksum(words) {
        return Err(Foreign::Corrupt { found: header[1], expected: checksum(words) });
    }
    let lanes = [words[2], words[3], words[4]].map(|size| size as usize);
    let sizes = Sizes { lanes, payload_cells: words[5] as usize };
    // Not only what the writer took for its length: a writer with other tables than ours, and a
    // right checksum, must not have us map more than there is.
    for expected in [words[1], cells_of(&sizes)] {
        if expected != file_cells {
            return Err(Foreign::Length { found: file_cells, expected });
        }
    }
    if words[6] != boot {
        return Err(Foreign::EarlierBoot);
    }
    Ok(sizes)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::lane::memory::Memory;

    const SIZES: Sizes = Sizes { lanes: [64, 128, 256], payload_cells: 1024 };
    const BOOT: u64 = 7;

    fn header() -> [u64; 9] {
        let layout = Layout::of(&SIZES);
        let memory = Memory::private(layout.cells).unwrap();
        let cells = memory.cells(0, PAGE_CELLS);
        write_header(&cells, &SIZES, BOOT);
        std::array::from_fn(|i| cells[i].load(Ordering::Relaxed))
    }

    #[test]
    fn a_header_describes_its_sizes() {
        let cells = Layout::of(&SIZES).cells as u64;
        assert_eq!(read_header(&header(), cells, BOOT), Ok(SIZES));
    }

    #[test]
    fn anything_else_is_refused_with_what_was_found() {
        let good = header();
        let cells = Layout::of(&SIZES).cells as u64;
        let with = |at: usize, word: u64| {
            let mut bad = good;
            bad[at] = word;
            read_header(&bad, cells, BOOT).unwrap_err()
        };
        assert_eq!(with(0, 7), Foreign::NotABus { magic: 7 });
        assert_eq!(with(2, 99), Foreign::Version { found: 99, known: 2 });
        assert!(matches!(with(4, 65), Foreign::Corrupt { .. }));
        let short = read_header(&good, cells - 1, BOOT);
        assert_eq!(short, Err(Foreign::Length { found: cells - 1, expected: cells }));
        assert_eq!(read_header(&good, cells, BOOT + 1), Err(Foreign::EarlierBoot));
    }

    #[test]
    fn sizes_that_do_not_give_the_length_are_refused_under_a_right_checksum() {
        let found = Layout::of(&SIZES).cells as u64;
        let doubled = Layout::of(&Sizes { lanes: [64, 128, 512], ..SIZES }).cells as u64;
        for (critical, expected) in [(512, doubled), (257, 0), (0, 0), (u64::MAX, 0)] {
            let mut forged = header();
            forged[6] = critical;
            forged[1] = checksum(&forged[2..]);
            let refused = Err(Foreign::Length { found, expected });
            assert_eq!(read_header(&forged, found, BOOT), refused, "{critical}");
        }
    }

    #[test]
    fn regions_do_not_overlap() {
        let layout = Layout::of(&SIZES);
        let mut regions = vec![
            layout.header,
            layout.participants,
            layout.staging,
            layout.readers,
            layout.sleepers,
            layout.types,
            layout.sources,
            layout.symbols,
            layout.payloads,
        ];
        regions.extend(layout.controls.iter().chain(&layout.stamps).chain(&layout.events));
        regions.sort_by_key(|region| region.at);
        assert!(regions.windows(2).all(|pair| pair[0].at + pair[0].len <= pair[1].at));
        assert!(regions.iter().all(|region| region.at + region.len <= layout.cells));
    }
}
