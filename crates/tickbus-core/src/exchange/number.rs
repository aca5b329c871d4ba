//! Prices, sizes and counts from the text they were sent as.

use super::depth::{Exact, SCALE_MAX};
use super::json::{BAD_FIELD, Fault, Raw};
use super::scan::Kind;

pub const BAD_NUMBER: Fault = "bad_number";
/// A number that is one, but has more digits than [`Exact`] holds.
pub const TOO_MANY_DIGITS: Fault = "too_many_digits";

/// Longest number taken: no venue's comes near, and parsing stays cheap whatever is sent.
const NUMBER_LEN_MAX: usize = 48;

/// An unsigned integer, quoted or not.
pub fn integer(raw: Raw) -> Result<u64, Fault> {
    digits(number_bytes(raw)?)
}

/// Decimal digits and nothing else.
#[inline]
pub fn digits(text: &[u8]) -> Result<u64, Fault> {
    if text.len() > EXACT_DIGITS as usize {
        // `parse` alone would take "+1".
        let all_digits = text.iter().all(u8::is_ascii_digit);
        let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        return parsed.filter(|_| all_digits).ok_or(BAD_NUMBER);
    }
    let (mut number, mut wrong) = (0u64, text.is_empty());
    for &byte in text {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if wrong { Err(BAD_NUMBER) } else { Ok(number) }
}

/// An integer that may be negative, quoted or not.
pub fn signed(raw: Raw) -> Result<i64, Fault> {
    let text = number_bytes(raw)?;
    let magnitude = digits(text.strip_prefix(b"-").unwrap_or(text))?;
    let signed = i64::try_from(magnitude).map_err(|_| BAD_NUMBER)?;
    Ok(if text.starts_with(b"-") { -signed } else { signed })
}

#[inline]
fn number_bytes<'a>(raw: Raw<'a>) -> Result<&'a [u8], Fault> {
    let value = raw.ok_or(BAD_FIELD)?;
    match value.kind() {
        Kind::Text | Kind::Number => Ok(value.bytes()),
        _ => Err(BAD_NUMBER),
    }
}

/// What the standard library makes of a text.
#[cold]
fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| BAD_NUMBER)?;
    text.parse().map_err(|_| BAD_NUMBER)
}

/// A price or a size: its value, correctly rounded, and how many decimals it needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal {
    pub value: f64,
    /// Trailing zeros are not counted: venues pad to a fixed width, and a quote's ask is packed in
    /// units of the last decimal, of which padding would leave too few.
    pub decimals: u32,
}

/// A number that is not negative, quoted or not.
pub fn decimal(raw: Raw) -> Result<Decimal, Fault> {
    let text = number_bytes(raw)?;
    if text.len() > NUMBER_LEN_MAX {
        return Err(BAD_NUMBER);
    }
    // One pass: all digits as an integer, and up to which of them it is not zeros.
    let (mut units, mut places, mut digits) = (0u64, 0u32, 0u32);
    let (mut kept_units, mut kept_places) = (0u64, 0u32);
    let (mut in_fraction, mut exponent_at) = (false, text.len());
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                units = units.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                digits += 1;
                places += u32::from(in_fraction);
                if byte != b'0' || !in_fraction {
                    (kept_units, kept_places) = (units, places);
                }
            }
            b'.' if !in_fraction && digits > 0 => in_fraction = true,
            b'e' | b'E' if digits > 0 => {
                exponent_at = at;
                break;
            }
            // "inf", "nan" and a sign, all of which `parse` would take, end here.
            _ => return Err(BAD_NUMBER),
        }
    }
    if digits == 0 {
        return Err(BAD_NUMBER);
    }
    // Both are exact, so that one rounding of the quotient is the nearest double to the text.
    if exponent_at == text.len() && digits <= EXACT_DIGITS && kept_units < 1 << 53 {
        let value = kept_units as f64 / EXACT_POWERS[kept_places as usize];
        return Ok(Decimal { value, decimals: kept_places });
    }
    let value: f64 = parsed(text)?;
    let exponent: i32 = match text.get(exponent_at + 1..) {
        Some(exponent) => parsed(exponent)?,
        None => 0,
    };
    if !value.is_finite() {
        return Err(BAD_NUMBER);
    }
    let decimals = (kept_places as i32).saturating_sub(exponent).max(0) as u32;
    Ok(Decimal { value, decimals })
}

/// A number that is not negative, quoted or not, with every digit it was written with.
#[inline]
pub fn exact(raw: Raw) -> Result<Exact, Fault> {
    let text = number_bytes(raw)?;
    if text.len() > NUMBER_LEN_MAX {
        return Err(BAD_NUMBER);
    }
    let (mut units, mut scale, mut digits, mut in_fraction) = (0u64, 0i32, 0, false);
    let mut fits = true;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                let next =
                    units.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(byte - b'0')));
                fits &= next.is_some();
                units = next.unwrap_or(0);
                digits += 1;
                scale += i32::from(in_fraction);
            }
            b'.' if !in_fraction && digits > 0 => in_fraction = true,
            b'e' | b'E' if digits > 0 => {
                scale = scale.saturating_sub(parsed(&text[at + 1..])?);
                break;
            }
            _ => return Err(BAD_NUMBER),
        }
    }
    if digits == 0 {
        return Err(BAD_NUMBER);
    }
    if scale < 0 {
        // Tens behind the digits, until they stop fitting; nothing has to be moved in a zero.
        let moved = if units == 0 {
            Some(0)
        } else {
            10u64.checked_pow(scale.unsigned_abs()).and_then(|tens| units.checked_mul(tens))
        };
        fits &= moved.is_some();
        units = moved.unwrap_or(0);
        scale = 0;
    }
    if !fits || scale > i32::from(SCALE_MAX) {
        return Err(TOO_MANY_DIGITS);
    }
    Ok(Exact { units, scale: scale as u8 })
}

