"""Cross-venue arbitrage alert."""

import pytest

from tickbus.demo.strategies.arbitrage_alert import ArbitrageAlert

SECOND_NS = 1_000_000_000


@pytest.fixture
def strategy(bus, plays):
    return plays(ArbitrageAlert(bus, min_edge=0.01))


class TestAlert:
    def test_names_edge_and_size(self, bus, market, strategy):
        """A bid of 103 over an ask of 100 is 3 %, on the smaller of the two sizes."""
        alerts = bus.subscribe("trading.arbitrage_alert.>")
        market.quote(99.0, 100.0, ask_size=2.0, source="kraken")

        market.quote(103.0, 104.0, bid_size=0.5, source="coinbase")

        (alert,) = alerts.drain()
        assert alert.value == pytest.approx(0.03)
        assert alert.field("size") == 0.5

    def test_comes_once_an_opening(self, market, strategy, said):
        """Quotes that move within the opening say nothing new; a second opening does."""
        market.quote(99.0, 100.0, source="kraken")

        for bid in (103.0, 103.5, 100.0, 104.0):
            market.quote(bid, bid + 1, source="coinbase")

        assert [round(edge, 3) for _, edge in said()] == [0.03, 0.04]

    def test_ignores_what_fees_would_eat(self, market, strategy, said):
        """An edge below the minimum is none."""
        market.quote(99.0, 100.0, source="kraken")

        market.quote(100.5, 101.0, source="coinbase")

        assert said() == []

    def test_ignores_quotes_that_stand_still(self, market, strategy, said):
        """A quote older than a second may be gone."""
        market.quote(99.0, 100.0, source="kraken", timestamp=SECOND_NS)

        market.quote(103.0, 104.0, source="coinbase", timestamp=3 * SECOND_NS)

        assert said() == []
