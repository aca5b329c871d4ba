//! Events as columns, and back: what is left to say about an event when the ones before are known.
//!
//! ```text
//! timestamps │ types │ priorities │ sources │ symbols │ for each type: values, metadata
//! ```
//!
//! A column becomes numbers that are mostly small (differences, counts of decimals), the numbers
//! become planes (all their lowest bytes, then all the next), and each plane is one byte if it is
//! constant, zstd if that is shorter, or itself. What becomes of values and metadata is tried out on a
//! sample of each type, since only that shows what a registered type puts there. Every transformation can
//! be undone bit for bit; NaNs, zeros with a sign and whatever else is no decimal number are kept apart.

use super::index::{EVENT_LEN, words};
use super::planes::Coder;
use std::ops::Range;

/// Events a frame.
pub const FRAME_EVENTS: usize = 65_536;
/// Events that a transformation is tried out on.
const SAMPLE: usize = 2048;
/// Symbols and sources whose last number is remembered; more share places, which costs only size.
const PLACES: usize = 1024;
const DECIMALS_MAX: u8 = 15;
/// Counts up to here are exact and can be rounded by adding and taking away [`ROUNDER`].
const UNITS_MAX: f64 = 2_251_799_813_685_248.0;
/// 1.5 × 2^52: a float of this size has no bits left for fractions.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// A codec that leaves more than one in so many apart does not fit.
const APART_MAX: usize = 16;

const POWERS: [f64; DECIMALS_MAX as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// What became of the numbers of a column. "Before" is the last one of the same symbol and source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Plain,
    /// Bits that differ from the number before.
    Differing,
    /// Difference from the number before.
    Difference,
    /// A float as a count of its last decimal.
    Decimal(u8),
    /// Difference of such counts.
    DecimalDifference(u8),
    /// A packed quote ([`crate::quote`]) with its fields moved to whole bytes.
    Quote,
    QuoteDiffering,
}

impl Codec {
    fn to_bytes(self) -> [u8; 2] {
        match self {
            Codec::Plain => [0, 0],
            Codec::Differing => [1, 0],
            Codec::Difference => [2, 0],
            Codec::Decimal(decimals) => [3, decimals],
            Codec::DecimalDifference(decimals) => [4, decimals],
            Codec::Quote => [5, 0],
            Codec::QuoteDiffering => [6, 0],
        }
    }

    fn from_bytes(bytes: [u8; 2]) -> Option<Codec> {
        Some(match bytes {
            [0, 0] => Codec::Plain,
            [1, 0] => Codec::Differing,
            [2, 0] => Codec::Difference,
            [3, decimals @ 0..=DECIMALS_MAX] => Codec::Decimal(decimals),
            [4, decimals @ 0..=DECIMALS_MAX] => Codec::DecimalDifference(decimals),
            [5, 0] => Codec::Quote,
            [6, 0] => Codec::QuoteDiffering,
            _ => return None,
        })
    }
}

