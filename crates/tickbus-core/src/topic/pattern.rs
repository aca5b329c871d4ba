//! One pattern: its text taken apart and checked, before any name gets an id.

use std::fmt;

use super::name::{NameError, quoted, valid_name};
use super::{Names, TypeMask, has, listed};
use crate::lane::layout::MAX_NAME;
use crate::taxonomy::{CATEGORIES, Category};

/// The levels of a topic, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Category,
    Type,
    Source,
    Symbol,
}

const LEVELS: [Level; 4] = [Level::Category, Level::Type, Level::Source, Level::Symbol];

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Level::Category => "category",
            Level::Type => "type",
            Level::Source => "source",
            Level::Symbol => "symbol",
        };
        write!(f, "level {} ({name})", *self as usize + 1)
    }
}

/// Why a pattern is refused. Each message names the pattern, the level, what was found there and
/// what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternError {
    /// A subscription without a pattern would never see an event.
    NoPattern,
    /// Not four levels and no `>` for the rest; or more than four.
    LevelCount {
        pattern: String,
        found: usize,
    },
    EmptyLevel {
        pattern: String,
        level: Level,
    },
    /// `>` with something after it.
    RestNotLast {
        pattern: String,
        level: usize,
    },
    /// A wildcard inside a level that takes none: `bin*`, `mark?t`, `BTC>`.
    WildcardInside {
        pattern: String,
        level: Level,
        found: String,
    },
    UnknownCategory {
        pattern: String,
        found: String,
    },
    /// `allowed` are the registered types of the pattern's category, or all.
    UnknownType {
        pattern: String,
        found: String,
        allowed: Vec<String>,
    },
    /// The type exists, in `actual`; the pattern says `category`.
    WrongCategory {
        pattern: String,
        found: String,
        category: Category,
        actual: Category,
    },
    /// No source or symbol can have this name.
    BadName {
        pattern: String,
        level: Level,
        error: NameError,
    },
    /// The name tables gave no id.
    Refused {
        pattern: String,
        level: Level,
        found: String,
        reason: String,
    },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::NoPattern => {
                write!(f, "no pattern given: nothing would match; \">\" matches everything")
            }
            PatternError::LevelCount { pattern, found } => write!(
                f,
                "pattern {} can match nothing: {found} level(s) found, a topic has four \
                 (category.type.source.symbol), of which a last \">\" may stand for one or more",
                quoted(pattern)
            ),
            PatternError::EmptyLevel { pattern, level } => write!(
                f,
                "pattern {} can match nothing: {level} is empty, allowed is a name or \"*\"",
                quoted(pattern)
            ),
            PatternError::RestNotLast { pattern, level } => write!(
                f,
                "pattern {} can match nothing: \">\" found at level {level}, allowed only as the \
                 last one",
                quoted(pattern)
            ),
            PatternError::WildcardInside { pattern, level, found } => {
                let allowed = match level {
                    Level::Symbol => "a name, or a glob of \"*\" and \"?\", or \">\" alone",
                    _ => "a whole name, or \"*\" or \">\" alone",
                };
                write!(
                    f,
                    "pattern {} can match nothing: {level} is {}, allowed is {allowed}",
                    quoted(pattern),
                    quoted(found)
                )
            }
            PatternError::UnknownCategory { pattern, found } => write!(
                f,
                "pattern {} can match nothing: {level} is {}, allowed are {}, \"*\" and \">\"",
                quoted(pattern),
                quoted(found),
                CATEGORIES.map(Category::name).join(", "),
                level = Level::Category,
            ),
            PatternError::UnknownType { pattern, found, allowed } => write!(
                f,
                "pattern {} can match nothing: {level} is {}, no registered type; \
                 allowed are {}, \"*\" and \">\"",
                quoted(pattern),
                quoted(found),
                listed(allowed),
                level = Level::Type,
            ),
            PatternError::WrongCategory { pattern, found, category, actual } => write!(
                f,
                "pattern {} can match nothing: {level} is {}, which is no {} type; \
                 allowed is {}.{found}",
                quoted(pattern),
                quoted(found),
                category.name(),
                actual.name(),
                level = Level::Type,
            ),
            PatternError::BadName { pattern, level, error } => {
                write!(f, "pattern {} can match nothing: {level}: {error}", quoted(pattern))
            }
            PatternError::Refused { pattern, level, found, reason } => write!(
                f,
                "pattern {}: {level} is {}, which the bus refused: {reason}",
                quoted(pattern),
                quoted(found)
            ),
        }
    }
}

impl std::error::Error for PatternError {}

/// Which types a pattern takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TypeRule {
    Every,
    Category(Category),
    One(u8),
}

impl TypeRule {
    /// Whole categories cover all their numbers, so that types registered later match too.
    pub(super) fn mask(self) -> TypeMask {
        let mut mask = [0; 4];
        for number in 0..=u8::MAX {
            let taken = match self {
                TypeRule::Every => true,
                TypeRule::Category(category) => Category::of(number) == category,
                TypeRule::One(only) => number == only,
            };
            mask[usize::from(number >> 6)] |= u64::from(taken) << (number & 63);
        }
        mask
    }
}

/// Which symbols a pattern takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SymbolRule {
    Any,
    Exact(String),
    Glob(String),
}

/// A checked pattern.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) types: TypeRule,
    /// `None` is any.
    pub(super) source: Option<String>,
    pub(super) symbol: SymbolRule,
}

