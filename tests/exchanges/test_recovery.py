"""Promises of recovery: at once the first time, one at a time, no storm."""

import asyncio
import random
from types import SimpleNamespace

from tickbus.exchanges.connect import Backoff, Stream
from tickbus.exchanges.connect.pacing import Pacing
from tickbus.exchanges.connect.recovery import Recovery
from tickbus.exchanges.connect.snapshots import Snapshots
from tickbus.testing.clock import FakeClock

STREAM = Stream("books", "BTC-USDT")
LINK = SimpleNamespace(name="okx-spot.0.0.1")


def asked(wishes, *, steady_s=30.0, seconds=600.0):
    """When the venue was asked, for wishes at such times."""

    async def run():
        clock, moments = FakeClock(), []
        recovery = Recovery(
            lambda link, stream: moments.append(clock.monotonic()) or True,
            clock,
            lambda: Backoff(0.5, 30.0, random.Random(1)),
            steady_s,
        )
        for at_s in wishes:
            await clock.advance(at_s - clock.monotonic())
            recovery.want(LINK, STREAM)
        await clock.advance(seconds)
        await recovery.close()
        return moments

    return asyncio.run(run())


class TestRecovery:
    def test_is_immediate_the_first_time(self):
        assert [1.0] == asked([1.0])

    def test_one_is_enough(self):
        """A book that loses ten messages in a row is asked for once now and once more."""
        moments = asked([1.0 + number / 1_000 for number in range(10)])

        assert 1.0 == moments[0]
        assert 2 == len(moments)

    def test_a_bad_line_is_no_storm(self):
        """A gap every tenth of a second for ten minutes: some thirty requests, not six thousand."""
        moments = asked([number / 10 for number in range(6_000)])

        assert 20 < len(moments) < 60

    def test_after_quiet_times_it_is_immediate_again(self):
        assert [1.0, 100.0, 200.0] == asked([1.0, 100.0, 200.0])

    def test_a_connection_that_is_gone_asks_for_nothing(self):
        async def run():
            clock, moments = FakeClock(), []
            recovery = Recovery(
                lambda link, stream: moments.append(1) or True, clock, lambda: Backoff(0.5, 30.0), 30.0
            )
            for _ in range(2):
                recovery.want(LINK, STREAM)
            recovery.forget(LINK.name)
            await clock.advance(100)
            return moments

        assert [1] == asyncio.run(run())


class TestSnapshots:
    def test_one_on_its_way_may_be_too_old(self, monkeypatch):
        """Something was lost while it was fetched: it is fetched once more, and only that one is told."""
        from tickbus.exchanges.connect import snapshots as module

        async def run():
            clock, told, bodies = FakeClock(), [], iter([b"old", b"new"])
            is_told = asyncio.Event()
            monkeypatch.setattr(module, "_get", lambda url: (next(bodies), 200, 0.0))
            made = Snapshots(
                lambda stream: "http://x",
                Pacing((1, 1.0), (1, 1.0), (10, 1.0)),
                clock,
                lambda: Backoff(0.5, 30.0),
                lambda stream, url, body: (told.append(body), is_told.set()),
                60.0,
            )
            wishes = [made.want(STREAM), made.want(STREAM), made.want(STREAM, newer=True)]
            await asyncio.wait_for(is_told.wait(), 20)
            await made.close()
            return wishes, told, made.counts["requests"]

        assert ([True, False, False], [b"new"], 2) == asyncio.run(run())
