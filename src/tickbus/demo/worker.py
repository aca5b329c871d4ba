"""
The process of one strategy: attach to the bus by name, read, react, and report latency and ledger.

Latency is what passes between an event's timestamp, taken when the feed had the frame in hand or a
strategy published, and the moment before `react` is called here; both by the system clock
(CLOCK_REALTIME), which all processes share. So it includes decoding, waking up, and waiting in line.
"""

from __future__ import annotations

import os
from time import time_ns
from typing import Any

import tickbus as tb
from tickbus.demo.cast import CAST, Settings
from tickbus.demo.child import Link
from tickbus.demo.latency import Latencies, by_lane

#: Below the time a parent waits for the end, above the pauses of a market that is alive.
_IDLE_S = 0.05
_EVENTS_PER_LOOK = 256


def main() -> None:
    """Run the strategy that the parent names, until told to stop and nothing is left to read."""
    link = Link()
    name, wait = link.orders["strategy"], link.orders["wait"]
    with tb.Bus(link.orders["bus"], source=name) as bus:
        strategy = CAST[name](bus, Settings(**link.orders["settings"]))
        with bus.subscribe(*strategy.patterns, start="earliest", wait=wait) as subscription:
            lanes = {lane.name.lower(): Latencies() for lane in tb.Priority}
            add = [lanes[lane.name.lower()].add for lane in tb.Priority]

            def report(**more: Any) -> None:
                link.tell(
                    ledger=subscription.ledger(),
                    latency_ns=by_lane(lanes),
                    published=bus.stats()["published_here"],
                    **more,
                )

            bus.publish(tb.EventType.STRATEGY_STARTED, "none", 1.0, metadata=os.getpid())
            report(ready=True)
            react = strategy.react
            events = 0
            while not link.abandoned.is_set():
                event = subscription.poll(_IDLE_S)
                if event is not None:
                    add[event.priority](time_ns() - event.timestamp)
                    react(event)
                    events += 1
                    if events % _EVENTS_PER_LOOK == 0 and link.is_report_due():
                        report()
                elif link.stopping.is_set():
                    break
                elif link.is_report_due():
                    report()
            report(final=True)


if __name__ == "__main__":
    main()
