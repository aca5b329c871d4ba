"""
Coordinated action: strategies that know nothing of one another decide together, through their signals.

    trades ─┬─► Momentum ──┐ signal_generated       order_placed
            └─► TakerFlow ─┴────────────────► Quorum ───────────►

Momentum compares the price with its average, TakerFlow the buyers with the sellers. Quorum orders
when enough sources point the same way, and holds its fire for a while after an emergency stop. Each
of them may run in a process of its own, or be replaced, without a word to the others.
"""

import tickbus as tb


class Signals:
    """Smooths a figure of each symbol's trades; signals when it passes ±threshold, and back at zero."""

    patterns = ("market.price_update.>",)

    def __init__(self, bus: tb.Bus, source: str, threshold: float, trades: int = 50) -> None:
        self._bus, self._source, self._threshold = bus, source, threshold
        self._weight = 1 / trades
        self._average: dict[str, float] = {}
        self._direction: dict[str, int] = {}

    def figure(self, event: tb.Event, average: float | None) -> tuple[float, float]:
        """The new average, and what is compared with the threshold."""
        raise NotImplementedError

    def smooth(self, value: float, average: float) -> float:
        return average + (value - average) * self._weight

    def react(self, event: tb.Event) -> None:
        symbol = event.symbol
        self._average[symbol], strength = self.figure(event, self._average.get(symbol))
        was = self._direction.get(symbol, 0)
        direction = (strength > self._threshold) - (strength < -self._threshold)
        if direction != was and (direction or strength * was <= 0):
            self._direction[symbol] = direction
            self._bus.publish(tb.EventType.SIGNAL_GENERATED, symbol, float(direction), source=self._source)


class Momentum(Signals):
    """The price against its own average, as a share."""

    def figure(self, event: tb.Event, average: float | None) -> tuple[float, float]:
        average = self.smooth(event.price, event.price if average is None else average)
        return average, event.price / average - 1


class TakerFlow(Signals):
    """Takers who buy against takers who sell, -1 to 1."""

    def figure(self, event: tb.Event, average: float | None) -> tuple[float, float]:
        average = self.smooth(event.side, average or 0.0)
        return average, average


class Quorum:
    """Places an order of *quantity* when *needed* sources signal the same direction."""

    patterns = ("trading.signal_generated.>", "critical.emergency_stop.>")

    def __init__(self, bus: tb.Bus, quantity: float, needed: int = 2, pause_s: float = 1.0) -> None:
        self._bus, self._quantity, self._needed = bus, quantity, needed
        self._pause_ns = int(pause_s * 1e9)
        self._paused_until = 0
        self._votes: dict[str, dict[str, float]] = {}

    def react(self, event: tb.Event) -> None:
        if event.event_type == tb.EventType.EMERGENCY_STOP:
            self._paused_until = event.timestamp + self._pause_ns
            self._votes.clear()
            return
        votes = self._votes.setdefault(event.symbol, {})
        votes[event.source] = event.strength
        agreement = sum(votes.values())
        if event.strength and abs(agreement) >= self._needed and event.timestamp >= self._paused_until:
            votes.clear()  # the next order needs a new agreement
            quantity = tb.pack_quantity(self._quantity if agreement > 0 else -self._quantity)
            # At the market: no limit, so no price.
            self._bus.publish(tb.EventType.ORDER_PLACED, event.symbol, 0.0, metadata=quantity)


def main() -> None:
    with tb.Bus(source="quorum") as bus:
        members = (Momentum(bus, "momentum", 0.001), TakerFlow(bus, "taker_flow", 0.3), Quorum(bus, 0.1))
        for member in members:
            bus.on(*member.patterns)(member.react)
        decisions = bus.subscribe("trading.>")

        for step in range(30):  # a rally in which every taker buys
            bus.publish(tb.EventType.PRICE_UPDATE, "ETH-USDT", 2_600.0 + step, metadata=tb.pack_quantity(1.0))

        for event in decisions.drain():
            print(f"{event.source}: {event.type_name} {event.fields()}")


if __name__ == "__main__":
    main()
