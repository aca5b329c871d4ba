"""
Bybit v5: spot, linear and inverse, one address each with the same names in all.

A message refuses all its arguments for one that is wrong; spot takes ten of them. A ping is due every 20 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.errors import InvalidNameError
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import PING, Adapter, Request, Stream, dumps


class Bybit(Adapter):
    """See the module."""

    venue = "bybit"
    url = "wss://stream.bybit.com"
    channels: ClassVar = {"trades": "publicTrade", "quotes": "orderbook.1", "books": "orderbook.50"}
    # 500 attempts in 5 minutes and address are allowed; messages have no documented limit.
    rules = Rules(
        attempts=(500, 300.0), requests=(10, 1.0), args_max=10, ping_every_s=20.0, dead_after_s=40.0
    )

    def __init__(self, market: str) -> None:
        super().__init__(market)
        self.path = f"/v5/public/{market}"

    def native(self, symbol: str) -> str:
        if "-" not in symbol:
            return symbol.upper()
        if self.market == "spot":
            return "".join(self._no_tail(symbol))
        base, quote, tail = self._pair(symbol)
        if tail != "PERP":
            raise InvalidNameError(
                f"symbol {symbol!r} names no perpetual ({symbol}-PERP); give others by the venue's own name"
            )
        # Contracts in USDC are named by their base alone.
        return f"{base}PERP" if quote == "USDC" else base + quote

    def is_book(self, channel: str) -> bool:
        return channel.startswith("orderbook.") and channel != "orderbook.1"

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        topics = [f"{channel}.{symbol}" for channel, symbol in streams]
        return {"op": kind, "args": topics, "req_id": str(number)}

    def ping(self, number: int) -> Request | None:
        return Request(PING, dumps({"op": "ping", "req_id": str(number)}), number=str(number))


adapter = Bybit
