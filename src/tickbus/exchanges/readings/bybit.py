"""
Bybit v5.

Trades are told by `i`, which is no number on derivatives; several messages may share one `seq`. Books count
`u` up by one; a snapshot at any time, or `u` 1, begins anew.
"""

from __future__ import annotations

from typing import Any

from tickbus.exchanges.readings import UNKNOWN, Kind, Part, Reading, Sequence

_BEST = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")


def read(message: Any) -> Reading:
    """Read one parsed frame."""
    topic = message.get("topic")
    if topic is None:
        return _answer(message)
    channel, _, symbol = topic.rpartition(".")
    data = message["data"]
    if channel == "publicTrade":
        return Reading(Kind.DATA, (Part(channel, symbol, tuple(_id(trade["i"]) for trade in data)),))
    if channel.startswith("orderbook"):
        restarts = message["type"] == "snapshot" or data["u"] == 1
        # The first level comes as snapshots, repeated under one id while nothing moves.
        ids = (f"{data['u']}/{data.get('seq', '')}",) if channel == "orderbook.1" else ()
        sequence = Sequence(data["u"], data["u"], None, restarts)
        return Reading(Kind.DATA, (Part(channel, symbol, ids, sequence, restarts),))
    if channel == "tickers":
        # Derivatives' tickers have the best prices, each update what changed; nothing identifies one.
        has_prices = any(name in data for name in _BEST)
        return Reading(Kind.DATA, (Part(channel, symbol, (None,) if has_prices else ()),))
    return Reading(Kind.DATA, (Part(channel, symbol),))


def _answer(message: Any) -> Reading:
    op, request = message.get("op"), str(message.get("req_id") or "")
    if op == "pong" or message.get("ret_msg") == "pong":
        return Reading(Kind.PONG, request=request)
    if op in ("subscribe", "unsubscribe"):
        if message.get("success"):
            return Reading(Kind.ACK, request=request)
        return Reading(Kind.REFUSAL, request=request, text=str(message.get("ret_msg", "")))
    return UNKNOWN


def _id(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text
