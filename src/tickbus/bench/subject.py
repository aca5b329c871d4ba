"""
tickbus as a contender: the same two contracts its peers fulfil, through its public interface only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import tickbus as tb
from tickbus.bench.peers.contract import Handler, Transport, Wired
from tickbus.bench.timing import Loop

SYMBOL = "BTC-USDT"
PATTERN = "market.price_update.*.BTC-USDT"
KIND = tb.EventType.PRICE_UPDATE

_numbers = count()


def bus_name(purpose: str) -> str:
    """A shared bus's name that no other benchmark uses at the same time."""
    return f"bench-{purpose}-{os.getpid()}-{next(_numbers)}"


def wire(handlers: Sequence[Handler]) -> Wired:
    """``bus.publish(type, symbol, value)`` to inline handlers."""
    bus = tb.Bus()
    for handler in handlers:
        bus.on(PATTERN)(handler)
    loop = Loop("publish(kind, symbol, 1.5)", publish=bus.publish, kind=KIND, symbol=SYMBOL)
    return Wired(lambda value: bus.publish(KIND, SYMBOL, value), loop.ns, bus.close)


def wire_publisher(handlers: Sequence[Handler]) -> Wired:
    """``bus.publisher(type, symbol)`` to inline handlers: for hot loops."""
    bus = tb.Bus()
    for handler in handlers:
        bus.on(PATTERN)(handler)
    publish = bus.publisher(KIND, SYMBOL)
    return Wired(publish, Loop("publish(1.5)", publish=publish).ns, bus.close)


class BusTransport(Transport):
    """
    One publisher to one subscription on the high lane.

    Events of the high lane are overwritten when a reader falls a whole lane behind, and then
    counted. The job's publisher therefore waits while the reader is more than half a lane behind
    (`credit`), as a lossless feed would; ``missed`` is reported and must be 0.
    """

    name = "tickbus"
    credit = True

    def __init__(self, capacity: int, *, wait: str = "adaptive", name: str | None = None) -> None:
        super().__init__(capacity)
        self._wait = wait
        self._name = name
        self._bus: Any = tb.Bus(name, high_size=capacity)
        self._subscription: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_bus": None, "_subscription": None}

    def sender(self) -> Callable[[float], object]:
        publisher: Callable[[float], object] = self._bus.publisher(KIND, SYMBOL)
        return publisher

    def receiver(self) -> Callable[[float], Sequence[float]]:
        if self._bus is None:
            self._bus = tb.Bus(self._name)
        self._subscription = self._bus.subscribe("market.>", wait=self._wait)
        drain, poll = self._subscription.drain, self._subscription.poll

        def receive(timeout_s: float) -> Sequence[float]:
            events = drain(1_000)
            if events:
                return [event.value for event in events]
            event = poll(timeout_s)
            return () if event is None else (event.value,)

        return receive

    def reader_notes(self) -> dict[str, float]:
        ledger = self._subscription.ledger()["high"]
        accounted = sum(ledger[key] for key in ("delivered", "filtered", "missed", "pending"))
        return {"missed": ledger["missed"], "ledger_off_by": ledger["published"] - accounted}

    def close(self) -> None:
        self._bus.close()


class PlainPublishTransport(BusTransport):
    """The same with ``bus.publish(type, symbol, value)`` for each event."""

    name = "tickbus, bus.publish"

    def sender(self) -> Callable[[float], object]:
        publish = self._bus.publish
        return lambda value: publish(KIND, SYMBOL, value)
