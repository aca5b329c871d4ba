//! JSON as venues send it: fields by name in any order, every value as the text that stood there.
//!
//! Over [`super::scan`], which has looked at every byte before: objects by field, arrays by element,
//! and what a value's text means. Nothing is copied but text with escapes, which no venue sends.

use super::scan::{Kind, Tape, Token};
use std::borrow::Cow;

/// Why a frame is malformed, as counted.
pub type Fault = &'static str;

pub const NOT_JSON: Fault = "not_json";
pub const BAD_FIELD: Fault = "bad_field";

/// A text and the notes about its values.
#[derive(Clone, Copy)]
pub struct Document<'a> {
    text: &'a str,
    tokens: &'a [Token],
}

impl<'a> Document<'a> {
    /// All of `text` is checked here; what is read later is JSON.
    pub fn of(text: &'a str, tape: &'a mut Tape) -> Result<Document<'a>, Fault> {
        Ok(Document { text, tokens: tape.of(text)? })
    }

    /// The outermost value.
    pub fn root(&'a self) -> Value<'a> {
        Value { document: self, at: 0 }
    }
}

/// One value of a document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document<'a>,
    at: u32,
}

/// One value; `None` when the field is absent or null.
pub type Raw<'a> = Option<Value<'a>>;

impl<'a> Value<'a> {
    #[inline]
    fn token(self) -> &'a Token {
        &self.document.tokens[self.at as usize]
    }

    #[inline]
    pub fn kind(self) -> Kind {
        self.token().kind
    }

    /// The value as it stands there; of a text what is between its quotes, with its escapes.
    #[inline]
    pub fn source(self) -> &'a str {
        let token = self.token();
        &self.document.text[token.begin as usize..token.end as usize]
    }

    /// The same as bytes: a slice of a text has to look where characters begin.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        let token = self.token();
        &self.document.text.as_bytes()[token.begin as usize..token.end as usize]
    }

    /// The value, unless it is null.
    #[inline]
    fn not_null(self) -> Raw<'a> {
        (self.kind() != Kind::Null).then_some(self)
    }

    /// The value behind this one, or where its container ends.
    #[inline]
    fn next(self) -> u32 {
        self.token().next
    }

    #[inline]
    fn at(self, at: u32) -> Value<'a> {
        Value { at, ..self }
    }
}

/// A struct of raw fields, read from an object: `name: b"key"` for each (bytes, because a match over byte
/// strings compiles to a tree and one over texts to a comparison each).
macro_rules! object {
    ($(#[$note:meta])* $name:ident { $($field:ident: $key:literal),+ $(,)? }) => {
        $(#[$note])*
        #[derive(Default)]
        struct $name<'a> { $($field: $crate::exchange::json::Raw<'a>),+ }

        impl<'a> $name<'a> {
            // Where it is called, so that the fields are filled in and not copied there.
            #[inline(always)]
            fn read(
                value: $crate::exchange::json::Value<'a>,
            ) -> Result<Self, $crate::exchange::json::Fault> {
                let mut fields = $name::default();
                $crate::exchange::json::members(value, |key, value| match key {
                    $($key => fields.$field = value,)+
                    _ => {}
                })?;
                Ok(fields)
            }
        }
    };
}
pub(super) use object;

/// Hand every member of the object to `take`; of a key that comes twice, the last counts.
#[inline]
pub fn members<'a>(
    object: Value<'a>,
    mut take: impl FnMut(&'a [u8], Raw<'a>),
) -> Result<(), Fault> {
    if object.kind() != Kind::Object {
        return Err(BAD_FIELD);
    }
    let mut key = object.at(object.at + 1);
    while key.at < object.next() {
        let value = key.at(key.at + 1);
        take(key.bytes(), value.not_null());
        key = key.at(value.next());
    }
    Ok(())
}

/// Hand every element of the array to `take`, without collecting them; how many there were.
#[inline]
pub fn elements<'a>(
    array: Value<'a>,
    mut take: impl FnMut(Value<'a>) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    if array.kind() != Kind::Array {
        return Err(BAD_FIELD);
    }
    let mut element = array.at(array.at + 1);
    let mut count = 0;
    while element.at < array.next() {
        take(element)?;
        count += 1;
        element = element.at(element.next());
    }
    Ok(count)
}

/// As [`elements`], of a field that has to be there.
#[inline]
pub fn each<'a>(
    raw: Raw<'a>,
    take: impl FnMut(Value<'a>) -> Result<(), Fault>,
) -> Result<usize, Fault> {
    elements(raw.ok_or(BAD_FIELD)?, take)
}

/// An array's first `N` values, and how many it has in all.
#[inline]
pub fn row<const N: usize>(array: Value<'_>) -> Result<([Raw<'_>; N], usize), Fault> {
    let mut cells = [None; N];
    let mut at = 0;
    let len = elements(array, |value| {
        if let Some(cell) = cells.get_mut(at) {
            *cell = value.not_null();
        }
        at += 1;
        Ok(())
    })?;
    Ok((cells, len))
}

