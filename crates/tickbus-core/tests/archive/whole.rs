//! Whatever form the segments have, the answer is that of looking at every event.

use super::making::*;
use proptest::prelude::*;
use tickbus_core::journal::query::Query;
use tickbus_core::{Event, Priority};

fn any_event() -> impl Strategy<Value = Event> {
    let timestamp = prop_oneof![8 => 1000..1100u64, 1 => any::<u64>(), 1 => Just(0)];
    let rest = (0..3u8, 0..3u16, 0..4u32, any::<u32>());
    (timestamp, rest).prop_map(|(timestamp, (event_type, source, symbol, value))| Event {
        timestamp,
        event_type,
        source,
        symbol,
        value: f64::from(value),
        ..Event::default()
    })
}

#[derive(Debug, Clone)]
enum Step {
    Events(Priority, Vec<Event>),
    Gap(Priority, u64),
    Name,
    Commit(bool),
    /// Seal the oldest full segment, and maybe pack it.
    Seal {
        pack: bool,
    },
    Ask(Query, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let lane = || (0..3u8).prop_map(|number| Priority::from_number(number).unwrap());
    let time = prop_oneof![
        2 => (1000..1100u64, 0..100u64).prop_map(|(from, long)| (from, from + long)),
        1 => Just((0, u64::MAX)),
    ];
    let types = prop_oneof![Just([u64::MAX; 4]), Just([0b101, 0, 0, 0])];
    let symbols = prop::option::of(prop::collection::vec(0..4u32, 0..3));
    let sources = prop::option::of(prop::collection::vec(0..3u16, 0..2));
    let from = prop_oneof![3 => Just([0; 3]), 1 => [0..99u64, 0..99, 0..99]];
    let query = (time, types, symbols, sources, from).prop_map(
        |((start_ns, end_ns), types, symbols, sources, from)| Query {
            start_ns,
            end_ns,
            types,
            symbols,
            sources,
            from,
        },
    );
    prop_oneof![
        6 => (lane(), prop::collection::vec(any_event(), 1..90))
            .prop_map(|(lane, events)| Step::Events(lane, events)),
        1 => (lane(), 1..9u64).prop_map(|(lane, count)| Step::Gap(lane, count)),
        1 => Just(Step::Name),
        3 => any::<bool>().prop_map(Step::Commit),
        2 => any::<bool>().prop_map(|pack| Step::Seal { pack }),
        3 => (query, 1..200usize).prop_map(|(query, step)| Step::Ask(query, step)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One archive stays open while the journal grows, is sealed and packed below it.
    #[test]
    fn a_living_journal_answers_as_its_events_say(
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut journal = Journal::new(8192);
        let archive = journal.archive();
        let mut written = journal.lanes.clone();
        let mut symbols = 0;
        for step in steps {
            match step {
                Step::Events(lane, events) => journal.events(lane, &events),
                Step::Gap(lane, count) => journal.gap(lane, count),
                Step::Name => {
                    symbols += 1;
                    let bytes = [&u32::to_le_bytes(symbols)[..], b"symbol"].concat();
                    journal.log.append_name(1, &[bytes, symbols.to_string().into()].concat()).unwrap();
                }
                Step::Commit(sync) => {
                    journal.commit(sync);
                    written = journal.lanes.clone();
                    prop_assert!(archive.view().unwrap().faults.is_empty());
                    prop_assert_eq!(archive.names().unwrap().symbols().count(), symbols as usize);
                }
                Step::Seal { pack } => if let Some(&first) = journal.full().first() {
                    journal.commit(true);
                    written = journal.lanes.clone();
                    journal.seal(first);
                    if pack {
                        pack_only(journal.path(), first);
                    }
                },
                Step::Ask(query, step) => {
                    let mut answer = archive.query(&query, false).unwrap();
                    prop_assert_eq!(read(&mut answer, step).unwrap(), expected(&written, &query));
                }
            }
        }
        journal.commit(false);
        let all = journal.expected(&everything());
        prop_assert_eq!(ask(&archive, &everything()), all.clone());
        let first_look = journal.archive();
        prop_assert_eq!(ask(&first_look, &everything()), all);
        prop_assert_eq!(first_look.names().unwrap().symbols().count(), symbols as usize);
    }
}

/// Batches of every length, some of them longer than a block, lanes mixed, two blocks and more each.
fn long() -> Journal {
    let mut journal = Journal::new(512 << 10);
    let mut time = 0;
    for (round, count) in [1, 7, 5_000, 300, 1, 12_000, 4_096, 2, 9_000, 40]
        .iter()
        .cycle()
        .take(30)
        .enumerate()
    {
        let lane = [
            Priority::High,
            Priority::Normal,
            Priority::Critical,
            Priority::High,
        ][round % 4];
        let late = if round % 5 == 0 { 3_000 } else { 0 };
        journal.events(lane, &at((time..time + count).map(|now: u64| now.saturating_sub(late))));
        time += count;
        journal.commit(round % 3 == 0);
    }
    journal.commit(true);
    journal
}

fn some_queries() -> Vec<Query> {
    let narrow = Query::of_time(20_000, 31_000);
    vec![
        everything(),
        narrow.clone(),
        Query { symbols: Some(vec![3]), ..narrow.clone() },
        Query { types: [0b10, 0, 0, 0], ..everything() },
        Query { from: [5_000, 17_001, 4_096], ..everything() },
        Query { from: [u64::MAX, 30_000, 0], ..narrow },
        Query::of_time(7, 3),
    ]
}

#[test]
fn blocks_of_all_forms_are_searched_as_one_would_look_through_them() {
    let journal = long();
    let full = journal.full();
    assert!(full.len() >= 3, "{full:?}");
    let archive = journal.archive();
    for query in some_queries() {
        assert_eq!(ask(&archive, &query), journal.expected(&query));
    }
    journal.seal(full[0]);
    journal.seal(full[1]);
    pack_only(journal.path(), full[0]);
    for query in some_queries() {
        assert_eq!(ask(&archive, &query), journal.expected(&query));
        assert_eq!(ask(&journal.archive(), &query), journal.expected(&query));
    }
}

#[test]
fn what_a_query_began_with_it_reads_to_the_end_however_it_is_moved() {
    let journal = long();
    let (archive, full) = (journal.archive(), journal.full());
    for (at, step) in [0, 1, 2, 3, 7, 40].into_iter().enumerate() {
        let query = &some_queries()[0];
        let mut answer = archive.query(query, false).unwrap();
        let mut rows = Default::default();
        for _ in 0..step {
            answer.read(&mut rows, 1_500).unwrap();
        }
        // Under its hands: log segments become sealed and zeros, sealed ones packed.
        if let Some(&first) = full.get(at) {
            journal.seal(first);
        }
        if at > 0 && at <= full.len() {
            pack_only(journal.path(), full[at - 1]);
        }
        while answer.read(&mut rows, 1_500).unwrap() > 0 {}
        assert_eq!(rows_of(&rows), journal.expected(query));
    }
}
