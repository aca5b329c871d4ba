"""kill -9 at each system call of what a journal does: nothing acknowledged is lost, and it goes on."""

from __future__ import annotations

import pytest
import syscalls
from fault_scenarios import SCENARIOS
from fault_trials import Trial, begun_with


@pytest.fixture(scope="module", autouse=True)
def traceable():
    syscalls.require()


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_each_system_call(name, tmp_path, campaign):
    """All calls that change something, of all threads, in the order in which they come."""
    scenario = SCENARIOS[name]
    template = begun_with(scenario.before, tmp_path / "before") if scenario.before else None

    def trial(name):
        return Trial(scenario.work, tmp_path / name, kib=scenario.kib, template=template)

    undisturbed = trial("whole")
    whole = undisturbed.run()
    assert whole.code == 0
    undisturbed.judge()
    campaign.found["calls"] = len(whole.calls)
    for number in campaign.some_of(range(len(whole.calls)), usual=len(whole.calls)):
        killed = trial(f"{number}")
        traced = killed.run(kill_at=number)
        # The threads take turns as they like: this time there may have been fewer calls.
        assert traced.code == (0 if traced.hit is None else -9), f"call {number}"
        campaign.found["killed"] += traced.hit is not None
        try:
            killed.judge()
        except AssertionError as error:
            last = ", ".join(map(str, traced.calls[-5:]))
            raise AssertionError(f"killed at call {number}, the last of: {last}: {error}") from error
    assert campaign.found["killed"] > 0
