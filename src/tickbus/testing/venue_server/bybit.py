"""
Bybit v5 from the venue's side, spot.

`publicTrade`, `orderbook.1` (snapshots only), `orderbook.50` and deeper, counted by `u`; at most ten
arguments a message, and one that is wrong refuses the whole message; `{"op":"ping"}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tickbus.testing.venue_server.depth import Change, Depth, Level, Trade, price_text, size_text
from tickbus.testing.venue_server.protocol import Limits, Protocol, dumps, top_changes

DEPTHS = ("1", "50", "200", "1000")


def native(symbol: str) -> str:
    return symbol.replace("-", "")


class Bybit(Protocol):
    """See the module. A book's entry in `streams` is its last `u` and the top as it was last sent."""

    LIMITS = Limits(attempts=(500, 300.0), messages=(500, 1.0), args=10, client_silent_s=600.0)

    def received(self, text: str) -> Iterable[str]:
        try:
            message = json.loads(text)
            op, topics = message["op"], message.get("args", [])
        except (ValueError, KeyError, TypeError, AttributeError):
            return [dumps({"success": False, "ret_msg": "Invalid request", "conn_id": "5a1", "op": ""})]
        tail = {"conn_id": "5a1", "req_id": message.get("req_id", ""), "op": op}
        if op == "ping":
            return [dumps({"success": True, "ret_msg": "pong"} | tail)]
        streams = [(channel, name) for channel, _, name in (str(t).rpartition(".") for t in topics)]
        if len(topics) > self.limits.args:
            return [dumps({"success": False, "ret_msg": f"args size >{self.limits.args}"} | tail)]
        for channel, name in streams:
            if not self._has(channel) or not self.lists(name, native):
                return [dumps({"success": False, "ret_msg": f"Invalid symbol :[{channel}.{name}]"} | tail)]
        frames = [dumps({"success": True, "ret_msg": "", **tail})]
        for channel, name in streams:
            if op == "unsubscribe":
                self.streams.pop((channel, name), None)
                continue
            self.streams[channel, name] = None
            if channel.startswith("orderbook.") and (book := self.book_of(name, native)):
                frames.append(self._book(channel, book, "snapshot"))
        return frames

    @staticmethod
    def _has(channel: str) -> bool:
        kind, _, depth = channel.partition(".")
        return channel == "publicTrade" or (kind == "orderbook" and depth in DEPTHS)

    def told(self, event: Trade | Change) -> Iterable[str]:
        name, time_ms = native(event.symbol), event.time_ns // 1_000_000
        if isinstance(event, Trade):
            if ("publicTrade", name) in self.streams:
                row = {"T": time_ms, "s": name, "S": "Buy" if event.bought else "Sell"}
                row |= {"v": size_text(event.size), "p": price_text(event.ticks)}
                row |= {"i": str(2_290_000_000 + event.number), "BT": False, "RPI": False}
                row |= {"seq": 10_000_000 + event.number}
                head = {"topic": f"publicTrade.{name}", "ts": time_ms, "type": "snapshot"}
                yield dumps(head | {"data": [row]})
            return
        book = self.market.books[event.symbol]
        for channel, symbol in list(self.streams):
            if symbol == name and channel.startswith("orderbook."):
                type = "snapshot" if channel == "orderbook.1" else "delta"
                yield self._book(channel, book, type)

    def _book(self, channel: str, book: Depth, type: str) -> str:
        depth, name = int(channel.partition(".")[2]), native(book.symbol)
        tops = (book.bids(depth), book.asks(depth))
        last, before = self.streams[channel, name] or (book.last_id, ({}, {}))
        number = book.last_id if type == "snapshot" else last + 1
        sides: list[list[Level]] = list(tops)
        if type == "delta":
            sides = [
                top_changes(old, top, {}, says_out_of_range=True)
                for old, top in zip(before, tops, strict=True)
            ]
        self.streams[channel, name] = (number, tuple(dict(top) for top in tops))
        time_ms = book.time_ns // 1_000_000
        data: dict[str, Any] = {"s": name, "b": _rows(sides[0]), "a": _rows(sides[1]), "u": number}
        data["seq"] = book.last_id
        head = {"topic": f"{channel}.{name}", "ts": time_ms, "type": type}
        return dumps(head | {"data": data, "cts": time_ms})


def _rows(levels: Iterable[Level]) -> list[list[str]]:
    return [[price_text(ticks), size_text(size) if size else "0"] for ticks, size in levels]
