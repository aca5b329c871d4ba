"""Cases made of an `exchange`: throughput and paced latency of a transport, and their floors in C."""

from __future__ import annotations

from typing import Any

from tickbus.bench import exchange, floor
from tickbus.bench.exchange import MakeTransport
from tickbus.bench.model import Case, Kind, Sample, Unit
from tickbus.bench.targets import EVENTFD

#: 2,500 events a second: far enough apart that a sleeping reader is asleep again.
INTERVAL_NS = 400_000


def throughput_case(figure: str, kind: Kind, make: MakeTransport, start_reader: Any, count: int) -> Case:
    return Case(
        figure,
        _name(make),
        kind,
        Unit.EVENTS_PER_S,
        lambda: exchange.throughput(make, start_reader, count),
        lambda: exchange.check(make, start_reader),
    )


def latency_case(
    figure: str, kind: Kind, make: MakeTransport, start_reader: Any, count: int, interval_ns: int
) -> Case:
    return Case(
        figure,
        _name(make),
        kind,
        Unit.NS,
        lambda: exchange.latency(make, start_reader, count, interval_ns),
        lambda: exchange.check(make, start_reader),
    )


def eventfd_floor(figure: str, count: int) -> Case:
    return machine_latency(figure, EVENTFD, "eventfd", count, INTERVAL_NS)


def machine_latency(figure: str, contender: str, way: str, count: int, interval_ns: int) -> Case:
    """One way between two C processes; `machine.c` sorts its own latencies, so no histogram."""

    def sample() -> Sample:
        found = floor.machine(way, count, interval_ns)
        late, waker = found["latency_ns"], found["waker_ns"]
        notes = {"publish_ns": waker["p50"], "p99": late["p99"], "p99.9": late["p99.9"]}
        return Sample(late["p50"], notes=notes)

    floor.machine(way, 10, interval_ns)
    return Case(figure, contender, Kind.FLOOR, Unit.NS, sample, lambda: None)


def _name(make: Any) -> str:
    """The transport's name, from what makes it or from the class that a `partial` calls."""
    return str(make.name if hasattr(make, "name") else make.func.name)
