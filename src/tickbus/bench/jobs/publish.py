"""
publish.one: one event from Python, typed, stamped with the clock, on a bus nobody reads.

``tickbus`` is ``bus.publish(type, symbol, value)`` with the symbol as text, as one writes it; the
variants are the symbol's id, and ``bus.publisher`` for hot loops. The floor stores 32 bytes.
"""

from __future__ import annotations

from functools import partial

import tickbus as tb
from tickbus.bench import floor
from tickbus.bench.jobs.support import expect, ns_case, with_floor
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options
from tickbus.bench.peers import python_ring
from tickbus.bench.subject import KIND, SYMBOL
from tickbus.bench.targets import FLOOR, FLOOR_STAMPED
from tickbus.bench.timing import Loop

FIGURE = "publish.one"


def cases(options: Options) -> list[Case | Absent]:
    count = options.count(1_000_000)
    bus = tb.Bus()
    symbol_id = bus.symbol_id(SYMBOL)
    publisher = bus.publisher(KIND, SYMBOL)

    def by_symbol(symbol: str | int) -> Loop:
        return Loop("publish(kind, symbol, 1.5)", publish=bus.publish, kind=KIND, symbol=symbol)

    found: list[Case | Absent] = [
        _subject(TICKBUS, by_symbol(SYMBOL), count),
        _subject("tickbus, symbol id", by_symbol(symbol_id), count),
        _subject("tickbus, bus.publisher", Loop("publish(1.5)", publish=publisher), count),
        with_floor(FIGURE, FLOOR, partial(_floor, FLOOR, "publish", count)),
        with_floor(FIGURE, FLOOR_STAMPED, partial(_floor, FLOOR_STAMPED, "publish_stamped", count)),
    ]
    if options.peers:
        found.append(_python_ring(count))
    return found


def _subject(name: str, loop: Loop, count: int) -> Case:
    return ns_case(FIGURE, name, Kind.SUBJECT, lambda: loop.ns(count), _check)


def _check() -> None:
    """What is published is read back: type, symbol, value, a stamp, the id."""
    with tb.Bus() as bus:
        subscription = bus.subscribe("market.>")
        event_id = bus.publish(KIND, SYMBOL, 1.5)
        event = subscription.poll()
        expect("an event", True, event is not None)
        assert event is not None
        expect(
            "the event read back",
            (int(KIND), SYMBOL, 1.5, event_id, True),
            (event.event_type, event.symbol, event.value, event.id, event.timestamp > 0),
        )


def _floor(name: str, function: str, count: int) -> Case:
    extension = floor.extension()
    loop = Loop("publish(0, 1, 1.5)", publish=getattr(extension, function))

    def check() -> None:
        extension.rewind(0)
        getattr(extension, function)(3, 4, 2.5)
        event = extension.drain(10)[0]
        expect("the event read back", (3, 4, 2.5), (event.event_type, event.symbol, event.value))

    return ns_case(FIGURE, name, Kind.FLOOR, lambda: loop.ns(count), check)


def _python_ring(count: int) -> Case:
    """The pure-Python ring's publish; its reader keeps up by never being asked."""
    ring = python_ring.RingTransport(0)
    send, receive = ring.sender(), ring.receiver()
    batch = min(count, python_ring.SLOTS)
    loop = Loop("send(1.5)", send=send)

    def take_all() -> list[float]:
        taken: list[float] = []
        while values := receive(0.0):
            taken.extend(values)
        return taken

    def check() -> None:
        for value in (1.0, 2.0):
            send(value)
        expect("values read back", [1.0, 2.0], take_all())

    def ns() -> float:
        take_all()
        return loop.ns(batch)

    return ns_case(FIGURE, ring.name, Kind.PEER, ns, check, ring.close)
