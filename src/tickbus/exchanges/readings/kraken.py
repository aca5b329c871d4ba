"""
Kraken: WebSocket v2 (`channel`), and the arrays and events of v1.

v2 numbers trades one by one per symbol. Quotes, books and everything of v1 have nothing that
identifies a message; a lost book update shows in the checksum alone.
"""

from __future__ import annotations

import itertools
from typing import Any

from tickbus.exchanges.readings import UNKNOWN, Kind, Part, Reading, run_of


def read(message: Any) -> Reading:
    """Read one parsed frame."""
    if isinstance(message, list):
        return _v1(message)
    if "event" in message:
        return _v1_event(message, message["event"])
    if method := message.get("method"):
        return _answer(message, method)
    channel = message["channel"]
    if channel == "heartbeat":
        return Reading(Kind.HEARTBEAT, (Part(channel, ""),))
    if channel == "status":
        systems = ", ".join(str(row.get("system", "")) for row in message.get("data", ()))
        return Reading(Kind.STATUS, text=systems)
    runs = itertools.groupby(message["data"], key=lambda row: row.get("symbol", ""))
    is_news = message["type"] == "update"
    return Reading(Kind.DATA, tuple(_part(channel, symbol, list(rows), is_news) for symbol, rows in runs))


def _part(channel: str, symbol: str, rows: list[Any], is_news: bool) -> Part:
    if channel == "trade":
        ids = [row["trade_id"] for row in rows]
        sequence = run_of(ids)
        if sequence is not None and not is_news:
            sequence = sequence._replace(restarts=True)
        return Part(channel, symbol, tuple(ids) if is_news else (), sequence)
    if channel == "ticker":
        return Part(channel, symbol, (None,) * len(rows))
    return Part(channel, symbol, is_snapshot=not is_news)


def _answer(message: Any, method: str) -> Reading:
    request = "" if message.get("req_id") is None else str(message["req_id"])
    if method == "pong":
        return Reading(Kind.PONG, request=request)
    if method not in ("subscribe", "unsubscribe"):
        return UNKNOWN
    if not message.get("success"):
        part = Part(message.get("channel", ""), message.get("symbol", ""))
        return Reading(Kind.REFUSAL, (part,), request, str(message.get("error", "")))
    result = message.get("result", {})
    return Reading(Kind.ACK, (Part(result.get("channel", ""), result.get("symbol", "")),), request, method)


def _v1(message: list[Any]) -> Reading:
    name, pair = message[-2], message[-1]
    if name == "trade":
        return Reading(Kind.DATA, (Part(name, pair, (None,) * len(message[1])),))
    return Reading(Kind.DATA, (Part(name, pair, (None,) if name == "ticker" else ()),))


def _v1_event(message: Any, event: str) -> Reading:
    if event == "heartbeat":
        return Reading(Kind.HEARTBEAT, (Part(event, ""),))
    if event == "pong":
        return Reading(Kind.PONG)
    if event == "systemStatus":
        return Reading(Kind.STATUS, text=str(message.get("status", "")))
    if event == "subscriptionStatus":
        part = Part(message.get("channelName", ""), message.get("pair", ""))
        if message.get("status") == "error":
            return Reading(Kind.REFUSAL, (part,), text=str(message.get("errorMessage", "")))
        return Reading(Kind.ACK, (part,))
    return UNKNOWN
