//! JSON as venues send it: fields by name in any order, every value as the text that stood there.
//!
//! A pull scanner of its own rather than a library, for two reasons: no number may become a float
//! before its decimals were counted, and a warm decoder allocates nothing (`serde_json` does for
//! every value two levels deep that it passes over). It accepts exactly what `serde_json` accepts;
//! a property test holds them together. Depth is bounded, and each byte is looked at once for every
//! level that is opened, which is at most three.

use std::borrow::Cow;

/// Why a frame is malformed, as counted.
pub type Fault = &'static str;

pub const NOT_JSON: Fault = "not_json";
pub const BAD_FIELD: Fault = "bad_field";

/// Containers inside each other; no venue comes near.
const DEPTH_MAX: u32 = 127;

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

/// Whether `text` is one whole value.
pub fn validate(text: &str) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.value()?;
    scanner.end()
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

/// A place in a text. Every position it stops at is next to an ASCII character, so slices are cut
/// between characters.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn peek_after_space(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// Step over the next byte if it is `byte`.
    #[inline]
    fn closes(&mut self, byte: u8) -> bool {
        let is_it = self.peek_after_space() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    /// Step over the byte a container begins with. Other JSON there is a wrong field.
    fn open(&mut self, byte: u8) -> Result<(), Fault> {
        if self.closes(byte) {
            return Ok(());
        }
        validate(self.text)?;
        Err(BAD_FIELD)
    }

    /// After an element: whether another follows, or the container ends.
    #[inline]
    fn goes_on(&mut self, close: u8) -> Result<bool, Fault> {
        if self.closes(b',') {
            return Ok(true);
        }
        if self.closes(close) { Ok(false) } else { Err(NOT_JSON) }
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.peek_after_space().is_none() { Ok(()) } else { Err(NOT_JSON) }
    }

    /// A key and its colon; escapes stay in it.
    #[inline]
    fn key(&mut self) -> Result<&'a str, Fault> {
        if self.peek_after_space() != Some(b'"') {
            return Err(NOT_JSON);
        }
        let begin = self.at + 1;
        self.string()?;
        let key = &self.text[begin..self.at - 1];
        if self.closes(b':') { Ok(key) } else { Err(NOT_JSON) }
    }

    /// The text of the next value, whatever it is.
    #[inline]
    fn value(&mut self) -> Result<&'a str, Fault> {
        let first = self.peek_after_space();
        let begin = self.at;
        match first {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar()?,
        }
        Ok(&self.text[begin..self.at])
    }

    /// Step over a container, without recursion: a bit a level says which kind is open.
    fn container(&mut self) -> Result<(), Fault> {
        let mut objects: u128 = 0;
        let mut depth = 0;
        loop {
            let opened = self.peek_after_space();
            let is_object = opened == Some(b'{');
            if is_object || opened == Some(b'[') {
                if depth == DEPTH_MAX {
                    return Err(NOT_JSON);
                }
                self.at += 1;
                depth += 1;
                objects = objects << 1 | u128::from(is_object);
                if !self.closes(if is_object { b'}' } else { b']' }) {
                    if is_object {
                        self.key()?;
                    }
                    continue;
                }
                depth -= 1;
                objects >>= 1;
            } else {
                self.scalar()?;
            }
            // A value has ended, and with it perhaps the containers around it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                if self.goes_on(if in_object { b'}' } else { b']' })? {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => Err(NOT_JSON),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(NOT_JSON);
        }
        self.at += word.len();
        Ok(())
    }

    /// Step over a text, eight bytes at a time where none of them needs a look.
    #[inline]
    fn string(&mut self) -> Result<(), Fault> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            while let Some(chunk) = bytes[self.at..].first_chunk::<8>() {
                let plain = plain_bytes(u64::from_le_bytes(*chunk));
                self.at += plain;
                if plain < 8 {
                    break;
                }
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..0x20) | None => return Err(NOT_JSON),
                Some(_) => {}
            }
            self.at += 1;
        }
    }

    /// Step onto the last byte of an escape.
    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(()),
            Some(b'u') => {
                for _ in 0..4 {
                    self.at += 1;
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(NOT_JSON);
                    }
                }
                Ok(())
            }
            _ => Err(NOT_JSON),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(NOT_JSON) }
    }
}

/// How many bytes, from the lowest on, are neither quote nor backslash nor control character.
/// Bit tricks: "Determine if a word has a byte less than n", Bit Twiddling Hacks. A borrow may mark
/// bytes above the first marked one too, which are not asked about.
#[inline]
fn plain_bytes(word: u64) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, limit: u64| word.wrapping_sub(LOW * limit) & !word;
    let is = |byte: u8| below(word ^ (LOW * u64::from(byte)), 1);
    let marked = (below(word, 0x20) | is(b'"') | is(b'\\')) & HIGH;
    (marked.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(validate(&nested(DEPTH_MAX as usize)), Ok(()));
        assert_eq!(validate(&nested(DEPTH_MAX as usize + 1)), Err(NOT_JSON));
    }

    /// Texts that are JSON, or nearly.
    fn nearly_json() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u00e9\"", "\"\\x\"", "1", "-0.5e+3", "01", "1.",
            "-", "true", "nul", "null", " ", "\n", "\"", "\\", "é", "\u{1}", "{\"a\":1}", "[1,2]", "1e5",
        ]);
        prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn eight_bytes_at_once_are_eight_bytes(bytes: [u8; 8], special in 0usize..9, which in 0usize..4) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(special) {
                *byte = [b'"', b'\\', 0x1f, 0][which];
            }
            let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let expected = bytes.iter().position(is_special).unwrap_or(8);
            prop_assert_eq!(plain_bytes(u64::from_le_bytes(bytes)), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// What one scanner takes, the other takes too, and the same part of it.
        #[test]
        fn serde_json_agrees(text in nearly_json()) {
            let theirs = serde_json::from_str::<&RawValue>(&text);
            prop_assert_eq!(validate(&text).is_ok(), theirs.is_ok(), "{:?}", text);
        }

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