/// As many digits always fit a `u64`.
const EXACT_DIGITS: u32 = 19;

/// Powers of ten that a double holds exactly (up to 22; digits end sooner).
const EXACT_POWERS: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19,
];

#[cfg(test)]
mod tests {
    use super::super::json::tests::of;
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Result<Decimal, Fault> {
        of(text, decimal)
    }

    #[test]
    fn a_number_is_its_text() {
        for (text, value, decimals) in [
            ("\"61837.63000000\"", 61837.63, 2),
            ("61837.6300", 61837.63, 2),
            ("\"0.00000000\"", 0.0, 0),
            ("0.1", 0.1, 1),
            ("100", 100.0, 0),
            ("\"0.000023610\"", 0.000_023_61, 8),
            ("1e-8", 1e-8, 8),
            ("1.50E2", 150.0, 0),
        ] {
            assert_eq!(number(text), Ok(Decimal { value, decimals }), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "\"NaN\"",
            "\"inf\"",
            "\"-1\"",
            "-1",
            "\"+1\"",
            "\"\"",
            "\".5\"",
            "\"1,5\"",
            "\" 1\"",
            "\"1e\"",
            "1e400",
            "true",
            "[1]",
            "{}",
            "\"1.5.1\"",
            "\"\\u0031\"",
            "\"0x10\"",
            "10000000000000000000000000000000000000000000000000000000",
        ] {
            assert_eq!(number(text), Err(BAD_NUMBER), "{text}");
        }
    }

    #[test]
    fn an_exact_number_is_every_digit_of_its_text() {
        for (text, units, scale) in [
            ("\"0.0100\"", 100, 4),
            ("\"61837.63000000\"", 6_183_763_000_000, 8),
            ("100", 100, 0),
            ("\"0\"", 0, 0),
            ("\"0.00000000\"", 0, 8),
            ("1e-8", 1, 8),
            ("1.50E2", 150, 0),
            ("1.5e3", 1_500, 0),
            ("0e999", 0, 0),
            ("\"18446744073709551615\"", u64::MAX, 0),
            ("\"0000000000000000000000000.5\"", 5, 1),
        ] {
            assert_eq!(of(text, exact), Ok(Exact { units, scale }), "{text}");
        }
        for text in [
            "\"18446744073709551616\"",
            "1e999",
            "1e20",
            "1e-33",
            "\"123456789012.123456789012\"",
            "0.000000000000000000000000000000001",
        ] {
            assert_eq!(of(text, exact), Err(TOO_MANY_DIGITS), "{text}");
        }
        for text in [
            "\"NaN\"",
            "-1",
            "\"\"",
            "\".5\"",
            "\"1e\"",
            "\"1 \"",
            "1e99999999999",
        ] {
            assert_eq!(of(text, exact), Err(BAD_NUMBER), "{text}");
        }
    }

    proptest! {
        #[test]
        fn digits_are_what_the_standard_library_reads(text in "[0-9]{0,22}|[0-9+ -]{0,4}") {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            prop_assert_eq!(digits(text.as_bytes()).ok(), text.parse().ok().filter(|_| plain));
        }

        /// Whatever decimal is written, its units and scale write it again.
        #[test]
        fn an_exact_number_writes_its_text_again(whole in "0|[1-9][0-9]{0,9}", fraction in "[0-9]{0,9}") {
            let text = if fraction.is_empty() { whole.clone() } else { format!("{whole}.{fraction}") };
            let Exact { units, scale } = of(&format!("\"{text}\""), exact).unwrap();
            prop_assert_eq!(usize::from(scale), fraction.len());
            let digits = format!("{units:0width$}", width = fraction.len() + 1);
            let (head, tail) = digits.split_at(digits.len() - fraction.len());
            prop_assert_eq!(head, whole);
            prop_assert_eq!(tail, fraction);
        }

        #[test]
        fn signs_are_kept(number: i32) {
            prop_assert_eq!(of(&number.to_string(), signed), Ok(i64::from(number)));
        }

        /// The short way and the standard library's give the same double.
        #[test]
        fn values_are_the_nearest_double(text in "[0-9]{1,22}(\\.[0-9]{0,24})?") {
            let value = of(&format!("\"{text}\""), decimal).unwrap().value;
            prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        /// Value and decimals of any text agree with the integer arithmetic behind it.
        #[test]
        fn decimals_are_enough(units in 0u64..1 << 53, scale in 0usize..12, padding in 0usize..8) {
            let digits = format!("{units:0width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let zeros = "0".repeat(padding);
            let number = number(&format!("\"{whole}.{fraction}{zeros}\"")).unwrap();
            prop_assert_eq!(number.value, format!("{units}e-{scale}").parse::<f64>().unwrap());
            prop_assert!(number.decimals <= scale as u32);
            let shifted = number.value * 10f64.powi(number.decimals as i32);
            prop_assert!((shifted - shifted.round()).abs() <= shifted * f64::EPSILON);
        }
    }
}
