"""
What to send to each venue: its addresses, names, subscriptions, pings and rules. A file per venue, no I/O.

`adapter(venue, market)` gives one; `ADAPTERS` lists all.
"""

from __future__ import annotations

import importlib

from tickbus.exchanges.connect.venues.base import CHANNELS, Adapter, Request, Stream

__all__ = ["ADAPTERS", "CHANNELS", "Adapter", "Request", "Stream", "adapter"]

#: Venue and its markets; `advanced` is Coinbase's Advanced Trade, the other feed of the same market.
ADAPTERS: dict[str, tuple[str, ...]] = {
    "binance": ("spot", "spot-us", "usdm", "coinm"),
    "coinbase": ("spot", "advanced"),
    "kraken": ("spot",),
    "okx": ("spot",),
    "bybit": ("spot", "linear", "inverse"),
}


def adapter(venue: str, market: str = "spot") -> Adapter:
    """
    What connects to a venue's market.

    Raises:
        ValueError: There is no such venue or market; the message lists those there are.
    """
    if venue not in ADAPTERS:
        raise ValueError(f"venue {venue!r} is none of: {', '.join(ADAPTERS)}")
    if market not in ADAPTERS[venue]:
        raise ValueError(f"market {market!r} of {venue} is none of: {', '.join(ADAPTERS[venue])}")
    module = importlib.import_module(f"tickbus.exchanges.connect.venues.{venue}")
    made: Adapter = module.adapter(market)
    return made
