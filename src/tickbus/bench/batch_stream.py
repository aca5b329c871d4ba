"""
A stream of batches from one process to another: publish_batch here, read_batch there.

The reader checks the first and last value of every batch it gets and that they follow each other,
so that a missed or doubled event cannot hide; the publisher stays at most half a lane ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.sharedctypes import RawValue
from time import monotonic, monotonic_ns
from typing import Any

import numpy as np

import tickbus as tb
from tickbus.bench.child import LIMIT_S, child
from tickbus.bench.exchange import IDLE_S
from tickbus.bench.model import BehaviourError, Sample
from tickbus.bench.subject import KIND, SYMBOL, bus_name
from tickbus.bench.timing import cores, no_gc, pinned

#: 2 MiB of events: a second-level cache and a half, as a reader lags in practice.
CAPACITY = 1 << 16
PUBLISH, READ = 1_000, 4_096


def stream(count: int) -> Sample:
    """Events per second; notes: lost, disordered."""
    progress = RawValue("Q", 0)
    publisher_core, reader_core = cores()
    name = bus_name("batch")
    with (
        tb.Bus(name, high_size=CAPACITY) as bus,
        child(_read, name, count, reader_core, progress) as next_message,
    ):
        next_message()
        with pinned(publisher_core), no_gc():
            begin = monotonic_ns()
            _publish(bus, count, progress)
        received, disordered, end = next_message()
    lost = count - received
    elapsed = end - begin - (int(IDLE_S * 1e9) if lost else 0)
    return Sample(received * 1e9 / elapsed, notes={"lost": lost, "disordered": disordered})


def _publish(bus: tb.Bus, count: int, progress: Any) -> None:
    """Batches whose values count on: one array, whose values are moved up before each publish."""
    events = np.zeros(PUBLISH, tb.EVENT_DTYPE)
    events["timestamp"] = 1
    events["event_type"] = int(KIND)
    events["priority"] = int(tb.Priority.HIGH)
    events["symbol"] = bus.symbol_id(SYMBOL)
    first, last = events["value"][:1], events["value"][-1:]
    publish = bus.publish_batch
    deadline = monotonic() + LIMIT_S
    for start in range(0, count, PUBLISH):
        while start - progress.value > CAPACITY // 2:
            if monotonic() > deadline:
                raise BehaviourError("the reader made no progress")
        # Only the ends are numbered: numbering all would be NumPy's time, not the bus's.
        first[0] = start
        last[0] = start + PUBLISH - 1
        publish(events)


def _read(send: Callable[[Any], object], name: str, count: int, core: int, progress: Any) -> None:
    with tb.Bus(name) as bus, pinned(core), no_gc():
        subscription = bus.subscribe("market.>", wait="spin")
        send("ready")
        buffer = np.zeros(READ, tb.EVENT_DTYPE)
        values = buffer["value"]
        received = disordered = 0
        idle_since = monotonic()
        while received < count:
            got = len(subscription.read_batch(READ, out=buffer))
            if not got:
                if monotonic() - idle_since > (IDLE_S if received else LIMIT_S):
                    break
                continue
            disordered += _out_of_place(values, got, received)
            received += got
            progress.value = received
            idle_since = monotonic()
        send((received, disordered, monotonic_ns()))


def _out_of_place(values: Any, got: int, received: int) -> int:
    """How many of the numbered events (ends of published batches) in ``values[:got]`` are wrong."""
    wrong = 0
    first_start = -received % PUBLISH
    for index in range(first_start, got, PUBLISH):
        wrong += int(values[index] != received + index)
    for index in range((first_start - 1) % PUBLISH, got, PUBLISH):
        wrong += int(values[index] != received + index)
    return wrong
