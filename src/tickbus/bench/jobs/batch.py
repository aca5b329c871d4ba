"""
batch.publish, batch.read: 1,000 events a call from and into a NumPy array, in one process.
batch.processes: both, in two processes, in a stream the reader checks; nothing may be missed.

The floors copy the same bytes with memcpy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np

import tickbus as tb
from tickbus.bench import floor
from tickbus.bench.batch_stream import stream
from tickbus.bench.jobs.support import expect, with_floor
from tickbus.bench.model import TICKBUS, Absent, BehaviourError, Case, Kind, Options, Sample, Unit
from tickbus.bench.subject import KIND, SYMBOL
from tickbus.bench.targets import FLOOR
from tickbus.bench.timing import fastest_slice

EVENTS = 1_000

Copy = Callable[[Any], object]


def cases(options: Options) -> list[Case | Absent]:
    rounds = options.count(2_000, quick=5)
    found: list[Case | Absent] = []
    for figure, publishing in (("batch.publish", True), ("batch.read", False)):
        found.append(_subject(figure, publishing, rounds))
        found.append(with_floor(figure, FLOOR, partial(_floor, figure, publishing, rounds)))
    return [*found, _across(options.count(20_000_000, quick=50_000))]


def batch(symbol_id: int) -> np.ndarray[Any, Any]:
    """1,000 stamped price updates whose values count from 0."""
    events = np.zeros(EVENTS, tb.EVENT_DTYPE)
    events["timestamp"] = 1
    events["event_type"] = int(KIND)
    events["priority"] = int(tb.Priority.HIGH)
    events["symbol"] = symbol_id
    events["value"] = np.arange(EVENTS)
    return events


def _case(
    figure: str, name: str, kind: Kind, publish: Copy, read: Copy, symbol: int, publishing: bool, rounds: int
) -> Case:
    """Publish and read in turn; only one of them is timed, and the cache is warm."""
    source = batch(symbol)
    target = np.zeros_like(source)

    def check() -> None:
        publish(source)
        target["value"] = -1
        read(target)
        expect("values read back", source["value"].tolist(), target["value"].tolist())

    def sample() -> Sample:
        times = []
        for _ in range(rounds):
            begin = perf_counter_ns()
            publish(source)
            middle = perf_counter_ns()
            read(target)
            times.append(middle - begin if publishing else perf_counter_ns() - middle)
        return Sample(EVENTS * 1e9 / fastest_slice(times))

    return Case(figure, name, kind, Unit.EVENTS_PER_S, sample, check)


def _subject(figure: str, publishing: bool, rounds: int) -> Case:
    bus = tb.Bus()
    subscription = bus.subscribe("market.>")
    case = _case(
        figure,
        TICKBUS,
        Kind.SUBJECT,
        bus.publish_batch,
        lambda out: subscription.read_batch(EVENTS, out=out),
        bus.symbol_id(SYMBOL),
        publishing,
        rounds,
    )
    case.close = bus.close
    return case


def _floor(figure: str, publishing: bool, rounds: int) -> Case:
    extension = floor.extension()
    extension.rewind(0)
    return _case(
        figure, FLOOR, Kind.FLOOR, extension.publish_batch, extension.read_batch, 1, publishing, rounds
    )


def _across(count: int) -> Case:
    def check() -> None:
        notes = stream(50_000).notes
        for fault in ("lost", "disordered"):
            if notes[fault]:
                raise BehaviourError(f"{fault} {notes[fault]:g} of 50,000 events")

    return Case("batch.processes", TICKBUS, Kind.SUBJECT, Unit.EVENTS_PER_S, lambda: stream(count), check)
