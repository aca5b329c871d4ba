"""
Instant stop-loss: sell a position in the very call that publishes the price below its stop.

Fills open and close positions; the stop trails the highest trade by a fixed share. When a trade
touches it, `stop_loss_triggered` goes out on the critical lane, with the quantity to trade. An
emergency stop closes every position in the same way.
"""

from dataclasses import dataclass

import tickbus as tb


@dataclass
class Position:
    quantity: float
    highest: float
    last: float


class StopLoss:
    """Guards every position that is filled on the bus, with a stop *distance* below its high."""

    patterns = ("market.price_update.>", "trading.order_filled.>", "critical.emergency_stop.>")

    def __init__(self, bus: tb.Bus, distance: float) -> None:
        self._bus = bus
        self._distance = distance
        self.positions: dict[str, Position] = {}

    def react(self, event: tb.Event) -> None:
        match event.event_type:
            case tb.EventType.PRICE_UPDATE:
                position = self.positions.get(event.symbol)
                if position is None:
                    return
                position.last = event.price
                if event.price > position.highest:
                    position.highest = event.price
                elif event.price <= position.highest * (1 - self._distance):
                    self._sell(event.symbol)
            case tb.EventType.ORDER_FILLED:
                self._filled(event.symbol, event.side * event.quantity, event.price)
            case tb.EventType.EMERGENCY_STOP:
                for symbol in list(self.positions):
                    self._sell(symbol)

    def _filled(self, symbol: str, quantity: float, price: float) -> None:
        position = self.positions.setdefault(symbol, Position(0.0, price, price))
        position.quantity += quantity
        if position.quantity <= 0:  # sold, or the fill of our own stop; shorts are another strategy's
            del self.positions[symbol]

    def _sell(self, symbol: str) -> None:
        position = self.positions.pop(symbol)
        quantity = tb.pack_quantity(-position.quantity)
        self._bus.publish(tb.EventType.STOP_LOSS_TRIGGERED, symbol, position.last, metadata=quantity)


def main() -> None:
    with tb.Bus(source="stop_loss") as bus:
        strategy = StopLoss(bus, distance=0.02)
        bus.on(*strategy.patterns)(strategy.react)
        stops = bus.subscribe("risk.stop_loss_triggered.>")

        bus.publish(tb.EventType.ORDER_FILLED, "BTC-USDT", 61_000.0, metadata=tb.pack_quantity(0.5))
        for price in (61_500.0, 62_000.0, 61_200.0, 60_760.0, 60_000.0):
            bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", price, source="binance")

        # The stop trailed 62,000 by 2 %: the fourth trade touched 60,760, the fifth found no position.
        for stop in stops.drain():
            print(f"stop-loss {stop.symbol}: sell {stop.quantity} at {stop.price:,.0f}")


if __name__ == "__main__":
    main()
