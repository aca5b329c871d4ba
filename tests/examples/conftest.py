"""A private bus, and a short way to publish what strategies look at."""

import pytest

import tickbus as tb


class Market:
    """Publishes trades and quotes of one symbol."""

    def __init__(self, bus, symbol="BTC-USDT"):
        self.bus = bus
        self.symbol = symbol

    def trade(self, price, quantity=1.0, *, symbol=None, source="binance", timestamp=None):
        self.bus.publish(
            tb.EventType.PRICE_UPDATE,
            symbol or self.symbol,
            price,
            metadata=tb.pack_quantity(quantity),
            source=source,
            timestamp=timestamp,
        )

    def quote(self, bid, ask, bid_size=1.0, ask_size=1.0, *, source="binance", timestamp=None):
        value, metadata = tb.pack_quote(bid, ask, bid_size, ask_size, 2)
        self.bus.publish(
            tb.EventType.TOP_OF_BOOK,
            self.symbol,
            value,
            metadata=metadata,
            source=source,
            timestamp=timestamp,
        )


@pytest.fixture
def bus():
    with tb.Bus(source="test") as bus:
        yield bus


@pytest.fixture
def market(bus):
    return Market(bus)


@pytest.fixture
def plays(bus):
    """Let a strategy react inline to everything it asks for."""

    def register(strategy):
        bus.on(*strategy.patterns)(strategy.react)
        return strategy

    return register


@pytest.fixture
def said(bus):
    """What the strategies published, as (type name, value)."""
    subscription = bus.subscribe("trading.>", "risk.>", "critical.>")

    def drain(*types):
        return [
            (one.type_name, one.value) for one in subscription.drain() if not types or one.type_name in types
        ]

    return drain
