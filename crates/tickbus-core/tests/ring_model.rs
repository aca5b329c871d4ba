//! The lane's protocol, checked in every reachable state: any order of steps, a kill anywhere.
//!
//! This is a model of `src/lane/ring.rs`, not the code itself (`loom_ring.rs` runs that): a lane of
//! two or four slots, two or three producers with batches of up to three, one reader or two. Every
//! shared load and store is a step of its own; an event is two words, so that a mix of two events
//! shows. Memory is sequentially consistent here; the fences are loom's business.
//!
//! **Checked in every state**: what is delivered is what was appended there, whole, in order
//! (and the cursor only grows, so never twice); appends go to the end of the lane and nowhere else;
//! a gating reader misses nothing, and another only what was overwritten; a reader alone gets at
//! whatever is published, however dead or stopped its producer is; and when nobody can move,
//! everything is done.
//!
//! **Why the protocol holds**, each sentence with the mutant below that breaks it:
//!
//! 1. Claims are strictly in order, so slot `t` is claimed only after `t - N`'s *head* was claimed,
//!    and a head is done last: at the end of the lane an append meets free slots or the head of an
//!    unfinished claim, never its interior (`DoneForward`). All it has to know of a claim in its
//!    way is who owns it.
//! 2. A walker starts at the end of some claim and steps over heads by their length (`WalkByOne`).
//!    Overtaken by a lap it may land on an interior slot. All later ones of that claim are marked
//!    by then, because marks go last to first, so it steps through to the claim's end and cannot
//!    claim inside (`MarkForward`).
//! 3. An unmarked interior slot still shows the lap before. That lap's event is whole until the
//!    slot is marked, because marks precede events (`NoMarks`). For its new event a reader finds the
//!    head that covers it (`NoCoveringHead`): the nearest published slot before it.
//! 4. A copy is good if the slot's own stamp has not changed (`NoRecheck`). *Its own*: the first
//!    stamp of a run does not vouch for the rest (`RecheckFirst`), nor do the first and the last
//!    (`RecheckEnds`), because it may be an unmarked interior of one claim while the next claim's
//!    owner is already writing.
//! 5. A staging area is written again only after the claim's head is done, which every reader
//!    that copied from it notices; so a number is free only after a repair (`RecycleEarly`).
//! 6. Nobody else writes to an unfinished claim's slots (`IgnoreUnfinished`, `NoFreeRun`), so a
//!    repair may do all of it again: a reader that holds an old or a new stamp of it gets the same
//!    event. The lock keeps a second repairer from finishing it, and a third producer from
//!    claiming it, while the first is still writing.
//! 7. A gate is at most the tail before the readers were looked at (`GateUnbounded`); who was not
//!    seen then looked for the tail after registering (`JoinLate`), and starts there or later.
//!
//! Half a minute by default; `TICKBUS_MODEL=full cargo test --release --test ring_model` goes on to
//! the large bounds (many minutes, several GB).

#[path = "ring_model/producer.rs"]
mod producer;
#[path = "ring_model/reader.rs"]
mod reader;
#[path = "ring_model/search.rs"]
mod search;
#[path = "ring_model/state.rs"]
mod state;

use search::{Searched, search};
use state::{Broken, Config, Mutant, Reading};

const SMALL: Config = Config {
    slots: 2,
    batches: &[&[2, 1], &[2]],
    prefill: 0,
    start: 0,
    gated: false,
    reading: Reading::Single,
    joiner: false,
    reader: true,
    kills: 0,
    successor: false,
    round: true,
    mutant: Mutant::None,
};
const THREE: Config = Config { batches: &[&[2], &[2], &[1]], ..SMALL };
const WIDE: Config = Config { slots: 4, prefill: 2, batches: &[&[3, 2], &[3]], ..SMALL };
/// The reader starts at the second event of the lap that is overwritten.
const RUNS: Config = Config { slots: 4, prefill: 4, start: 1, reading: Reading::Run, ..THREE };
/// The last producer takes over the number of one that was killed.
const SUCCESSOR: Config =
    Config { batches: &[&[2, 1], &[1], &[2]], kills: 1, successor: true, ..SMALL };
const JOINER: Config = Config { batches: &[&[2], &[2]], gated: true, joiner: true, ..SMALL };

fn holds(config: Config) -> Searched {
    let searched = search(&config).unwrap_or_else(|found| panic!("{config:?}: {found:?}"));
    println!("{searched:?}: {config:?}");
    assert!(searched.ends > 0, "no end was reached: {config:?}");
    assert!(config.kills == 0 || searched.kills > 0, "nobody was killed: {config:?}");
    searched
}

