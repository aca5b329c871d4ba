"""
One connection kept up: when a life ends the next one begins, after a wait that grows while it fails.

Where a connection is to be replaced (its age, a notice of the venue), the next is subscribed before the
old is let go, and both run together for a moment; who merges them publishes each event once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from tickbus.exchanges.connect.clock import Clock, first_of
from tickbus.exchanges.connect.link import Ending, Link
from tickbus.exchanges.connect.pacing import Backoff
from tickbus.exchanges.connect.rules import Rules

__all__ = ["Line"]


class Line:
    """
    See the module.

    Args:
        open_link: Makes the link of the next life.
        waiting: Called with the seconds until the next attempt, and why.
    Attributes:
        lives: How many connections were begun.
        endings: How they ended, by reason.
        replaced: How many had a successor before they ended.
    """

    def __init__(
        self,
        open_link: Callable[[], Link],
        rules: Rules,
        clock: Clock,
        backoff: Backoff,
        waiting: Callable[[float, str], None],
    ) -> None:
        self.lives = 0
        self.endings: Counter[str] = Counter()
        self.replaced = 0
        self.links: list[Link] = []
        self._open_link = open_link
        self._rules = rules
        self._clock = clock
        self._backoff = backoff
        self._waiting = waiting
        self._tasks: dict[Link, asyncio.Task[Ending]] = {}

    async def run(self) -> None:
        """Keep it up until cancelled."""
        try:
            link = self._begin()
            while True:
                if await self._until_over(link):
                    await self._pause(self._end(link))
                    link = self._begin()
                else:
                    link = await self._replace(link)
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.links.clear()

    def _begin(self) -> Link:
        link = self._open_link()
        self.lives += 1
        self.links.append(link)
        # By identity: a link is a dataclass, but no two of them are the same connection.
        self._tasks[link] = asyncio.create_task(link.run(), name=link.name)
        return link

    def _end(self, link: Link) -> Ending:
        """Take leave of a link whose task is done."""
        ending = self._tasks.pop(link).result()
        self.links.remove(link)
        self.endings[ending.reason] += 1
        return ending

    async def _until_over(self, link: Link) -> bool:
        """True when it has ended, False when it wants a successor."""
        await first_of(link.wants_successor.wait(), self._tasks[link])
        return self._tasks[link].done()

    async def _pause(self, ending: Ending, until: asyncio.Task[Ending] | None = None) -> None:
        if ending.lived_s >= self._rules.steady_s:
            self._backoff.reset()
        wait_s = self._backoff.next_s(ending.wait_s)
        self._waiting(wait_s, ending.reason)
        await (first_of(self._clock.sleep(wait_s), until) if until else self._clock.sleep(wait_s))

    async def _replace(self, old: Link) -> Link:
        """Connect a successor while *old* goes on; the one that is left."""
        task = self._tasks[old]
        while not task.done():
            new = self._begin()
            await first_of(new.live.wait(), self._tasks[new], task)
            if self._tasks[new].done():
                await self._pause(self._end(new), until=task)
                continue
            if not task.done():
                await first_of(self._clock.sleep(self._rules.overlap_s), task, self._tasks[new])
                self.replaced += 1
                await old.end("replaced")
                await first_of(task)
            self._end(old)
            return new
        # It is gone, and so is its successor.
        await self._pause(self._end(old))
        return self._begin()
