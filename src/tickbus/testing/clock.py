"""
A clock that stands until it is moved: waits of minutes in a test of milliseconds.

    clock = FakeClock()
    waiting = asyncio.create_task(clock.sleep(60))
    await clock.advance(60)                  # wakes everybody in order of their time
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

__all__ = ["FakeClock"]

#: Turns of the event loop after each waking, for whoever was woken to go to sleep again.
_TURNS = 25


class FakeClock:
    """
    See the module. One event loop at a time.

    Attributes:
        slept: Every wait that was asked for, in seconds.
    """

    def __init__(self, start_ns: int = 1_723_161_253_000_000_000) -> None:
        self.slept: list[float] = []
        self._start_ns = start_ns
        self._now_s = 0.0
        self._numbers = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        return self._now_s

    def time_ns(self) -> int:
        return self._start_ns + int(self._now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Return when somebody has moved the clock so far."""
        if seconds <= 0:
            return
        self.slept.append(seconds)
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now_s + seconds, next(self._numbers), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move it, stopping at each moment at which somebody is to wake."""
        until_s = self._now_s + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            self._now_s, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                await self.settle()
        self._now_s = until_s

    async def settle(self) -> None:
        """Let everybody run who can."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
