"""Promises of a connection that is kept up: waits, bans, fresh starts, and a successor before the end."""

import asyncio
import random
from collections import Counter

import pytest

from tickbus.exchanges.connect import Backoff, adapter
from tickbus.exchanges.connect.line import Line
from tickbus.exchanges.connect.link import Ending
from tickbus.testing.clock import FakeClock

RULES = adapter("binance").rules


class FakeLink:
    """A life that goes as it is told: seconds until live, until it wants a successor, until its end."""

    def __init__(self, clock, log, number, *, live_s=None, wants_s=None, ends_s=None, ending=None):
        self.clock, self.log, self.number = clock, log, number
        self.plan = (live_s, wants_s, ends_s)
        self.ending = ending or Ending("closed 1006")
        self.live, self.wants_successor = asyncio.Event(), asyncio.Event()
        self.name = f"link {number}"
        self._over = asyncio.Event()

    async def run(self):
        self.log.append((self.clock.monotonic(), self.number, "begun"))
        begun_s = self.clock.monotonic()
        moments = zip(self.plan, (self.live, self.wants_successor, self._over), strict=True)
        tasks = [asyncio.create_task(self._later(at_s, event)) for at_s, event in moments if at_s is not None]
        try:
            await self._over.wait()
        finally:
            for task in tasks:
                task.cancel()
            self.log.append((self.clock.monotonic(), self.number, "over"))
        lived_s = self.clock.monotonic() - begun_s if self.live.is_set() else 0.0
        return self.ending._replace(lived_s=lived_s)

    async def _later(self, at_s, event):
        await self.clock.sleep(at_s)
        event.set()

    async def end(self, reason):
        self.ending = Ending(reason)
        self._over.set()


def kept_up(plans, seconds: float, backoff=None):
    """(what happened, the line, waits, endings); lives go as planned, the last plan for ever."""

    async def run():
        clock, log, waits = FakeClock(), [], []
        numbers = iter(range(1_000_000))

        def open_link():
            number = next(numbers)
            return FakeLink(clock, log, number, **plans[min(number, len(plans) - 1)])

        line = Line(
            open_link,
            RULES,
            clock,
            backoff or Backoff(0.5, 30.0, random.Random(7)),
            lambda wait_s, reason: waits.append((wait_s, reason)),
        )
        task = asyncio.create_task(line.run())
        await clock.advance(seconds)
        endings = Counter(line.endings)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return log, line, waits, endings

    return asyncio.run(run())


class TestFailures:
    def test_waits_grow_while_nothing_works(self):
        """A venue that is away for an hour is not hammered: about 120 attempts, not thousands."""
        _, line, waits, _ = kept_up([{"ends_s": 0.1, "ending": Ending("unreachable")}], 3600)

        assert {"unreachable"} == {reason for _, reason in waits}
        assert [wait_s < 1.0 for wait_s, _ in waits[:1]] == [True]
        assert all(15.0 <= wait_s <= 30.0 for wait_s, _ in waits[6:])
        assert 110 < line.lives < 250

    def test_a_ban_is_waited_out(self):
        """As long as the venue said, not as short as the first wait would be."""
        plans = [{"ends_s": 0.1, "ending": Ending("refused 418", "", 120.0)}, {"live_s": 0.1}]
        log, *_ = kept_up(plans, 300)

        begun = [at_s for at_s, _, what in log if what == "begun"]
        assert 120.0 <= begun[1] - begun[0] <= 133.0

    def test_a_steady_life_earns_short_waits(self):
        """And one that was live for a moment does not: a connection that flaps is no success."""
        steady = kept_up([{"live_s": 0.1, "ends_s": 100.0}], 1_000)[2]
        flapping = kept_up([{"live_s": 0.1, "ends_s": 0.2}], 300)[2]

        assert all(wait_s <= 0.5 for wait_s, _ in steady)
        assert max(wait_s for wait_s, _ in flapping) >= 15.0

    def test_what_a_link_raises_ends_the_line(self):
        """A bus that refuses an event is nobody's network."""

        async def run():
            class Broken(FakeLink):
                async def run(self):
                    raise RuntimeError("the bus is closed")

            clock = FakeClock()
            line = Line(lambda: Broken(clock, [], 0), RULES, clock, Backoff(0.5, 30.0), lambda *_: None)
            await asyncio.wait_for(line.run(), 5)

        with pytest.raises(RuntimeError, match="bus is closed"):
            asyncio.run(run())


class TestReplacement:
    def test_makes_before_it_breaks(self):
        """The next is live, and both run together for a moment, before the old one is let go."""
        log, line, waits, endings = kept_up([{"live_s": 0.5, "wants_s": 100.0}, {"live_s": 1.5}], 200)

        assert [(0.0, 0, "begun"), (100.0, 1, "begun"), (101.5 + RULES.overlap_s, 0, "over")] == log[:3]
        assert (1, []) == (line.replaced, waits)
        assert {"replaced": 1} == endings

    def test_goes_on_with_the_old_while_the_new_fails(self):
        """The old one stands; attempts go on with growing waits until one is live."""
        failing = {"ends_s": 0.2, "ending": Ending("unreachable")}
        plans = [{"live_s": 0.1, "wants_s": 10.0}, failing, failing, failing, {"live_s": 0.1}]
        log, _, waits, endings = kept_up(plans, 100)

        [over_s] = [at_s for at_s, number, what in log if (number, what) == (0, "over") and at_s < 100]
        live_s = next(at_s for at_s, number, what in log if (number, what) == (4, "begun")) + 0.1
        assert over_s == pytest.approx(live_s + RULES.overlap_s)
        assert {"unreachable": 3, "replaced": 1} == endings
        assert 3 == len(waits)

    def test_takes_the_new_one_if_the_old_one_ends_first(self):
        """The venue closed before the successor was live: it is not connected twice."""
        log, line, _, endings = kept_up([{"live_s": 0.1, "wants_s": 5.0, "ends_s": 5.5}, {"live_s": 2.0}], 60)

        assert [0.0, 5.0] == [at_s for at_s, _, what in log if what == "begun"]
        assert {"closed 1006": 1} == endings
        assert 2 == line.lives

    def test_begins_anew_when_both_are_gone(self):
        failing = {"ends_s": 0.2, "ending": Ending("unreachable")}
        plans = [{"live_s": 0.1, "wants_s": 5.0, "ends_s": 5.3}, failing, {"live_s": 0.1}]
        log, _, _, endings = kept_up(plans, 60)

        assert {"unreachable": 1, "closed 1006": 1} == endings
        assert 2 == [number for at_s, number, what in log if what == "begun"][-1]
