"""
Books asked for anew, one request at a time per connection and stream: the first at once, later ones after
waits that grow with jitter, so that a bad line does not become a storm of subscriptions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tickbus.exchanges.connect.clock import Clock
from tickbus.exchanges.connect.link import Link
from tickbus.exchanges.connect.pacing import Backoff
from tickbus.exchanges.connect.venues.base import Stream

__all__ = ["Recovery"]

Key = tuple[str, Stream]


class Recovery:
    """
    See the module.

    Args:
        ask: Asks the venue; False where that is under way already.
        steady_s: After so long without a wish, the next one is granted at once again.
    """

    def __init__(
        self,
        ask: Callable[[Link, Stream], bool],
        clock: Clock,
        make_backoff: Callable[[], Backoff],
        steady_s: float,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._make_backoff = make_backoff
        self._steady_s = steady_s
        self._past: dict[Key, tuple[Backoff, float]] = {}
        self._waiting: dict[Key, asyncio.Task[None]] = {}

    def want(self, link: Link, stream: Stream) -> bool:
        """Have *stream* from its start; False where it will be, or is, asked for already."""
        key, now_s = (link.name, stream), self._clock.monotonic()
        if key in self._waiting:
            return False
        backoff, last_s = self._past.get(key, (None, 0.0))
        if backoff is None or now_s - last_s >= self._steady_s:
            self._past[key] = (self._make_backoff(), now_s)
            return self._ask(link, stream)
        self._past[key] = (backoff, now_s)
        task = asyncio.create_task(self._later(key, link, backoff.next_s()))
        self._waiting[key] = task
        return True

    def forget(self, connection: str) -> None:
        """A connection is no more."""
        for key in [key for key in self._past if key[0] == connection]:
            del self._past[key]
            if (task := self._waiting.pop(key, None)) is not None:
                task.cancel()

    async def close(self) -> None:
        """Give up what waits."""
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._waiting.clear()

    async def _later(self, key: Key, link: Link, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._waiting.pop(key, None)
        self._ask(link, key[1])
