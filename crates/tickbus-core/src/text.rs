//! Short texts in shared cells: a length, then the bytes, eight to a cell.

use crate::sync::{AtomicU64, Ordering};

/// Longest text that fits into `cells` cells.
pub const fn capacity(cells: usize) -> usize {
    (cells - 1) * 8
}

/// Write `text`; the length is stored last, so that a reader of a half-written text sees "empty".
///
/// # Panics
/// When the text is longer than [`capacity`]: callers have checked and reported that.
pub fn write(cells: &[AtomicU64], text: &str) {
    assert!(text.len() <= capacity(cells.len()));
    for (cell, chunk) in cells[1..].iter().zip(text.as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        cell.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
    cells[0].store(text.len() as u64, Ordering::Release);
}

/// Read a text; empty when there is none. Bytes that are no UTF-8 (a damaged file) are replaced.
pub fn read(cells: &[AtomicU64]) -> String {
    let len = (cells[0].load(Ordering::Acquire) as usize).min(capacity(cells.len()));
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 8);
    for cell in &cells[1..=len.div_ceil(8)] {
        bytes.extend(cell.load(Ordering::Relaxed).to_le_bytes());
    }
    bytes.truncate(len);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(text in "\\PC{0,14}") {
            let cells: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
            prop_assume!(text.len() <= capacity(8));
            write(&cells, &text);
            prop_assert_eq!(read(&cells), text);
        }
    }
}
