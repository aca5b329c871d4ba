"""
Coinbase: the Exchange feed (`type`), and Advanced Trade (`channel`).

Exchange numbers trades one by one per product; `last_match` tells an old one, from which counting
begins. A ticker's `sequence` belongs to the product's full channel, so it identifies and cannot be
tested for gaps. Advanced Trade numbers all messages of a connection; its tickers have nothing that would
identify them on another connection.
"""

from __future__ import annotations

import itertools
from typing import Any

from tickbus.exchanges.readings import UNKNOWN, Kind, Part, Reading, Sequence, run_of


def read(message: Any) -> Reading:
    """Read one parsed frame."""
    if "channel" in message and "type" not in message:
        return _advanced(message, message["channel"])
    type = message["type"]
    if type in ("match", "last_match"):
        number = message["trade_id"]
        is_news = type == "match"
        sequence = Sequence(number, number, restarts=not is_news)
        return Reading(
            Kind.DATA, (Part("matches", message["product_id"], (number,) if is_news else (), sequence),)
        )
    if type == "ticker":
        # Before sizes were added a ticker made no quote.
        ids = (message["sequence"],) if "best_bid_size" in message else ()
        return Reading(Kind.DATA, (Part("ticker", message["product_id"], ids),))
    if type in ("snapshot", "l2update"):
        part = Part("level2", message["product_id"], is_snapshot=type == "snapshot")
        return Reading(Kind.DATA, (part,))
    if type == "heartbeat":
        return Reading(Kind.HEARTBEAT, (Part("heartbeat", message["product_id"]),))
    if type == "subscriptions":
        parts = (
            Part(channel["name"], product)
            for channel in message["channels"]
            for product in channel.get("product_ids", ())
        )
        return Reading(Kind.ACK, tuple(parts))
    if type == "error":
        text = ": ".join(filter(None, (message.get("message"), message.get("reason"))))
        return Reading(Kind.REFUSAL, text=text)
    if type == "status":
        return Reading(Kind.STATUS)
    if "product_id" in message:
        return Reading(Kind.DATA, (Part(type, message["product_id"]),))
    return UNKNOWN


def _advanced(message: Any, channel: str) -> Reading:
    number = message.get("sequence_num")
    sequence = None if number is None else Sequence(number, number)
    events = message.get("events", ())
    if channel == "heartbeats":
        return Reading(Kind.HEARTBEAT, (Part(channel, ""),), sequence=sequence)
    if channel == "subscriptions":
        answered = (
            Part(name, product)
            for event in events
            for name, products in event["subscriptions"].items()
            for product in products
        )
        return Reading(Kind.ACK, tuple(answered), sequence=sequence)
    parts = tuple(itertools.chain.from_iterable(_event_parts(channel, event) for event in events))
    return Reading(Kind.DATA, parts or (Part(channel, ""),), sequence=sequence)


def _event_parts(channel: str, event: Any) -> list[Part]:
    if channel == "market_trades":
        runs = itertools.groupby(event["trades"], key=lambda trade: trade["product_id"])
        return [_trades(symbol, list(run), event["type"] == "update") for symbol, run in runs]
    if channel in ("ticker", "ticker_batch"):
        return [
            Part(channel, ticker["product_id"], (None,) if "best_bid_quantity" in ticker else ())
            for ticker in event["tickers"]
        ]
    if channel == "l2_data":
        return [Part("level2", event["product_id"], is_snapshot=event["type"] == "snapshot")]
    rows = next((value for value in event.values() if isinstance(value, list)), [])
    return [Part(channel, symbol) for symbol in {row.get("product_id", "") for row in rows}]


def _trades(symbol: str, trades: list[Any], is_news: bool) -> Part:
    ids = [int(trade["trade_id"]) for trade in trades]
    sequence = run_of(ids)
    if sequence is not None and not is_news:
        sequence = sequence._replace(restarts=True)
    return Part("market_trades", symbol, tuple(ids) if is_news else (), sequence)
