"""Instant stop-loss."""

import pytest

import tickbus as tb
from tickbus.demo.strategies.stop_loss import StopLoss


@pytest.fixture
def strategy(bus, plays):
    return plays(StopLoss(bus, distance=0.1))


def fill(bus, quantity, price=100.0, symbol="BTC-USDT"):
    bus.publish(tb.EventType.ORDER_FILLED, symbol, price, metadata=tb.pack_quantity(quantity))


class TestStop:
    def test_sells_in_the_call_that_publishes_the_price(self, bus, market, strategy, said):
        """When `publish` returns, the stop is on the critical lane."""
        fill(bus, 2.0)

        market.trade(90.0)

        assert said("stop_loss_triggered") == [("stop_loss_triggered", 90.0)]
        assert strategy.positions == {}

    def test_trails_the_highest_price(self, bus, market, strategy, said):
        """A tenth below 120 is 108, whatever the entry was."""
        fill(bus, 2.0)

        for price in (120.0, 109.0, 108.0):
            market.trade(price)

        assert said("stop_loss_triggered") == [("stop_loss_triggered", 108.0)]

    def test_sells_once(self, bus, market, strategy, said):
        """What is sold is not sold again while its fill is under way."""
        fill(bus, 2.0)

        for price in (80.0, 70.0):
            market.trade(price)

        assert len(said("stop_loss_triggered")) == 1

    def test_guards_what_is_left_after_a_partial_sale(self, bus, market, strategy):
        """Fills add up; the stop sells the rest."""
        stops = bus.subscribe("risk.stop_loss_triggered.>")
        fill(bus, 2.0)
        fill(bus, -0.5)

        market.trade(80.0)

        (stop,) = stops.drain()
        assert (stop.quantity, stop.side) == (1.5, -1)

    def test_an_emergency_closes_every_position(self, bus, strategy, said):
        """All go at the price last seen."""
        fill(bus, 1.0, 100.0, "BTC-USDT")
        fill(bus, 1.0, 10.0, "ETH-USDT")

        bus.publish(tb.EventType.EMERGENCY_STOP, "BTC-USDT", 1.0)

        assert [value for _, value in said("stop_loss_triggered")] == [100.0, 10.0]

    def test_leaves_other_symbols_alone(self, bus, market, strategy, said):
        """A fall elsewhere is no reason to sell."""
        fill(bus, 1.0, 100.0, "ETH-USDT")

        market.trade(10.0)

        assert said("stop_loss_triggered") == []