impl Parsed {
    pub(super) fn new(text: &str, names: &dyn Names) -> Result<Parsed, PatternError> {
        let levels = split(text)?;
        let category = parse_category(text, levels[0])?;
        Ok(Parsed {
            types: parse_type(text, levels[1], category, names)?,
            source: parse_source(text, levels[2])?,
            symbol: parse_symbol(text, levels[3])?,
        })
    }
}

/// The four levels of `text`, with every level that a last `>` stands for as `*`.
fn split(text: &str) -> Result<[&str; 4], PatternError> {
    let pattern = || text.to_owned();
    let found = text.split('.').count();
    let mut levels = ["*"; 4];
    for (index, level) in text.split('.').enumerate() {
        if level == ">" && index + 1 < found {
            return Err(PatternError::RestNotLast { pattern: pattern(), level: index + 1 });
        }
        if index >= levels.len() {
            return Err(PatternError::LevelCount { pattern: pattern(), found });
        }
        if level.is_empty() {
            return Err(PatternError::EmptyLevel { pattern: pattern(), level: LEVELS[index] });
        }
        if level != ">" {
            levels[index] = level;
        }
    }
    if found < levels.len() && !text.ends_with('>') {
        return Err(PatternError::LevelCount { pattern: pattern(), found });
    }
    Ok(levels)
}

fn refuse_wildcard(text: &str, level: Level, found: &str) -> Result<(), PatternError> {
    if found.contains(['*', '?', '>']) {
        return Err(PatternError::WildcardInside {
            pattern: text.to_owned(),
            level,
            found: found.to_owned(),
        });
    }
    Ok(())
}

fn parse_category(text: &str, found: &str) -> Result<Option<Category>, PatternError> {
    if found == "*" {
        return Ok(None);
    }
    refuse_wildcard(text, Level::Category, found)?;
    match CATEGORIES.into_iter().find(|category| category.name() == found) {
        Some(category) => Ok(Some(category)),
        None => {
            Err(PatternError::UnknownCategory { pattern: text.to_owned(), found: found.to_owned() })
        }
    }
}

fn parse_type(
    text: &str,
    found: &str,
    category: Option<Category>,
    names: &dyn Names,
) -> Result<TypeRule, PatternError> {
    let rule = category.map_or(TypeRule::Every, TypeRule::Category);
    if found == "*" {
        return Ok(rule);
    }
    refuse_wildcard(text, Level::Type, found)?;
    let Some(number) = names.type_number(found) else {
        return Err(PatternError::UnknownType {
            pattern: text.to_owned(),
            found: found.to_owned(),
            allowed: type_names(rule.mask(), names),
        });
    };
    let actual = Category::of(number);
    match category {
        Some(category) if category != actual => Err(PatternError::WrongCategory {
            pattern: text.to_owned(),
            found: found.to_owned(),
            category,
            actual,
        }),
        _ => Ok(TypeRule::One(number)),
    }
}

fn parse_source(text: &str, found: &str) -> Result<Option<String>, PatternError> {
    if found == "*" {
        return Ok(None);
    }
    refuse_wildcard(text, Level::Source, found)?;
    check_name(text, Level::Source, found)?;
    Ok(Some(found.to_owned()))
}

fn parse_symbol(text: &str, found: &str) -> Result<SymbolRule, PatternError> {
    if found.chars().all(|c| c == '*') {
        return Ok(SymbolRule::Any);
    }
    if found.contains('>') {
        refuse_wildcard(text, Level::Symbol, found)?;
    }
    if !found.contains(['*', '?']) {
        check_name(text, Level::Symbol, found)?;
        return Ok(SymbolRule::Exact(found.to_owned()));
    }
    // What stands between the wildcards must be able to stand in a name.
    let literal = found.replace(['*', '?'], "");
    if !literal.is_empty() {
        check_name(text, Level::Symbol, &literal)?;
    }
    Ok(SymbolRule::Glob(found.to_owned()))
}

/// The characters only: how long a name may be, the tables say when they give its id.
fn check_name(text: &str, level: Level, found: &str) -> Result<(), PatternError> {
    valid_name(found, MAX_NAME).map_err(|error| PatternError::BadName {
        pattern: text.to_owned(),
        level,
        error,
    })
}

/// Names of the registered types in `mask`, by number.
pub(super) fn type_names(mask: TypeMask, names: &dyn Names) -> Vec<String> {
    let registered = names.registered_types();
    (0..=u8::MAX)
        .filter(|&number| has(&mask, number) && has(&registered, number))
        .filter_map(|number| names.type_name(number))
        .collect()
}

/// Whether the whole of `name` fits `glob`: `*` is any run of characters, also none, `?` is one.
///
/// Only the last `*` is ever tried again, which is enough: what an earlier one could still take, a
/// later one can take as well. So the cost is at most the product of the two lengths.
pub(super) fn glob_matches(glob: &str, name: &str) -> bool {
    let (mut glob, mut name) = (glob.chars(), name.chars());
    let mut last_star = None;
    loop {
        let name_here = name.clone();
        match (glob.next(), name.next()) {
            (Some('*'), _) => {
                name = name_here.clone();
                last_star = Some((glob.clone(), name_here));
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {}
            (None, None) => return true,
            (Some(_), None) => return false,
            _ => {
                // Let the last star take one character more.
                let Some((after_star, rest)) = &mut last_star else {
                    return false;
                };
                rest.next();
                (glob, name) = (after_star.clone(), rest.clone());
            }
        }
    }
}
