"""
The Rust core without Python, timed inside the native module (`_native.bench_core`).

- core.alone: claim, write and publish one event, nobody reads.
- core.reader: the same at full speed while one reader on another core follows; the note ``followed``
  is the share of the events that the reader got before they were overwritten.
- core.publish_batch, core.poll, core.read_batch: the other ways in and out, per event.

The floor of a claim is one atomic add, that of a stream a single-producer ring in C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tickbus import _native
from tickbus.bench import floor
from tickbus.bench.jobs.support import expect, with_floor
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options, Sample, Unit
from tickbus.bench.targets import MACHINE, XADD

ALONE, READER = "core.alone", "core.reader"
Figures = dict[str, float]


def cases(options: Options) -> list[Case | Absent]:
    count = options.count(5_000_000)
    return [
        _subject(ALONE, Unit.NS, count, lambda found: Sample(found["publish_ns"])),
        with_floor(ALONE, XADD, partial(_xadd, count)),
        _subject(READER, Unit.EVENTS_PER_S, count, _followed),
        with_floor(READER, MACHINE, partial(_ring, count)),
        *(
            _subject(f"core.{way}", Unit.NS, count, partial(_plain, f"{way}_ns"))
            for way in ("publish_batch", "poll", "read_batch")
        ),
    ]


def _followed(found: Figures) -> Sample:
    return Sample(1e9 / found["publish_followed_ns"], notes={"followed": found["followed_share"]})


def _plain(key: str, found: Figures) -> Sample:
    return Sample(found[key])


def _subject(figure: str, unit: Unit, count: int, pick: Callable[[Figures], Sample]) -> Case:
    def check() -> None:
        expect("a figure above zero", True, pick(_native.bench_core(10_000)).value > 0)

    return Case(figure, TICKBUS, Kind.SUBJECT, unit, lambda: pick(_native.bench_core(count)), check)


def _xadd(count: int) -> Case:
    def sample() -> Sample:
        return Sample(floor.machine("xadd", count)["ns"])

    floor.machine("xadd", 10)
    return Case(ALONE, XADD, Kind.FLOOR, Unit.NS, sample, lambda: None)


def _ring(count: int) -> Case:
    """32-byte events through a single-producer single-consumer ring in C, across processes."""

    def sample() -> Sample:
        return Sample(floor.machine("ring", count)["events_per_s"])

    floor.machine("ring", 10)  # it checks the sum of what it read, and fails when that is wrong
    return Case(READER, MACHINE, Kind.FLOOR, Unit.EVENTS_PER_S, sample, lambda: None)
