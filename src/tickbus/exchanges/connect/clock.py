"""The time, for connections: the machine's, or one that tests move by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

__all__ = ["Clock", "MachineClock", "first_of"]


class Clock(Protocol):
    """What connections ask for."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return so much later; at once where it is 0 or less."""
        ...


class MachineClock:
    """The machine's time."""

    monotonic = staticmethod(time.monotonic)
    time_ns = staticmethod(time.time_ns)

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)


async def first_of(*waits: Coroutine[Any, Any, Any] | asyncio.Task[Any] | Awaitable[Any]) -> None:
    """Return when one of *waits* is over. Tasks go on, coroutines are given up."""
    ours = [asyncio.create_task(wait) for wait in waits if asyncio.iscoroutine(wait)]
    tasks = [wait for wait in waits if isinstance(wait, asyncio.Task)]
    try:
        await asyncio.wait([*ours, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
