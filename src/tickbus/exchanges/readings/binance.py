"""
Binance, spot and futures, raw and combined streams.

Trades are numbered one by one per symbol (`t`; aggregated ones `a`), quotes by the book's update id `u`.
Depth updates cover `U` to `u`; on futures `pu` names the update before.
"""

from __future__ import annotations

from typing import Any

from tickbus.exchanges.readings import UNKNOWN, Kind, Part, Reading, Sequence


def read(message: Any) -> Reading:
    """Read one parsed frame."""
    stream, data = message.get("stream", ""), message
    if "data" in message:
        data = message["data"]
    if isinstance(data, list):
        return Reading(Kind.DATA, (Part(stream.partition("@")[2] or "array", ""),))
    event = data.get("e")
    if event is None:
        return _untyped(data, stream)
    if event == "serverShutdown":
        return Reading(Kind.NOTICE, text="serverShutdown")
    return Reading(Kind.DATA, (_part(data, event, stream),))


def _part(data: Any, event: str, stream: str) -> Part:
    symbol = data.get("s", "")
    if event == "trade":
        # Executions outside the book are numbered too, and make no event.
        ids = (data["t"],) if data.get("X", "MARKET") == "MARKET" else ()
        return Part("trade", symbol, ids, Sequence(data["t"], data["t"]))
    if event == "aggTrade":
        return Part("aggTrade", symbol, (data["a"],), Sequence(data["a"], data["a"]))
    if event == "bookTicker":
        return Part("bookTicker", symbol, (data["u"],))
    if event == "depthUpdate":
        # A combined stream says its speed, as it was asked for; a raw one does not.
        channel = stream.partition("@")[2] or "depth"
        return Part(channel, symbol, (), Sequence(data["U"], data["u"], data.get("pu")))
    return Part(event, symbol)


def _untyped(data: Any, stream: str) -> Reading:
    if "B" in data and "A" in data:
        return Reading(Kind.DATA, (Part("bookTicker", data["s"], (data["u"],)),))
    if "lastUpdateId" in data:
        name, _, channel = stream.partition("@")
        return Reading(Kind.DATA, (Part(channel or "depth_snapshot", name.upper(), is_snapshot=True),))
    error = data.get("error", data)
    if "code" in error:
        return Reading(Kind.REFUSAL, request=_number(data), text=f"{error['code']}: {error.get('msg', '')}")
    if "result" in data and "id" in data:
        kind = Kind.PONG if isinstance(data["result"], list) else Kind.ACK
        return Reading(kind, request=_number(data))
    return UNKNOWN


def _number(data: Any) -> str:
    return "" if data.get("id") is None else str(data["id"])
