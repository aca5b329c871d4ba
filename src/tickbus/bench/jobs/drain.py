"""
drain.list: events waiting on a lane -> a list of 1,000 Python objects, per event.
drain.read: the same, then reading `.value` of each in a `for` loop.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import tickbus as tb
from tickbus.bench import floor
from tickbus.bench.jobs.support import expect, ns_case, with_floor
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options
from tickbus.bench.subject import KIND, SYMBOL
from tickbus.bench.targets import FLOOR
from tickbus.bench.timing import fastest_slice

#: Events of one drain: what fits a first-level cache twice over as 32 bytes.
EVENTS = 1_000

Drain = Callable[[int], list[Any]]


def cases(options: Options) -> list[Case | Absent]:
    rounds = options.count(300, quick=3)
    found: list[Case | Absent] = []
    for figure, read in (("drain.list", _only_drain), ("drain.read", _drain_and_read)):
        found.append(_subject(figure, read, rounds))
        found.append(with_floor(figure, FLOOR, partial(_floor, figure, read, rounds)))
    return found


def _only_drain(drain: Drain) -> None:
    drain(EVENTS)


def _drain_and_read(drain: Drain) -> None:
    for event in drain(EVENTS):
        _ = event.value


def _ns(fill: Callable[[], object], drain: Drain, read: Callable[[Drain], None], rounds: int) -> float:
    """Per event; filling is not timed."""
    times = []
    for _ in range(rounds):
        fill()
        begin = perf_counter_ns()
        read(drain)
        times.append(perf_counter_ns() - begin)
    return fastest_slice(times) / EVENTS


def _check(fill: Callable[[], object], drain: Drain) -> None:
    fill()
    expect("values drained", [float(i) for i in range(EVENTS)], [event.value for event in drain(EVENTS)])
    expect("events left", [], drain(EVENTS))


def _subject(figure: str, read: Callable[[Drain], None], rounds: int) -> Case:
    bus = tb.Bus()
    subscription = bus.subscribe("market.>")
    publish = bus.publisher(KIND, SYMBOL)

    def fill() -> None:
        for i in range(EVENTS):
            publish(float(i))

    return ns_case(
        figure,
        TICKBUS,
        Kind.SUBJECT,
        lambda: _ns(fill, subscription.drain, read, rounds),
        lambda: _check(fill, subscription.drain),
        bus.close,
    )


def _floor(figure: str, read: Callable[[Drain], None], rounds: int) -> Case:
    extension = floor.extension()

    def fill() -> None:
        extension.rewind(0)
        for i in range(EVENTS):
            extension.publish(0, 1, float(i))

    return ns_case(
        figure,
        FLOOR,
        Kind.FLOOR,
        lambda: _ns(fill, extension.drain, read, rounds),
        lambda: _check(fill, extension.drain),
    )
