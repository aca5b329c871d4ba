"""The time, for connections: the machine's, or one that tests move by hand."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "MachineClock"]


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
