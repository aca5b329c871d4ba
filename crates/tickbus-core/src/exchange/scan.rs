//! A scanner over one JSON text: every value checked once and noted down, so that a decoder steps from
//! value to value without looking at the bytes again.
//!
//! ```text
//! {"a":[1,"x"],"b":2}   →   object · key a · array · number 1 · text x · key b · number 2
//!                                       └──── next: where the value behind it is noted ──┘
//! ```
//!
//! Of its own rather than a library's for two reasons: no number may become a float before its
//! decimals were counted, and a warm decoder allocates nothing. It accepts exactly what `serde_json`
//! accepts, up to a bounded depth; property tests hold the two together.

use super::json::{Fault, NOT_JSON};

/// Containers inside each other; no venue comes near.
const DEPTH_MAX: usize = 127;

/// Values of one frame: ten times what the largest recorded book has. What a frame of brackets could
/// make is bounded by this, not by its bytes.
const TOKENS_MAX: usize = 1 << 22;
pub const TOO_MANY_VALUES: Fault = "too_many_values";

/// Notes that are kept room for between frames: 4 MiB. Those of a larger frame are given back.
const TOKENS_KEPT: usize = 1 << 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    /// A text without escapes: it is what stands between the quotes.
    Text,
    EscapedText,
    Number,
    True,
    False,
    Null,
}

/// A value, or a key: where its text is (of texts, without the quotes), and which note follows it
/// when what is inside is passed over.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub begin: u32,
    pub end: u32,
    pub next: u32,
    pub kind: Kind,
}

/// Room for the notes of one trade, quote or small book message.
const TOKENS_FIRST: usize = 256;

/// What a scanner says when there is no room for the next note; no frame's fault.
const NO_ROOM: Fault = "no_room";

/// Room for the notes of the frame in hand. Kept between frames, so that a warm decoder allocates
/// nothing.
#[derive(Debug, Default)]
pub struct Tape(Vec<Token>);

impl Tape {
    /// The values of `text` in the order they stand there, each container before what is in it.
    pub fn of(&mut self, text: &str) -> Result<&[Token], Fault> {
        if self.0.len() > TOKENS_KEPT {
            self.0.truncate(TOKENS_KEPT);
            self.0.shrink_to_fit();
        }
        loop {
            // A slice of fixed length is written to faster than a vector is pushed to, which has to be
            // ready to move. Where it is too short, the frame is read once more.
            let mut scanner =
                Scanner { bytes: text.as_bytes(), at: 0, tokens: &mut self.0, count: 0 };
            match scanner.document() {
                Ok(()) => {
                    let count = scanner.count;
                    return Ok(&self.0[..count]);
                }
                Err(NO_ROOM) => self.grow()?,
                Err(fault) => return Err(fault),
            }
        }
    }

    #[cold]
    fn grow(&mut self) -> Result<(), Fault> {
        if self.0.len() == TOKENS_MAX {
            return Err(TOO_MANY_VALUES);
        }
        let room = (4 * self.0.len()).clamp(TOKENS_FIRST, TOKENS_MAX);
        self.0.resize(room, Token { begin: 0, end: 0, next: 0, kind: Kind::Null });
        Ok(())
    }
}

/// A place in a text. Every place that is noted is next to an ASCII character, so slices are cut
/// between characters.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    tokens: &'a mut [Token],
    /// How many notes there are so far.
    count: usize,
}

