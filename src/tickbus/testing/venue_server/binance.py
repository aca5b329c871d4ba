"""
Binance spot, from the venue's side.

`/ws`, `/ws/STREAM` and `/stream?streams=A/B`; SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS; `trade`,
`bookTicker`, `depth` with `U` and `u`; `GET /api/v3/depth` for snapshots; `serverShutdown` before it closes.
Like the venue it accepts streams of symbols that do not exist, and then sends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tickbus.testing.venue_server.depth import Change, Depth, DepthMarket, Trade, price_text, size_text
from tickbus.testing.venue_server.protocol import Limits, Protocol, Stream, dumps


def native(symbol: str) -> str:
    return symbol.replace("-", "")


class Binance(Protocol):
    """See the module."""

    LIMITS = Limits(attempts=(300, 300.0), messages=(5, 1.0), streams=1024)

    def __init__(self, market: DepthMarket, path: str, limits: Limits, *, any_symbol: bool) -> None:
        super().__init__(market, path, limits, any_symbol=any_symbol)
        url = urlsplit(path)
        self._is_combined = url.path.startswith("/stream")
        names = parse_qs(url.query).get("streams", [""])[0].split("/") if self._is_combined else []
        names += url.path.removeprefix("/ws").strip("/").split("/") if url.path.startswith("/ws/") else []
        self.streams.update(dict.fromkeys(_stream(name) for name in names if name))

    def received(self, text: str) -> Iterable[str]:
        try:
            message = json.loads(text)
            method, number, names = message["method"], message.get("id"), message.get("params", [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return [dumps({"error": {"code": 2, "msg": f"Invalid request: {error}"}, "id": None})]
        if method == "LIST_SUBSCRIPTIONS":
            return [dumps({"result": [f"{symbol.lower()}@{c}" for c, symbol in self.streams], "id": number})]
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            text = f"Invalid request: unknown variant `{method}`"
            return [dumps({"error": {"code": 2, "msg": text}, "id": number})]
        wanted = [_stream(name) for name in names]
        if method == "UNSUBSCRIBE":
            for stream in wanted:
                self.streams.pop(stream, None)
        elif len(self.streams | dict.fromkeys(wanted)) > self.limits.streams:
            return [dumps({"error": {"code": 2, "msg": "Invalid request: too many streams"}, "id": number})]
        else:
            self.streams.update(dict.fromkeys(wanted))
        return [dumps({"result": None, "id": number})]

    def wants(self, stream: Stream) -> bool:
        return stream in self.streams or (stream[0] == "depth" and ("depth@100ms", stream[1]) in self.streams)

    def told(self, event: Trade | Change) -> Iterable[str]:
        name = native(event.symbol)
        time_ms = event.time_ns // 1_000_000
        if isinstance(event, Trade):
            data: dict[str, Any] = {"e": "trade", "E": time_ms, "s": name, "t": event.number}
            data |= {"p": price_text(event.ticks), "q": size_text(event.size), "T": time_ms}
            yield from self._if_wanted("trade", name, data | {"m": not event.bought, "M": True})
            return
        book = self.market.books[event.symbol]
        (bid,), (ask,) = book.bids(1), book.asks(1)
        data = {"u": event.last_id, "s": name, "b": price_text(bid.ticks), "B": size_text(bid.size)}
        data |= {"a": price_text(ask.ticks), "A": size_text(ask.size)}
        yield from self._if_wanted("bookTicker", name, data)
        for channel in ("depth", "depth@100ms"):
            data = {"e": "depthUpdate", "E": time_ms, "s": name, "U": event.first_id, "u": event.last_id}
            yield from self._if_wanted(channel, name, data | _sides(event.bids, event.asks, "b", "a"))

    def closing_notice(self) -> str | None:
        data = {"e": "serverShutdown", "E": self.market.time_ns // 1_000_000}
        return dumps({"stream": "!serverShutdown", "data": data} if self._is_combined else data)

    def http(self, path: str, query: dict[str, str]) -> tuple[int, str] | None:
        if path != "/api/v3/depth":
            return None
        book = self.book_of(query.get("symbol", ""), native)
        if book is None:
            return 400, dumps({"code": -1121, "msg": "Invalid symbol."})
        return 200, snapshot(book, int(query.get("limit", "100")))

    def _if_wanted(self, channel: str, name: str, data: dict[str, Any]) -> Iterable[str]:
        if (channel, name) in self.streams:
            stream = f"{name.lower()}@{channel}"
            yield dumps({"stream": stream, "data": data} if self._is_combined else data)


def snapshot(book: Depth, limit: int) -> str:
    """The body of a REST snapshot."""
    return dumps({"lastUpdateId": book.last_id} | _sides(book.bids(limit), book.asks(limit), "bids", "asks"))


def _sides(bids: Iterable[Any], asks: Iterable[Any], bids_key: str, asks_key: str) -> dict[str, Any]:
    sides = {bids_key: bids, asks_key: asks}
    return {
        key: [[price_text(level.ticks), size_text(level.size)] for level in side]
        for key, side in sides.items()
    }


def _stream(name: str) -> Stream:
    symbol, _, channel = str(name).partition("@")
    return channel, symbol.upper()
