"""A member of a role: reads the events that the role wants, and acknowledges each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tickbus import _native
from tickbus.delivery import files, wire
from tickbus.delivery.loop import event_at
from tickbus.delivery.state import Kind
from tickbus.durable import Ack
from tickbus.errors import (
    BusClosedError,
    CursorLockedError,
    InvalidEventError,
    InvalidNameError,
    PatternError,
)
from tickbus.subscription import _LoopWaiter
from tickbus.taxonomy import Priority

if TYPE_CHECKING:
    from collections.abc import Callable

    from tickbus.bus import Bus, Wait

__all__ = ["RoleSubscription", "cursor_of"]

#: How long a member that stands by waits before it looks whether the active one has died.
_LOOK_S = 0.2
#: Acknowledgements after which the cursor is moved; those since are in the log as well.
_MOVE_EVERY = 64
#: Acknowledged sequences that are remembered, to pass over what comes again.
_REMEMBERED = 65_536
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}\Z")

#: As a plain number, which compares faster than a member of an enumeration.
_CRITICAL = int(Priority.CRITICAL)
_REDELIVER = wire.NUMBERS[Kind.REDELIVER]
_ACK = wire.NUMBERS[Kind.ACK]
_NAK = wire.NUMBERS[Kind.NAK]


def cursor_of(role: str) -> str:
    """Name of a role's durable cursor."""
    if not _NAME.match(role):
        raise InvalidNameError(f"role {role!r}: use 1 to 60 ASCII letters, digits, '-' or '_'")
    return f"role.{role}"


