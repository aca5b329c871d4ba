"""
What a peer has to offer: `Dispatcher` in one thread, `Transport` between threads or processes.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

#: The event as bytes, for peers that carry bytes: the 32 of `tickbus.EVENT_DTYPE`.
LAYOUT = struct.Struct("<QBBHIdQ")

Handler = Callable[[Any], Any]


@dataclass(slots=True)
class Record:
    """What a careful Python user would publish where there is no native event."""

    timestamp: int
    event_type: int
    symbol: str
    value: float
    metadata: int


@dataclass
class Wired:
    """A dispatcher with its handlers connected."""

    #: Publish one event with this value; for the behaviour check.
    send: Callable[[float], object]
    #: Publish so many events as fast as possible; nanoseconds per event.
    ns: Callable[[int], float]
    close: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Dispatcher:
    """A way to publish to handlers in the same thread."""

    name: str
    #: Module to import; ``None`` when the standard library is enough.
    requires: str | None
    wire: Callable[[Sequence[Handler]], Wired]


class Transport:
    """
    A way for events from a publisher to a reader in another thread or process.

    Made by the publisher; pickled to the reader when that is a process. The receiver is opened
    before the first event is sent. Events arrive in order, and none is lost unless `may_lose`.
    """

    name: ClassVar[str]
    requires: ClassVar[str | None] = None
    #: The reader burns its core instead of sleeping.
    polls: ClassVar[bool] = False
    #: The publisher's other threads need the GIL while it waits for the next due time.
    yields: ClassVar[bool] = False
    #: A slow reader is overtaken instead of waited for, so the job's publisher must not run ahead.
    credit: ClassVar[bool] = False

    def __init__(self, capacity: int) -> None:
        """*capacity*: events that may be under way at once, where that is a setting."""
        self.capacity = capacity

    def sender(self) -> Callable[[float], object]:
        """Called in the publisher; the result sends one event with this value, built and stamped."""
        raise NotImplementedError

    def receiver(self) -> Callable[[float], Sequence[float]]:
        """Called in the reader; the result waits up to so many seconds, returns values read."""
        raise NotImplementedError

    def reader_notes(self) -> dict[str, float]:
        """Called in the reader after the last event: losses the transport itself counted."""
        return {}

    def close(self) -> None:
        """Called in the publisher, at the end."""


def installed(requires: str | None) -> bool:
    """Whether a peer can take part here."""
    return requires is None or importlib.util.find_spec(requires) is not None
