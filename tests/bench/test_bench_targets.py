"""The table of the issue as data: judged honestly, and only about figures that exist."""

import pytest
from synthetic import result

from tickbus.bench.jobs import JOBS
from tickbus.bench.model import TICKBUS, Case, Options, Unit
from tickbus.bench.targets import TARGETS, Target, Verdict


class TestVerdict:
    @pytest.mark.parametrize(("ours", "verdict"), [(20.0, Verdict.MET), (20.1, Verdict.MISSED)])
    def test_at_most_bounds_ours_over_theirs(self, ours, verdict):
        """2 × floor is met up to and including twice the floor."""
        results = [result("f", TICKBUS, ours), result("f", "floor", 10.0)]

        measured, found = Target("f", versus="floor", at_most=2.0).judge(results)

        assert (ours / 10.0, verdict) == (measured, found)

    @pytest.mark.parametrize(
        ("unit", "ours", "theirs"), [(Unit.NS, 10.0, 50.0), (Unit.EVENTS_PER_S, 50.0, 10.0)]
    )
    def test_at_least_means_times_better_whatever_the_unit(self, unit, ours, theirs):
        """5 × a peer is a fifth of its time, or five times its rate."""
        results = [result("f", TICKBUS, ours, unit=unit), result("f", "peer", theirs, unit=unit)]

        measured, verdict = Target("f", versus="peer", at_least=5.0).judge(results)

        assert (5.0, Verdict.MET) == (measured, verdict)

    def test_ratios_are_taken_within_a_round(self):
        """A disturbance that slows both of a round alike changes nothing."""
        results = [result("f", TICKBUS, 10.0, 90.0, 10.0), result("f", "floor", 10.0, 90.0, 11.0)]

        measured, _ = Target("f", versus="floor", at_most=1.0).judge(results)

        assert 1.0 == measured

    @pytest.mark.parametrize(
        "results",
        [[], [result("f", TICKBUS, 1.0)], [result("f", "floor", 1.0)]],
        ids=["nobody", "no other", "no us"],
    )
    def test_without_both_sides_nothing_is_met(self, results):
        """What was not measured is neither met nor missed."""
        assert (None, Verdict.UNKNOWN) == Target("f", versus="floor", at_most=2.0).judge(results)

    def test_losses_are_summed_over_the_rounds(self):
        """One lost event in one round of five is a loss, though the median is 0."""
        lossy = result("f", TICKBUS, 5.0, 5.0, 5.0, unit=Unit.EVENTS_PER_S, lost=1.0)

        measured, verdict = Target("f", note="lost", at_most=0.0).judge([lossy])

        assert (3.0, Verdict.MISSED) == (measured, verdict)

    def test_says_what_the_floor_itself_reaches(self):
        """A target that C does not reach either is not in the bus's hands."""
        results = [
            result("f", "floor: C with clock", 50.0),
            result("f", "peer", 200.0),
            result("f", TICKBUS, 80.0),
        ]

        assert 4.0 == Target("f", versus="peer", at_least=5.0).floor_itself(results)
        assert Target("f", versus="floor: C", at_most=2.0).floor_itself(results) is None


@pytest.fixture(scope="module")
def contenders():
    """(figure, contender) of every case or absentee of every job, peers included."""
    pytest.importorskip("hdrh")
    found = set()
    for job in JOBS:
        for case in job.cases(Options(quick=True, peers=True)):
            found.add((case.figure, case.contender))
            if isinstance(case, Case):
                case.close()
    return found


class TestTable:
    @pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.figure} {target.text()}")
    def test_is_about_figures_that_are_measured(self, target, contenders):
        """A target nobody measures would be "not measured" for ever."""
        assert (target.figure, target.subject) in contenders
        assert target.versus is None or (target.figure, target.versus) in contenders

    @pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"{target.figure} {target.text()}")
    def test_each_has_one_bound(self, target):
        """At most or at least, never both."""
        assert (target.at_most is None) != (target.at_least is None)
