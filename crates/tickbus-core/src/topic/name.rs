//! What may be called a symbol or a source: anything that can stand in a topic as one level.

use std::fmt;

/// Characters that mean something in a topic or a pattern.
const RESERVED: [char; 4] = ['.', '*', '?', '>'];

/// Why a text cannot be the name of a symbol or a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameError {
    Empty {
        len_max: usize,
    },
    /// `len` and `len_max` are bytes of UTF-8.
    TooLong {
        name: String,
        len: usize,
        len_max: usize,
    },
    /// `offset` is in bytes.
    Forbidden {
        name: String,
        character: char,
        offset: usize,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty { len_max } => {
                write!(f, "name \"\" is empty; a name has 1 to {len_max} bytes")
            }
            NameError::TooLong { name, len, len_max } => {
                write!(f, "name {} has {len} bytes; a name has 1 to {len_max}", quoted(name))
            }
            NameError::Forbidden { name, character, offset } => write!(
                f,
                "name {} has {character:?} at byte {offset}; a name has no '.', '*', '?', '>', \
                 white space or control character",
                quoted(name)
            ),
        }
    }
}

impl std::error::Error for NameError {}

/// Check the name of a symbol or a source: 1 to `len_max` bytes, no character that has a meaning in
/// a pattern, no white space, no control character. `BTC/USDT:USDT` is fine.
pub fn valid_name(name: &str, len_max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { len_max });
    }
    if name.len() > len_max {
        return Err(NameError::TooLong { name: name.to_owned(), len: name.len(), len_max });
    }
    let forbidden = |c: char| RESERVED.contains(&c) || c.is_whitespace() || c.is_control();
    match name.char_indices().find(|&(_, c)| forbidden(c)) {
        Some((offset, character)) => {
            Err(NameError::Forbidden { name: name.to_owned(), character, offset })
        }
        None => Ok(()),
    }
}

/// `text` in quotes with escapes, cut where an error message would drown in it.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_SHOWN: usize = 80;
    match text.char_indices().nth(CHARS_SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
