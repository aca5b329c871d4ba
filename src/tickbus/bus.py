"""
The bus: publish, react, subscribe.

    bus = Bus()              events stay in this process
    bus = Bus("desk")        every process of this user that opens "desk" shares them

Publishing and inline handlers are native (``tickbus._native``); here stands what happens once per
subscription. A bus is open until ``close`` or the end of a ``with`` block, and does not survive a
fork: a child that uses its parent's handle gets BusForkedError and opens the bus again by name.
"""

from __future__ import annotations

import atexit
import inspect
import os
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

from tickbus import _native
from tickbus import durable as _durable
from tickbus.durable import Ack, CursorLevel, DurableSubscription
from tickbus.errors import JournalError, StartError
from tickbus.journal import Journal
from tickbus.receipts import Deliverer, Receipt, Result
from tickbus.subscription import Subscription

__all__ = ["Bus", "Wait"]

Wait = Literal["adaptive", "spin", "yield", "sleep"]

_LANES = ("normal", "high", "critical")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Handler = TypeVar("_Handler", bound=Callable[[_native.Event], object])

# Handles opened before a fork must not be used in the child: both would write to one staging area.
os.register_at_fork(after_in_child=_native._after_fork)

_open: weakref.WeakSet[Bus] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A program that ends without closing its bus should not leave shared memory behind.
    for bus in list(_open):
        bus.close()


