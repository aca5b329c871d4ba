"""The state is a function of the log: whoever reads it, however the lanes are merged, comes to the same."""

from hypothesis import given
from hypothesis import strategies as st

from tickbus.delivery.policy import NextRole, Policies, Policy
from tickbus.delivery.state import Fate, Kind, Record, State

TYPE = 66
ROLES = ("oms", "risk", "boss")


def state(**policy):
    return State(Policies(default=Policy(**policy)), lambda patterns, *_: "never" not in patterns)


def event(sequence, time=0):
    return Record(Kind.EVENT, sequence, time=time, names=(TYPE, 0, 0))


def role(name, registered=True, patterns=("risk.>",)):
    return Record(Kind.ROLE, 0, name, float(registered), patterns=patterns)


def ack(sequence, name="oms", time=5):
    return Record(Kind.ACK, sequence, name, 1.0, time)


def after(records, **policy):
    one = state(**policy)
    for record in records:
        one.apply(record)
    return one


def essence(one):
    """What two readers of the same log agree on."""
    rows = {}
    for fate, kept in (("pending", one.pending), ("dead", one.dead), ("settled", one.settled)):
        for sequence, tracked in kept.items():
            rows[sequence] = (
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
        one = after([role("oms"), role("risk"), role("other", patterns=("never",)), event(0), ack(0)])
        assert one.fate(0) is Fate.PENDING
        one.apply(ack(0, "risk", 9))
        assert one.fate(0) is Fate.ACKED
        assert one.find(0).acked == {"oms": 5, "risk": 9}

    def test_by_any(self):
        assert after([role("oms"), role("risk"), event(0), ack(0)], required="any").fate(0) is Fate.ACKED

    def test_by_those_named(self):
        log = [role("oms"), event(0), ack(0)]
        assert after(log, required=("oms", "risk")).fate(0) is Fate.PENDING
        assert after([*log, ack(0, "risk")], required=("oms", "risk")).fate(0) is Fate.ACKED

    def test_by_a_role_it_was_escalated_to(self):
        log = [role("oms"), event(0), ack(0, "boss")]
        assert after(log, ladder=(NextRole("boss"),)).fate(0) is Fate.PENDING
        log.append(Record(Kind.ESCALATED, 0, "oms", 1.0))
        assert after(log, ladder=(NextRole("boss"),)).fate(0) is Fate.ACKED

    def test_not_by_roles_that_came_later(self):
        assert after([role("oms"), event(0), role("risk"), ack(0)]).fate(0) is Fate.ACKED

    def test_without_a_role_that_was_dropped(self):
        log = [role("oms"), role("risk"), event(0), ack(0), role("risk", registered=False)]
        assert after(log).fate(0) is Fate.ACKED

    def test_never_when_nobody_wants_it(self):
        assert after([event(0)]).fate(0) is Fate.PENDING

    def test_although_it_was_dead(self):
        one = after([role("oms"), event(0), Record(Kind.DEAD, 0, "oms", 0.0)])
        assert one.fate(0) is Fate.DEAD
        one.apply(ack(0))
        assert one.fate(0) is Fate.ACKED


class TestOddRecords:
    def test_an_ack_before_its_event_counts_when_that_is_read(self):
        one = after([role("oms"), ack(0)])
        assert one.fate(0) is Fate.UNKNOWN
        one.apply(event(0))
        assert one.fate(0) is Fate.ACKED

    def test_a_second_ack_is_counted(self):
        assert after([role("oms"), event(0), ack(0), ack(0)]).repeated == 1

    def test_an_ack_of_what_nobody_follows_is_counted(self):
        one = State(Policies({TYPE: None}), lambda *_: True)
        one.apply(event(3))
        one.apply(ack(3))
        one.apply(ack(1))
        assert one.unknown == 2

    def test_a_death_before_a_redrive_is_over(self):
        log = [role("oms"), event(0), Record(Kind.DEAD, 0, "oms", 0.0), Record(Kind.REDRIVEN, 0, "", 1.0)]
        assert after([*log, Record(Kind.DEAD, 0, "oms", 0.0)]).fate(0) is Fate.PENDING
        assert after([*log, Record(Kind.DEAD, 0, "oms", 1.0)]).fate(0) is Fate.DEAD
