"""
Kraken's WebSocket v2 from the venue's side.

`trade`, `ticker` and `book` with the CRC-32 of the best ten levels; one answer per symbol; `ping`; a `status`
message first and `heartbeat` every second. Numbers are JSON numbers with the zeros that the checksum
counts, and no level is told gone that merely fell out of the subscribed depth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tickbus.testing.venue_server.depth import Change, Depth, Level, Trade, price_text, size_text
from tickbus.testing.venue_server.protocol import Limits, Protocol, crc32, dumps, iso_time, top_changes

DEPTHS = (10, 25, 100, 500, 1000)
CHECKED_LEVELS = 10


def native(symbol: str) -> str:
    return symbol.replace("-", "/")


def checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """CRC-32 of the best ten asks, then bids, each price and size without point and leading zeros."""

    def text(level: Level) -> str:
        parts = (price_text(level.ticks), size_text(level.size))
        return "".join(part.replace(".", "").lstrip("0") for part in parts)

    sides = [list(side)[:CHECKED_LEVELS] for side in (asks, bids)]
    return crc32("".join(text(level) for side in sides for level in side))


class Kraken(Protocol):
    """See the module. A book's entry in `streams` is its depth and the top as it was last sent."""

    LIMITS = Limits(attempts=(150, 600.0), messages=(50, 1.0))

    def opened(self) -> Iterable[str]:
        row = {"api_version": "v2", "connection_id": 1, "system": "online", "version": "2.0.10"}
        return [dumps({"channel": "status", "type": "update", "data": [row]})]

    def received(self, text: str) -> Iterable[str]:
        try:
            message = json.loads(text)
            method, params = message["method"], message.get("params", {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [dumps({"error": f"Malformed request: {error}", "success": False})]
        tail = {"time_in": iso_time(self.market.time_ns), "time_out": iso_time(self.market.time_ns)}
        if "req_id" in message:
            tail["req_id"] = message["req_id"]
        if method == "ping":
            return [dumps({"method": "pong"} | tail)]
        if method not in ("subscribe", "unsubscribe"):
            return [dumps({"method": method, "error": "Unsupported method", "success": False} | tail)]
        frames: list[str] = []
        for symbol in params.get("symbol", []):
            answer, first = self._one(method, params.get("channel"), symbol, params)
            frames += [dumps({"method": method} | answer | tail), *first]
        return frames

    def _one(
        self, method: str, channel: str, symbol: str, params: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        stream = (channel, symbol)
        refusal = {"success": False, "symbol": symbol}
        if channel not in ("trade", "ticker", "book"):
            return refusal | {"error": f"Channel not supported {channel}"}, []
        if not self.lists(symbol, native):
            return refusal | {"error": f"Currency pair not supported {symbol}"}, []
        depth = params.get("depth", 10)
        if channel == "book" and depth not in DEPTHS:
            return refusal | {"error": f"Depth not supported {depth}"}, []
        if method == "subscribe":
            if stream in self.streams:
                return refusal | {"error": "Already subscribed"}, []
            self.streams[stream] = (depth, ({}, {})) if channel == "book" else None
        elif stream not in self.streams:
            return refusal | {"error": "Subscription Not Found"}, []
        else:
            del self.streams[stream]
            return {"result": {"channel": channel, "symbol": symbol}, "success": True}, []
        result = {"channel": channel, "symbol": symbol, "snapshot": True}
        result |= {"depth": depth} if channel == "book" else {}
        return {"result": result, "success": True}, list(self._first(channel, symbol, params))

    def _first(self, channel: str, symbol: str, params: dict[str, Any]) -> Iterable[str]:
        book = self.book_of(symbol, native)
        if book is None:
            return
        if channel == "book":
            yield self._book(book, "snapshot", book.time_ns)
        elif channel == "ticker" and params.get("snapshot", True):
            yield self._ticker(book, "snapshot")
        elif channel == "trade" and params.get("snapshot") and book.symbol in self.market.last_trades:
            yield self._trade(self.market.last_trades[book.symbol], "snapshot")

    def told(self, event: Trade | Change) -> Iterable[str]:
        symbol = native(event.symbol)
        if isinstance(event, Trade):
            if ("trade", symbol) in self.streams:
                yield self._trade(event, "update")
            return
        book = self.market.books[event.symbol]
        if ("ticker", symbol) in self.streams:
            yield self._ticker(book, "update")
        if ("book", symbol) in self.streams:
            frame = self._book(book, "update", event.time_ns)
            if frame:
                yield frame

    def heartbeats(self) -> Iterable[str]:
        return [dumps({"channel": "heartbeat"})] if self.streams else []

    def _trade(self, trade: Trade, type: str) -> str:
        # Written by hand: JSON numbers keep their zeros here.
        return (
            f'{{"channel":"trade","type":"{type}","data":[{{"symbol":"{native(trade.symbol)}",'
            f'"side":"{"buy" if trade.bought else "sell"}","price":{price_text(trade.ticks)},'
            f'"qty":{size_text(trade.size)},"ord_type":"market","trade_id":{trade.number},'
            f'"timestamp":"{iso_time(trade.time_ns)}"}}]}}'
        )

    def _ticker(self, book: Depth, type: str) -> str:
        (bid,), (ask,) = book.bids(1), book.asks(1)
        return (
            f'{{"channel":"ticker","type":"{type}","data":[{{"symbol":"{native(book.symbol)}",'
            f'"bid":{price_text(bid.ticks)},"bid_qty":{size_text(bid.size)},"ask":{price_text(ask.ticks)},'
            f'"ask_qty":{size_text(ask.size)},"last":{price_text(bid.ticks)},'
            f'"timestamp":"{iso_time(book.time_ns)}"}}]}}'
        )

    def _book(self, book: Depth, type: str, time_ns: int) -> str:
        stream = ("book", native(book.symbol))
        depth, before = self.streams[stream]
        tops = (book.bids(depth), book.asks(depth))
        if type == "snapshot":
            changes = list(tops)
        else:
            wholes = (dict(book.bids()), dict(book.asks()))
            changes = [
                top_changes(old, top, whole, says_out_of_range=False)
                for old, top, whole in zip(before, tops, wholes, strict=True)
            ]
        self.streams[stream] = (depth, tuple(dict(top) for top in tops))
        if not any(changes):
            return ""
        bids, asks = (
            ",".join(f'{{"price":{price_text(t)},"qty":{size_text(s)}}}' for t, s in side) for side in changes
        )
        return (
            f'{{"channel":"book","type":"{type}","data":[{{"symbol":"{stream[1]}","bids":[{bids}],'
            f'"asks":[{asks}],"checksum":{checksum(*tops)},"timestamp":"{iso_time(time_ns)}"}}]}}'
        )
