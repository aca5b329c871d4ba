"""
Coinbase: the Exchange feed (`spot`) and Advanced Trade (`advanced`), each with its heartbeat channel.

A heartbeat a second is what tells a quiet market from a dead connection; neither feed has a ping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import Adapter, Stream
from tickbus.exchanges.readings import Part


class Exchange(Adapter):
    """`wss://ws-feed.exchange.coinbase.com`, without a key: `level2` would need one."""

    venue = "coinbase"
    url = "wss://ws-feed.exchange.coinbase.com"
    path = "/"
    channels: ClassVar = {"trades": "matches", "quotes": "ticker", "books": "level2_batch"}
    # Documented: 8 connections a second and address; 100 messages a second and connection.
    rules = Rules(attempts=(8, 1.0), requests=(50, 1.0), dead_after_s=10.0)

    def native(self, symbol: str) -> str:
        return "-".join(self._no_tail(symbol))

    def is_book(self, channel: str) -> bool:
        return channel.startswith("level2")

    def stream_of(self, part: Part) -> Stream:
        # Updates do not say by which of its channels they come.
        return Stream("level2_batch" if part.channel == "level2" else part.channel, part.symbol)

    def companions(self, streams: Sequence[Stream]) -> list[Stream]:
        return [Stream("heartbeat", symbol) for symbol in dict.fromkeys(symbol for _, symbol in streams)]

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        names: dict[str, list[str]] = {}
        for channel, symbol in streams:
            names.setdefault(channel, []).append(symbol)
        channels = [{"name": name, "product_ids": symbols} for name, symbols in names.items()]
        return {"type": kind, "channels": channels}


class Advanced(Exchange):
    """`wss://advanced-trade-ws.coinbase.com`: one channel a message, every message numbered."""

    url = "wss://advanced-trade-ws.coinbase.com"
    channels: ClassVar = {"trades": "market_trades", "quotes": "ticker", "books": "level2"}
    # Documented: 8 connections a second and 8 unauthenticated messages a second, by address.
    rules = Rules(attempts=(8, 1.0), requests=(8, 1.0), requests_by_address=True, dead_after_s=10.0)

    def __init__(self, market: str) -> None:
        super().__init__(market)
        self.decoder_market = "spot"

    def companions(self, streams: Sequence[Stream]) -> list[Stream]:
        # It has no product; the venue lists it under its own name.
        return [Stream("heartbeats", "heartbeats")]

    def stream_of(self, part: Part) -> Stream:
        return Stream(part.channel, part.symbol or part.channel)

    def fits(self, one: Stream, other: Stream) -> bool:
        return one.channel == other.channel

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        symbols = [stream.symbol for stream in streams if stream.symbol != stream.channel]
        return {"type": kind, "channel": streams[0].channel} | ({"product_ids": symbols} if symbols else {})


def adapter(market: str) -> Adapter:
    return Advanced(market) if market == "advanced" else Exchange(market)
