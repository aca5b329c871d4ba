//! Topics: which events a subscription wants.
//!
//! A topic is `category.type.source.symbol`, for example `market.price_update.binance.BTC-USDT`.
//! Patterns use NATS rules: `*` is one level, `>` is the rest; the symbol level also takes a glob
//! with `*` and `?` (`BTC-*`). [`Matcher::compile`] turns patterns into numbers, so that matching an
//! event touches no string:
//!
//! ```text
//! type in type_mask? ── no ─→ false                        most of what is filtered ends here
//!       │ yes
//! type in open_mask? ── yes ─→ true                        "market.>", "risk.>"
//!       │ no
//! verdict cached for type|source|symbol? ── yes ─→ it      one multiplication, one load
//!       │ no
//! up to three look-ups by id, then the globs ─→ cached     the first time a key is seen
//! ```
//!
//! The first three steps take a few nanoseconds whatever the number of patterns. The last one asks
//! the name tables only when a glob covers the event's type and source, and then costs one glob
//! test for each such glob; while more keys are alive than the cache holds, the cache doubles (at
//! most six times, the only allocation after compiling apart from the name a glob looks at). A
//! verdict that would hang on a name not yet known is not kept, and whole categories cover all
//! their numbers, so symbols first seen and types registered after compiling match at once.

mod name;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use name::{NameError, valid_name};
pub use pattern::{Level, PatternError};
use pattern::{Parsed, SymbolRule, TypeRule};

/// One bit per event type.
pub type TypeMask = [u64; 4];

/// What a pattern needs to know of a bus's names (implemented by the bus's name tables).
pub trait Names {
    /// The number of the registered type called `name`.
    fn type_number(&self, name: &str) -> Option<u8>;
    /// The name of type `number`, `None` when the number is free.
    fn type_name(&self, number: u8) -> Option<String>;
    /// One bit per registered type.
    fn registered_types(&self) -> TypeMask;
    /// The id of a source, given now if it has none; the error says why it cannot have one.
    fn intern_source(&self, name: &str) -> Result<u16, String>;
    /// The id of a symbol, given now if it has none; the error says why it cannot have one.
    fn intern_symbol(&self, name: &str) -> Result<u32, String>;
    /// The name behind a symbol id, `None` when it is not known (yet).
    fn symbol_name(&self, id: u32) -> Option<String>;
    /// The name behind a source id, `None` when it is not known (yet).
    fn source_name(&self, id: u16) -> Option<String>;
}

/// Verdicts a matcher has room for: 8 KiB, fine for a few hundred live symbols.
const CACHE_BITS_MIN: u32 = 10;
/// And where it stops growing: 512 KiB, every symbol of a large venue.
const CACHE_BITS_MAX: u32 = 16;

/// A compiled set of patterns. It matches an event when any of its patterns does.
pub struct Matcher {
    type_mask: TypeMask,
    /// Types taken from any source and with any symbol.
    open_mask: TypeMask,
    /// Direct-mapped verdicts: `key << 2 | known << 1 | verdict`. 0 is an empty word.
    verdicts: Box<[u64]>,
    cache_bits: u32,
    /// Verdicts pushed out by others since the cache has its present size.
    evictions: usize,
    /// Types taken by (source, symbol), `None` being any. The open pair is `open_mask` instead.
    by_id: HashMap<(Option<u16>, Option<u32>), TypeMask>,
    globs: Vec<GlobRule>,
    symbol_bloom: u64,
    patterns: Vec<String>,
    parsed: Vec<Parsed>,
}

struct GlobRule {
    types: TypeMask,
    source: Option<u16>,
    glob: String,
}

