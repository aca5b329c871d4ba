"""
A publisher that keeps high and normal full and sends paced critical events; a reader that polls.

The publisher fills in batches, far faster than the reader reads one by one, so both lanes stay a
whole lane ahead of it (the reader misses events of theirs, and counts them: that is their promise).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic, monotonic_ns
from typing import Any

import numpy as np

import tickbus as tb
from tickbus.bench import pace
from tickbus.bench.child import LIMIT_S, child
from tickbus.bench.exchange import IDLE_S
from tickbus.bench.model import BehaviourError
from tickbus.bench.subject import SYMBOL, bus_name
from tickbus.bench.timing import cores, no_gc, pinned

#: 5,000 critical events a second.
INTERVAL_NS = 200_000
#: Events of each lane published between two looks at the clock: about a microsecond.
FILL = 32
LANE = 1 << 14


@dataclass(frozen=True)
class Outcome:
    """What the reader got while critical events were coming."""

    latencies_ns: list[int]
    lost: int
    disordered: int
    high: int
    normal: int


def run(count: int, *, backlog: bool) -> Outcome:
    """*count* critical events, with both other lanes kept full or left idle."""
    publisher_core, reader_core = cores()
    name = bus_name("priority")
    with (
        tb.Bus(name, high_size=LANE, normal_size=LANE) as bus,
        child(_read, name, count, reader_core) as next_message,
    ):
        next_message()
        with pinned(publisher_core), no_gc():
            start = _publish(bus, count, backlog)
        arrivals, disordered, high, normal = next_message()
    latencies = pace.latencies_ns(start, INTERVAL_NS, arrivals, count // 10)
    if not latencies:
        raise BehaviourError("no critical event arrived")
    return Outcome(latencies, count - len(arrivals), disordered, high, normal)


def _filler(bus: tb.Bus, kind: tb.EventType, priority: tb.Priority, count: int) -> Any:
    events = np.zeros(count, tb.EVENT_DTYPE)
    events["timestamp"] = 1
    events["event_type"] = int(kind)
    events["priority"] = int(priority)
    events["symbol"] = bus.symbol_id(SYMBOL)
    return events


def _publish(bus: tb.Bus, count: int, backlog: bool) -> int:
    high = _filler(bus, tb.EventType.PRICE_UPDATE, tb.Priority.HIGH, FILL)
    normal = _filler(bus, tb.EventType.ORDER_FILLED, tb.Priority.NORMAL, FILL)
    fill = bus.publish_batch
    if backlog:
        for _ in range(LANE // FILL):
            fill(high)
            fill(normal)
    send = bus.publisher(tb.EventType.EMERGENCY_STOP, SYMBOL)
    start = monotonic_ns() + pace.LEAD_NS
    for k in range(count):
        due = start + k * INTERVAL_NS
        while monotonic_ns() < due:
            if backlog:
                fill(high)
                fill(normal)
        send(float(k))
    return start


def _read(send: Callable[[Any], object], name: str, count: int, core: int) -> None:
    arrivals: list[tuple[float, int]] = []
    high = normal = 0
    with tb.Bus(name) as bus, pinned(core), no_gc():
        poll = bus.subscribe(">", wait="spin").poll
        send("ready")
        critical_priority, high_priority = int(tb.Priority.CRITICAL), int(tb.Priority.HIGH)
        deadline = monotonic() + LIMIT_S
        while len(arrivals) < count:
            event = poll(IDLE_S)
            if event is None:
                if arrivals or monotonic() > deadline:
                    break
            elif event.priority == critical_priority:
                arrivals.append((event.value, monotonic_ns()))
            elif event.priority == high_priority:
                high += 1
            else:
                normal += 1
    order = [value for value, _ in arrivals]
    disordered = sum(later < earlier for earlier, later in pairwise(order))
    send((arrivals, disordered, high, normal))
