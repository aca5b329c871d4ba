"""
One process to another, one event a call, Python on both sides.

- processes.one: events per second; every event is checked and lost ones are counted.
- processes.spin: one way, p50, paced, to a reader that polls.
- processes.sleep: one way, p50, paced, to a reader that sleeps. The note ``publish_ns`` is what a
  publish cost its caller: compare it with the one of processes.spin, where nobody has to be woken.
"""

from __future__ import annotations

from functools import partial

from tickbus.bench import exchange, floor, histogram
from tickbus.bench.jobs.latency import (
    INTERVAL_NS,
    eventfd_floor,
    latency_case,
    machine_latency,
    throughput_case,
)
from tickbus.bench.jobs.support import with_floor
from tickbus.bench.model import Absent, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers import PROCESS_TRANSPORTS
from tickbus.bench.peers.contract import Transport, installed
from tickbus.bench.subject import BusTransport, PlainPublishTransport, bus_name
from tickbus.bench.targets import EVENTFD, MACHINE

CAPACITY = 1 << 16
#: A reader that polls keeps up with 10,000 a second.
SPIN_INTERVAL_NS = 100_000
FUTEX = "floor: futex"
ONE, SPIN, SLEEP = "processes.one", "processes.spin", "processes.sleep"


def _shared(kind: type[BusTransport], wait: str) -> partial[Transport]:
    def make() -> Transport:
        return kind(CAPACITY, wait=wait, name=bus_name("processes"))

    named = partial(make)
    named.name = kind.name  # type: ignore[attr-defined]  # a partial takes attributes; its type says not
    return named


def cases(options: Options) -> list[Case | Absent]:
    histogram.require()
    start = exchange.reader_process
    events = options.count(2_000_000, quick=5_000)
    spins = options.count(20_000, quick=200)
    sleeps = options.count(5_000, quick=100)
    spinning = _shared(BusTransport, "spin")
    found: list[Case | Absent] = [
        throughput_case(ONE, Kind.SUBJECT, spinning, start, events),
        throughput_case(ONE, Kind.SUBJECT, _shared(PlainPublishTransport, "spin"), start, events),
        latency_case(SPIN, Kind.SUBJECT, spinning, start, spins, SPIN_INTERVAL_NS),
        latency_case(SLEEP, Kind.SUBJECT, _shared(BusTransport, "sleep"), start, sleeps, INTERVAL_NS),
        with_floor(ONE, MACHINE, partial(_ring, events * 5)),
        with_floor(SPIN, MACHINE, partial(machine_latency, SPIN, MACHINE, "spin", spins, SPIN_INTERVAL_NS)),
        with_floor(SLEEP, EVENTFD, partial(eventfd_floor, SLEEP, sleeps)),
        with_floor(SLEEP, FUTEX, partial(machine_latency, SLEEP, FUTEX, "futex", sleeps, INTERVAL_NS)),
    ]
    if options.peers:
        for peer in PROCESS_TRANSPORTS:
            found += _peer(peer, options)
    return found


def _peer(peer: type[Transport], options: Options) -> list[Case | Absent]:
    latency = SPIN if peer.polls else SLEEP
    if not installed(peer.requires):
        reason = f"{peer.requires} is not installed"
        return [Absent(ONE, peer.name, reason), Absent(latency, peer.name, reason)]
    make = partial(peer, CAPACITY)
    start = exchange.reader_process
    interval = SPIN_INTERVAL_NS if peer.polls else INTERVAL_NS
    count = options.count(20_000, quick=200) if peer.polls else options.count(5_000, quick=100)
    return [
        throughput_case(ONE, Kind.PEER, make, start, options.count(100_000, quick=1_000)),
        latency_case(latency, Kind.PEER, make, start, count, interval),
    ]


def _ring(count: int) -> Case:
    """32-byte events through a single-producer single-consumer ring in C."""

    def sample() -> Sample:
        return Sample(floor.machine("ring", count)["events_per_s"])

    floor.machine("ring", 10)
    return Case(ONE, MACHINE, Kind.FLOOR, Unit.EVENTS_PER_S, sample, lambda: None)
