"""
OKX v5 from the venue's side, spot.

`trades`, `bbo-tbt` and `books`; an answer per argument; text `ping` and `pong`; who is silent for 30 s is
sent away. Books chain by `prevSeqId` with jumps, and carry the signed checksum of the best 25 levels
unless told to send 0, as OKX does since 2026.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

from tickbus.testing.venue_server.depth import Change, Depth, Level, Trade, price_text, size_text
from tickbus.testing.venue_server.protocol import Limits, Protocol, crc32, dumps

CHECKED_LEVELS = 25
#: Ids grow by this much times the ids of the market, so that they jump.
SEQUENCE_STEP = 7


def native(symbol: str) -> str:
    return symbol


def checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """Signed CRC-32 of the best 25 levels, `bid:size:ask:size:` in turn."""
    sides = [list(side)[:CHECKED_LEVELS] for side in (bids, asks)]
    levels = [level for pair in itertools.zip_longest(*sides) for level in pair if level is not None]
    value = crc32(":".join(f"{price_text(ticks)}:{size_text(size)}" for ticks, size in levels))
    return value - (1 << 32) if value >> 31 else value


class Okx(Protocol):
    """See the module. A book's entry in `streams` is the id of its last message."""

    LIMITS = Limits(attempts=(3, 1.0), messages=(480, 3600.0), client_silent_s=30.0)
    CHANNELS = ("trades", "bbo-tbt", "books")
    #: False for what OKX sends since 2026.
    WITH_CHECKSUM = True

    def received(self, text: str) -> Iterable[str]:
        if text == "ping":
            return ["pong"]
        try:
            message = json.loads(text)
            op = message["op"]
            streams = [(arg["channel"], arg["instId"]) for arg in message["args"]]
        except (ValueError, KeyError, TypeError):
            return [_error("60012", f"Invalid request: {text[:80]}")]
        if op not in ("subscribe", "unsubscribe"):
            return [_error("60012", f"Invalid request: {text[:80]}")]
        frames: list[str] = []
        for channel, name in streams:
            if channel not in self.CHANNELS or not self.lists(name, native):
                what = f"channel:{channel},instId:{name} doesn't exist"
                frames.append(_error("60018", f"Wrong URL or {what}. Please use the correct URL"))
                continue
            arg = {"channel": channel, "instId": name}
            frames.append(dumps({"event": op, "arg": arg, "connId": "a4d3ae55"}))
            if op == "unsubscribe":
                self.streams.pop((channel, name), None)
                continue
            self.streams[channel, name] = None
            if channel == "books" and (book := self.book_of(name, native)):
                frames.append(self._book(book, "snapshot", book.bids(), book.asks()))
        return frames

    def told(self, event: Trade | Change) -> Iterable[str]:
        arg, time_ms = {"instId": event.symbol}, str(event.time_ns // 1_000_000)
        if isinstance(event, Trade):
            if ("trades", event.symbol) in self.streams:
                row = {"instId": event.symbol, "tradeId": str(event.number), "px": price_text(event.ticks)}
                row |= {"sz": size_text(event.size), "side": "buy" if event.bought else "sell"}
                row |= {"ts": time_ms, "count": "1"}
                yield dumps({"arg": {"channel": "trades"} | arg, "data": [row]})
            return
        book = self.market.books[event.symbol]
        if ("bbo-tbt", event.symbol) in self.streams:
            data: dict[str, Any] = {"asks": _rows(book.asks(1)), "bids": _rows(book.bids(1)), "ts": time_ms}
            data["seqId"] = event.last_id * SEQUENCE_STEP
            yield dumps({"arg": {"channel": "bbo-tbt"} | arg, "data": [data]})
        if ("books", event.symbol) in self.streams:
            yield self._book(book, "update", event.bids, event.asks)

    def closing_notice(self) -> str | None:
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        return dumps({"event": "notice", "code": "64008", "msg": text, "connId": "a4d3ae55"})

    def _book(self, book: Depth, action: str, bids: Iterable[Level], asks: Iterable[Level]) -> str:
        stream = ("books", book.symbol)
        sequence = book.last_id * SEQUENCE_STEP
        previous = -1 if action == "snapshot" else self.streams[stream]
        self.streams[stream] = sequence
        data: dict[str, Any] = {"asks": _rows(asks), "bids": _rows(bids)}
        data["ts"] = str(book.time_ns // 1_000_000)
        data["checksum"] = checksum(book.bids(), book.asks()) if self.WITH_CHECKSUM else 0
        data |= {"prevSeqId": previous, "seqId": sequence}
        arg = {"channel": "books", "instId": book.symbol}
        return dumps({"arg": arg, "action": action, "data": [data]})


def _rows(levels: Iterable[Level]) -> list[list[str]]:
    return [[price_text(ticks), size_text(size) if size else "0", "0", "1"] for ticks, size in levels]


def _error(code: str, text: str) -> str:
    return dumps({"event": "error", "code": code, "msg": text, "connId": "a4d3ae55"})
