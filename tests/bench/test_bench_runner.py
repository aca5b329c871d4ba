"""Contenders are checked, interleaved, released; a bad one is named and the rest go on."""

from synthetic import case, job

from tickbus.bench.jobs import Job
from tickbus.bench.model import Absent, BehaviourError, Options, Sample
from tickbus.bench.runner import run


def fail(error: Exception):
    def raising():
        raise error

    return raising


class TestRounds:
    def test_are_interleaved_and_start_one_further_each_time(self):
        """No contender always runs first, and none takes all its samples in one stretch."""
        order = []

        def sampler(name):
            return lambda: (order.append(name), Sample(1.0))[1]

        run([job(*(case(name, sampler(name)) for name in "abc"))], Options(repeats=3))

        assert "abc bca cab".replace(" ", "") == "".join(order)

    def test_every_contender_gets_every_round(self):
        """As many samples as repeats, in the order they were taken."""
        values = iter(range(10))

        outcome = run([job(case("a", lambda: Sample(next(values))))], Options(repeats=4))

        assert [[0, 1, 2, 3]] == [result.values for result in outcome.results]


class TestFailures:
    def test_a_contender_that_fails_its_check_is_never_timed(self):
        """Speed without behaviour is no figure."""
        timed = []
        bad = case("bad", lambda: (timed.append(1), Sample(1.0))[1], fail(BehaviourError("lost 3")))

        outcome = run([job(bad, case("good", lambda: Sample(1.0)))], Options(repeats=2))

        assert [] == timed
        assert ["good"] == [result.contender for result in outcome.results]
        assert [("bad", "BehaviourError: lost 3")] == [(f.contender, f.reason) for f in outcome.failures]

    def test_a_contender_that_raises_while_timed_has_no_result(self):
        """Half a contender's rounds would be compared with all of another's."""
        steps = iter([Sample(1.0)])
        bad = case("bad", lambda: next(steps))

        outcome = run([job(bad, case("good", lambda: Sample(1.0)))], Options(repeats=3))

        assert [("good", 3)] == [(r.contender, len(r.samples)) for r in outcome.results]
        assert ["bad"] == [failure.contender for failure in outcome.failures]

    def test_a_job_that_cannot_be_set_up_does_not_stop_the_next(self):
        """Each job stands alone."""
        broken = Job("broken", "", lambda options: fail(OSError("no space"))())

        outcome = run([broken, job(case("a", lambda: Sample(1.0)))], Options(repeats=1))

        assert [("broken", "OSError: no space")] == [(f.job, f.reason) for f in outcome.failures]
        assert ["a"] == [result.contender for result in outcome.results]

    def test_all_are_released(self):
        """Whatever happened to them."""
        closed = []
        bad = case("bad", fail(OSError()), close=lambda: closed.append("bad"))
        unchecked = case("unchecked", fail(OSError()), fail(OSError()), lambda: closed.append("unchecked"))

        run([job(bad, unchecked)], Options(repeats=1))

        assert ["bad", "unchecked"] == closed

    def test_the_absent_are_named(self):
        """Left out is not forgotten."""
        absent = Absent("f", "peer", "not installed")

        outcome = run([Job("job", "", lambda options: [absent])], Options())

        assert [absent] == outcome.absents
