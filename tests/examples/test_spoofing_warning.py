"""Spoofing warning."""

import pytest

from tickbus.demo.strategies.spoofing_warning import SpoofingWarning


@pytest.fixture
def strategy(bus, plays):
    return plays(SpoofingWarning(bus, factor=20.0, pulls=3))


class TestSpoofing:
    def test_warns_of_large_bids_that_are_pulled(self, market, strategy, said):
        """Three times shown, three times gone, never traded: one warning, 49 of 50 was show."""
        for bid_size in (1.0, 50.0, 1.0, 50.0, 1.0, 50.0, 1.0):
            market.quote(100.0, 100.1, bid_size=bid_size)

        assert said() == [("market_manipulation", pytest.approx(0.98, abs=0.001))]

    def test_warns_once_a_second(self, market, strategy, said):
        """A spoofer who goes on is not news."""
        for bid_size in (1.0, 50.0) * 10:
            market.quote(100.0, 100.1, bid_size=bid_size, timestamp=1_000_000_000)

        assert len(said()) == 1

    def test_trusts_large_sizes_that_trade(self, market, strategy, said):
        """An order that was hit was meant."""
        for _ in range(5):
            market.quote(100.0, 100.1, bid_size=1.0)
            market.quote(100.0, 100.1, bid_size=50.0)
            market.trade(100.0)

        assert said() == []

    def test_tells_venues_apart(self, market, strategy, said):
        """One pull at each of three venues is no pattern."""
        for source in ("binance", "coinbase", "kraken"):
            for bid_size in (1.0, 50.0, 1.0):
                market.quote(100.0, 100.1, bid_size=bid_size, source=source)

        assert said() == []
