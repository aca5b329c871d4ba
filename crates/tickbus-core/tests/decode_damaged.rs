//! Whatever comes in, a decoder takes it: no panic, one outcome a frame, nothing unreal told, and
//! the next healthy frame is told as if nothing had happened.
//!
//! `PROPTEST_CASES` says how many cases a property has (2,000), `FUZZ_SECONDS` for how long each goes
//! on with new ones: `FUZZ_SECONDS=600 cargo test -p tickbus-core --release --test decode_damaged`.

mod frames;

use frames::SAMPLES;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};
use tickbus_core::exchange::{Decoder, MARKETS, Market, Outcome, SCALE_MAX};

/// Everything a frame told, as text.
fn told(decoder: &mut Decoder, frame: &[u8]) -> (Outcome, String) {
    let mut told = String::new();
    let outcome = decoder.decode(frame, &mut |event| {
        told += &format!("{event:?}\n");
        assert!(event.value.is_finite() && event.value >= 0.0);
    });
    for depth in decoder.depths() {
        let symbol = decoder.symbol(depth.instrument).unwrap();
        told += &format!("{symbol} {depth:?} {:?}\n", decoder.levels());
    }
    (outcome, told)
}

fn decoders() -> Vec<Decoder> {
    MARKETS.into_iter().map(Decoder::of_market).collect()
}

/// Every market's decoder takes the frame; the ledger of each holds.
fn survives(decoders: &mut [Decoder], frame: &[u8]) -> Result<(), TestCaseError> {
    for decoder in decoders {
        let mut events = 0;
        let outcome = decoder.decode(frame, &mut |event| {
            assert!(event.value.is_finite() && event.value >= 0.0);
            events += 1;
        });
        let levels = decoder.levels();
        match outcome {
            Outcome::Events(count) => prop_assert_eq!(count, events),
            Outcome::Books(count) => prop_assert_eq!(count, decoder.depths().len() as u64),
            Outcome::Malformed(_) => prop_assert!(levels.is_empty() && decoder.depths().is_empty()),
            _ => prop_assert_eq!(events, 0),
        }
        for level in levels {
            prop_assert!(level.price.scale <= SCALE_MAX && level.size.scale <= SCALE_MAX);
        }
        // Every level belongs to one message, one after the other.
        let ranges = decoder
            .depths()
            .iter()
            .flat_map(|depth| [depth.bids.clone(), depth.asks.clone()]);
        prop_assert_eq!(ranges.map(|range| range.len()).sum::<usize>(), levels.len());
        let counters = decoder.counters();
        let places = counters.event_frames
            + counters.book_frames
            + counters.history_frames
            + counters.ignored.total()
            + counters.malformed.total();
        prop_assert_eq!(counters.frames, places);
    }
    Ok(())
}

