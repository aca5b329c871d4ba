"""
threads.one: events per second from one thread to another of this process (one GIL).
threads.sleep: one way, p50, paced, to a reader that sleeps between events.

The floor is an eventfd wake between two C processes, and beside it a bare eventfd between two
Python threads: nobody can wake a sleeping reader faster.
"""

from __future__ import annotations

from functools import partial

from tickbus.bench import exchange, histogram
from tickbus.bench.jobs.latency import INTERVAL_NS, eventfd_floor, latency_case, throughput_case
from tickbus.bench.jobs.support import with_floor
from tickbus.bench.model import Absent, Case, Kind, Options
from tickbus.bench.peers import THREAD_TRANSPORTS
from tickbus.bench.peers.python_eventfd import EventfdTransport
from tickbus.bench.subject import BusTransport
from tickbus.bench.targets import EVENTFD

CAPACITY = 1 << 16


class ThreadTransport(BusTransport):
    """A private bus. While the publisher waits for its next due time it must let the reader run."""

    yields = True


def cases(options: Options) -> list[Case | Absent]:
    histogram.require()
    start = exchange.reader_thread
    subject = partial(ThreadTransport, CAPACITY)
    asleep = partial(ThreadTransport, CAPACITY, wait="sleep")
    events = options.count(500_000)
    paced = options.count(5_000, quick=100)
    found: list[Case | Absent] = [
        throughput_case("threads.one", Kind.SUBJECT, subject, start, events),
        latency_case("threads.sleep", Kind.SUBJECT, asleep, start, paced, INTERVAL_NS),
        latency_case(
            "threads.sleep", Kind.FLOOR, partial(EventfdTransport, CAPACITY), start, paced, INTERVAL_NS
        ),
        with_floor("threads.sleep", EVENTFD, partial(eventfd_floor, "threads.sleep", paced)),
    ]
    if options.peers:
        for peer in THREAD_TRANSPORTS:
            make = partial(peer, CAPACITY)
            found.append(throughput_case("threads.one", Kind.PEER, make, start, events // 5))
            found.append(latency_case("threads.sleep", Kind.PEER, make, start, paced, INTERVAL_NS))
    return found