impl Scanner<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn peek_after_space(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                // Venues send none: one comparison says so.
                Some(byte) if byte > b' ' => return Some(byte),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// One whole value, and nothing behind it. Without recursion: the open containers are a stack.
    fn document(&mut self) -> Result<(), Fault> {
        let mut open = [0u32; DEPTH_MAX];
        let mut depth = 0;
        loop {
            match self.peek_after_space() {
                Some(b'"') => self.text()?,
                Some(byte @ (b'{' | b'[')) => {
                    let slot = open.get_mut(depth).ok_or(NOT_JSON)?;
                    *slot = self.count as u32;
                    depth += 1;
                    let is_object = byte == b'{';
                    let kind = if is_object { Kind::Object } else { Kind::Array };
                    self.at += 1;
                    self.note(self.at - 1, self.at, kind)?;
                    let first = self.peek_after_space();
                    if first != Some(if is_object { b'}' } else { b']' }) {
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true", Kind::True)?,
                Some(b'f') => self.word("false", Kind::False)?,
                Some(b'n') => self.word("null", Kind::Null)?,
                _ => return Err(NOT_JSON),
            }
            // A value has ended, and with it perhaps the containers around it.
            loop {
                let byte = self.peek_after_space();
                let Some(&innermost) = open[..depth].last() else {
                    return if byte.is_none() { Ok(()) } else { Err(NOT_JSON) };
                };
                let count = self.count as u32;
                let container = &mut self.tokens[innermost as usize];
                let is_object = container.kind == Kind::Object;
                self.at += 1;
                if byte == Some(b',') {
                    if is_object {
                        self.key()?;
                    }
                    break;
                }
                if byte != Some(if is_object { b'}' } else { b']' }) {
                    return Err(NOT_JSON);
                }
                container.end = self.at as u32;
                container.next = count;
                depth -= 1;
            }
        }
    }

    #[inline(always)]
    fn note(&mut self, begin: usize, end: usize, kind: Kind) -> Result<(), Fault> {
        let next = self.count as u32 + 1;
        let slot = self.tokens.get_mut(self.count).ok_or(NO_ROOM)?;
        *slot = Token { begin: begin as u32, end: end as u32, next, kind };
        self.count += 1;
        Ok(())
    }

    /// A key and its colon.
    #[inline(always)]
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek_after_space() != Some(b'"') {
            return Err(NOT_JSON);
        }
        self.text()?;
        if self.peek_after_space() != Some(b':') {
            return Err(NOT_JSON);
        }
        self.at += 1;
        Ok(())
    }

    /// A text, eight bytes at a time where none of them needs a look.
    #[inline(always)]
    fn text(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let begin = self.at;
        let mut kind = Kind::Text;
        loop {
            while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
                let plain = plain_bytes(u64::from_le_bytes(*chunk));
                self.at += plain;
                if plain < 8 {
                    break;
                }
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return self.note(begin, self.at - 1, kind);
                }
                Some(b'\\') => {
                    kind = Kind::EscapedText;
                    self.escape()?;
                }
                Some(0..0x20) | None => return Err(NOT_JSON),
                Some(_) => {}
            }
            self.at += 1;
        }
    }

    /// Step onto the last byte of an escape.
    #[cold]
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

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(NOT_JSON);
        }
        self.at += word.len();
        self.note(self.at - word.len(), self.at, kind)
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Fault> {
        let begin = self.at;
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
        self.note(begin, self.at, Kind::Number)
    }

    #[inline(always)]
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

    fn validate(text: &str) -> Result<(), Fault> {
        Tape::default().of(text).map(drop)
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(validate(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(validate(&nested(DEPTH_MAX + 1)), Err(NOT_JSON));
    }

    #[test]
    fn values_are_bounded_and_their_room_is_given_back() {
        let mut tape = Tape::default();
        let many = |count: usize| format!("[{}1]", "1,".repeat(count - 2));
        assert_eq!(tape.of(&many(TOKENS_MAX)).map(<[Token]>::len), Ok(TOKENS_MAX));
        assert_eq!(tape.of(&many(TOKENS_MAX + 1)).err(), Some(TOO_MANY_VALUES));
        assert!(tape.of("1").is_ok());
        assert!(tape.0.capacity() <= TOKENS_KEPT);
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

        /// What one scanner takes, the other takes too.
        #[test]
        fn serde_json_agrees(text in nearly_json()) {
            let theirs = serde_json::from_str::<&RawValue>(&text);
            prop_assert_eq!(validate(&text).is_ok(), theirs.is_ok(), "{:?}", text);
        }
    }
}
