//! Numbers as planes of bytes: all lowest bytes, then all the next, each stored as short as it goes.

use super::columns::take;
use std::io;
use zstd::bulk::{Compressor, Decompressor};

/// Higher levels cost several times the work and save a few percent.
const LEVEL: i32 = 1;

const CONSTANT: u8 = 0;
const RAW: u8 = 1;
const ZSTD: u8 = 2;

/// Writes and reads planes. Keeps its memory and zstd's.
#[derive(Default)]
pub struct Coder {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
    plane: Vec<u8>,
    short: Vec<u8>,
}

impl Coder {
    /// Append the `width` lowest bytes of every number.
    pub fn encode(&mut self, numbers: &[u64], width: usize, to: &mut Vec<u8>) -> io::Result<()> {
        for byte in 0..width {
            if let Some(constant) = self.fill(numbers, byte) {
                to.extend_from_slice(&[CONSTANT, constant]);
                continue;
            }
            let length = self.compress()?;
            if length < self.plane.len() {
                to.push(ZSTD);
                to.extend_from_slice(&(length as u32).to_le_bytes());
                to.extend_from_slice(&self.short[..length]);
            } else {
                to.push(RAW);
                to.extend_from_slice(&self.plane);
            }
        }
        Ok(())
    }

    /// Bytes that [`Coder::encode`] would take, all eight planes.
    pub fn cost(&mut self, numbers: &[u64]) -> io::Result<usize> {
        let mut cost = 0;
        for byte in 0..8 {
            if self.fill(numbers, byte).is_none() {
                cost += self.compress()?.min(numbers.len());
            }
        }
        Ok(cost)
    }

    /// One plane into `plane`; its byte if it is all the same.
    fn fill(&mut self, numbers: &[u64], byte: usize) -> Option<u8> {
        let first = numbers.first().map_or(0, |number| (number >> (8 * byte)) as u8);
        self.plane.clear();
        self.plane.extend(numbers.iter().map(|number| (number >> (8 * byte)) as u8));
        self.plane.iter().all(|other| *other == first).then_some(first)
    }

    fn compress(&mut self) -> io::Result<usize> {
        if self.compressor.is_none() {
            self.compressor = Some(Compressor::new(LEVEL)?);
        }
        let compressor = self.compressor.as_mut().expect("made above");
        self.short.resize(zstd::zstd_safe::compress_bound(self.plane.len()), 0);
        compressor.compress_to_buffer(&self.plane, &mut self.short[..])
    }

    /// Make `numbers` the next `count` numbers of a frame.
    pub fn decode(
        &mut self,
        frame: &mut &[u8],
        width: usize,
        count: usize,
        numbers: &mut Vec<u64>,
    ) -> Option<()> {
        numbers.clear();
        numbers.resize(count, 0);
        for byte in 0..width {
            let shift = 8 * byte;
            let plane = match take(frame)? {
                [CONSTANT] => {
                    let [constant] = take(frame)?;
                    if constant != 0 {
                        numbers
                            .iter_mut()
                            .for_each(|number| *number |= u64::from(constant) << shift);
                    }
                    continue;
                }
                [RAW] => cut(frame, count)?,
                [ZSTD] => {
                    let length = u32::from_le_bytes(take(frame)?) as usize;
                    let short = cut(frame, length)?;
                    self.expand(short, count)?;
                    &self.plane
                }
                _ => return None,
            };
            for (number, part) in numbers.iter_mut().zip(plane) {
                *number |= u64::from(*part) << shift;
            }
        }
        Some(())
    }

    fn expand(&mut self, short: &[u8], count: usize) -> Option<()> {
        if self.decompressor.is_none() {
            self.decompressor = Some(Decompressor::new().ok()?);
        }
        self.plane.resize(count, 0);
        let found = self.decompressor.as_mut()?.decompress_to_buffer(short, &mut self.plane[..]);
        (found.ok()? == count).then_some(())
    }
}

fn cut<'a>(frame: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = frame.split_at_checked(length)?;
    *frame = rest;
    Some(bytes)
}
