"""
The monitor: reads the bus beside the strategies, remembers what they did, and plays the broker.

A reader like any other, with a ledger of its own. It sleeps between its looks, so its latency is not
measured: the strategies' is.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import tickbus as tb
from tickbus.demo.broker import PaperBroker

_EVENTS_A_LOOK = 8_192
_REMEMBERED = 200
_REACTIONS = ("trading.>", "risk.>", "critical.>")


class Monitor:
    """
    Attributes:
        reactions: How often each source published each type, by (source, type name).
        recent: The latest reactions, oldest first.
    """

    def __init__(self, bus: tb.Bus, first_quantity: float) -> None:
        self._broker = PaperBroker(bus, first_quantity)
        self._subscription = bus.subscribe("market.price_update.>", *_REACTIONS, start="earliest")
        self.reactions: Counter[tuple[str, str]] = Counter()
        self.recent: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    def look(self) -> int:
        """Read what is there; how many events that were, markets included."""
        events = self._subscription.drain(_EVENTS_A_LOOK)
        for event in events:
            self._broker.react(event)
            if event.event_type != tb.EventType.PRICE_UPDATE:
                self._remember(event)
        return len(events)

    def wait(self, timeout_s: float) -> None:
        """Until a reaction or trade comes, at most *timeout_s*."""
        event = self._subscription.poll(timeout_s)
        if event is not None:
            self._broker.react(event)
            if event.event_type != tb.EventType.PRICE_UPDATE:
                self._remember(event)

    def _remember(self, event: tb.Event) -> None:
        self.reactions[event.source, event.type_name] += 1
        self.recent.append(
            {
                "timestamp": event.timestamp,
                "lane": tb.Priority(event.priority).name.lower(),
                "source": event.source,
                "type": event.type_name,
                "symbol": event.symbol,
                "fields": event.fields(),
            }
        )

    def ledger(self) -> dict[str, dict[str, int]]:
        return self._subscription.ledger()
