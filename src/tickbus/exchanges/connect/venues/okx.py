"""
OKX v5, the public feed: spot, swaps, futures and options under one address, told apart by their names.

Its own keep-alive is the text `ping`, due before 30 seconds without a message have passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import PING, Adapter, Request, Stream


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

    def companions(self, streams: Sequence[Stream]) -> list[Stream]:
        # All but spot is sized in contracts, and only this list says what one is.
        kinds = {_kind(symbol) for _, symbol in streams} - {"SPOT"}
        return [Stream("instruments", kind) for kind in sorted(kinds)]

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        args = [
            {"channel": channel, "instType" if channel == "instruments" else "instId": symbol}
            for channel, symbol in streams
        ]
        return {"op": kind, "args": args}

    def ping(self, number: int) -> Request | None:
        return Request(PING, "ping")


def _kind(symbol: str) -> str:
    """The venue's type of an instrument, from its name: BTC-USDT, BTC-USDT-SWAP, BTC-USD-240927."""
    parts = symbol.split("-")
    if len(parts) == 2:
        return "SPOT"
    return "SWAP" if parts[2] == "SWAP" else "FUTURES" if len(parts) == 3 else "OPTION"


adapter = Okx
