"""
Kraken, WebSocket v2. One channel a message, one answer per symbol; heartbeats every second by themselves.

Quotes are the ticker told at every change of the best prices, not only at trades.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import PING, Adapter, Request, Stream, dumps

#: Levels a side of a book; the checksum covers ten.
DEPTH = 100


class Kraken(Adapter):
    """See the module."""

    venue = "kraken"
    url = "wss://ws.kraken.com"
    path = "/v2"
    channels: ClassVar = {"trades": "trade", "quotes": "ticker", "books": "book"}
    # Its front door allows about 150 attempts in 10 minutes and address. Messages have no documented limit.
    rules = Rules(attempts=(150, 600.0), requests=(20, 1.0), ping_after_s=5.0, dead_after_s=10.0)

    def native(self, symbol: str) -> str:
        return "/".join(self._no_tail(symbol)) if "/" not in symbol else symbol

    def fits(self, one: Stream, other: Stream) -> bool:
        return one.channel == other.channel

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        channel = streams[0].channel
        params: dict[str, Any] = {"channel": channel, "symbol": [stream.symbol for stream in streams]}
        if channel == "book":
            params["depth"] = DEPTH
        elif channel == "ticker" and kind == "subscribe":
            params["event_trigger"] = "bbo"
        return {"method": kind, "params": params, "req_id": number}

    def ping(self, number: int) -> Request | None:
        return Request(PING, dumps({"method": "ping", "req_id": number}), number=str(number))


adapter = Kraken
