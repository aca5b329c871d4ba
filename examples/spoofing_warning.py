"""
Spoofing warning: large sizes at the top of the book that are pulled again and never trade.

A size many times the usual one, gone with the next quote without a trade at its price, is a pull. One
pull means nothing, a cancelled order; several on one side within a second are a pattern, and
`market_manipulation` goes out, once a second at most. Its score is the share of the size that was show.
"""

from collections import deque
from dataclasses import dataclass, field

import tickbus as tb


@dataclass
class Side:
    """One side of one venue's book."""

    usual: float = 0.0
    large_price: float | None = None
    large_size: float = 0.0
    pulls_ns: deque[int] = field(default_factory=deque)
    quiet_until_ns: int = 0


class SpoofingWarning:
    """Watches both sides of every book; *factor* times the usual size is large."""

    patterns = ("market.top_of_book.>", "market.price_update.>")

    def __init__(self, bus: tb.Bus, factor: float = 20.0, pulls: int = 3, window_s: float = 1.0) -> None:
        self._bus, self._factor, self._pulls = bus, factor, pulls
        self._window_ns = int(window_s * 1e9)
        self._books: dict[tuple[str, str], tuple[Side, Side]] = {}

    def react(self, event: tb.Event) -> None:
        bids, asks = self._books.setdefault((event.source, event.symbol), (Side(), Side()))
        if event.event_type == tb.EventType.PRICE_UPDATE:
            for side in (bids, asks):
                if side.large_price == event.price:
                    side.large_price = None  # it traded: an order like any other
        else:
            self._quoted(event, bids, event.bid, event.bid_size)
            self._quoted(event, asks, event.ask, event.ask_size)

    def _quoted(self, event: tb.Event, side: Side, price: float, size: float) -> None:
        is_large = 0 < side.usual * self._factor < size
        if side.large_price is not None and not is_large:
            side.large_price = None
            self._pulled(event, side)
        if is_large:
            side.large_price, side.large_size = price, size
        else:
            side.usual = side.usual * 0.95 + size * 0.05 if side.usual else size

    def _pulled(self, event: tb.Event, side: Side) -> None:
        side.pulls_ns.append(event.timestamp)
        while side.pulls_ns[0] < event.timestamp - self._window_ns:
            side.pulls_ns.popleft()
        if len(side.pulls_ns) >= self._pulls and event.timestamp >= side.quiet_until_ns:
            side.quiet_until_ns = event.timestamp + self._window_ns
            score = 1 - side.usual / side.large_size
            self._bus.publish(tb.EventType.MARKET_MANIPULATION, event.symbol, score)


def main() -> None:
    with tb.Bus(source="spoofing") as bus:
        strategy = SpoofingWarning(bus)
        bus.on(*strategy.patterns)(strategy.react)
        warnings = bus.subscribe("critical.market_manipulation.>")

        for bid_size in (0.4, 0.5, 32.0, 0.3, 35.0, 0.4, 31.0, 0.5):
            price, metadata = tb.pack_quote(154.00, 154.02, bid_size, 0.6, 2)
            bus.publish(tb.EventType.TOP_OF_BOOK, "SOL-USDT", price, metadata=metadata, source="coinbase")

        for warning in warnings.drain():
            print(f"{warning.symbol}: large bids shown and pulled, score {warning.score:.2f}")


if __name__ == "__main__":
    main()
