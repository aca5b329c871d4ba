//! A matcher agrees with the text of topics, says why it refuses a pattern, and misses nothing that
//! is named or registered after compiling.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::*;
use crate::taxonomy::{self, Category};

/// Name tables as a bus has them, and counted: id 0 is no name.
struct Tables {
    types: RefCell<Vec<(u8, String)>>,
    sources: RefCell<Vec<String>>,
    symbols: RefCell<Vec<String>>,
    symbol_lookups: Cell<usize>,
}

impl Tables {
    fn new() -> Tables {
        let types = taxonomy::TABLE.iter().map(|info| (info.number, info.name.to_owned()));
        Tables {
            types: RefCell::new(types.collect()),
            sources: RefCell::default(),
            symbols: RefCell::default(),
            symbol_lookups: Cell::new(0),
        }
    }

    fn source(&self, name: &str) -> u16 {
        self.intern_source(name).unwrap()
    }

    fn symbol(&self, name: &str) -> u32 {
        self.intern_symbol(name).unwrap()
    }
}

fn intern(table: &RefCell<Vec<String>>, name: &str) -> Result<usize, String> {
    valid_name(name, 24).map_err(|error| error.to_string())?;
    let mut table = table.borrow_mut();
    let index = table.iter().position(|known| known == name).unwrap_or_else(|| {
        table.push(name.to_owned());
        table.len() - 1
    });
    Ok(index + 1)
}

impl Names for Tables {
    fn type_number(&self, name: &str) -> Option<u8> {
        self.types
            .borrow()
            .iter()
            .find(|(_, known)| known == name)
            .map(|(number, _)| *number)
    }
    fn type_name(&self, number: u8) -> Option<String> {
        let types = self.types.borrow();
        types.iter().find(|(known, _)| *known == number).map(|(_, name)| name.clone())
    }
    fn registered_types(&self) -> TypeMask {
        let mut mask = [0; 4];
        for (number, _) in self.types.borrow().iter() {
            mask[usize::from(number / 64)] |= 1 << (number % 64);
        }
        mask
    }
    fn intern_source(&self, name: &str) -> Result<u16, String> {
        intern(&self.sources, name).map(|id| id as u16)
    }
    fn intern_symbol(&self, name: &str) -> Result<u32, String> {
        intern(&self.symbols, name).map(|id| id as u32)
    }
    fn symbol_name(&self, id: u32) -> Option<String> {
        self.symbol_lookups.set(self.symbol_lookups.get() + 1);
        self.symbols.borrow().get((id as usize).checked_sub(1)?).cloned()
    }
    fn source_name(&self, id: u16) -> Option<String> {
        self.sources.borrow().get(usize::from(id).checked_sub(1)?).cloned()
    }
}

/// The topic of an event as text. What has no name gets one that no pattern spells.
fn topic(tables: &Tables, event_type: u8, source: u16, symbol: u32) -> [String; 4] {
    [
        Category::of(event_type).name().to_owned(),
        tables.type_name(event_type).unwrap_or_else(|| format!("free/{event_type}")),
        tables.source_name(source).unwrap_or_else(|| "unnamed".to_owned()),
        tables.symbol_name(symbol).unwrap_or_default(),
    ]
}

/// The rules as they stand in the documentation, over text.
fn fits(pattern: &str, topic: &[String]) -> bool {
    match pattern.split_once('.') {
        _ if pattern == ">" => !topic.is_empty(),
        None => topic.len() == 1 && glob_fits(pattern.as_bytes(), topic[0].as_bytes()),
        Some((level, rest)) => {
            !topic.is_empty() && (level == "*" || level == topic[0]) && fits(rest, &topic[1..])
        }
    }
}

/// ASCII only.
fn glob_fits(glob: &[u8], name: &[u8]) -> bool {
    match glob.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|taken| glob_fits(rest, &name[taken..])),
        Some((&wanted, rest)) => name
            .split_first()
            .is_some_and(|(&c, name)| (wanted == b'?' || wanted == c) && glob_fits(rest, name)),
    }
}