class Bus(_native.Bus):
    """
    An event bus with three lanes: critical, high and normal.

    Args:
        name: Share the bus between processes under this name: letters, digits, ``-`` and ``_``.
            Without one it is private to this process.
        critical_size, high_size, normal_size: Events per lane, a power of two from 64; by default
            4,096, 65,536 and 65,536. A bus that exists keeps its own, and asking for others raises.
        payload_bytes: Size of the ring that payloads live in; 1 MiB by default.
        allow_nan: Publish NaN values instead of refusing them.
        critical_timeout_s: Seconds a critical publish waits for a slow subscriber.
        source: What events come from when ``publish`` does not say.
        create: False: raise when no bus runs under the name, instead of making one.
        journal: Keep every event in this directory, or as a :class:`tickbus.journal.Journal` says.
            Critical events are then persisted before anybody sees them, and a subscription that
            was overtaken, or starts in the past, reads the journal. Only one handle of a named bus
            gives it; the others find it. The lanes go on where the journal ends.
    Raises:
        JournalLockedError: Another process writes to the journal.
        CorruptJournalError, MissingSegmentError: It is damaged; nothing has been changed.
        JournalError: It belongs to another bus than the one that runs under this name.
        LayoutError: The name belongs to a bus of another version or of other sizes.
        BusOwnerError: The name belongs to another user.
        CapacityError: No room in shared memory, or too many participants.
        InvalidNameError, InvalidSizeError: The name or a size is none.
        UnknownNameError: With ``create=False``: no bus runs under the name.
    """

    def __new__(
        cls,
        name: str | None = None,
        *,
        journal: Journal | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> Self:
        """The native half is made here, so the journal has to be known here."""
        figures = None if journal is None else Journal.of(journal)._options()
        return super().__new__(cls, name, journal=figures, **options)

    def __init__(
        self,
        name: str | None = None,
        *,
        journal: Journal | str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self._subscriptions: weakref.WeakSet[Subscription] = weakref.WeakSet()
        self._options = options
        self._handlers: list[_native.HandlerHandle] = []
        self._deliverer: Deliverer | None = None
        _open.add(self)

    @overload
    def subscribe(
        self,
        *patterns: str,
        start: str | int | datetime | Mapping[str, int] = ...,
        wait: Wait = ...,
        lossy: bool | None = ...,
        durable: None = ...,
    ) -> Subscription: ...
    @overload
    def subscribe(
        self,
        *patterns: str,
        start: str | int | datetime | Mapping[str, int] = ...,
        wait: Wait = ...,
        lossy: bool | None = ...,
        durable: str,
        ack: Ack = ...,
        cursor: CursorLevel = ...,
    ) -> DurableSubscription: ...
    def subscribe(
        self,
        *patterns: str,
        start: str | int | datetime | Mapping[str, int] = "latest",
        wait: Wait = "adaptive",
        lossy: bool | None = None,
        durable: str | None = None,
        ack: Ack = "auto",
        cursor: CursorLevel = "os",
    ) -> Subscription:
        """
        Read the events that match any of *patterns*, in any thread or process.

        Args:
            patterns: ``category.type.source.symbol``; ``*`` is one level, ``>`` the rest, and the
                symbol may be a glob: ``market.*.binance.BTC-*``.
            start: "latest" (the next event), "earliest" (the oldest still there, or in the journal),
                an event id, another subscription's ``position``, or a time with its zone: the first
                event from then on, in the journal.
            wait: How to wait: "spin" burns a core for the lowest latency, "sleep" costs a wake-up of
                some 40 us, "adaptive" spins for 20 us first, "yield" spins politely.
            lossy: Do not hold back publishers of critical events for this reader. By default only
                readers whose patterns match neither risk nor critical types are lossy.
            durable: A name under which to continue in any later run, from the journal, where this
                one was: ``start`` counts only the first time. One subscription at a time has it.
            ack: Of a durable one, when events are acknowledged: by the next read ("auto"), or by
                ``ack()`` ("manual"). What was not is handed out again.
            cursor: What acknowledging survives: this process's death ("os") or the machine's too
                ("disk", a sync each time).
        Raises:
            PatternError: A pattern is malformed or can match nothing.
            StartError: The start has not been published, or is none.
            CapacityError: Too many subscriptions.
            JournalError: A durable one, and nobody keeps a journal of this bus.
            CursorLockedError: The durable name is in use; ``pid`` says by which process.
            CursorError: Its cursor is damaged, or belongs to another journal.
        """
        gating = None if lossy is None else not lossy
        native_start = _native_start(start)
        subscription: Subscription
        if durable is None:
            subscription = Subscription(self, list(patterns), native_start, wait, gating)
        else:
            subscription = _durable.subscribe(
                self, list(patterns), native_start, wait, gating, durable, ack, cursor
            )
        self._subscriptions.add(subscription)
        return subscription

    def publish_critical(
        self,
        event_type: int,
        symbol: str | int,
        value: float,
        *,
        metadata: int | None = None,
        source: str | int | None = None,
        timestamp: int | None = None,
        payload: bytes | None = None,
        timeout_s: float = 1.0,
    ) -> Receipt:
        """
        Publish an event that ``tickbus.delivery`` follows until it is acknowledged.

        Returns when it is persisted; the receipt says, or waits for, what became of it. Needs a
        ``Delivery(bus)``, whose method of this name has the details.

        Raises:
            JournalError: No delivery has been opened on this bus object.
        """
        return self._followed_by().publish_critical(
            event_type,
            symbol,
            value,
            metadata=metadata,
            source=source,
            timestamp=timestamp,
            payload=payload,
            timeout_s=timeout_s,
        )

    def wait_ack(self, event_id: int, timeout_s: float | None = None) -> Result:
        """
        Wait for the outcome of a critical event, whoever published it, in this run or an earlier one.

        Raises:
            JournalError: No delivery has been opened on this bus object.
            InvalidEventError: It is no event that is followed.
        """
        return self._followed_by().wait_ack(event_id, timeout_s)

    def _followed_by(self) -> Deliverer:
        if self._deliverer is None:
            raise JournalError(
                "nobody follows this bus's critical events: open tickbus.delivery.Delivery(bus)"
            )
        return self._deliverer

    def on(self, *patterns: str) -> Callable[[_Handler], _Handler]:
        """
        Call the decorated function with every matching event published through this object.

        It runs in the publisher's thread before ``publish`` returns. Events of other processes come
        through ``subscribe``. What a handler publishes is on the bus at once; its handlers run when
        the current event's are done, critical events first. A handler that raises is logged with its
        event and counted, and the others run. The decorated function is returned unchanged;
        ``handlers`` lists the registrations and ``off`` removes them.

        Raises:
            PatternError: A pattern is malformed or can match nothing.
            TypeError: A pattern is no text, or the function is a coroutine function.
        """
        if any(not isinstance(pattern, str) for pattern in patterns):
            raise TypeError('bus.on takes patterns, as in @bus.on("risk.>")')

        def register(handler: _Handler) -> _Handler:
            if inspect.iscoroutinefunction(handler):
                raise TypeError(
                    f"{handler!r} is a coroutine function, and inline handlers are called and not "
                    "awaited; use `async for event in bus.subscribe(...)`"
                )
            self._handlers.append(self._add_handler(list(patterns), handler))
            return handler

        return register

    def off(self, handler: Callable[[_native.Event], object]) -> None:
        """
        Stop calling *handler*, however often it was registered.

        Raises:
            LookupError: It is not registered.
        """
        registered = [one for one in self._handlers if one.handler == handler]
        if not registered:
            raise LookupError(f"{handler!r} is not registered on this bus")
        for one in registered:
            one.close()
            self._handlers.remove(one)

    @property
    def handlers(self) -> tuple[_native.HandlerHandle, ...]:
        """The inline handlers, with their counts."""
        return tuple(self._handlers)

    def stats(self) -> dict[str, Any]:
        """
        Figures of the bus: lanes with their counters, names, participants, this object's readers.

        ``lanes`` by name: published, capacity, stalled (publishes given up behind a stopped process),
        repaired (publishes of dead processes completed by others), spilled (batches or events that
        used the critical reserve), refused, waited. ``subscriptions`` and ``handlers`` are this
        object's own, with their ledgers. ``journaled`` says of the bus's journal, whoever keeps it: state
        ("none", "live", "full", "failed"), pid, path, whether critical events are persisted before they
        are seen (``persisted_first``), and by lane how many events are not in it yet.
        ``journal`` has the figures of the journal that this object
        keeps: positions, segments and bytes by form, what was sealed, packed and removed, what fails;
        None when it keeps none.
        """
        stats = self._stats()
        stats["journal"] = None if self.journal is None else self.journal.stats()
        stats["subscriptions"] = [
            {"patterns": one.patterns, "ledger": one.ledger()}
            for one in self._subscriptions
            if not one.closed
        ]
        stats["handlers"] = [
            {
                "handler": getattr(one.handler, "__qualname__", repr(one.handler)),
                "published": one.published,
                "delivered": one.delivered,
                "filtered": one.published - one.delivered,
                "errors": one.errors,
            }
            for one in self._handlers
        ]
        return stats

    def readers(self) -> list[dict[str, Any]]:
        """
        The readers of all processes on the bus but the journal's: ``number``, ``pid``, ``gates`` (the lanes
        whose publishers wait for it) and ``lanes``, a ledger each. Patterns are known to their process only.
        """
        return _native.bus_readers(self)

    def close(self) -> None:
        """Leave the bus: subscriptions end, and the last to leave a named bus removes it. Safe to repeat."""
        for subscription in list(self._subscriptions):
            subscription.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., Bus], tuple[str, dict[str, Any]]]:
        """
        A named bus is pickled by its name and options, as an argument of a spawned process. The
        journal stays with this one.
        """
        if self.name is None:
            raise TypeError("a private bus cannot be sent to another process; give it a name")
        return _reopen, (self.name, self._options)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Bus {self.name or '(private)'} {state}>"


def _native_start(
    start: str | int | datetime | Mapping[str, int],
) -> str | int | tuple[int] | tuple[int, int, int]:
    """A time goes as nanoseconds in a tuple, to tell it from an id; a position as three sequences."""
    if isinstance(start, Mapping):
        if set(start) != set(_LANES):
            raise StartError(f"start={start!r} has not the ids of all lanes: {', '.join(_LANES)}")
        return start["normal"] >> 2, start["high"] >> 2, start["critical"] >> 2
    if not isinstance(start, datetime):
        return start
    if start.tzinfo is None:
        raise StartError(f"start={start!r} has no time zone; say which time is meant, for example UTC")
    whole = (start - _EPOCH) // timedelta(microseconds=1)
    return (max(whole, 0) * 1000,)


def _reopen(name: str, options: dict[str, Any]) -> Bus:
    return Bus(name, **options)
