"""Every job runs, and says what it says it measures."""

import math

import pytest

from tickbus.bench import runner
from tickbus.bench.jobs import JOBS
from tickbus.bench.jobs.support import check_dispatch
from tickbus.bench.model import BehaviourError, Kind, Options
from tickbus.bench.peers.contract import Record, Wired

NEED_HISTOGRAMS = {"threads", "processes", "priority"}


@pytest.fixture(params=JOBS, ids=lambda job: job.name)
def job(request):
    if request.param.name in NEED_HISTOGRAMS:
        pytest.importorskip("hdrh")
    return request.param


class TestQuickRun:
    def test_yields_a_sound_result_for_every_contender(self, job):
        """No failure; finite samples above zero; tickbus in it; nothing lost or out of order."""
        outcome = runner.run([job], Options(quick=True, repeats=2))

        assert [] == outcome.failures
        assert any(result.kind is Kind.SUBJECT for result in outcome.results)
        for result in outcome.results:
            assert 2 == len(result.samples)
            assert all(math.isfinite(value) and value >= 0 for value in result.values)
            assert {0.0} >= {result.notes().get(fault, 0.0) for fault in ("lost", "disordered", "missed")}

    def test_says_what_it_is_doing(self, job):
        """A long run shows progress: it names the job, and counts up to the total."""
        seen = []

        runner.run([job], Options(quick=True, repeats=1), lambda *step: seen.append(step))

        assert {job.name} == {name for name, *_ in seen}
        assert all(0 <= done < total for _, _, done, total in seen)


class TestDispatchCheck:
    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param(lambda handler, event: None, id="delivers nothing"),
            pytest.param(lambda handler, event: (handler(event), handler(event)), id="delivers twice"),
            pytest.param(
                lambda handler, event: handler(Record(0, 0, "", 7.0, 0)), id="delivers another event"
            ),
        ],
    )
    def test_refuses_a_bus_that(self, broken):
        """Each is a way to be fast that must not be timed."""

        def wire(handlers):
            def send(value):
                for handler in handlers:
                    broken(handler, Record(0, 0, "", value, 0))

            return Wired(send, lambda count: 1.0)

        with pytest.raises(BehaviourError, match="values each handler received"):
            check_dispatch(wire, 2)
