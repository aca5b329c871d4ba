//! JSON as venues send it: fields by name in any order, every value as the text that stood there.
//!
//! Over [`super::scan`], which steps from value to value: objects by field, arrays by element, and
//! what a value's text means. Nothing is copied but text with escapes, which no venue sends; each
//! byte is looked at once for every level that is opened, which is at most three.

use super::scan::Scanner;
use std::borrow::Cow;

/// Why a frame is malformed, as counted.
pub type Fault = &'static str;

pub const NOT_JSON: Fault = "not_json";
pub const BAD_FIELD: Fault = "bad_field";

/// The text of one value, valid as JSON; `None` when the field is absent or null.
pub type Raw<'a> = Option<&'a str>;

/// A struct of raw fields, read from an object: `name: b"key"` for each (bytes, because a match over byte
/// strings compiles to a tree and one over texts to a comparison each).
macro_rules! object {
    ($(#[$note:meta])* $name:ident { $($field:ident: $key:literal),+ $(,)? }) => {
        $(#[$note])*
        #[derive(Default)]
        struct $name<'a> { $($field: $crate::exchange::json::Raw<'a>),+ }

        impl<'a> $name<'a> {
            fn read(text: &'a str) -> Result<Self, $crate::exchange::json::Fault> {
                let mut fields = $name::default();
                $crate::exchange::json::members(text, |key, value| match key.as_bytes() {
                    $($key => fields.$field = value,)+
                    _ => {}
                })?;
                Ok(fields)
            }
        }
    };
}
pub(super) use object;

/// Hand every member of the object `text` to `take`; of a key that comes twice, the last counts.
pub fn members<'a>(text: &'a str, mut take: impl FnMut(&'a str, Raw<'a>)) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'{')?;
    let mut more = !scanner.closes(b'}');
    while more {
        let key = scanner.key()?;
        let value = scanner.value()?;
        take(key, (value != "null").then_some(value));
        more = scanner.goes_on(b'}')?;
    }
    scanner.end()
}

/// Hand every element of the array `text` to `take`, without collecting them; how many there were.
pub fn elements<'a>(
    text: &'a str,
    mut take: impl FnMut(&'a str) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'[')?;
    let mut count = 0;
    let mut more = !scanner.closes(b']');
    while more {
        take(scanner.value()?)?;
        count += 1;
        more = scanner.goes_on(b']')?;
    }
    scanner.end()?;
    Ok(count)
}

/// As [`elements`], of a field that has to be there.
pub fn each<'a>(
    raw: Raw<'a>,
    take: impl FnMut(&'a str) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    elements(raw.ok_or(BAD_FIELD)?, take)
}

/// An array's first `N` values, and how many it has in all.
pub fn row<const N: usize>(text: &str) -> Result<([Raw<'_>; N], usize), Fault> {
    let mut cells = [None; N];
    let mut at = 0;
    let len = elements(text, |value| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = (value != "null").then_some(value);
        }
        at += 1;
        Ok(())
    })?;
    Ok((cells, len))
}

/// Whether `text` would be an array if it is anything.
pub fn is_array(text: &str) -> bool {
    text.trim_ascii_start().starts_with('[')
}

/// What stands between the quotes, or `""` when the value is no plain text: for tags, whose
/// unknown values are ignored anyway.
pub fn tag<'a>(raw: Raw<'a>) -> &'a str {
    raw.and_then(unquoted).unwrap_or("")
}

/// A text, escapes resolved.
pub fn text<'a>(raw: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
    let raw = raw.ok_or(BAD_FIELD)?;
    match unquoted(raw) {
        Some(plain) => Ok(Cow::Borrowed(plain)),
        None => unescaped(raw).map(Cow::Owned).ok_or(BAD_FIELD),
    }
}

/// The inside of a text without escapes.
pub fn unquoted(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains('\\'))
}

fn unescaped(raw: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = raw.strip_prefix('"')?.strip_suffix('"')?.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        text.push(match chars.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = utf16_unit(&mut chars)?;
                match char::from_u32(u32::from(first)) {
                    Some(char) => char,
                    // Half of a surrogate pair: the other half has to follow.
                    None => {
                        chars = chars.as_str().strip_prefix("\\u")?.chars();
                        let pair = [first, utf16_unit(&mut chars)?];
                        char::decode_utf16(pair).next()?.ok()?
                    }
                }
            }
            plain => plain,
        });
    }
    Some(text)
}

fn utf16_unit(chars: &mut std::str::Chars) -> Option<u16> {
    let unit = u16::from_str_radix(chars.as_str().get(..4)?, 16).ok()?;
    chars.nth(3);
    Some(unit)
}

/// A boolean.
pub fn flag(raw: Raw) -> Result<bool, Fault> {
    match raw {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        _ => Err(BAD_FIELD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::scan::tests::nearly_json;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    object!(One { a: b"a", b: b"b" });

    #[test]
    fn fields_by_name() {
        let one = One::read(" { \"b\" : null , \"x\":[{\"a\":5}], \"a\" :\t\"t\" } ").unwrap();
        assert_eq!((one.a, one.b), (Some("\"t\""), None));
        assert_eq!(One::read("{}").unwrap().a, None);
        assert_eq!(One::read("{\"a\":1,\"a\":2}").unwrap().a, Some("2"));
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(One::read("[1]").err(), Some(BAD_FIELD));
        assert_eq!(One::read("[1").err(), Some(NOT_JSON));
        assert_eq!(elements("{}", |_| Ok(())), Err(BAD_FIELD));
        assert_eq!(elements("", |_| Ok(())), Err(NOT_JSON));
    }

    #[test]
    fn a_row_counts_what_it_does_not_keep() {
        assert_eq!(row::<2>("[1, \"two\", [3], 4]"), Ok(([Some("1"), Some("\"two\"")], 4)));
        assert_eq!(row::<2>("[null]"), Ok(([None, None], 1)));
        assert_eq!(row::<2>("[]"), Ok(([None, None], 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn serde_json_reads_the_same_members(text in nearly_json()) {
            type Members<'a> = std::collections::HashMap<&'a str, &'a RawValue>;
            let text = format!("{{{text}}}");
            let mut ours = std::collections::HashMap::new();
            let read = members(&text, |key, value| {
                ours.insert(key, value.unwrap_or("null"));
            });
            if let Ok(theirs) = serde_json::from_str::<Members>(&text) {
                prop_assert_eq!(read, Ok(()));
                prop_assert_eq!(ours, theirs.iter().map(|(key, value)| (*key, value.get())).collect());
            }
        }

        #[test]
        fn serde_json_unescapes_alike(text in "\\PC*", escaped in "(\\\\u[0-9a-f]{4}|\\\\[nrtbf/\"\\\\]|é){0,6}") {
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(super::text(Some(&quoted)).unwrap(), text);
            let quoted = format!("\"{escaped}\"");
            prop_assert_eq!(super::text(Some(&quoted)).ok().map(Cow::into_owned), serde_json::from_str(&quoted).ok());
        }
    }
}
