"""Drawdown alert with emergency stop."""

import pytest

from tickbus.demo.strategies.drawdown_stop import DrawdownStop


@pytest.fixture
def strategy(bus, plays):
    return plays(DrawdownStop(bus, {"BTC-USDT": 1.0, "ETH-USDT": 10.0}, alert=0.02, stop=0.05))


class TestDrawdown:
    def test_alerts_once_then_stops(self, market, strategy, said):
        """Peak 200: 4 below alerts, 10 below stops, in between is silence."""
        market.trade(10.0, symbol="ETH-USDT")
        for price in (100.0, 97.0, 96.0, 95.0, 90.0):
            market.trade(price)

        assert said() == [
            ("drawdown_alert", pytest.approx(0.02)),
            ("emergency_stop", pytest.approx(0.05)),
        ]

    def test_notices_a_second_slide(self, market, strategy, said):
        """After a stop the peak starts anew."""
        market.trade(10.0, symbol="ETH-USDT")
        for price in (100.0, 90.0, 80.0):
            market.trade(price)

        assert [name for name, _ in said("emergency_stop")] == ["emergency_stop"] * 2

    def test_waits_for_every_price(self, market, strategy, said):
        """Half an account is no account: nothing is known before each holding has a price."""
        for price in (100.0, 50.0):
            market.trade(price)

        assert said() == []