impl Matcher {
    /// Compile `patterns`. Exact sources and symbols get their ids here.
    ///
    /// Every pattern is checked before the first name is interned, so that a malformed one leaves
    /// the name tables as they were.
    ///
    /// # Errors
    /// A pattern that is malformed, names what does not exist or can match nothing; no pattern at
    /// all; a name that the tables refuse (too long, table full).
    pub fn compile(patterns: &[&str], names: &dyn Names) -> Result<Matcher, PatternError> {
        if patterns.is_empty() {
            return Err(PatternError::NoPattern);
        }
        let parsed = patterns
            .iter()
            .map(|text| Parsed::new(text, names))
            .collect::<Result<Vec<_>, _>>()?;
        let mut matcher = Matcher {
            type_mask: [0; 4],
            open_mask: [0; 4],
            verdicts: empty_cache(CACHE_BITS_MIN),
            cache_bits: CACHE_BITS_MIN,
            evictions: 0,
            by_id: HashMap::new(),
            globs: Vec::new(),
            symbol_bloom: 0,
            patterns: patterns.iter().map(|&text| text.to_owned()).collect(),
            parsed: Vec::new(),
        };
        for (text, one) in patterns.iter().zip(&parsed) {
            matcher.add(text, one, names)?;
        }
        matcher.parsed = parsed;
        Ok(matcher)
    }

    fn add(&mut self, text: &str, parsed: &Parsed, names: &dyn Names) -> Result<(), PatternError> {
        let refused = |level, found: &str, reason| PatternError::Refused {
            pattern: text.to_owned(),
            level,
            found: found.to_owned(),
            reason,
        };
        let types = parsed.types.mask();
        let source = match &parsed.source {
            Some(name) => {
                Some(names.intern_source(name).map_err(|why| refused(Level::Source, name, why))?)
            }
            None => None,
        };
        let symbol = match &parsed.symbol {
            SymbolRule::Exact(name) => {
                Some(names.intern_symbol(name).map_err(|why| refused(Level::Symbol, name, why))?)
            }
            SymbolRule::Any | SymbolRule::Glob(_) => None,
        };
        unite(&mut self.type_mask, types);
        self.symbol_bloom |= symbol.map_or(u64::MAX, |id| 1 << (id & 63));
        if let SymbolRule::Glob(glob) = &parsed.symbol {
            // The same glob over other types is one test, not two.
            match self.globs.iter_mut().find(|g| g.source == source && g.glob == *glob) {
                Some(known) => unite(&mut known.types, types),
                None => self.globs.push(GlobRule { types, source, glob: glob.clone() }),
            }
        } else if source.is_none() && symbol.is_none() {
            unite(&mut self.open_mask, types);
        } else {
            unite(self.by_id.entry((source, symbol)).or_default(), types);
        }
        Ok(())
    }

    /// Whether any pattern matches an event of this type, source and symbol.
    #[inline]
    pub fn matches(&mut self, event_type: u8, source: u16, symbol: u32, names: &dyn Names) -> bool {
        if !has(&self.type_mask, event_type) {
            return false;
        }
        if has(&self.open_mask, event_type) {
            return true;
        }
        let key = key(event_type, source, symbol);
        let verdict = self.verdicts[slot(key, self.cache_bits)];
        if verdict >> 1 == (key << 1 | 1) {
            return verdict & 1 == 1;
        }
        self.decide(event_type, source, symbol, names)
    }

    /// The slow path: ask the patterns, and remember the verdict if it can never change.
    #[cold]
    #[inline(never)]
    fn decide(&mut self, event_type: u8, source: u16, symbol: u32, names: &dyn Names) -> bool {
        let Some(verdict) = self.ask_patterns(event_type, source, symbol, names) else {
            // A glob covers the event but its symbol has no name yet. It may get one any time.
            return false;
        };
        let key = key(event_type, source, symbol);
        self.remember(key, verdict);
        verdict
    }

    fn remember(&mut self, key: u64, verdict: bool) {
        let taken = self.verdicts[slot(key, self.cache_bits)] != 0;
        self.evictions += usize::from(taken);
        // More keys are alive than fit. Asking the globs again costs tens of nanoseconds (measured:
        // 35 with one glob, 3,000 with a thousand), so make room; verdicts come back by themselves.
        if self.evictions > self.verdicts.len() && self.cache_bits < CACHE_BITS_MAX {
            self.cache_bits += 1;
            self.verdicts = empty_cache(self.cache_bits);
            self.evictions = 0;
        }
        self.verdicts[slot(key, self.cache_bits)] = key << 2 | 0b10 | u64::from(verdict);
    }