/// Small whatever the sign: 0, -1, 1, -2 become 0, 1, 2, 3.
fn fold(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// How many units of its last decimal a float is, if it is one of so many decimals.
#[inline]
fn to_units(bits: u64, decimals: u8) -> Option<i64> {
    let scale = POWERS[usize::from(decimals)];
    let scaled = f64::from_bits(bits) * scale;
    // NaN is in no range.
    if !(-UNITS_MAX..UNITS_MAX).contains(&scaled) {
        return None;
    }
    let units = ((scaled + ROUNDER) - ROUNDER) as i64;
    (from_units(units, decimals) == bits).then_some(units)
}

#[inline]
fn from_units(units: i64, decimals: u8) -> u64 {
    (units as f64 / POWERS[usize::from(decimals)]).to_bits()
}

/// The fields of a packed quote, each from the begin of a byte: sizes of 18 bits at 0 and 24, the
/// spread's low half at 48; the decimals and the spread's high byte fill the bits between.
fn spread_out(quote: u64) -> u64 {
    let field = |at: u32, bits: u32| quote >> at & ((1 << bits) - 1);
    let (bid, ask) = (field(28, 18), field(46, 18));
    bid | field(24, 4) << 18
        | field(16, 2) << 22
        | ask << 24
        | field(18, 6) << 42
        | field(0, 16) << 48
}

fn pull_together(spread_out: u64) -> u64 {
    let field = |at: u32, bits: u32| spread_out >> at & ((1 << bits) - 1);
    field(48, 16)
        | field(22, 2) << 16
        | field(42, 6) << 18
        | field(18, 4) << 24
        | field(0, 18) << 28
        | field(24, 18) << 46
}

/// A column's numbers by one codec, and those that it cannot say.
#[derive(Debug, Default)]
struct Coded {
    numbers: Vec<u64>,
    apart: Vec<(u32, u64)>,
}

impl Coded {
    /// `places` says for each number where its last one is remembered.
    fn code(&mut self, codec: Codec, numbers: &[u64], places: &[u16]) {
        self.numbers.clear();
        self.apart.clear();
        let mut before = [0_u64; PLACES];
        let pairs =
            numbers.iter().zip(places).map(|(number, place)| (*number, usize::from(*place)));
        match codec {
            Codec::Plain => self.numbers.extend_from_slice(numbers),
            Codec::Quote => self.numbers.extend(numbers.iter().copied().map(spread_out)),
            Codec::Differing => self.numbers.extend(
                pairs.map(|(number, place)| number ^ std::mem::replace(&mut before[place], number)),
            ),
            Codec::QuoteDiffering => self.numbers.extend(pairs.map(|(number, place)| {
                let number = spread_out(number);
                number ^ std::mem::replace(&mut before[place], number)
            })),
            Codec::Difference => self.numbers.extend(pairs.map(|(number, place)| {
                let last = std::mem::replace(&mut before[place], number);
                fold(number.wrapping_sub(last) as i64)
            })),
            Codec::Decimal(decimals) | Codec::DecimalDifference(decimals) => {
                let differences = matches!(codec, Codec::DecimalDifference(_));
                for (row, (bits, place)) in pairs.enumerate() {
                    let last = before[place] as i64;
                    let Some(units) = to_units(bits, decimals) else {
                        self.apart.push((row as u32, bits));
                        self.numbers.push(0);
                        continue;
                    };
                    self.numbers.push(fold(if differences { units - last } else { units }));
                    before[place] = units as u64;
                }
            }
        }
    }

    /// The inverse, in place.
    fn undo(&mut self, codec: Codec, places: &[u16]) -> Option<()> {
        let mut before = [0_u64; PLACES];
        let mut apart = self.apart.iter().peekable();
        for (row, (number, place)) in self.numbers.iter_mut().zip(places).enumerate() {
            let last = &mut before[usize::from(*place)];
            if let Some((_, bits)) = apart.next_if(|(at, _)| *at == row as u32) {
                *number = *bits;
                continue;
            }
            match codec {
                Codec::Plain => {}
                Codec::Quote => *number = pull_together(*number),
                Codec::Differing => {
                    *last ^= *number;
                    *number = *last;
                }
                Codec::QuoteDiffering => {
                    *last ^= *number;
                    *number = pull_together(*last);
                }
                Codec::Difference => {
                    *last = last.wrapping_add(unfold(*number) as u64);
                    *number = *last;
                }
                Codec::Decimal(decimals) => *number = from_units(unfold(*number), decimals),
                Codec::DecimalDifference(decimals) => {
                    *last = last.wrapping_add(unfold(*number) as u64);
                    *number = from_units(*last as i64, decimals);
                }
            }
        }
        apart.next().is_none().then_some(())
    }
}

/// Turns rows into frames and back. Keeps its memory.
#[derive(Default)]
pub struct Columns {
    coder: Coder,
    coded: Coded,
    column: Vec<u64>,
    /// Numbers of one type's events.
    of_type: Vec<u64>,
    /// Rows by type, and where the last number of each one's symbol and source is remembered.
    order: Vec<u32>,
    places: Vec<u16>,
}

impl Columns {
    /// Append the frame of these rows, at most [`FRAME_EVENTS`], to `frame`.
    pub fn encode(&mut self, rows: &[u8], frame: &mut Vec<u8>) -> std::io::Result<()> {
        self.encode_timestamps(rows, frame)?;
        let heads = || rows.chunks_exact(EVENT_LEN).map(|row| words(row)[1]);
        for (shift, width) in [(0, 1), (8, 1), (16, 2), (32, 4)] {
            self.column.clear();
            self.column.extend(heads().map(|head| head >> shift));
            self.coder.encode(&self.column, width, frame)?;
        }
        for range in self.sort_by_type(rows) {
            for word in [2, 3] {
                self.of_type.clear();
                let rows_of_type = self.order[range.clone()].iter();
                self.of_type.extend(rows_of_type.map(|row| words(row_at(rows, *row))[word]));
                self.encode_numbers(range.clone(), frame)?;
            }
        }
        Ok(())
    }

    /// Row numbers by type, in `order`, with the places beside them; the part of each type that occurs.
    fn sort_by_type(&mut self, rows: &[u8]) -> Vec<Range<usize>> {
        let heads = || rows.chunks_exact(EVENT_LEN).map(|row| words(row)[1]);
        let mut ends = [0; 256];
        heads().for_each(|head| ends[usize::from(head as u8)] += 1);
        let mut parts = Vec::new();
        let mut begin = 0;
        for end in &mut ends {
            let count = std::mem::replace(end, begin);
            if count > 0 {
                parts.push(begin..begin + count);
            }
            begin += count;
        }
        self.order.resize(begin, 0);
        self.places.resize(begin, 0);
        for (row, head) in heads().enumerate() {
            let to = &mut ends[usize::from(head as u8)];
            self.order[*to] = row as u32;
            self.places[*to] = place(head);
            *to += 1;
        }
        parts
    }

    /// Differences, in their greatest common unit: many clocks tick in micro- or milliseconds.
    fn encode_timestamps(&mut self, rows: &[u8], frame: &mut Vec<u8>) -> std::io::Result<()> {
        self.column.clear();
        let mut last = rows.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
        frame.extend_from_slice(&last.to_le_bytes());
        let mut unit = 0;
        for row in rows.chunks_exact(EVENT_LEN) {
            let timestamp = words(row)[0];
            let difference = timestamp.wrapping_sub(last) as i64;
            if unit != 1 {
                unit = common_divisor(difference.unsigned_abs(), unit);
            }
            self.column.push(difference as u64);
            last = timestamp;
        }
        // A unit of 2^63 is the only one that is no i64.
        let unit = i64::try_from(unit).unwrap_or(1).max(1);
        frame.extend_from_slice(&unit.to_le_bytes());
        for difference in &mut self.column {
            *difference =
                fold(if unit == 1 { *difference as i64 } else { *difference as i64 / unit });
        }
        self.coder.encode(&self.column, 8, frame)
    }

    /// The column in `of_type`, by the codec that makes a sample of it shortest.
    fn encode_numbers(&mut self, range: Range<usize>, frame: &mut Vec<u8>) -> std::io::Result<()> {
        let from = (self.of_type.len() - SAMPLE.min(self.of_type.len())) / 2;
        let sample = from..(from + SAMPLE).min(self.of_type.len());
        let (numbers, places) =
            (&self.of_type[sample.clone()], &self.places[range.clone()][sample]);
        let mut best = (Codec::Plain, usize::MAX);
        let mut candidates = vec![
            Codec::Plain,
            Codec::Differing,
            Codec::Difference,
            Codec::Quote,
            Codec::QuoteDiffering,
        ];
        if let Some(decimals) = decimals_of(numbers) {
            candidates.extend([Codec::Decimal(decimals), Codec::DecimalDifference(decimals)]);
        }
        for codec in candidates {
            self.coded.code(codec, numbers, places);
            let length = self.coder.cost(&self.coded.numbers)? + self.coded.apart.len() * 12;
            if length < best.1 {
                best = (codec, length);
            }
        }
        self.coded.code(best.0, &self.of_type, &self.places[range]);
        frame.extend_from_slice(&best.0.to_bytes());
        frame.extend_from_slice(&(self.coded.apart.len() as u32).to_le_bytes());
        for (row, bits) in &self.coded.apart {
            frame.extend_from_slice(&row.to_le_bytes());
            frame.extend_from_slice(&bits.to_le_bytes());
        }
        self.coder.encode(&self.coded.numbers, 8, frame)
    }

    /// Make `rows` the events of a frame, `None` if it is none. The checksum vouches for the bytes, so
    /// that is a mistake of the writer; it must not become one of the reader.
    pub fn decode(&mut self, mut frame: &[u8], count: usize, rows: &mut Vec<u8>) -> Option<()> {
        let frame = &mut frame;
        rows.clear();
        rows.resize(count * EVENT_LEN, 0);
        let mut last = u64::from_le_bytes(take(frame)?);
        let unit = i64::from_le_bytes(take(frame)?);
        self.coder.decode(frame, 8, count, &mut self.column)?;
        for (row, difference) in rows.chunks_exact_mut(EVENT_LEN).zip(&self.column) {
            last = last.wrapping_add(unfold(*difference).wrapping_mul(unit) as u64);
            row[..8].copy_from_slice(&last.to_le_bytes());
        }
        for (at, width) in [(8, 1), (9, 1), (10, 2), (12, 4)] {
            self.coder.decode(frame, width, count, &mut self.column)?;
            for (row, number) in rows.chunks_exact_mut(EVENT_LEN).zip(&self.column) {
                row[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        for range in self.sort_by_type(rows) {
            for at in [16, 24] {
                self.decode_numbers(frame, range.clone())?;
                for (row, number) in self.order[range.clone()].iter().zip(&self.coded.numbers) {
                    let begin = *row as usize * EVENT_LEN + at;
                    rows[begin..begin + 8].copy_from_slice(&number.to_le_bytes());
                }
            }
        }
        frame.is_empty().then_some(())
    }

    fn decode_numbers(&mut self, frame: &mut &[u8], range: Range<usize>) -> Option<()> {
        let count = range.len();
        let codec = Codec::from_bytes(take(frame)?)?;
        let apart = u32::from_le_bytes(take(frame)?) as usize;
        if apart > count {
            return None;
        }
        self.coded.apart.clear();
        for _ in 0..apart {
            let row = u32::from_le_bytes(take(frame)?);
            self.coded.apart.push((row, u64::from_le_bytes(take(frame)?)));
        }
        self.coder.decode(frame, 8, count, &mut self.coded.numbers)?;
        self.coded.undo(codec, &self.places[range])
    }
}

/// Where the last number of an event's symbol and source is remembered.
#[inline]
fn place(head: u64) -> u16 {
    let (source, symbol) = ((head >> 16) as u16, (head >> 32) as u32);
    (symbol ^ u32::from(source).wrapping_mul(61)) as u16 % PLACES as u16
}

fn row_at(rows: &[u8], row: u32) -> &[u8] {
    &rows[row as usize * EVENT_LEN..][..EVENT_LEN]
}

/// The number of decimals that all but a few floats have.
fn decimals_of(numbers: &[u64]) -> Option<u8> {
    let mut have = [0; DECIMALS_MAX as usize + 1];
    for bits in numbers {
        let fewest = (0..=DECIMALS_MAX).find(|decimals| to_units(*bits, *decimals).is_some());
        have[usize::from(fewest.unwrap_or(DECIMALS_MAX))] += usize::from(fewest.is_some());
    }
    let mut covered = 0;
    (0..=DECIMALS_MAX).find(|decimals| {
        covered += have[usize::from(*decimals)];
        numbers.len() - covered <= numbers.len() / APART_MAX
    })
}

fn common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// The next bytes of a frame.
pub(super) fn take<const N: usize>(frame: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = frame.split_first_chunk()?;
    *frame = rest;
    Some(*bytes)
}