/// Run a property over its cases, and on until the time is up.
fn property<S: Strategy>(strategy: S, check: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: std::fmt::Debug,
{
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(0));
    let cases = number("PROPTEST_CASES").unwrap_or(2_000) as u32;
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let begin = Instant::now();
    loop {
        match TestRunner::new(config.clone()).run(&strategy, &check) {
            Ok(()) if begin.elapsed() < seconds => {}
            Ok(()) => return,
            Err(TestError::Fail(why, input)) => panic!("{why}: {input:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn a_sample() -> impl Strategy<Value = &'static [u8]> {
    (0..SAMPLES.len()).prop_map(|which| SAMPLES[which].frame.as_bytes())
}

/// What is put in the place of a value.
const NASTY: [&str; 26] = [
    "NaN",
    "\"NaN\"",
    "\"Infinity\"",
    "1e999",
    "\"1e999\"",
    "1e-999",
    "-1",
    "\"-0.5\"",
    "99999999999999999999999999",
    "\"18446744073709551616\"",
    "18446744073709551615",
    "0.0000000000000000000000000000000000000000001",
    "\"\"",
    "null",
    "true",
    "{}",
    "[]",
    "[[]]",
    "[[\"1\"]]",
    "{\"e\":\"trade\"}",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\"1\\u0030\"",
    "\"9999-99-99T99:99:99Z\"",
    "\"2026-02-31T24:00:00+02:00\"",
    "\"\u{1F600}\"",
];

/// Places of all values in a frame, by its text alone.
fn values(text: &str) -> Vec<std::ops::Range<usize>> {
    fn walk<'a>(raw: &'a RawValue, found: &mut Vec<&'a str>) {
        found.push(raw.get());
        if let Ok(members) =
            serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(raw.get())
        {
            members.values().for_each(|value| walk(value, found));
        } else if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            elements.iter().for_each(|value| walk(value, found));
        }
    }
    let mut found = Vec::new();
    walk(serde_json::from_str(text).unwrap(), &mut found);
    let begin = |value: &str| value.as_ptr() as usize - text.as_ptr() as usize;
    found
        .into_iter()
        .map(|value| begin(value)..begin(value) + value.len())
        .collect()
}

/// The same JSON with the members of every object turned round.
fn turned(raw: &str) -> String {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
    impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Vec<(String, &'de RawValue)>;
                fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                    formatter.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(members)
                }
            }
            deserializer.deserialize_map(Visitor).map(Members)
        }
    }
    if let Ok(Members(members)) = serde_json::from_str(raw) {
        let texts: Vec<String> = members
            .iter()
            .rev()
            .map(|(key, value)| format!(" \"{key}\" : {}", turned(value.get())))
            .collect();
        return format!("{{{}}}", texts.join(","));
    }
    match serde_json::from_str::<Vec<&RawValue>>(raw) {
        Ok(elements) => {
            let texts: Vec<String> = elements.iter().map(|value| turned(value.get())).collect();
            format!("[{}]", texts.join(" , "))
        }
        Err(_) => raw.to_owned(),
    }
}

#[test]
fn key_order_and_space_do_not_matter() {
    for sample in &SAMPLES {
        let expected = told(&mut Decoder::of_market(sample.market), sample.frame.as_bytes());
        let frame = turned(sample.frame);
        assert_ne!(frame, sample.frame);
        assert_eq!(
            told(&mut Decoder::of_market(sample.market), frame.as_bytes()),
            expected,
            "{frame}"
        );
    }
}

#[test]
fn every_sample_is_told() {
    for sample in &SAMPLES {
        let (outcome, told) = told(&mut Decoder::of_market(sample.market), sample.frame.as_bytes());
        assert!(
            matches!(outcome, Outcome::Events(1) | Outcome::Books(1)),
            "{}: {outcome:?}",
            sample.name
        );
        assert!(!told.is_empty());
    }
}

#[test]
fn random_bytes_do_no_harm() {
    property(any::<Vec<u8>>(), |frame| survives(&mut decoders(), &frame));
}

#[test]
fn frames_with_wrong_bytes_do_no_harm() {
    let edits = prop::collection::vec((any::<Index>(), any::<u8>(), 0u8..4), 1..6);
    property((a_sample(), edits), |(sample, edits)| {
        let mut frame = sample.to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(frame.len().max(1)).min(frame.len().saturating_sub(1));
            match kind {
                _ if frame.is_empty() => {}
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                2 => drop(frame.remove(at)),
                _ => frame.truncate(at),
            }
        }
        survives(&mut decoders(), &frame)
    });
}

