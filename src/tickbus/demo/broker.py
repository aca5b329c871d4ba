"""
A broker on paper: orders are filled at the last trade, at once and completely.

It sits in the monitor, which looks a few times a second, so that fills come back after some
milliseconds, as from a venue. It also opens a first position in every symbol that trades, so that
there is something to guard.
"""

from __future__ import annotations

import tickbus as tb


class PaperBroker:
    """Fills what is ordered; nobody loses money."""

    patterns = ("market.price_update.>", "trading.order_placed.>", "risk.stop_loss_triggered.>")

    def __init__(self, bus: tb.Bus, first_quantity: float) -> None:
        self._bus = bus
        self._first_quantity = first_quantity
        self._last: dict[str, float] = {}

    def react(self, event: tb.Event) -> None:
        match event.event_type:
            case tb.EventType.PRICE_UPDATE:
                is_first = event.symbol not in self._last
                self._last[event.symbol] = event.price
                if is_first:
                    self._fill(event.symbol, event.price, self._first_quantity)
            case tb.EventType.ORDER_PLACED:
                price = self._last.get(event.symbol)
                if price is not None:
                    self._fill(event.symbol, price, event.side * event.quantity)
            case tb.EventType.STOP_LOSS_TRIGGERED:
                self._fill(event.symbol, event.price, event.side * event.quantity)

    def _fill(self, symbol: str, price: float, quantity: float) -> None:
        metadata = tb.pack_quantity(quantity)
        self._bus.publish(tb.EventType.ORDER_FILLED, symbol, price, metadata=metadata, source="broker")
