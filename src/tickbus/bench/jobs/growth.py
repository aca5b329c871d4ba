"""
What 1, 10, 100 and 1,000 subscriptions cost a publisher, in ns per publish.

- growth.unmatched, growth.matched: subscriptions that read for themselves (`bus.subscribe`). A
  broadcast ring is written once, so neither should cost anything.
- growth.handlers_unmatched: inline handlers (`bus.on`) whose pattern does not match.
- growth.handlers_matched: inline handlers that match, **per handler**: linear means this is flat.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tickbus as tb
from tickbus.bench.jobs.dispatch import wire_floor
from tickbus.bench.jobs.support import check_dispatch, expect, make_handler, ns_case, with_floor
from tickbus.bench.model import Absent, Case, Kind, Options
from tickbus.bench.subject import KIND, PATTERN, SYMBOL
from tickbus.bench.timing import Loop

SIZES = (1, 10, 100, 1_000)
ELSEWHERE = "trading.order_filled.*.ETH-*"


def _subscribe(pattern: str) -> Callable[[tb.Bus, int], None]:
    def attach(bus: tb.Bus, size: int) -> None:
        for _ in range(size):
            bus.subscribe(pattern)

    return attach


def _handle(pattern: str) -> Callable[[tb.Bus, int], None]:
    def attach(bus: tb.Bus, size: int) -> None:
        for _ in range(size):
            bus.on(pattern)(make_handler())

    return attach


def cases(options: Options) -> list[Case | Absent]:
    publishes = options.count(300_000)
    found: list[Case | Absent] = []
    for size in SIZES:
        name = f"tickbus, {size}"
        for figure, attach in (
            ("growth.unmatched", _subscribe(ELSEWHERE)),
            ("growth.matched", _subscribe(PATTERN)),
            ("growth.handlers_unmatched", _handle(ELSEWHERE)),
        ):
            found.append(_case(figure, name, attach, size, publishes, per=1))
        calls = max(10, publishes // size)
        found.append(_case("growth.handlers_matched", name, _handle(PATTERN), size, calls, per=size))
        make_floor = partial(_floor, f"floor: C, {size}", size, calls)
        found.append(with_floor("growth.handlers_matched", f"floor: C, {size}", make_floor))
    return found


def _floor(name: str, size: int, calls: int) -> Case:
    """A thousand different functions miss the caches whoever calls them: so does the floor."""
    wired = wire_floor(True, [make_handler() for _ in range(size)])
    return ns_case(
        "growth.handlers_matched",
        name,
        Kind.FLOOR,
        lambda: wired.ns(calls) / size,
        lambda: check_dispatch(partial(wire_floor, True), size),
        wired.close,
    )


def _case(
    figure: str, name: str, attach: Callable[[tb.Bus, int], None], size: int, publishes: int, *, per: int
) -> Case | Absent:
    bus = tb.Bus()
    try:
        attach(bus, size)
    except tb.errors.CapacityError as error:
        bus.close()
        return Absent(figure, name, str(error))
    loop = Loop("publish(1.5)", publish=bus.publisher(KIND, SYMBOL))
    return ns_case(figure, name, Kind.SUBJECT, lambda: loop.ns(publishes) / per, _check, bus.close)


def _check() -> None:
    """A handler elsewhere hears nothing, one here hears every event."""
    here: list[float] = []
    elsewhere: list[float] = []
    with tb.Bus() as bus:
        bus.on(PATTERN)(lambda event: here.append(event.value))
        bus.on(ELSEWHERE)(lambda event: elsewhere.append(event.value))
        for value in (1.0, 2.0):
            bus.publish(KIND, SYMBOL, value)
    expect("values the matching handler received", [1.0, 2.0], here)
    expect("values the other handler received", [], elsewhere)
