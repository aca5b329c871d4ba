//! A scanner over one JSON text: from value to value, each checked and handed on as its text.
//!
//! Of its own rather than a library's for two reasons: no number may become a float before its
//! decimals were counted, and a warm decoder allocates nothing (`serde_json` does for every value
//! two levels deep that it passes over). It accepts exactly what `serde_json` accepts, up to a
//! bounded depth; property tests hold the two together.

use super::json::{BAD_FIELD, Fault, NOT_JSON};

/// Containers inside each other; no venue comes near.
const DEPTH_MAX: u32 = 127;

/// Longest text that [`Scanner::plain_text`] looks at.
const TEXT_LEN_PLAIN: usize = 40;

/// Whether `text` is one whole value.
pub fn validate(text: &str) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.value()?;
    scanner.end()
}

/// A place in a text. Every position it stops at is next to an ASCII character, so slices are cut
/// between characters.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Scanner<'a> {
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
    pub fn closes(&mut self, byte: u8) -> bool {
        let is_it = self.peek_after_space() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    /// Step over the byte a container begins with. Other JSON there is a wrong field.
    pub fn open(&mut self, byte: u8) -> Result<(), Fault> {
        if self.closes(byte) {
            return Ok(());
        }
        validate(self.text)?;
        Err(BAD_FIELD)
    }

    /// After an element: whether another follows, or the container ends.
    #[inline]
    pub fn goes_on(&mut self, close: u8) -> Result<bool, Fault> {
        if self.closes(b',') {
            return Ok(true);
        }
        if self.closes(close) { Ok(false) } else { Err(NOT_JSON) }
    }

    pub fn end(&mut self) -> Result<(), Fault> {
        if self.peek_after_space().is_none() { Ok(()) } else { Err(NOT_JSON) }
    }

    /// A key and its colon; escapes stay in it.
    #[inline]
    pub fn key(&mut self) -> Result<&'a str, Fault> {
        if self.peek_after_space() != Some(b'"') {
            return Err(NOT_JSON);
        }
        let begin = self.at + 1;
        self.string()?;
        let key = &self.text[begin..self.at - 1];
        if self.closes(b':') { Ok(key) } else { Err(NOT_JSON) }
    }

    /// The inside of the next value, if it is a short text of plain ASCII: a number, mostly.
    /// Where it is not, the place stays.
    #[inline]
    pub fn plain_text(&mut self) -> Option<&'a str> {
        if self.peek_after_space() != Some(b'"') {
            return None;
        }
        let begin = self.at + 1;
        let rest = self.text.as_bytes().get(begin..)?;
        let len = rest.iter().take(TEXT_LEN_PLAIN).position(|byte| match byte {
            b'0'..=b'9' | b'.' => false,
            _ => true,
        })?;
        if rest[len] != b'"' {
            return None;
        }
        self.at = begin + len + 1;
        Some(&self.text[begin..begin + len])
    }

    /// The text of the next value, whatever it is.
    #[inline]
    pub fn value(&mut self) -> Result<&'a str, Fault> {
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
pub mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(validate(&nested(DEPTH_MAX as usize)), Ok(()));
        assert_eq!(validate(&nested(DEPTH_MAX as usize + 1)), Err(NOT_JSON));
    }

    /// Texts that are JSON, or nearly.
    pub fn nearly_json() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"\\u00e9\"",
            "\"\\x\"",
            "1",
            "-0.5e+3",
            "01",
            "1.",
            "-",
            "true",
            "nul",
            "null",
            " ",
            "\n",
            "\"",
            "\\",
            "é",
            "\u{1}",
            "{\"a\":1}",
            "[1,2]",
            "1e5",
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
    }
}