const SYMBOLS: [&str; 9] = [
    "BTC-USDT",
    "BTC-USD",
    "BTC",
    "ETH-USDT",
    "ETH-BTC",
    "BTC/USDT:USDT",
    "A",
    "AAB",
    "ABAB",
];
const SOURCES: [&str; 4] = ["binance", "coinbase", "kraken", "stop_loss-1"];

/// Any pattern that compiles.
fn any_pattern() -> impl Strategy<Value = String> {
    let symbol = prop_oneof![
        Just("*".to_owned()),
        Just(">".to_owned()),
        prop::sample::select(&SYMBOLS[..]).prop_map(str::to_owned),
        "[AB?*]{1,5}",
        "(BTC|ETH|\\*)-?[*?]{1,3}(USD|T)?",
    ];
    let source = prop_oneof![1 => Just("*"), 2 => prop::sample::select(&SOURCES[..])];
    let any_type = prop_oneof![
        2 => prop::sample::select(&taxonomy::TABLE[..])
            .prop_map(|t| (Category::of(t.number).name(), t.name)),
        1 => prop::sample::select(&taxonomy::TABLE[..]).prop_map(|t| ("*", t.name)),
        1 => prop::sample::select(&taxonomy::CATEGORIES[..]).prop_map(|c| (c.name(), "*")),
        1 => Just(("*", "*")),
    ];
    (any_type, source, symbol, 0..12).prop_map(|((category, event_type), source, symbol, cut)| {
        match cut {
            0 => ">".to_owned(),
            1 => format!("{category}.>"),
            2 => format!("{category}.{event_type}.>"),
            _ => format!("{category}.{event_type}.{source}.{symbol}"),
        }
    })
}