    /// `None` when only the name of the symbol could tell and it is not known.
    fn ask_patterns(
        &self,
        event_type: u8,
        source: u16,
        symbol: u32,
        names: &dyn Names,
    ) -> Option<bool> {
        let pairs = [
            (Some(source), Some(symbol)),
            (None, Some(symbol)),
            (Some(source), None),
        ];
        if pairs
            .iter()
            .any(|pair| self.by_id.get(pair).is_some_and(|types| has(types, event_type)))
        {
            return Some(true);
        }
        let mut globs = self
            .globs
            .iter()
            .filter(|rule| has(&rule.types, event_type) && rule.source.is_none_or(|s| s == source))
            .peekable();
        if globs.peek().is_none() {
            return Some(false);
        }
        let name = names.symbol_name(symbol)?;
        Some(globs.any(|rule| pattern::glob_matches(&rule.glob, &name)))
    }

    /// The types that any pattern can match: an event of another type needs no further look.
    pub fn type_mask(&self) -> TypeMask {
        self.type_mask
    }

    /// A bloom over exact symbols: bit `id & 63` of each; all ones when any pattern is open in the
    /// symbol. An event whose bit is not set cannot match.
    pub fn symbol_bloom(&self) -> u64 {
        self.symbol_bloom
    }

    /// The patterns as they were given.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// One sentence for each pattern: what it matches, in plain words, with types by their names.
    pub fn explain(&self, names: &dyn Names) -> Vec<String> {
        let explain_one = |(text, parsed): (&String, &Parsed)| {
            let types = match parsed.types {
                TypeRule::Every => "events of every type".to_owned(),
                TypeRule::Category(category) => format!(
                    "events of every {} type (now {}; any registered later too)",
                    category.name(),
                    listed(&pattern::type_names(parsed.types.mask(), names)),
                ),
                TypeRule::One(number) => format!(
                    "events of type {}",
                    names.type_name(number).unwrap_or_else(|| number.to_string())
                ),
            };
            let source = match &parsed.source {
                Some(name) => format!("from source {name}"),
                None => "from any source".to_owned(),
            };
            let symbol = match &parsed.symbol {
                SymbolRule::Any => "with any symbol".to_owned(),
                SymbolRule::Exact(name) => format!("with symbol {name}"),
                SymbolRule::Glob(glob) => format!("with a symbol that fits {glob}"),
            };
            format!("{text}: {types}, {source}, {symbol}")
        };
        self.patterns.iter().zip(&self.parsed).map(explain_one).collect()
    }
}

impl std::fmt::Debug for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Matcher").field(&self.patterns).finish()
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[inline]
fn has(mask: &TypeMask, event_type: u8) -> bool {
    mask[usize::from(event_type >> 6)] >> (event_type & 63) & 1 == 1
}

fn unite(mask: &mut TypeMask, other: TypeMask) {
    for (word, more) in mask.iter_mut().zip(other) {
        *word |= more;
    }
}

/// 56 bits that tell two events apart for every pattern.
#[inline]
fn key(event_type: u8, source: u16, symbol: u32) -> u64 {
    u64::from(event_type) << 48 | u64::from(source) << 32 | u64::from(symbol)
}

fn empty_cache(bits: u32) -> Box<[u64]> {
    vec![0; 1 << bits].into_boxed_slice()
}

/// Where the verdict for `key` lives in a cache of `2^bits` words.
#[inline]
fn slot(key: u64, bits: u32) -> usize {
    // Fibonacci hashing: the multiplier is 2^64 over the golden ratio, which spreads the runs of
    // neighbouring ids that interning hands out; the top bits depend on every bit of the key.
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - bits)) as usize
}
