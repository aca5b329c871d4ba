//! What a venue says identifies a trade, as one number.

use super::json::{BAD_FIELD, Fault, Raw};
use super::number::digits;
use super::scan::Kind;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_128;

/// The groups of hexadecimal digits in a UUID, a dash between them.
const UUID_GROUPS: [Range<usize>; 5] = [0..8, 9..13, 14..18, 19..23, 24..36];
const UUID_LEN: usize = 36;

/// A trade's id: a number as itself, a UUID as its 128 bits, any other text as its 128-bit hash.
pub fn trade_id(raw: Raw) -> Result<u128, Fault> {
    let value = raw.ok_or(BAD_FIELD)?;
    let id = value.bytes();
    let is_text = value.kind() == Kind::Text;
    if !is_text && value.kind() != Kind::Number {
        return Err(BAD_FIELD);
    }
    // Most ids fit 64 bits, which are read in a third of the time.
    if let Ok(number) = digits(id) {
        return Ok(u128::from(number));
    }
    if !id.is_empty() && id.iter().all(u8::is_ascii_digit) {
        return value.source().parse().map_err(|_| BAD_FIELD);
    }
    if is_text && !id.is_empty() {
        return Ok(uuid(id).unwrap_or_else(|| xxh3_128(id)));
    }
    Err(BAD_FIELD)
}

fn uuid(text: &[u8]) -> Option<u128> {
    let bytes: &[u8; UUID_LEN] = text.try_into().ok()?;
    if UUID_GROUPS[1..].iter().any(|group| bytes[group.start - 1] != b'-') {
        return None;
    }
    let (mut number, mut wrong) = (0u128, false);
    for group in UUID_GROUPS {
        let mut part = 0u64;
        for &byte in &bytes[group.clone()] {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                _ => {
                    wrong = true;
                    0
                }
            };
            part = part << 4 | u64::from(digit);
        }
        number = number << (4 * group.len()) | u128::from(part);
    }
    (!wrong).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::json::tests::of;
    use super::*;

    #[test]
    fn an_id_is_a_number() {
        assert_eq!(of("7", trade_id), Ok(7));
        assert_eq!(of("\"2280000001739247417\"", trade_id), Ok(2_280_000_001_739_247_417));
        assert_eq!(
            of("\"a9188a0a-82bc-50de-be60-03eedbe3cdd7\"", trade_id),
            Ok(0xa918_8a0a_82bc_50de_be60_03ee_dbe3_cdd7)
        );
        let (one, other) = (of("\"T-1\"", trade_id), of("\"T-2\"", trade_id));
        assert!(one.is_ok() && other.is_ok() && one != other);
        for raw in ["\"\"", "1.5", "true", "[1]", "\"\\u0031\""] {
            assert_eq!(of(raw, trade_id), Err(BAD_FIELD), "{raw}");
        }
    }
}
