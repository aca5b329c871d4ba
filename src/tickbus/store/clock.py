"""
Time as a strategy under replay sees it: that of the event being delivered.

    clock.now_ns()      in a handler: the event's timestamp, never later
    ReplayBus(clock)    a bus that stamps what a strategy publishes with that time, not the wall's

The clock never runs backwards: after an event that came late it stays where it was. Live, give the
strategy `WallClock`, which has the same method.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tickbus._native import Event
from tickbus.bus import Bus

__all__ = ["Clock", "ReplayBus", "SimulatedClock", "WallClock"]


class Clock(Protocol):
    """What a strategy asks for the time."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""


class WallClock:
    """The time of this machine, for live trading."""

    def now_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        return time.time_ns()


class SimulatedClock:
    """A clock that events move."""

    def __init__(self, now_ns: int = 0) -> None:
        self._least = now_ns
        # Written by the bus, one append an event: no Python runs for an event whose handlers do not ask.
        self._delivered: deque[Event] = deque(maxlen=1)

    def now_ns(self) -> int:
        """The greatest timestamp delivered so far; the start of the replay before the first."""
        if self._delivered:
            self._least = max(self._least, self._delivered[0].timestamp)
        return self._least

    def advance_to(self, now_ns: int) -> None:
        """Move on to *now_ns*, unless the clock is there already."""
        self._least = max(self.now_ns(), now_ns)
        self._delivered.clear()

    def reset(self, now_ns: int) -> None:
        """Set the time, also backwards: what a seek does."""
        self._delivered.clear()
        self._least = now_ns


class ReplayBus(Bus):
    """
    A bus whose time is a replay's: what is published without a timestamp gets the clock's.

    A strategy that only publishes and subscribes, and asks `clock` for the time, then does the same in
    every replay, byte for byte. Its own events move the clock too, so it must not stamp them with a
    time to come.

    Args:
        options: As `Bus`.
    """

    def __new__(cls, *args: Any, clock: SimulatedClock | None = None, **options: Any) -> ReplayBus:
        return super().__new__(cls, *args, **options)

    def __init__(self, *args: Any, clock: SimulatedClock | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.clock = clock or SimulatedClock()
        # The first handler, so that the clock is right in all others.
        self._add_handler([">"], self.clock._delivered.append)

    def publish(self, event_type: int, symbol: str | int, value: float, **fields: Any) -> int:
        """As `Bus.publish`, at the time of the replay."""
        if fields.get("timestamp") is None:
            fields["timestamp"] = self.clock.now_ns()
        return super().publish(event_type, symbol, value, **fields)

    def publish_batch(self, events: NDArray[np.void]) -> int:
        """As `Bus.publish_batch`; rows with timestamp 0 are stamped with the time of the replay."""
        if "timestamp" in (events.dtype.names or ()) and not events["timestamp"].all():
            events = events.copy()
            events["timestamp"][events["timestamp"] == 0] = self.clock.now_ns()
        return super().publish_batch(events)

    def publisher(self, event_type: int, symbol: str | int, **fields: Any) -> Callable[..., int]:
        """As `Bus.publisher`, at the time of the replay."""
        publish = super().publisher(event_type, symbol, **fields)

        def stamped(value: float, metadata: int = 0, timestamp: int = 0) -> int:
            return publish(value, metadata, timestamp or self.clock.now_ns())

        return stamped
