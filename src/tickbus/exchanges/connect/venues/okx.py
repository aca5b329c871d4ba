"""
OKX v5, the public feed: spot, swaps, futures and options under one address, told apart by their names.

Its own keep-alive is the text `ping`, due before 30 seconds without a message have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.adapter import PING, Adapter, Request, Stream


class Okx(Adapter):
    """See the module."""

    venue = "okx"
    url = "wss://ws.okx.com:8443"
    path = "/ws/v5/public"
    channels: ClassVar = {"trades": "trades", "quotes": "bbo-tbt", "books": "books"}
    # Documented: 3 connections a second; 480 (un)subscriptions an hour and connection; 64 KB of arguments.
    rules = Rules(
        attempts=(3, 1.0),
        requests=(10, 1.0),
        changes=(480, 3600.0),
        ping_after_s=20.0,
        dead_after_s=30.0,
    )

    def native(self, symbol: str) -> str:
        base, quote, tail = self._pair(symbol)
        return "-".join(filter(None, (base, quote, "SWAP" if tail == "PERP" else tail)))

    def is_book(self, channel: str) -> bool:
        return channel in ("books", "books-l2-tbt", "books50-l2-tbt")

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        return {"op": kind, "args": [{"channel": channel, "instId": symbol} for channel, symbol in streams]}

    def ping(self, number: int) -> Request | None:
        return Request(PING, "ping")


adapter = Okx
