"""
Connections to venues: subscribed, kept alive, recorded raw, merged, published.

    feed = Feed("kraken", ["BTC-USD"], channels=["trades", "quotes"], bus=bus, connections=2)
    await feed.run()

A file per idea: `venues/` what to send to whom, `session` one connection without its socket, `link` the
socket around it, `line` one that is kept up, `merge` several that become one, `feed` all of it.
docs/parts/connections.md says what is promised. Needs the extra `exchanges`.
"""

from tickbus._native import Dedup
from tickbus.exchanges.connect.clock import Clock, MachineClock
from tickbus.exchanges.connect.feed import Feed
from tickbus.exchanges.connect.link import Change, State
from tickbus.exchanges.connect.pacing import Backoff, Pacing, Window
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues import ADAPTERS, CHANNELS, Adapter, Stream, adapter

__all__ = [
    "ADAPTERS",
    "CHANNELS",
    "Adapter",
    "Backoff",
    "Change",
    "Clock",
    "Dedup",
    "Feed",
    "MachineClock",
    "Pacing",
    "Rules",
    "State",
    "Stream",
    "Window",
    "adapter",
]