/// A text without escapes as it is, or `""`: for tags, whose unknown values are ignored anyway.
#[inline]
pub fn tag<'a>(raw: Raw<'a>) -> &'a str {
    match raw {
        Some(value) if value.kind() == Kind::Text => value.source(),
        _ => "",
    }
}

/// Whether a value is the empty text: how venues write that there is none.
#[inline]
pub fn is_empty_text(value: Value) -> bool {
    value.kind() == Kind::Text && value.bytes().is_empty()
}

/// A text, escapes resolved.
#[inline]
pub fn text<'a>(raw: Raw<'a>) -> Result<Cow<'a, str>, Fault> {
    let value = raw.ok_or(BAD_FIELD)?;
    match value.kind() {
        Kind::Text => Ok(Cow::Borrowed(value.source())),
        Kind::EscapedText => unescaped(value.source()).map(Cow::Owned).ok_or(BAD_FIELD),
        _ => Err(BAD_FIELD),
    }
}

#[cold]
fn unescaped(source: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = source.chars();
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
    match raw.map(Value::kind) {
        Some(Kind::True) => Ok(true),
        Some(Kind::False) => Ok(false),
        _ => Err(BAD_FIELD),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::exchange::scan::tests::nearly_json;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    object!(One { a: b"a", b: b"b" });

    /// What `read` makes of the JSON `text`.
    pub fn of<T>(text: &str, read: impl FnOnce(Raw) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut tape = Tape::default();
        read(Some(Document::of(text, &mut tape)?.root()))
    }

    fn members_of(text: &str) -> Result<Vec<(String, Option<String>)>, Fault> {
        of(text, |raw| {
            let mut found = Vec::new();
            members(raw.unwrap(), |key, value| {
                let key = String::from_utf8(key.to_owned()).unwrap();
                found.push((key, value.map(|value| value.source().to_owned())));
            })?;
            Ok(found)
        })
    }

    #[test]
    fn fields_by_name() {
        let text = " { \"b\" : null , \"x\":[{\"a\":5}], \"a\" :\t\"t\" } ";
        of(text, |raw| {
            let one = One::read(raw.unwrap())?;
            assert_eq!((one.a.map(Value::source), one.b.map(Value::source)), (Some("t"), None));
            Ok(())
        })
        .unwrap();
        let last = |raw: Raw| Ok(One::read(raw.unwrap())?.a.map(|value| value.source().to_owned()));
        assert_eq!(of("{}", last), Ok(None));
        assert_eq!(of("{\"a\":1,\"a\":2}", last), Ok(Some("2".to_owned())));
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(members_of("[1]"), Err(BAD_FIELD));
        assert_eq!(members_of("[1"), Err(NOT_JSON));
        assert_eq!(of("{}", |raw| each(raw, |_| Ok(()))), Err(BAD_FIELD));
        assert_eq!(of("", |raw| each(raw, |_| Ok(()))), Err(NOT_JSON));
    }

    #[test]
    fn a_row_counts_what_it_does_not_keep() {
        let first = |raw: Raw| {
            let ([one, two], len) = row::<2>(raw.unwrap())?;
            let source = |raw: Raw| raw.map(|value| value.source().to_owned());
            Ok((source(one), source(two), len))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("[1, \"two\", [3], 4]", first), Ok((some("1"), some("two"), 4)));
        assert_eq!(of("[[1,[2]],{\"a\":3}]", first), Ok((some("[1,[2]]"), some("{\"a\":3}"), 2)));
        assert_eq!(of("[null]", first), Ok((None, None, 1)));
        assert_eq!(of("[]", first), Ok((None, None, 0)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn serde_json_reads_the_same_members(text in nearly_json()) {
            type Members<'a> = std::collections::HashMap<&'a str, &'a RawValue>;
            let text = format!("{{{text}}}");
            if let Ok(theirs) = serde_json::from_str::<Members>(&text) {
                let ours: std::collections::HashMap<_, _> = members_of(&text).unwrap().into_iter().collect();
                prop_assert_eq!(ours.len(), theirs.len());
                for (key, value) in theirs {
                    let value = value.get();
                    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                    let expected = (value != "null").then(|| plain.unwrap_or(value).to_owned());
                    prop_assert_eq!(&ours[key], &expected);
                }
            }
        }

        #[test]
        fn serde_json_unescapes_alike(text in "\\PC*", escaped in "(\\\\u[0-9a-f]{4}|\\\\[nrtbf/\"\\\\]|é){0,6}") {
            let owned = |raw: Raw| Ok(super::text(raw)?.into_owned());
            let quoted = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(of(&quoted, owned).unwrap(), text);
            let quoted = format!("\"{escaped}\"");
            prop_assert_eq!(of(&quoted, owned).ok(), serde_json::from_str(&quoted).ok());
        }
    }
}
