"""
Paced load without coordinated omission.

Event *k* is due at ``start + k * interval``, whatever happened to the ones before. Its latency
counts from when it was due, not from when it was sent: a publisher that was held up sends the
backlog at once, and the delay shows, as it would for a feed that does not wait for us
(Gil Tene, "How NOT to measure latency").
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from time import monotonic_ns

#: How long before the first event the schedule starts: everybody must be waiting by then.
LEAD_NS = 20_000_000

#: How late a sleep may end without an event being late: p99 of a virtual machine's timer.
OVERSLEEP_NS = 150_000


def send_paced(
    send: Callable[[float], object], count: int, interval_ns: int, *, yields: bool
) -> tuple[int, list[int]]:
    """
    Send the values 0 .. count-1, each when it is due.

    Args:
        yields: Wait without the GIL, for a contender that needs another thread of this process:
            asleep, as a feed waits for its socket, and for the last part polling, which costs
            about a microsecond of precision.
    Returns:
        The start of the schedule (``time.monotonic_ns``), and how long each call of *send* took
        in nanoseconds, one clock read included.
    """
    costs = [0] * count
    start = monotonic_ns() + LEAD_NS
    for k in range(count):
        due = start + k * interval_ns
        now = monotonic_ns()
        while now < due:
            if yields:
                if due - now > OVERSLEEP_NS:
                    time.sleep((due - now - OVERSLEEP_NS) / 1e9)
                select.select((), (), (), 0)
            now = monotonic_ns()
        send(float(k))
        costs[k] = monotonic_ns() - now
    return start, costs


def latencies_ns(start: int, interval_ns: int, arrivals: list[tuple[float, int]], warm_up: int) -> list[int]:
    """Arrival minus due time of every event after the first *warm_up*."""
    return [at - (start + int(k) * interval_ns) for k, at in arrivals if k >= warm_up]


def clock_ns() -> float:
    """What one ``monotonic_ns`` call costs here, to be taken off a measured call."""
    calls = 10_000
    begin = monotonic_ns()
    for _ in range(calls):
        monotonic_ns()
    return (monotonic_ns() - begin) / calls