class RoleSubscription:
    """
    A member of a role; made by ``Delivery.subscribe``. It belongs to one thread at a time.

    Attributes:
        role: Its name.
        number: Its place among the role's members.
        attempt: Of the event handed out last, how often it has been handed out, this time included.
        redelivered: Whether the event handed out last may have been handed out before.
    """

    def __init__(
        self,
        bus: Bus,
        folder: Path,
        patterns: tuple[str, ...],
        role: str,
        *,
        ack: Ack,
        exclusive: bool,
        start: str,
        wait: Wait,
        known: Callable[[str], tuple[str, ...] | None],
        done: Callable[[int, str], bool],
    ) -> None:
        if ack not in ("auto", "manual"):
            raise InvalidEventError(f'ack={ack!r} is none of "auto", "manual"')
        if start not in ("latest", "earliest"):
            raise InvalidEventError(f'start={start!r} is none of "latest", "earliest"')
        for pattern in patterns:
            if pattern.partition(".")[0] not in ("risk", "critical"):
                raise PatternError(f"pattern {pattern!r}: a role reads risk and critical events only")
        _native.Matcher(bus, list(patterns))
        self._cursor_name = cursor_of(role)
        self.role = role
        self.attempt = 1
        self.redelivered = False
        self._bus = bus
        self._folder = folder
        self._patterns = patterns
        self._ack_mode = ack
        self._start = start
        self._wait = wait
        self._known = known
        self._done = done
        self._source = bus.source_id(role)
        #: By type and symbol: resolved once, since an acknowledgement is on the way of every event.
        self._publishers: dict[int, dict[int, Callable[..., int]]] = {_ACK: {}, _NAK: {}}
        self._cursor: _native.Cursor | None = None
        #: Handed out and not acknowledged: attempt and symbol, by sequence.
        self._open: dict[int, tuple[int, int]] = {}
        #: Of the active member: sequences of the first handing out that nobody has acknowledged.
        self._owed: dict[int, None] = {}
        self._acked: dict[int, None] = {}
        self._attempts: dict[int, int] = {}
        #: Sequences and attempts that were addressed to this member.
        self._again: deque[tuple[int, int]] = deque()
        self._was_again = False
        #: Where the lane of acknowledgements stood when the critical lane stood there.
        self._marks: deque[tuple[int, int]] = deque()
        self._taken_over_at = 0
        self._since_move = 0
        self._in_hand: int | None = None
        self._looked = 0.0
        self._closed = False
        self.repeated = 0
        self.gone = 0
        self._own = f"system.delivery_redeliver.{role}.>"
        self._acks = f"system.delivery_ack.{role}.>"
        member = files.Member.of(folder, role)
        self._member = member
        self.number = member.number
        try:
            self._subscription = bus.subscribe(self._own, wait=wait)
            self._records = bus.subscribe(self._own, self._acks)
            if not self._activate() and exclusive:
                _native.Cursor(bus, self._cursor_name, list(patterns), False).close()
        except BaseException:
            member.close()
            raise

    @property
    def active(self) -> bool:
        """Whether it is the member that gets events the first time."""
        return self._cursor is not None

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def poll(self, timeout_s: float | None = 0.0) -> _native.Event | None:
        """The next event; ``None`` when none comes within *timeout_s* seconds (``None``: wait for ever)."""
        self._acknowledge_in_hand()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wait = 0.0
        while True:
            self._catch_up()
            # In turns: neither first deliveries nor redeliveries keep the other waiting.
            if self._again and not self._was_again:
                taken = self._next_again()
                if taken is not None:
                    self._was_again = True
                    return taken
            self._was_again = False
            event = self._subscription.poll(wait)
            wait = 0.0
            if event is not None:
                taken = self._taken(event)
                if taken is not None:
                    return taken
            elif not self._again:
                wait = _LOOK_S if deadline is None else min(deadline - time.monotonic(), _LOOK_S)
                if wait <= 0:
                    return None
                self._look()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _native.Event:
        event = None
        while event is None:
            if self._over():
                raise StopIteration
            try:
                event = self.poll(_LOOK_S)
            except BusClosedError:
                if not self._over():
                    raise
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _native.Event:
        self._acknowledge_in_hand()
        while not self._over():
            event = self.poll()
            if event is not None:
                return event
            self._look()
            with contextlib.suppress(TimeoutError):
                # No event is taken while it waits: a task that is cancelled here loses none.
                await asyncio.wait_for(_LoopWaiter.of(self._bus).wait(self._subscription), _LOOK_S)
        raise StopAsyncIteration

    def ack(self, event: _native.Event) -> None:
        """
        Acknowledge *event* for the role. Safe to repeat.

        Raises:
            InvalidEventError: This member was not handed the event.
            BackpressureError, StalledError: The acknowledgement was not published.
        """
        sequence = self._sequence(event)
        if sequence in self._open:
            self._acknowledge(sequence)
        else:
            self.repeated += 1
        if self._in_hand == sequence:
            self._in_hand = None

    def nak(self, event: _native.Event, delay_s: float | None = None) -> None:
        """
        Refuse *event*: it is handed out again, perhaps to another member, after *delay_s* seconds or as
        its policy says.

        Raises:
            InvalidEventError: This member was not handed the event, or the delay is negative.
        """
        if delay_s is not None and not 0 <= delay_s < float("inf"):
            raise InvalidEventError(f"delay_s={delay_s} is no number of seconds")
        sequence = self._sequence(event)
        if sequence not in self._open:
            self.repeated += 1
            return
        _, symbol = self._open.pop(sequence)
        self._publish(_NAK, sequence, -1.0 if delay_s is None else delay_s, symbol)
        if self._in_hand == sequence:
            self._in_hand = None

    def close(self) -> None:
        """Leave the role to its other members. Acknowledges nothing. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        if self._cursor is not None and not self._bus.closed:
            self._move()
        self._subscription.close()
        self._records.close()
        if self._cursor is not None:
            self._cursor.close()
        self._member.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "active" if self.active else "standing by"
        return f"<RoleSubscription {self.role} {state}>"

    def _over(self) -> bool:
        return self._closed or self._bus.closed

    def _look(self) -> None:
        """Become the active member if that one has died; move the cursor when there is time."""
        if self._cursor is not None:
            if self._since_move and not self._owed:
                self._move()
            return
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._activate()
            self._looked = time.monotonic()

    def _activate(self) -> bool:
        bus = self._bus
        try:
            cursor = _native.Cursor(bus, self._cursor_name, list(self._patterns), False)
        except CursorLockedError:
            return False
        try:
            was_known = self._register()
            resume = cursor.resume
            start: str | dict[str, int] = self._start
            if resume is not None:
                normal, high, critical = resume[0]
                start = {"normal": normal << 2, "high": high << 2 | 1, "critical": critical << 2 | 2}
            # A cursor that was not synced can be lost with the machine, when the log still knows the role.
            begins = resume is None and not was_known
            self._taken_over_at = 0 if begins else _native.bus_places(bus)[2]
            subscription = bus.subscribe(*self._patterns, self._own, start=start, wait=self._wait)
            records = bus.subscribe(self._own, self._acks, start=start)
            if resume is None:
                cursor.set(subscription._next())
        except BaseException:
            cursor.close()
            raise
        self._subscription.close()
        self._records.close()
        self._subscription, self._records = subscription, records
        # What was addressed to this member, or to one in its place before, comes again from the lane.
        self._again.clear()
        while events := records.drain():
            for event in events:
                self._remember(event)
        places = subscription._next()
        self._marks.append((places[2], places[0]))
        self._cursor = cursor
        return True

    def _register(self) -> bool:
        """Say in the log what the role wants, if it does not say so yet; whether it knew the role."""
        known = self._known(self.role)
        if known != self._patterns:
            self._bus.publish(
                wire.NUMBERS[Kind.ROLE],
                0,
                1.0,
                source=self._source,
                payload=json.dumps({"patterns": self._patterns}).encode(),
                priority=Priority.CRITICAL,
            )
        return known is not None

    def _catch_up(self) -> None:
        """Read what the log says about the role's events, so that none is handed out that is done."""
        while (event := self._records.poll()) is not None:
            self._remember(event)
            if event.event_type == _REDELIVER:
                attempt, member = wire.unpack_attempt(event.value)
                if member == self.number:
                    self._again.append((event.metadata, attempt))

    def _remember(self, event: _native.Event) -> None:
        """Take in what the log says about the role's events."""
        sequence = event.metadata
        if event.event_type == _ACK:
            if sequence not in self._acked and sequence >= _native.bus_places(self._bus)[2]:
                # About an event that nobody has published: it would hide the one that comes.
                return
            self._acked[sequence] = None
            self._owed.pop(sequence, None)
            if len(self._acked) > _REMEMBERED:
                del self._acked[next(iter(self._acked))]
        else:
            attempt, _ = wire.unpack_attempt(event.value)
            self._attempts[sequence] = max(attempt, self._attempts.get(sequence, 1))
            if len(self._attempts) > _REMEMBERED:
                del self._attempts[next(iter(self._attempts))]

    def _taken(self, event: _native.Event) -> _native.Event | None:
        """What to hand out for an event that was read."""
        if event.event_type == _REDELIVER:
            # It has woken this member; the records have been, or will be, read with the others.
            return None
        if event.priority != _CRITICAL:
            return None
        sequence = event.sequence
        assert sequence is not None, "delivered events have a sequence"
        if sequence in self._acked:
            return None
        self._owed[sequence] = None
        # Another member may have been handed it by the loop while nobody had read it here.
        redelivered = sequence < self._taken_over_at or sequence in self._attempts
        attempt = self._attempts.get(sequence, 1) + 1 if redelivered else 1
        return self._hand_out(event, sequence, attempt, redelivered)

    def _next_again(self) -> _native.Event | None:
        """The event of the next redelivery that is still wanted."""
        while self._again:
            sequence, attempt = self._again.popleft()
            in_hand = self._open.get(sequence)
            if sequence in self._acked or (in_hand is not None and attempt < in_hand[0]):
                continue
            # This member may have come after the acknowledgement, and the loop not have read it yet.
            if self._done(sequence, self.role):
                continue
            event = event_at(self._bus, sequence << 2 | 2)
            if event is not None:
                return self._hand_out(event, sequence, attempt, redelivered=True)
            self.gone += 1
        return None

    def _hand_out(
        self, event: _native.Event, sequence: int, attempt: int, redelivered: bool
    ) -> _native.Event:
        self._open[sequence] = (attempt, event.symbol_id)
        self.attempt = attempt
        self.redelivered = redelivered
        self._in_hand = sequence
        return event

    def _sequence(self, event: _native.Event) -> int:
        sequence = event.sequence
        if sequence is None or event.priority != _CRITICAL:
            raise InvalidEventError(f"{event!r} is no event of the critical lane")
        if sequence not in self._open and sequence not in self._acked:
            raise InvalidEventError(f"{event!r} was not handed to {self!r}")
        return sequence

    def _acknowledge_in_hand(self) -> None:
        if self._in_hand is not None:
            sequence, self._in_hand = self._in_hand, None
            if self._ack_mode == "auto" and sequence in self._open:
                self._acknowledge(sequence)

    def _acknowledge(self, sequence: int) -> None:
        attempt, symbol = self._open[sequence]
        self._publish(_ACK, sequence, float(attempt), symbol)
        # Published first: an acknowledgement that raised can be tried again.
        del self._open[sequence]
        self._acked[sequence] = None
        self._owed.pop(sequence, None)
        if len(self._acked) > _REMEMBERED:
            del self._acked[next(iter(self._acked))]
        self._since_move += 1
        if self._since_move >= _MOVE_EVERY and self._cursor is not None:
            self._move()

    def _publish(self, number: int, sequence: int, value: float, symbol: int) -> None:
        publishers = self._publishers[number]
        publish = publishers.get(symbol)
        if publish is None:
            publish = self._bus.publisher(number, symbol, source=self._source, priority=Priority.NORMAL)
            publishers[symbol] = publish
        publish(value, sequence)

    def _move(self) -> None:
        """
        Move the cursor to what is still owed.

        Acknowledgements of what follows are read again when another member takes over, so the place
        in their lane is one from before the first event that is owed was handed out.
        """
        assert self._cursor is not None, "only the active member has it"
        _, high, critical = self._subscription._next()
        normal = self._records._next()[0]
        low = min(self._owed, default=critical)
        self._marks.append((critical, normal))
        while len(self._marks) > 1 and self._marks[1][0] <= low:
            self._marks.popleft()
        self._cursor.set((self._marks[0][1], high, low))
        self._since_move = 0
