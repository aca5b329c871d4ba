"""Promises of budgets and waits: no window is ever overfull, waits grow with jitter up to a cap."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbus.exchanges.connect import ADAPTERS, Backoff, Window, adapter
from tickbus.exchanges.connect.pacing import Pacing, shared_pacing
from tickbus.testing.clock import FakeClock


class TestWindow:
    @given(
        count=st.integers(1, 8),
        per_s=st.floats(0.1, 60.0),
        gaps=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=80),
    )
    def test_never_lets_more_through(self, count, per_s, gaps):
        """Whenever they are asked for, no stretch of per_s holds more grants than count."""
        window, now_s, grants = Window(count, per_s), 0.0, []
        for gap in gaps:
            now_s += gap
            grants.append(window.grant(now_s))
            assert grants[-1] >= now_s

        assert grants == sorted(grants)
        for first, later in zip(grants, grants[count:], strict=False):
            assert later - first >= per_s * (1 - 1e-12)

    def test_lets_through_at_once_what_it_can(self):
        """No spacing that nobody asked for."""
        window = Window(3, 10.0)

        assert [0.0, 0.0, 0.0, 10.0, 10.0, 10.0, 20.0] == [window.grant(0.0) for _ in range(7)]
        assert 25.0 == window.grant(25.0)

    def test_waits_when_the_venue_says_so(self):
        """A ban holds for every connection that shares the window."""
        window = Window(300, 300.0)
        window.delay_until(120.0)

        assert 120.0 == window.grant(5.0)

    @pytest.mark.parametrize(("count", "per_s"), [(0, 1.0), (1, 0.0), (1, float("nan"))])
    def test_one_that_lets_nothing_through_is_refused(self, count, per_s):
        with pytest.raises(ValueError):
            Window(count, per_s)

    def test_is_shared_by_address(self):
        """Two feeds to one venue have one budget."""
        arguments = ((1, 1.0), (1, 1.0), (1, 1.0))

        assert shared_pacing("wss://a", *arguments) is shared_pacing("wss://a", *arguments)
        assert shared_pacing("wss://a", *arguments) is not shared_pacing("wss://b", *arguments)

    @pytest.mark.parametrize("venue", ADAPTERS)
    def test_a_storm_of_reconnects_stays_within_each_venues_budget(self, venue):
        """A thousand connections that fail at once and try again as soon as they may."""
        count, per_s = adapter(venue).rules.attempts
        pacing = Pacing((count, per_s), (1, 1.0), (1, 1.0))

        async def run():
            clock, attempts = FakeClock(), []

            async def one():
                for _ in range(3):
                    at_s = pacing.attempts.grant(clock.monotonic())
                    await clock.sleep(at_s - clock.monotonic())
                    attempts.append(clock.monotonic())

            tasks = [asyncio.create_task(one()) for _ in range(min(1_000, 2 * count))]
            await clock.advance(per_s * 12 * len(tasks) / count)
            assert all(task.done() for task in tasks)
            return attempts

        attempts = asyncio.run(run())
        assert max(b - a for a, b in itertools.pairwise(attempts)) <= per_s
        for first, later in zip(attempts, attempts[count:], strict=False):
            assert later - first >= per_s * (1 - 1e-9)


class TestBackoff:
    def test_doubles_up_to_a_cap_with_jitter(self):
        """Each wait lies in the upper half of what it may be."""
        backoff = Backoff(0.5, 30.0, random.Random(1))
        waits = [backoff.next_s() for _ in range(12)]

        for number, wait_s in enumerate(waits):
            longest = min(30.0, 0.5 * 2**number)
            assert longest / 2 <= wait_s <= longest
        assert len(set(waits)) == len(waits)

    def test_no_two_wait_alike(self):
        """Or a thousand clients of one outage would come back at once."""
        waits = [Backoff(0.5, 30.0, random.Random(seed)).next_s() for seed in range(50)]

        assert len({round(wait_s, 3) for wait_s in waits}) > 40

    def test_begins_anew_after_success(self):
        backoff = Backoff(0.5, 30.0)
        for _ in range(9):
            backoff.next_s()
        backoff.reset()

        assert backoff.next_s() <= 0.5

    def test_waits_as_long_as_the_venue_says(self):
        """And a little longer, each by its own."""
        backoff = Backoff(0.5, 30.0)

        assert 120.0 <= backoff.next_s(at_least_s=120.0) <= 132.0

    def test_never_overflows(self):
        backoff = Backoff(0.5, 30.0)
        backoff.failures = 5_000

        assert backoff.next_s() <= 30.0
