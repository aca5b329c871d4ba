"""
Cross-venue arbitrage alert: one venue bids more than another asks, by more than the fees.

Keeps the latest top of book of each venue. When the best bid anywhere exceeds the best ask elsewhere
by `min_edge`, an `arbitrage_alert` goes out, a type of our own with the edge and the size both sides
show. One alert for each opening, not one for each quote; quotes that stand still for long don't count.
"""

import tickbus as tb

#: A free number of the trading range; the desk's processes register it under the same name.
ARBITRAGE_ALERT = 40


class ArbitrageAlert:
    """Compares the venues of each symbol whenever one of them quotes."""

    patterns = ("market.top_of_book.>",)

    def __init__(self, bus: tb.Bus, min_edge: float, stale_after_s: float = 1.0) -> None:
        self._bus = bus
        self._min_edge = min_edge
        self._stale_after_ns = int(stale_after_s * 1e9)
        self._quotes: dict[str, dict[str, tb.Event]] = {}
        self._open: set[str] = set()
        bus.register_type(ARBITRAGE_ALERT, "arbitrage_alert", value="edge", metadata="size", encoding="f64")

    def react(self, event: tb.Event) -> None:
        venues = self._quotes.setdefault(event.symbol, {})
        venues[event.source] = event
        oldest = event.timestamp - self._stale_after_ns
        fresh = [quote for quote in venues.values() if quote.timestamp >= oldest]
        sell = max(fresh, key=lambda quote: quote.bid)
        buy = min(fresh, key=lambda quote: quote.ask)
        edge = sell.bid / buy.ask - 1 if buy.ask > 0 else 0.0
        if edge < self._min_edge:
            self._open.discard(event.symbol)
        elif event.symbol not in self._open:
            self._open.add(event.symbol)
            size = tb.pack_quantity(min(sell.bid_size, buy.ask_size))
            self._bus.publish(ARBITRAGE_ALERT, event.symbol, edge, metadata=size)


def main() -> None:
    quotes = (  # venue, bid, ask
        ("binance", 61_800.0, 61_801.0),
        ("kraken", 61_802.0, 61_804.0),
        ("coinbase", 61_930.0, 61_935.0),
        ("coinbase", 61_932.0, 61_936.0),
        ("coinbase", 61_803.0, 61_806.0),
    )
    with tb.Bus(source="arbitrage") as bus:
        strategy = ArbitrageAlert(bus, min_edge=0.001)
        bus.on(*strategy.patterns)(strategy.react)
        alerts = bus.subscribe("trading.arbitrage_alert.>")

        for venue, bid, ask in quotes:
            price, metadata = tb.pack_quote(bid, ask, 0.4, 0.7, 2)
            bus.publish(tb.EventType.TOP_OF_BOOK, "BTC-USDT", price, metadata=metadata, source=venue)

        # Two basis points to Kraken are not worth the fees; 21 to Coinbase are, once.
        for alert in alerts.drain():
            size = alert.field("size")
            print(f"arbitrage {alert.symbol}: {alert.value * 1e4:.1f} basis points on {size:.2f}")


if __name__ == "__main__":
    main()