fn large() -> bool {
    std::env::var("TICKBUS_MODEL").is_ok_and(|bounds| bounds == "full")
}

#[test]
fn two_producers_killed_anywhere_or_not_leave_a_lane_whole() {
    for gated in [false, true] {
        holds(Config { kills: 2, gated, ..SMALL });
        holds(Config { kills: 2, gated, round: false, ..SMALL });
        holds(Config { kills: 2, gated, batches: &[&[3], &[2]], ..SMALL });
    }
}

#[test]
fn a_repairer_killed_in_its_repair_is_repaired_by_a_third() {
    holds(Config { kills: 2, batches: &[&[2], &[1], &[1]], ..THREE });
    holds(Config { kills: 2, gated: true, batches: &[&[2], &[1], &[1]], ..THREE });
}

#[test]
fn a_claim_in_the_middle_of_a_wide_lane_is_stepped_over_or_through() {
    holds(Config { kills: 1, ..WIDE });
    holds(Config { kills: 1, round: false, ..WIDE });
    holds(Config { kills: 1, prefill: 4, start: 2, batches: &[&[3, 1], &[1, 2]], ..WIDE });
}

#[test]
fn a_run_of_events_is_as_good_as_its_events_one_by_one() {
    holds(Config { batches: &[&[2], &[1], &[1]], ..RUNS });
    holds(Config { kills: 2, batches: &[&[2], &[2]], ..RUNS });
    holds(Config { kills: 2, batches: &[&[3], &[1, 1]], ..RUNS });
}

#[test]
fn a_number_given_away_again_brings_no_staged_event_back() {
    holds(SUCCESSOR);
    holds(Config { gated: true, ..SUCCESSOR });
}

#[test]
fn a_gating_reader_that_joins_late_misses_nothing_after_its_start() {
    holds(JOINER);
    holds(Config { kills: 1, reader: false, batches: &[&[2, 1], &[2]], ..JOINER });
    holds(Config { kills: 2, reader: false, batches: &[&[1, 1], &[2]], ..JOINER });
}

#[test]
fn every_mistake_is_noticed() {
    use Broken::*;
    let crossed = Config { slots: 4, batches: &[&[1, 3, 3], &[1, 2]], reader: false, ..SMALL };
    let cases = [
        (Mutant::MarkForward, crossed, Order),
        (Mutant::MarkForward, Config { prefill: 4, start: 2, ..WIDE }, ReaderWaits),
        (Mutant::NoMarks, SMALL, WrongDelivery),
        (Mutant::DoneForward, SMALL, MetInterior),
        (Mutant::NoRecheck, SMALL, WrongDelivery),
        (Mutant::NoRecheck, RUNS, WrongDelivery),
        (Mutant::RecheckFirst, Config { batches: &[&[2], &[1]], ..RUNS }, WrongDelivery),
        (Mutant::RecheckEnds, Config { batches: &[&[2], &[1]], ..RUNS }, WrongDelivery),
        (Mutant::IgnoreUnfinished, SMALL, MetInterior),
        (Mutant::NoCoveringHead, SMALL, ReaderWaits),
        (Mutant::WalkByOne, SMALL, Order),
        (Mutant::NoFreeRun, SMALL, ReaderWaits),
        (Mutant::RecycleEarly, SUCCESSOR, WrongDelivery),
        (Mutant::JoinLate, Config { reader: false, batches: SMALL.batches, ..JOINER }, GatedLoss),
        (
            Mutant::GateUnbounded,
            Config { prefill: 2, batches: &[&[1], &[1, 1]], ..JOINER },
            GatedLoss,
        ),
    ];
    for (mutant, config, broken) in cases {
        let found = search(&Config { mutant, ..config }).err();
        let found = found.unwrap_or_else(|| panic!("{mutant:?} breaks nothing in {config:?}"));
        assert_eq!(found.broken, broken, "{mutant:?}: {found:?}");
    }
}

#[test]
fn large_bounds_hold_too() {
    if !large() {
        return;
    }
    for gated in [false, true] {
        holds(Config { gated, kills: 3, ..THREE });
        holds(Config { gated, kills: 2, batches: &[&[2, 1], &[2], &[1]], ..THREE });
        holds(Config { gated, kills: 2, ..WIDE });
        holds(Config { gated, kills: 1, batches: &[&[3], &[2], &[1]], ..WIDE });
        holds(Config { gated, kills: 2, ..SUCCESSOR });
    }
    holds(Config { kills: 1, ..RUNS });
    holds(Config { kills: 1, batches: SMALL.batches, ..JOINER });
}
