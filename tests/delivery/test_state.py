"""The state is a function of the log: whoever reads it, however the lanes are merged, comes to the same."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus import _native
from tickbus.delivery.policy import NextRole, Policies, Policy
from tickbus.delivery.state import Fate, Kind, new_state, rules_of
from tickbus.errors import InvalidEventError, PatternError

TYPE = 66
ROLES = ("oms", "risk", "boss")
#: A pattern that matches no event of these tests.
NEVER = ("critical.>",)

BUS = tb.Bus()


class Record(NamedTuple):
    kind: Kind
    sequence: int
    role: str = ""
    value: float = 0.0
    time: int = 0
    patterns: tuple[str, ...] = ()


def state(**policy):
    return new_state(BUS, rules_of(Policies(default=Policy(**policy))))


def event(sequence, time=0):
    return Record(Kind.EVENT, sequence, time=time)


def role(name, registered=True, patterns=("risk.>",)):
    return Record(Kind.ROLE, 0, name, float(registered), patterns=patterns)


def ack(sequence, name="oms", time=5):
    return Record(Kind.ACK, sequence, name, 1.0, time)


def take(one, record):
    if record.kind is Kind.EVENT:
        one.event(record.sequence, TYPE, 0, 0, record.time)
    elif record.kind is not Kind.ROLE:
        one.note(record.kind, record.sequence, record.role, record.value, record.time)
    elif record.value:
        one.register(record.role, record.patterns)
    else:
        one.drop_role(record.role)


def after(records, **policy):
    one = state(**policy)
    for record in records:
        take(one, record)
    return one


def essence(one):
    """What two readers of the same log agree on."""
    rows = {}
    every = (("pending", one.all_pending()), ("dead", one.all_dead()), ("settled", one.all_settled()))
    for fate, kept in every:
        for tracked in kept:
            rows[tracked.sequence] = (
                fate,
                tracked.roles,
                tracked.acked,
                tracked.attempts,
                tracked.steps,
                tracked.steps_done,
                tracked.redrives,
            )
    return rows, one.roles


critical = st.one_of(
    st.tuples(st.just(Kind.ESCALATED), st.integers(0, 5), st.sampled_from(ROLES), st.integers(1, 3)),
    st.tuples(st.just(Kind.DEAD), st.integers(0, 5), st.sampled_from(ROLES), st.integers(0, 2)),
    st.tuples(st.just(Kind.REDRIVEN), st.integers(0, 5), st.just(""), st.integers(1, 2)),
    st.tuples(st.just(Kind.ROLE), st.just(0), st.sampled_from(ROLES), st.integers(0, 1)),
    st.tuples(st.just(Kind.EVENT), st.just(0), st.just(""), st.just(0)),
)
normal = st.one_of(
    st.tuples(st.just(Kind.ACK), st.integers(0, 7), st.sampled_from(ROLES), st.just(1)),
    st.tuples(st.just(Kind.NAK), st.integers(0, 7), st.sampled_from(ROLES), st.just(-1)),
    st.tuples(st.just(Kind.REDELIVER), st.integers(0, 7), st.sampled_from(ROLES), st.integers(2, 9)),
    st.tuples(st.just(Kind.STEP_DONE), st.integers(0, 7), st.just(""), st.integers(1, 3)),
)


def records(rows):
    """Events count up in their lane; a record about another event names it."""
    sequence, found = 0, []
    for time, (kind, about, name, value) in enumerate(rows):
        if kind is Kind.EVENT:
            found.append(event(sequence, time))
            sequence += 1
        elif kind is Kind.ROLE:
            found.append(role(name, registered=bool(value)))
        # On the critical lane a record about an event stands behind it.
        elif kind not in (Kind.ESCALATED, Kind.DEAD, Kind.REDRIVEN) or about < sequence:
            found.append(Record(kind, about, name, float(value), time))
    return found


@given(
    st.lists(critical, max_size=25),
    st.lists(normal, max_size=25),
    st.lists(st.booleans(), min_size=50, max_size=50),
    st.sampled_from([{}, {"required": "any"}, {"required": ("risk",)}, {"ladder": (NextRole("boss"),)}]),
)
def test_any_merge_of_the_lanes_gives_the_same_state(first, second, turns, policy):
    first, second = records(first), records(second)
    merged, lanes = [], [list(first), list(second)]
    for turn in turns:
        if lanes[turn]:
            merged.append(lanes[turn].pop(0))
    merged += lanes[0] + lanes[1]

    assert essence(after(merged, **policy)) == essence(after(first + second, **policy))


@given(st.lists(critical, max_size=25), st.lists(normal, max_size=25))
def test_reading_records_again_changes_nothing(first, second):
    """A loop applies what it writes, and reads it back."""
    log = records(first) + records(second)
    twice = [one for record in log for one in ([record] * (1 + (record.kind is not Kind.EVENT)))]

    assert essence(after(log)) == essence(after(twice))


class TestSettled:
    def test_by_all_roles_that_matched(self):
        one = after([role("oms"), role("risk"), role("other", patterns=NEVER), event(0), ack(0)])
        assert one.fate(0) == Fate.PENDING
        take(one, ack(0, "risk", 9))
        assert one.fate(0) == Fate.ACKED
        assert one.find(0).acked == {"oms": 5, "risk": 9}

    def test_by_any(self):
        assert after([role("oms"), role("risk"), event(0), ack(0)], required="any").fate(0) == Fate.ACKED

    def test_by_those_named(self):
        log = [role("oms"), event(0), ack(0)]
        assert after(log, required=("oms", "risk")).fate(0) == Fate.PENDING
        assert after([*log, ack(0, "risk")], required=("oms", "risk")).fate(0) == Fate.ACKED

    def test_by_a_role_it_was_escalated_to(self):
        log = [role("oms"), event(0), ack(0, "boss")]
        assert after(log, ladder=(NextRole("boss"),)).fate(0) == Fate.PENDING
        log.append(Record(Kind.ESCALATED, 0, "oms", 1.0))
        assert after(log, ladder=(NextRole("boss"),)).fate(0) == Fate.ACKED

    def test_not_by_roles_that_came_later(self):
        assert after([role("oms"), event(0), role("risk"), ack(0)]).fate(0) == Fate.ACKED

    def test_without_a_role_that_was_dropped(self):
        log = [role("oms"), role("risk"), event(0), ack(0), role("risk", registered=False)]
        assert after(log).fate(0) == Fate.ACKED

    def test_never_when_nobody_wants_it(self):
        assert after([event(0)]).fate(0) == Fate.PENDING

    def test_although_it_was_dead(self):
        one = after([role("oms"), event(0), Record(Kind.DEAD, 0, "oms", 0.0)])
        assert one.fate(0) == Fate.DEAD
        take(one, ack(0))
        assert one.fate(0) == Fate.ACKED


class TestOddRecords:
    def test_an_ack_before_its_event_counts_when_that_is_read(self):
        one = after([role("oms"), ack(0)])
        assert one.fate(0) == Fate.UNKNOWN
        take(one, event(0))
        assert one.fate(0) == Fate.ACKED

    def test_a_second_ack_is_counted(self):
        assert after([role("oms"), event(0), ack(0), ack(0)]).repeated == 1

    def test_an_ack_of_what_nobody_follows_is_counted(self):
        one = new_state(BUS, rules_of(Policies({TYPE: None})))
        take(one, event(3))
        take(one, ack(3))
        take(one, ack(1))
        assert one.unknown == 2

    def test_a_death_before_a_redrive_is_over(self):
        log = [role("oms"), event(0), Record(Kind.DEAD, 0, "oms", 0.0), Record(Kind.REDRIVEN, 0, "", 1.0)]
        assert after([*log, Record(Kind.DEAD, 0, "oms", 0.0)]).fate(0) == Fate.PENDING
        assert after([*log, Record(Kind.DEAD, 0, "oms", 1.0)]).fate(0) == Fate.DEAD

    def test_a_record_that_is_none_is_refused(self):
        with pytest.raises(InvalidEventError, match='kind="role"'):
            state().note("role", 0, "oms", 1.0, 0)
        with pytest.raises(PatternError):
            state().register("oms", ["risk"])
        with pytest.raises(InvalidEventError, match="1 rules"):
            _native.DeliveryState(BUS, [None])


class TestRemembered:
    def test_settled_events_up_to_a_number(self):
        one = after([role("oms")])
        for sequence in range(65_540):
            take(one, event(sequence))
            take(one, ack(sequence))
        assert (one.fate(3), one.fate(4)) == (Fate.UNKNOWN, Fate.ACKED)
        assert one.outcome(3) is None
        assert len(one.all_settled()) == 65_536

    def test_what_each_role_owes(self):
        one = after([role("oms"), role("risk"), role("idle"), event(0, 7), event(1, 9), ack(0)])
        assert sorted(one.owed()) == [("idle", 2, 7), ("oms", 1, 9), ("risk", 2, 7)]
        assert one.counts() == (2, 0)

    def test_events_in_flight_until_their_end(self):
        one = after([role("oms")])
        for sequence in range(3):
            one.fly(sequence)
        for record in (event(0), event(1), event(2), ack(0), Record(Kind.DEAD, 1, "oms", 0.0)):
            take(one, record)
        assert (one.in_flight, one.flies(1), one.flies(2)) == (1, False, True)
        one.fly(0)
        assert not one.flies(0), "its end was read before"
