"""
One publisher, one reader, any `Transport`: throughput and one-way latency, threads or processes.

The reader runs in a fresh process (or thread), on the last core; the publisher on the first. The
reader checks every value it gets: `lost` and `disordered` are part of the sample, never assumed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.sharedctypes import RawValue
from time import monotonic, monotonic_ns
from typing import Any

from tickbus.bench import pace
from tickbus.bench.child import LIMIT_S, child
from tickbus.bench.model import BehaviourError, Sample
from tickbus.bench.peers.contract import Transport
from tickbus.bench.timing import cores, no_gc, pinned

#: A reader gives up when nothing came for so long: what is missing then is lost.
IDLE_S = 1.0
#: The publisher looks at the reader's progress once in so many events.
CREDIT_EVERY = 1_000

MakeTransport = Callable[[], Transport]


@dataclass(frozen=True)
class Plan:
    """What the reader needs to know."""

    count: int
    core: int
    #: Keep when each event arrived (latency), or only count (throughput).
    timed: bool


@dataclass(frozen=True)
class Report:
    """What the reader found."""

    received: int
    disordered: int
    end_ns: int
    arrivals: list[tuple[float, int]]
    notes: dict[str, float]


def read(send: Callable[[Any], object], transport: Transport, plan: Plan, progress: Any) -> None:
    """The reader's whole life, in the other thread or process: says "ready", then sends a Report."""
    with pinned(plan.core), no_gc():
        receive = transport.receiver()
        send("ready")
        if plan.timed:
            report = _read_timed(receive, plan, transport)
        else:
            report = _read_counted(receive, plan, transport, progress)
    send(report)


def _read_counted(receive: Any, plan: Plan, transport: Transport, progress: Any) -> Report:
    received = disordered = 0
    expected = 0.0
    deadline = monotonic() + LIMIT_S
    while received < plan.count:
        values = receive(IDLE_S)
        for value in values:
            if value < expected:
                disordered += 1
            expected = value + 1.0
        received += len(values)
        if progress is not None:
            progress.value = received
        if not values and (received or monotonic() > deadline):
            break
    return Report(received, disordered, monotonic_ns(), [], transport.reader_notes())


def _read_timed(receive: Any, plan: Plan, transport: Transport) -> Report:
    arrivals: list[tuple[float, int]] = []
    deadline = monotonic() + LIMIT_S
    while len(arrivals) < plan.count:
        values = receive(IDLE_S)
        now = monotonic_ns()
        for value in values:
            arrivals.append((value, now))
        if not values and (arrivals or monotonic() > deadline):
            break
    order = [value for value, _ in arrivals]
    disordered = sum(later < earlier for earlier, later in pairwise(order))
    return Report(len(arrivals), disordered, monotonic_ns(), arrivals, transport.reader_notes())


def _progress(transport: Transport) -> Any:
    """A word in memory both sides see, for transports whose publisher must not run ahead."""
    return RawValue("Q", 0) if transport.credit else None


@dataclass(frozen=True)
class Reader:
    """A running reader: its next message, and how far it is if the transport needs credit."""

    next_message: Callable[[], Any]
    progress: Any


@contextlib.contextmanager
def reader_process(transport: Transport, plan: Plan) -> Iterator[Reader]:
    """`read` in a fresh interpreter."""
    progress = _progress(transport)
    with child(read, transport, plan, progress) as next_message:
        yield Reader(next_message, progress)


@contextlib.contextmanager
def reader_thread(transport: Transport, plan: Plan) -> Iterator[Reader]:
    """`read` in another thread of this process."""
    progress = _progress(transport)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            read(messages.put, transport, plan, progress)
        except Exception as error:
            messages.put(error)

    def next_message() -> Any:
        message = messages.get(timeout=LIMIT_S)
        if isinstance(message, Exception):
            raise message
        return message

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield Reader(next_message, progress)
    thread.join(LIMIT_S)


def throughput(make: MakeTransport, start_reader: Any, count: int) -> Sample:
    """Events per second, *count* sent one by one as fast as possible, from first sent to last read."""
    publisher_core, reader_core = cores()
    transport = make()
    try:
        with start_reader(transport, Plan(count, reader_core, timed=False)) as reader:
            reader.next_message()
            with pinned(publisher_core), no_gc():
                send = transport.sender()
                begin = monotonic_ns()
                _send_all(send, count, reader.progress, transport.capacity // 2)
            report: Report = reader.next_message()
    finally:
        transport.close()
    lost = count - report.received
    # A reader that lost events waited for them at the end; that wait is not the transport's speed.
    elapsed = report.end_ns - begin - (int(IDLE_S * 1e9) if lost else 0)
    notes = report.notes | {"lost": lost, "disordered": report.disordered}
    return Sample(report.received * 1e9 / elapsed, notes=notes)


def _send_all(send: Callable[[float], object], count: int, progress: Any, window: int) -> None:
    for first in range(0, count, CREDIT_EVERY):
        if progress is not None:
            deadline = monotonic() + LIMIT_S
            while first - progress.value > window:
                if monotonic() > deadline:
                    raise BehaviourError("the reader made no progress")
        for value in range(first, min(first + CREDIT_EVERY, count)):
            send(float(value))


def latency(make: MakeTransport, start_reader: Any, count: int, interval_ns: int) -> Sample:
    """One way from due to read, paced; value: p50 in ns. Note ``publish_ns``: the publisher's own p50."""
    publisher_core, reader_core = cores()
    warm_up = count // 10
    transport = make()
    try:
        with start_reader(transport, Plan(count, reader_core, timed=True)) as reader:
            reader.next_message()
            with pinned(publisher_core), no_gc():
                send = transport.sender()
                start, costs = pace.send_paced(send, count, interval_ns, yields=transport.yields)
                clock = pace.clock_ns()
            report: Report = reader.next_message()
    finally:
        transport.close()
    late = sorted(pace.latencies_ns(start, interval_ns, report.arrivals, warm_up))
    if not late:
        raise BehaviourError(f"{transport.name}: no event arrived")
    cost = sorted(costs[warm_up:])[(count - warm_up) // 2] - clock
    notes = report.notes | {
        "lost": count - report.received, "disordered": report.disordered, "publish_ns": cost,
    }  # fmt: skip
    return Sample(float(late[len(late) // 2]), tuple(late), notes)


def check(make: MakeTransport, start_reader: Any, count: int = 2_000) -> None:
    """All events arrive, once, in order; else BehaviourError."""
    notes = throughput(make, start_reader, count).notes
    for fault in ("lost", "disordered", "missed", "ledger_off_by"):
        if notes.get(fault):
            raise BehaviourError(f"{fault} {notes[fault]:g} of {count} events")
