//! What venues compute over the best levels of a book, from the text of its numbers.

use super::{Book, BookSide};
use crate::exchange::depth::{DepthLevel, Exact};

const KRAKEN_LEVELS: usize = 10;
const OKX_LEVELS: usize = 25;

/// Price and size without the point and leading zeros, asks first: those are the units as written.
pub fn kraken(book: &Book, text: &mut Vec<u8>) -> u32 {
    text.clear();
    for side in [BookSide::Ask, BookSide::Bid] {
        for level in book.exact(side).take(KRAKEN_LEVELS) {
            digits(level.price.units, text);
            digits(level.size.units, text);
        }
    }
    crc32fast::hash(text)
}

/// `price:size` of bid and ask in turn, a side that has ended left out, joined by colons.
pub fn okx(book: &Book, text: &mut Vec<u8>) -> i32 {
    text.clear();
    let mut bids = book.exact(BookSide::Bid);
    let mut asks = book.exact(BookSide::Ask);
    for _ in 0..OKX_LEVELS {
        for DepthLevel { price, size } in [bids.next(), asks.next()].into_iter().flatten() {
            for number in [price, size] {
                if !text.is_empty() {
                    text.push(b':');
                }
                decimal(number, text);
            }
        }
    }
    crc32fast::hash(text) as i32
}

fn digits(number: u64, text: &mut Vec<u8>) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    let mut rest = number;
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&buffer[at..]);
}

fn decimal(number: Exact, text: &mut Vec<u8>) {
    let begin = text.len();
    digits(number.units, text);
    let scale = usize::from(number.scale);
    if scale == 0 {
        return;
    }
    // At least one digit in front of the point.
    let missing = (scale + 1).saturating_sub(text.len() - begin);
    text.splice(begin..begin, std::iter::repeat_n(b'0', missing));
    text.insert(text.len() - scale, b'.');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_its_text() {
        for (units, scale, expected) in [
            (100, 4, "0.0100"),
            (0, 0, "0"),
            (5, 0, "5"),
            (12345, 2, "123.45"),
            (12345, 5, "0.12345"),
            (u64::MAX, 19, "1.8446744073709551615"),
        ] {
            let mut text = b"before".to_vec();
            decimal(Exact { units, scale }, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), format!("before{expected}"));
        }
    }
}
