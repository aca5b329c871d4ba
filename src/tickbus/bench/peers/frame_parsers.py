"""
Frames to trades with something else: a fast JSON library and Python, or a trading library's own parsing.

With msgspec and orjson the Python around them does what a careful user would write: the same tuple
that `Decoder.decode` gives, with tickbus's name of the instrument, a signed size, and time in
nanoseconds. msgspec gets a typed `Struct` per venue, its fastest way. The other libraries make their own
objects, by the same calls as in their live clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tickbus.bench.trade_frames import Trades

#: (symbol, price, size; negative if the taker sold)
Seen = tuple[str, float, float]


@dataclass(frozen=True)
class Parser:
    """A way from a frame to trades."""

    name: str
    requires: str | None
    #: Makes a function from one frame to what was told, for the venue of these trades.
    make: Callable[[Trades], Callable[[Any], Any]]
    #: What a result says, for the behaviour check.
    seen: Callable[[Any, Trades], Sequence[Seen]]
    venues: tuple[str, ...] = ("binance", "coinbase", "kraken", "okx", "bybit")
    #: What the function takes: made before the clock starts.
    prepare: Callable[[bytes], Any] = bytes


def _of_rows(rows: Any, trades: Trades) -> list[Seen]:
    return [(symbol, price, size) for _, symbol, price, size, *_ in rows]


def _iso_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1e6) * 1_000


def _seconds_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _orjson(trades: Trades) -> Callable[[bytes], Any]:
    import orjson

    loads, names = orjson.loads, trades.symbols

    def binance(frame: bytes) -> Any:
        data = loads(frame)["data"]
        size = float(data["q"])
        if data["m"]:
            size = -size
        return [(0, names[data["s"]], float(data["p"]), size, data["T"] * 1_000_000, data["a"], None)]

    def coinbase(frame: bytes) -> Any:
        rows = []
        for event in loads(frame)["events"]:
            for trade in event["trades"]:
                size = float(trade["size"])
                if trade["side"] == "BUY":
                    size = -size
                name, price = names[trade["product_id"]], float(trade["price"])
                rows.append((0, name, price, size, _iso_ns(trade["time"]), int(trade["trade_id"]), None))
        return rows

    def kraken(frame: bytes) -> Any:
        _, data, _, pair = loads(frame)
        rows = []
        for price, volume, time, side, *_ in data:
            size = float(volume) if side == "b" else -float(volume)
            rows.append((0, names[pair], float(price), size, _seconds_ns(time), None, None))
        return rows

    def okx(frame: bytes) -> Any:
        rows = []
        for trade in loads(frame)["data"]:
            size = float(trade["sz"]) if trade["side"] == "buy" else -float(trade["sz"])
            name, price = names[trade["instId"]], float(trade["px"])
            time_ns = int(trade["ts"]) * 1_000_000
            rows.append((0, name, price, size, time_ns, int(trade["tradeId"]), None))
        return rows

    def bybit(frame: bytes) -> Any:
        rows = []
        for trade in loads(frame)["data"]:
            size = float(trade["v"]) if trade["S"] == "Buy" else -float(trade["v"])
            name, price = names[trade["s"]], float(trade["p"])
            rows.append((0, name, price, size, trade["T"] * 1_000_000, trade["i"], trade["seq"]))
        return rows

    parsers = {"binance": binance, "coinbase": coinbase, "kraken": kraken, "okx": okx, "bybit": bybit}
    return parsers[trades.venue]


def _msgspec(trades: Trades) -> Callable[[bytes], Any]:
    import msgspec

    def struct(name: str, *fields: tuple[str, Any]) -> Any:
        return msgspec.defstruct(name, fields, gc=False)

    def decode_of(kind: Any) -> Callable[[bytes], Any]:
        decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        return decode

    names = trades.symbols

    def binance() -> Callable[[bytes], Any]:
        data = struct("Data", ("s", str), ("a", int), ("p", str), ("q", str), ("T", int), ("m", bool))
        decode = decode_of(struct("Stream", ("data", data)))

        def parse(frame: bytes) -> Any:
            data = decode(frame).data
            size = float(data.q)
            if data.m:
                size = -size
            return [(0, names[data.s], float(data.p), size, data.T * 1_000_000, data.a, None)]

        return parse

    def coinbase() -> Callable[[bytes], Any]:
        fields = ("product_id", "trade_id", "price", "size", "time", "side")
        trade = struct("Trade", *((field, str) for field in fields))
        event = struct("Event", ("trades", list[trade]))  # type: ignore[valid-type]
        decode = decode_of(struct("Frame", ("events", list[event])))  # type: ignore[valid-type]

        def parse(frame: bytes) -> Any:
            rows = []
            for event in decode(frame).events:
                for trade in event.trades:
                    size = float(trade.size)
                    if trade.side == "BUY":
                        size = -size
                    name, price = names[trade.product_id], float(trade.price)
                    rows.append((0, name, price, size, _iso_ns(trade.time), int(trade.trade_id), None))
            return rows

        return parse

    def kraken() -> Callable[[bytes], Any]:
        decode = decode_of(tuple[int, list[tuple[str, str, str, str, str, str]], str, str])

        def parse(frame: bytes) -> Any:
            _, data, _, pair = decode(frame)
            rows = []
            for price, volume, time, side, *_ in data:
                size = float(volume) if side == "b" else -float(volume)
                rows.append((0, names[pair], float(price), size, _seconds_ns(time), None, None))
            return rows

        return parse

    def okx() -> Callable[[bytes], Any]:
        fields = ("instId", "tradeId", "px", "sz", "side", "ts")
        trade = struct("Trade", *((field, str) for field in fields))
        decode = decode_of(struct("Frame", ("data", list[trade])))  # type: ignore[valid-type]

        def parse(frame: bytes) -> Any:
            rows = []
            for trade in decode(frame).data:
                size = float(trade.sz) if trade.side == "buy" else -float(trade.sz)
                name, price = names[trade.instId], float(trade.px)
                rows.append((0, name, price, size, int(trade.ts) * 1_000_000, int(trade.tradeId), None))
            return rows

        return parse

    def bybit() -> Callable[[bytes], Any]:
        texts = ((field, str) for field in ("s", "S", "v", "p", "i"))
        trade = struct("Trade", ("T", int), *texts, ("seq", int))
        decode = decode_of(struct("Frame", ("data", list[trade])))  # type: ignore[valid-type]

        def parse(frame: bytes) -> Any:
            rows = []
            for trade in decode(frame).data:
                size = float(trade.v) if trade.S == "Buy" else -float(trade.v)
                name, price = names[trade.s], float(trade.p)
                rows.append((0, name, price, size, trade.T * 1_000_000, trade.i, trade.seq))
            return rows

        return parse

    makers = {"binance": binance, "coinbase": coinbase, "kraken": kraken, "okx": okx, "bybit": bybit}
    return makers[trades.venue]()


ORJSON = Parser("orjson + Python", "orjson", _orjson, _of_rows)
MSGSPEC = Parser("msgspec + Python", "msgspec", _msgspec, _of_rows)