/// Types, registered or not, with the ones that patterns name more often.
fn any_type() -> impl Strategy<Value = u8> {
    prop_oneof![3 => prop::sample::select(&taxonomy::TABLE[..]).prop_map(|t| t.number), 1 => any::<u8>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// By mask, by look-up, by glob, from the cache, from a cache slot that another event took: the
    /// verdict is what the text of the topic says.
    #[test]
    fn agrees_with_the_text_of_the_topic(
        patterns in prop::collection::vec(any_pattern(), 1..6),
        events in prop::collection::vec((any_type(), 0u16..7, 0u32..14), 1..80),
    ) {
        let tables = Tables::new();
        SOURCES.iter().for_each(|name| { tables.source(name); });
        SYMBOLS.iter().for_each(|name| { tables.symbol(name); });
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let mut matcher = Matcher::compile(&patterns, &tables).unwrap();

        for &(event_type, source, symbol) in events.iter().chain(&events) {
            let topic = topic(&tables, event_type, source, symbol);
            // A symbol without a name has no text: only patterns open in the symbol take it.
            let expected = patterns.iter().any(|pattern| {
                let open = pattern.ends_with('>')
                    || pattern.rsplit('.').next().unwrap().chars().all(|c| c == '*');
                fits(pattern, &topic) && (open || !topic[3].is_empty())
            });

            let verdict = matcher.matches(event_type, source, symbol, &tables);

            prop_assert_eq!(verdict, expected, "{:?} {:?}", topic, patterns);
            if verdict {
                prop_assert!(has(&matcher.type_mask(), event_type));
                prop_assert!(matcher.symbol_bloom() >> (symbol % 64) & 1 == 1);
            }
        }
    }

    #[test]
    fn globs_agree_with_the_definition(glob in "[ab?*]{0,8}", name in "[ab]{0,10}") {
        prop_assert_eq!(
            pattern::glob_matches(&glob, &name), glob_fits(glob.as_bytes(), name.as_bytes())
        );
    }

    /// Whatever a user types: an answer, never a panic; a refusal quotes it and interns nothing.
    #[test]
    fn any_text_compiles_or_is_refused(text in "(market|risk|\\*|>|price_update|[.*?>a ]|\\PC){0,9}") {
        let tables = Tables::new();
        if let Err(error) = Matcher::compile(&["market.*.kraken.>", &text], &tables) {
            prop_assert!(error.to_string().contains(&quoted(&text)), "{error}");
            let refused_by_tables = matches!(error, PatternError::Refused { .. });
            prop_assert!(refused_by_tables || tables.sources.borrow().is_empty());
        }
    }

    #[test]
    fn a_valid_name_is_itself_a_pattern_level(name in "\\PC{0,12}") {
        let tables = Tables::new();
        let pattern = format!("*.*.{name}.{name}");
        let compiled = Matcher::compile(&[&pattern], &tables);
        if valid_name(&name, 24).is_ok() {
            let mut matcher = compiled.unwrap();
            prop_assert!(matcher.matches(0, tables.source(&name), tables.symbol(&name), &tables));
        }
    }
}

fn quoted(text: &str) -> String {
    name::quoted(text)
}

fn refusal(pattern: &str) -> PatternError {
    Matcher::compile(&[pattern], &Tables::new()).unwrap_err()
}

#[test]
fn keys_that_share_a_cache_slot_do_not_share_a_verdict() {
    let tables = Tables::new();
    let wanted = tables.symbol("BTC-USDT");
    for number in 0..20_000 {
        tables.symbol(&format!("S{number}"));
    }
    let mut matcher = Matcher::compile(&["market.price_update.*.BTC-*"], &tables).unwrap();
    let slot_of = |symbol| slot(key(0, 0, symbol), CACHE_BITS_MIN);
    let rivals: Vec<u32> = (2..20_000).filter(|&id| slot_of(id) == slot_of(wanted)).collect();
    assert!(rivals.len() > 5, "found {}", rivals.len());

    for rival in rivals {
        assert!(matcher.matches(0, 0, wanted, &tables));
        assert!(!matcher.matches(0, 0, rival, &tables));
    }
}

#[test]
fn a_repeated_verdict_touches_no_name() {
    let tables = Tables::new();
    let [yes, no] = ["BTC-USD", "ETH-USD"].map(|name| tables.symbol(name));
    let mut matcher = Matcher::compile(&["market.*.*.BTC-*"], &tables).unwrap();
    matcher.matches(0, 1, yes, &tables);
    matcher.matches(0, 1, no, &tables);

    for _ in 0..100 {
        assert!(matcher.matches(0, 1, yes, &tables));
        assert!(!matcher.matches(0, 1, no, &tables));
    }

    assert_eq!(tables.symbol_lookups.get(), 2);
}

/// With more live symbols than the cache had room for, it makes room, and then asks no more.
#[test]
fn a_whole_venue_of_symbols_ends_up_cached() {
    let tables = Tables::new();
    let ids: Vec<u32> = (0..3_000).map(|number| tables.symbol(&format!("S{number}"))).collect();
    let mut matcher = Matcher::compile(&["market.*.*.S1*"], &tables).unwrap();
    let mut round = || {
        tables.symbol_lookups.set(0);
        let matched = ids.iter().filter(|&&id| matcher.matches(0, 1, id, &tables)).count();
        assert_eq!(matched, 1_111); // S1, S10 to S19, S100 to S199, S1000 to S1999
        tables.symbol_lookups.get()
    };

    let lookups: Vec<usize> = (0..20).map(|_| round()).collect();

    assert_eq!(lookups[0], 3_000);
    assert!(lookups[19] < 3_000 / 4, "{lookups:?}");
}

#[test]
fn exact_patterns_never_ask_for_a_name() {
    let tables = Tables::new();
    let patterns: Vec<String> = (0..500).map(|number| format!("*.*.binance.S{number}")).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let mut matcher = Matcher::compile(&patterns, &tables).unwrap();
    let binance = tables.source("binance");

    assert!((1..=500).all(|id| matcher.matches(7, binance, id, &tables)));
    assert!(!matcher.matches(7, binance, 501, &tables));
    assert!(!matcher.matches(7, binance + 1, 500, &tables));
    assert_eq!(tables.symbol_lookups.get(), 0);
}

#[test]
fn a_symbol_named_after_its_first_event_matches_from_then_on() {
    let tables = Tables::new();
    let mut matcher = Matcher::compile(&["market.*.*.BTC-*"], &tables).unwrap();
    assert!(!matcher.matches(0, 1, 1, &tables));

    assert_eq!(tables.symbol("BTC-EUR"), 1);

    assert!(matcher.matches(0, 1, 1, &tables));
}

#[test]
fn a_type_registered_after_compiling_matches_its_category() {
    let tables = Tables::new();
    let patterns = ["market.>", "*.*.*.BTC"];
    let [mut market, mut symbol] =
        patterns.map(|pattern| Matcher::compile(&[pattern], &tables).unwrap());
    let btc = tables.symbol("BTC");
    tables.types.borrow_mut().push((31, "funding_rate".to_owned()));

    assert!(market.matches(31, 0, 0, &tables));
    assert!(!market.matches(32, 0, 0, &tables));
    assert!(symbol.matches(255, 3, btc, &tables));
}

#[test]
fn categories_are_their_number_ranges() {
    for (pattern, range) in [
        ("market.>", 0..=31),
        ("trading.*.>", 32..=63),
        ("risk.*.*.>", 64..=95),
        ("system.*.*.*", 96..=127),
        ("critical.>", 128..=255),
        (">", 0..=255),
        ("*.>", 0..=255),
    ] {
        let tables = Tables::new();
        let mut matcher = Matcher::compile(&[pattern], &tables).unwrap();
        for number in 0..=255 {
            // Source and symbol 0 have no name: an open pattern takes them too.
            let verdict = matcher.matches(number, 0, 0, &tables);
            assert_eq!(verdict, range.contains(&number), "{pattern} {number}");
        }
    }
}

#[test]
fn exact_names_have_ids_at_once() {
    let tables = Tables::new();
    let matcher = Matcher::compile(&["market.*.kraken.BTC/USDT:USDT"], &tables).unwrap();

    assert_eq!(*tables.sources.borrow(), ["kraken"]);
    assert_eq!(*tables.symbols.borrow(), ["BTC/USDT:USDT"]);
    assert_eq!(matcher.symbol_bloom(), 1 << 1);
    assert_eq!(matcher.type_mask(), [0xFFFF_FFFF, 0, 0, 0]);
}

#[test]
fn the_bloom_is_full_as_soon_as_one_pattern_is_open_in_the_symbol() {
    let tables = Tables::new();
    for open in [
        ">",
        "risk.*.*.*",
        "risk.*.kraken.**",
        "risk.*.*.BTC-*",
        "risk.*.*.?",
    ] {
        let matcher = Matcher::compile(&["market.*.*.BTC", open], &tables).unwrap();
        assert_eq!(matcher.symbol_bloom(), u64::MAX, "{open}");
    }
}

#[test]
fn globs_count_characters_not_bytes() {
    assert!(pattern::glob_matches("?-É*", "é-ÉÉ"));
    assert!(!pattern::glob_matches("??", "é"));
}

/// Every refusal names the pattern, the level, what was found and what is allowed.
#[test]
fn a_pattern_that_can_match_nothing_is_refused() {
    for (pattern, says) in [
        ("", "1 (category) is empty"),
        ("market", "1 level(s) found, a topic has four"),
        ("market.*.*", "3 level(s) found"),
        ("market.*.*.BTC.USD", "5 level(s) found"),
        ("market.*.*.*.>", "5 level(s) found"),
        ("market..kraken.BTC", "level 2 (type) is empty"),
        ("market.*.kraken.", "level 4 (symbol) is empty"),
        ("market.>.BTC", "\">\" found at level 2, allowed only as the last"),
        (">.>", "\">\" found at level 1"),
        ("mark*.>", "level 1 (category) is \"mark*\", allowed is a whole name"),
        ("market>", "level 1 (category) is \"market>\""),
        ("market.price_?.*.*", "level 2 (type) is \"price_?\""),
        ("market.*.bin*.*", "level 3 (source) is \"bin*\""),
        ("market.*.*.BTC>", "level 4 (symbol) is \"BTC>\", allowed is a name, or a glob"),
        ("Market.>", "\"Market\", allowed are market, trading, risk, system, critical"),
        ("risk.nonsense.>", "\"nonsense\", no registered type; allowed are risk_limit_approached,"),
        ("*.nonsense.>", "allowed are price_update,"),
        ("risk.price_update.>", "is no risk type; allowed is market.price_update"),
        ("market.*.kra ken.*", "level 3 (source): name \"kra ken\" has ' ' at byte 3"),
        ("market.*.*.BTC\n", "level 4 (symbol): name \"BTC\\n\" has '\\n' at byte 3"),
        ("market.*.*.B\u{0}C-*", "level 4 (symbol): name \"B\\0C-\" has '\\0'"),
        ("market.*.*.A-NAME-LONGER-THAN-24-BYTES", "level 4 (symbol) is \"A-NAME-"),
    ] {
        let message = refusal(pattern).to_string();

        assert!(message.contains(says), "{message}\nshould say: {says}");
        assert!(message.contains(&quoted(pattern)), "{message}");
    }
    assert_eq!(Matcher::compile(&[], &Tables::new()).unwrap_err(), PatternError::NoPattern);
}

#[test]
fn a_refused_pattern_leaves_the_names_as_they_were() {
    let tables = Tables::new();

    let refused = Matcher::compile(&["market.*.kraken.BTC", "market.nonsense.>"], &tables);

    assert!(refused.is_err());
    assert!(tables.sources.borrow().is_empty() && tables.symbols.borrow().is_empty());
}

#[test]
fn explains_itself_in_plain_words() {
    let tables = Tables::new();
    let patterns = [
        ">",
        "system.>",
        "*.top_of_book.kraken.*",
        "market.price_update.*.BTC-*",
    ];
    let matcher = Matcher::compile(&patterns, &tables).unwrap();

    assert_eq!(matcher.patterns(), patterns);
    assert_eq!(
        matcher.explain(&tables),
        [
            ">: events of every type, from any source, with any symbol",
            "system.>: events of every system type (now strategy_started, strategy_paused, \
             system_overload, connection_lost; any registered later too), from any source, \
             with any symbol",
            "*.top_of_book.kraken.*: events of type top_of_book, from source kraken, \
             with any symbol",
            "market.price_update.*.BTC-*: events of type price_update, from any source, \
             with a symbol that fits BTC-*",
        ]
    );
}

#[test]
fn names_are_checked_by_bytes_and_characters() {
    for name in ["A", "BTC/USDT:USDT", "stop_loss-1", "ÄÖ", "12345678"] {
        assert_eq!(valid_name(name, 8.max(name.len())), Ok(()));
    }
    assert_eq!(valid_name("", 8), Err(NameError::Empty { len_max: 8 }));
    let error = valid_name("ÄÖÜÄÖ", 8).unwrap_err();
    assert_eq!(error.to_string(), "name \"ÄÖÜÄÖ\" has 10 bytes; a name has 1 to 8");
    for character in ['.', '*', '?', '>', ' ', '\t', '\u{a0}', '\u{7f}', '\0'] {
        let name = format!("AB{character}");
        let expected = NameError::Forbidden { name: name.clone(), character, offset: 2 };
        assert_eq!(valid_name(&name, 8), Err(expected));
    }
    let long = valid_name(&"X".repeat(10_000), 8).unwrap_err().to_string();
    assert!(long.len() < 200, "{long}");
}
