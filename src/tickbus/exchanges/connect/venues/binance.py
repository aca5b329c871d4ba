"""
Binance: spot, Binance.US, USD-M and COIN-M futures, by combined streams, which say what they are.

It accepts streams that do not exist, so nothing tells a wrong symbol but its silence. It has no ping of its
own that a client may send; LIST_SUBSCRIPTIONS is answered and does as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.errors import InvalidNameError
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import PING, Adapter, Request, Stream, dumps

_ADDRESSES = {
    "spot": ("wss://stream.binance.com:9443", "https://api.binance.com", "/api/v3/depth", 5000),
    "spot-us": ("wss://stream.binance.us:9443", "https://api.binance.us", "/api/v3/depth", 5000),
    "usdm": ("wss://fstream.binance.com", "https://fapi.binance.com", "/fapi/v1/depth", 1000),
    "coinm": ("wss://dstream.binance.com", "https://dapi.binance.com", "/dapi/v1/depth", 1000),
}


class Binance(Adapter):
    """See the module."""

    venue = "binance"
    path = "/stream"
    channels: ClassVar = {"trades": "trade", "quotes": "bookTicker", "books": "depth@100ms"}

    def __init__(self, market: str) -> None:
        super().__init__(market)
        self.url, self.rest_url, self._depth_path, self._depth_limit = _ADDRESSES[market]
        # Documented: 300 attempts in 5 minutes; 5 messages a second (futures 10), pongs included, of which
        # one is left to pongs; 24 hours. A book of 5000 levels weighs 250 of 6000 a minute.
        self.rules = Rules(
            attempts=(300, 300.0),
            requests=(4, 1.0) if market.startswith("spot") else (9, 1.0),
            rest=(20, 60.0),
            streams_max=1024 if market.startswith("spot") else 200,
            args_max=100,
            ping_after_s=20.0,
            dead_after_s=40.0,
            lifetime_s=24 * 3600.0,
        )

    def native(self, symbol: str) -> str:
        if "-" not in symbol:
            return symbol.upper()
        if self.market.startswith("spot"):
            return "".join(self._no_tail(symbol))
        base, quote, tail = self._pair(symbol)
        if not tail:
            raise InvalidNameError(f"symbol {symbol!r} names no future: {symbol}-PERP or {symbol}-YYMMDD")
        if tail == "PERP" and self.market == "usdm":
            return base + quote
        return f"{base}{quote}_{tail}"

    def is_book(self, channel: str) -> bool:
        return channel.startswith("depth@") or channel == "depth"

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        names = [f"{stream.symbol.lower()}@{stream.channel}" for stream in streams]
        return {"method": kind.upper(), "params": names, "id": number}

    def ping(self, number: int) -> Request | None:
        text = dumps({"method": "LIST_SUBSCRIPTIONS", "id": number})
        return Request(PING, text, number=str(number))

    def snapshot_path(self, stream: Stream) -> str | None:
        if not self.is_book(stream.channel):
            return None
        return f"{self._depth_path}?symbol={stream.symbol}&limit={self._depth_limit}"


adapter = Binance
