"""
Drawdown alert with emergency stop: warn when the account has lost a little, stop everything when more.

Marks the holdings to every trade and remembers the highest equity. Both events take the critical
lane, so they overtake whatever market data waits in front of other strategies. After a stop the peak
starts anew from what is left, so that a second slide is noticed too.
"""

import tickbus as tb


class DrawdownStop:
    """Publishes `drawdown_alert` once a slide, and `emergency_stop` when it goes on."""

    patterns = ("market.price_update.>",)

    def __init__(self, bus: tb.Bus, holdings: dict[str, float], alert: float, stop: float) -> None:
        self._bus = bus
        self._holdings = holdings
        self._alert, self._stop = alert, stop
        self._prices: dict[str, float] = {}
        self._peak = 0.0
        self._alerted = False

    def react(self, event: tb.Event) -> None:
        symbol = event.symbol
        if symbol not in self._holdings:
            return
        self._prices[symbol] = event.price
        if len(self._prices) < len(self._holdings):
            return  # the account has no value before each holding has a price
        equity = sum(quantity * self._prices[held] for held, quantity in self._holdings.items())
        if equity > self._peak:
            self._peak, self._alerted = equity, False
        drawdown = 1 - equity / self._peak
        if drawdown >= self._alert and not self._alerted:
            self._alerted = True
            left = tb.pack_quantity(equity)
            self._bus.publish(tb.EventType.DRAWDOWN_ALERT, symbol, drawdown, metadata=left)
        if drawdown >= self._stop:
            self._bus.publish(tb.EventType.EMERGENCY_STOP, symbol, drawdown)
            self._peak, self._alerted = equity, False


def main() -> None:
    with tb.Bus(source="drawdown") as bus:
        strategy = DrawdownStop(bus, {"BTC-USDT": 1.0, "ETH-USDT": 10.0}, alert=0.02, stop=0.05)
        bus.on(*strategy.patterns)(strategy.react)
        risk = bus.subscribe("risk.>", "critical.>")

        bus.publish(tb.EventType.PRICE_UPDATE, "ETH-USDT", 2_600.0, source="kraken")
        for price in (60_000.0, 61_000.0, 59_000.0, 58_000.0, 56_000.0):
            bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", price, source="kraken")

        # From a peak of 87,000: 2.3 % at 59,000 alerts, 5.7 % at 56,000 stops.
        for event in risk.drain():
            print(f"{event.type_name} on {event.symbol}: {event.value:.1%} below the peak")


if __name__ == "__main__":
    main()