#[test]
fn frames_with_wrong_values_do_no_harm() {
    let which = 0..SAMPLES.len();
    let edits = prop::collection::vec((any::<Index>(), 0..NASTY.len()), 1..4);
    property((which, edits), |(which, edits)| {
        let sample = &SAMPLES[which];
        let mut frame = sample.frame.to_owned();
        for (at, nasty) in edits {
            if serde_json::from_str::<&RawValue>(&frame).is_err() {
                break;
            }
            let places = values(&frame);
            frame.replace_range(places[at.index(places.len())].clone(), NASTY[nasty]);
        }
        let mut decoders = decoders();
        survives(&mut decoders, frame.as_bytes())?;
        // Nothing of it stays behind.
        let number = MARKETS.iter().position(|market| *market == sample.market).unwrap();
        let expected = told(&mut Decoder::of_market(sample.market), sample.frame.as_bytes());
        let numbered = |(outcome, told): (Outcome, String)| {
            (outcome, told.replace("instrument: 1", "instrument: 0"))
        };
        if sample.name != "bybit ticker" {
            prop_assert_eq!(
                numbered(told(&mut decoders[number], sample.frame.as_bytes())),
                expected
            );
        }
        Ok(())
    });
}

#[test]
fn pieces_of_frames_do_no_harm() {
    let pieces = prop::collection::vec((a_sample(), any::<Index>(), any::<Index>()), 1..6);
    property(pieces, |pieces| {
        let mut frame = Vec::new();
        for (sample, from, to) in pieces {
            let (from, to) = (from.index(sample.len()), to.index(sample.len() + 1));
            frame.extend_from_slice(&sample[from.min(to)..to.max(from)]);
        }
        survives(&mut decoders(), &frame)
    });
}

#[test]
fn a_cut_frame_is_never_taken_for_a_whole_one() {
    property((0..SAMPLES.len(), any::<Index>()), |(which, cut)| {
        let frame = SAMPLES[which].frame.as_bytes();
        for decoder in &mut decoders() {
            let outcome = decoder.decode(&frame[..cut.index(frame.len())], &mut |_| {});
            prop_assert!(matches!(outcome, Outcome::Malformed(_)), "{:?}", outcome);
        }
        Ok(())
    });
}

#[test]
fn invalid_utf8_is_named_wherever_it_stands() {
    property((0..SAMPLES.len(), any::<Index>(), 0x80u8..), |(which, at, byte)| {
        let mut frame = SAMPLES[which].frame.as_bytes().to_vec();
        frame.insert(at.index(frame.len() + 1), byte);
        for decoder in &mut decoders() {
            let outcome = decoder.decode(&frame, &mut |_| {});
            prop_assert_eq!(outcome, Outcome::Malformed("not_utf8"));
        }
        Ok(())
    });
}

/// A megabyte of the same level, or of opened brackets, in every venue's book.
#[test]
fn a_megabyte_does_no_harm() {
    let levels = format!("[{}]", vec!["[\"1.5\",\"2\"]"; 1 << 17].join(","));
    let (texts, brackets) = ("\"x\",".repeat(1 << 18), "[".repeat(1 << 20));
    let mut decoders = decoders();
    for sample in SAMPLES.iter().filter(|sample| sample.frame.contains("[[")) {
        let place = values(sample.frame)
            .into_iter()
            .find(|place| sample.frame[place.clone()].starts_with("[[\""))
            .unwrap();
        for value in [levels.as_str(), &format!("[{texts}1]"), &brackets] {
            let mut frame = sample.frame.to_owned();
            frame.replace_range(place.clone(), value);
            survives(&mut decoders, frame.as_bytes()).unwrap();
        }
    }
}

#[test]
fn noise_fills_no_memory_for_ever() {
    let mut decoder = Decoder::of_market(Market::Okx);
    for number in 0..20_000 {
        let frame = format!(
            r#"{{"arg":{{"channel":"instruments"}},"data":[{{"instId":"A{number}-B-C","ctVal":"1"}}]}}"#
        );
        decoder.decode(frame.as_bytes(), &mut |_| {});
    }
    let counters = decoder.counters();
    assert_eq!(counters.ignored.total(), 16_384);
    assert_eq!(counters.malformed.iter().collect::<Vec<_>>(), [("too_many_symbols", 3_616)]);
}
