"""Coordinated action of several strategies."""

import pytest

import tickbus as tb
from tickbus.demo.strategies.coordinated_action import Momentum, Quorum, TakerFlow


@pytest.fixture
def quorum(bus, plays):
    return plays(Quorum(bus, quantity=0.1))


def signal(bus, source, strength, timestamp=None):
    bus.publish(tb.EventType.SIGNAL_GENERATED, "BTC-USDT", strength, source=source, timestamp=timestamp)


class TestSignals:
    def test_momentum_follows_a_rally_and_a_fall(self, bus, market, plays, said):
        """One signal when it begins, one when it turns."""
        plays(Momentum(bus, "momentum", threshold=0.001, trades=10))

        for price in (*range(1000, 1020), *range(1020, 980, -1)):
            market.trade(float(price))

        strengths = [strength for _, strength in said("signal_generated")]
        assert strengths[0] == 1.0
        assert strengths[-1] == -1.0

    def test_taker_flow_needs_one_sided_trades(self, bus, market, plays, said):
        """Buyers and sellers in turn cancel out; sellers alone do not."""
        plays(TakerFlow(bus, "taker_flow", threshold=0.5, trades=10))

        for number in range(40):
            market.trade(100.0, 1.0 if number % 2 else -1.0, symbol="ETH-USDT")
            market.trade(100.0, -1.0)

        assert said("signal_generated") == [("signal_generated", -1.0)]


class TestQuorum:
    def test_orders_when_two_agree(self, bus, quorum):
        """One voice is none; the second one decides, and sells when both say so."""
        orders = bus.subscribe("trading.order_placed.>")
        signal(bus, "momentum", -1.0)
        assert orders.drain() == []

        signal(bus, "taker_flow", -1.0)

        (order,) = orders.drain()
        assert (order.side, order.quantity) == (-1, 0.1)

    def test_does_not_order_when_they_differ(self, bus, quorum, said):
        """Opposite signals cancel out."""
        signal(bus, "momentum", 1.0)
        signal(bus, "taker_flow", -1.0)

        assert said("order_placed") == []

    def test_holds_its_fire_after_an_emergency_stop(self, bus, quorum, said):
        """For a second of the events' own time nothing is ordered."""
        second_ns = 1_000_000_000
        bus.publish(tb.EventType.EMERGENCY_STOP, "BTC-USDT", 1.0, timestamp=second_ns)
        for timestamp in (second_ns + 1, 3 * second_ns):
            for source in ("momentum", "taker_flow"):
                signal(bus, source, 1.0, timestamp)

        assert len(said("order_placed")) == 1
