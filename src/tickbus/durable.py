"""
Durable subscriptions: they go on where they were, after a restart or a ``kill -9``.

    for event in bus.subscribe("risk.>", durable="risk-engine"):
        handle(event)

What is acknowledged is remembered by name in the journal's directory, as the next sequence of each
lane. ``docs/parts/bus.md`` says what that promises, ``tickbus.journal.cursors`` lists the names.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, Self

from tickbus import _native
from tickbus.errors import BusClosedError, InvalidEventError
from tickbus.subscription import Subscription

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tickbus.bus import Bus

__all__ = ["Ack", "CursorLevel", "DurableSubscription"]

Ack = Literal["auto", "manual"]
CursorLevel = Literal["os", "disk"]

#: Of start=: an id, a word, a time or a position, as the native half takes it.
_Start = str | int | tuple[int] | tuple[int, int, int]

_LANES = ("normal", "high", "critical")

_log = logging.getLogger("tickbus")


class DurableSubscription(Subscription):
    """
    A subscription that continues where it was; made by ``Bus.subscribe(..., durable=name)``.

    Attributes:
        durable: Its name.
        ack_mode: "auto" or "manual".
        resumed: Whether it went on where an earlier one of its name had been.
        unlogged: By lane, acknowledged events that the log no longer has; see ``docs/parts/bus.md``.
    """

    durable: str
    ack_mode: Ack
    resumed: bool
    unlogged: dict[str, int]
    _cursor: _native.Cursor
    #: By lane number: the next sequence not acknowledged, and the next not handed out.
    _acked: list[int]
    _handed: list[int]
    #: By lane number, how many were handed out.
    _delivered: list[int]
    #: Odd while a read is under way: then only what has been handed out can be acknowledged.
    _reads: int

    def __new__(
        cls,
        bus: Bus,
        patterns: list[str],
        start: _Start,
        wait: str,
        gating: bool | None,
        cursor: _native.Cursor,
        name: str,
        ack: Ack,
    ) -> Self:
        """The native half knows nothing of cursors."""
        return super().__new__(cls, bus, patterns, start, wait, gating)

    def __init__(
        self,
        bus: Bus,
        patterns: list[str],
        start: _Start,
        wait: str,
        gating: bool | None,
        cursor: _native.Cursor,
        name: str,
        ack: Ack,
    ) -> None:
        super().__init__(bus, patterns, start, wait, gating)
        self.durable = name
        self.ack_mode = ack
        self.resumed = False
        self.unlogged = dict.fromkeys(_LANES, 0)
        self._cursor = cursor
        self._acked = list(self._next())
        self._handed = list(self._acked)
        self._delivered = [0, 0, 0]
        self._reads = 0

    def ack(self, event: _native.Event | None = None) -> None:
        """
        Acknowledge *event* and all before it in its lane, or all that has been handed out so far.

        What is acknowledged is not handed out again, also after a crash. Safe to repeat.

        Raises:
            InvalidEventError: This subscription has not handed out the event.
            BusClosedError: The subscription is closed.
            OSError: The cursor's file cannot be written; nothing is acknowledged.
        """
        if self.closed:
            raise BusClosedError("the subscription is closed")
        if event is None:
            self._acknowledge(self._passed())
            return
        number = event.id
        if number is None:
            raise InvalidEventError("an event that has not been published cannot be acknowledged")
        lane, sequence = number & 3, number >> 2
        if sequence >= self._handed[lane]:
            raise InvalidEventError(f"{event!r} has not been handed out by {self!r}")
        passed, following = self._passed(), list(self._acked)
        following[lane] = max(sequence + 1, following[lane])
        for other in range(len(_LANES)):
            # What it did not want is acknowledged with what came before, or it would be kept for ever.
            if following[other] >= self._handed[other]:
                following[other] = max(passed[other], following[other])
        self._acknowledge(following)

    @property
    def unacknowledged(self) -> dict[str, int]:
        """By lane, the sequences passed and not yet acknowledged, whether they matched or not."""
        return {
            name: passed - acked
            for name, passed, acked in zip(_LANES, self._passed(), self._acked, strict=True)
        }

    def poll(self, timeout_s: float | None = 0.0) -> _native.Event | None:
        """As ``Subscription.poll``."""
        self._begin()
        try:
            event = super().poll(timeout_s)
            if event is not None:
                self._note(event)
            return event
        finally:
            self._reads += 1

    def __next__(self) -> _native.Event:
        self._begin()
        try:
            event = super().__next__()
            self._note(event)
            return event
        finally:
            self._reads += 1

    def drain(self, max: int = 4096) -> list[_native.Event]:
        """As ``Subscription.drain``."""
        self._begin()
        try:
            events = super().drain(max)
            self._note_all()
            return events
        finally:
            self._reads += 1

    def read_batch(self, max: int = 4096, out: NDArray[np.void] | None = None) -> NDArray[np.void]:
        """As ``Subscription.read_batch``."""
        self._begin()
        try:
            rows = super().read_batch(max, out)
            self._note_all()
            return rows
        finally:
            self._reads += 1

    def close(self) -> None:
        """End the subscription; another may have its name then. Acknowledges nothing. Safe to repeat."""
        super().close()
        self._cursor.close()

    def _begin(self) -> None:
        if self.ack_mode == "auto":
            self._acknowledge(self._next())
        self._reads += 1

    def _note(self, event: _native.Event) -> None:
        number = event.id
        assert number is not None, "delivered events have an id"
        self._handed[number & 3] = (number >> 2) + 1
        self._delivered[number & 3] += 1

    def _note_all(self) -> None:
        """Of several events: only lanes that gave one have something to acknowledge."""
        books, following = self.ledger(), self._next()
        for lane, name in enumerate(_LANES):
            if books[name]["delivered"] != self._delivered[lane]:
                self._delivered[lane] = books[name]["delivered"]
                self._handed[lane] = following[lane]

    def _passed(self) -> list[int] | tuple[int, int, int]:
        """
        By lane number, what follows everything handed out.

        Between two reads that is where the subscription stands, behind what it did not want. While
        another thread reads, the event it is about to get may be in there already.
        """
        reads = self._reads
        passed = self._next()
        if reads & 1 or self._reads != reads:
            return [max(pair) for pair in zip(self._handed, self._acked, strict=True)]
        return passed

    def _acknowledge(self, following: list[int] | tuple[int, int, int]) -> None:
        following = list(following)
        if following != self._acked:
            self._cursor.set((following[0], following[1], following[2]))
            self._acked = following

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<DurableSubscription {self.durable} {state}>"


def subscribe(
    bus: Bus,
    patterns: list[str],
    start: _Start,
    wait: str,
    gating: bool | None,
    name: str,
    ack: Ack,
    level: CursorLevel,
) -> DurableSubscription:
    """What ``Bus.subscribe(durable=name)`` does."""
    if ack not in ("auto", "manual"):
        raise InvalidEventError(f'ack={ack!r} is none of "auto", "manual"')
    if level not in ("os", "disk"):
        raise InvalidEventError(f'cursor={level!r} is none of "os", "disk"')
    cursor = _native.Cursor(bus, name, patterns, level == "disk")
    try:
        resume = cursor.resume
        if resume is not None:
            start = resume[0]
        subscription = DurableSubscription(bus, patterns, start, wait, gating, cursor, name, ack)
        if resume is None:
            # From here on it is continued, also when nothing is acknowledged before the first crash.
            cursor.set(subscription._next())
        else:
            subscription.resumed = True
            subscription.unlogged = dict(zip(_LANES, resume[1], strict=True))
    except BaseException:
        cursor.close()
        raise
    if any(subscription.unlogged.values()):
        _log.warning(
            "durable subscription %r had acknowledged more events than the log has (%s): the log was "
            "restored from a copy, or lost its end; it continues where this run of the bus began",
            name,
            ", ".join(f"{lane} {count}" for lane, count in subscription.unlogged.items() if count),
        )
    return subscription
