//! JSON as venues send it: fields by name in any order, numbers kept as the text that stood there.
//!
//! A thin layer over `serde_json` with borrowed raw values, so that nothing is copied and no number
//! becomes a float before its decimals were counted. It refuses what serde would let pass (an array
//! where an object belongs, `NaN`, a negative price) and gives every refusal a fixed name, because
//! refusals are counted by name. Allocates only for text with escapes, which no venue sends.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Why a frame is malformed, as counted.
pub type Fault = &'static str;

pub const NOT_JSON: Fault = "not_json";
pub const BAD_FIELD: Fault = "bad_field";
pub const BAD_NUMBER: Fault = "bad_number";

/// The text of one value; `None` when the field is absent or null.
pub type Raw<'a> = Option<&'a RawValue>;

/// Longest number taken: no venue's comes near, and parsing stays cheap whatever is sent.
const NUMBER_LEN_MAX: usize = 48;

/// Parse a whole text.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Fault> {
    serde_json::from_str(text)
        .map_err(|error| if error.is_data() { BAD_FIELD } else { NOT_JSON })
}

/// A struct that was written as an object; serde alone would take an array by position too.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// An array's first `N` values; `len` counts all of them.
pub struct Row<'a, const N: usize> {
    pub cells: [Raw<'a>; N],
    pub len: usize,
}

impl<'de: 'a, 'a, const N: usize> Deserialize<'de> for Row<'a, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Cells<'a, const N: usize>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a, const N: usize> Visitor<'de> for Cells<'a, N> {
            type Value = Row<'a, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut row = Row { cells: [None; N], len: 0 };
                while row.len < N {
                    let Some(cell) = seq.next_element::<&'de RawValue>()? else {
                        return Ok(row);
                    };
                    row.cells[row.len] = Some(cell);
                    row.len += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    row.len += 1;
                }
                Ok(row)
            }
        }
        deserializer.deserialize_seq(Cells(PhantomData))
    }
}

/// Hand every element of an array to `take`, without collecting them; how many there were.
pub fn each<'a, T: Deserialize<'a>>(
    raw: Raw<'a>,
    take: impl FnMut(T) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    struct Elements<'f, T, F>(F, &'f mut Option<Fault>, PhantomData<T>);
    impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), Fault>> Visitor<'de>
        for Elements<'_, T, F>
    {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<usize, A::Error> {
            let mut count = 0;
            while let Some(element) = seq.next_element::<T>()? {
                if let Err(fault) = self.0(element) {
                    *self.1 = Some(fault);
                    return Err(A::Error::custom(fault));
                }
                count += 1;
            }
            Ok(count)
        }
    }
    let mut fault = None;
    let mut deserializer = serde_json::Deserializer::from_str(raw.ok_or(BAD_FIELD)?.get());
    deserializer
        .deserialize_seq(Elements(take, &mut fault, PhantomData))
        .map_err(|_| fault.unwrap_or(BAD_FIELD))
}

/// What stands between the quotes, or `""` when the value is no plain text: for tags, whose
/// unknown values are ignored anyway.
pub fn tag<'a>(raw: Raw<'a>) -> &'a str {
    raw.and_then(|raw| unquoted(raw.get())).unwrap_or("")
}

/// A text, escapes resolved.
pub fn text<'a>(raw: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
    let raw = raw.ok_or(BAD_FIELD)?.get();
    match unquoted(raw) {
        Some(plain) => Ok(Cow::Borrowed(plain)),
        None => serde_json::from_str(raw).map(Cow::Owned).map_err(|_| BAD_FIELD),
    }
}

fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

/// A boolean.
pub fn flag(raw: Raw) -> Result<bool, Fault> {
    match raw.map(RawValue::get) {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(BAD_FIELD),
    }
}

/// An unsigned integer, quoted or not.
pub fn integer(raw: Raw) -> Result<u64, Fault> {
    digits(number_text(raw)?)
}

/// Decimal digits and nothing else.
pub fn digits(text: &str) -> Result<u64, Fault> {
    // `parse` alone would take "+1".
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_NUMBER);
    }
    text.parse().map_err(|_| BAD_NUMBER)
}

fn number_text<'a>(raw: Raw<'a>) -> Result<&'a str, Fault> {
    let raw = raw.ok_or(BAD_FIELD)?.get();
    Ok(unquoted(raw).unwrap_or(raw))
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
    let text = number_text(raw)?;
    if text.len() > NUMBER_LEN_MAX {
        return Err(BAD_NUMBER);
    }
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| BAD_NUMBER)?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    // "inf", "nan" and a sign, all of which `parse` would take, end here.
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return Err(BAD_NUMBER);
    }
    let value: f64 = text.parse().map_err(|_| BAD_NUMBER)?;
    if !value.is_finite() {
        return Err(BAD_NUMBER);
    }
    let places = fraction.trim_end_matches('0').len() as i32;
    Ok(Decimal { value, decimals: places.saturating_sub(exponent).max(0) as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Result<Decimal, Fault> {
        decimal(Some(serde_json::from_str(text).unwrap()))
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
            "\"NaN\"", "\"inf\"", "\"-1\"", "-1", "\"+1\"", "\"\"", "\".5\"", "\"1,5\"", "\" 1\"",
            "\"1e\"", "1e400", "true", "[1]", "{}", "\"1.5.1\"", "\"\\u0031\"", "\"0x10\"",
            "10000000000000000000000000000000000000000000000000000000",
        ] {
            assert_eq!(number(text), Err(BAD_NUMBER), "{text}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        #[derive(serde::Deserialize)]
        struct One {
            a: u8,
        }
        assert!(parse::<Object<One>>("{\"a\":1}").is_ok_and(|object| object.0.a == 1));
        assert_eq!(parse::<Object<One>>("[1]").err(), Some(BAD_FIELD));
        assert_eq!(parse::<Object<One>>("{\"a\":1").err(), Some(NOT_JSON));
        assert_eq!(parse::<Object<One>>("{\"a\":1,\"a\":1}").err(), Some(BAD_FIELD));
        assert_eq!(parse::<Object<One>>("{\"a\":1} 2").err(), Some(NOT_JSON));
    }

    #[test]
    fn a_row_counts_what_it_does_not_keep() {
        let row: Row<2> = parse("[1, \"two\", [3], 4]").unwrap();
        assert_eq!((row.len, tag(row.cells[1])), (4, "two"));
        let row: Row<2> = parse("[]").unwrap();
        assert!(row.len == 0 && row.cells[0].is_none());
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(text(Some(serde_json::from_str("\"XBT\\/USD\"").unwrap())).unwrap(), "XBT/USD");
    }

    proptest! {
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
