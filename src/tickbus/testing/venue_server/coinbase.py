"""
Coinbase from the venue's side: the Exchange feed, and Advanced Trade.

Exchange: `matches`, `ticker`, `level2_batch`, `heartbeat`; a subscription is answered by the list of all,
`last_match` and book snapshots; `level2` is refused, as it is without a key. Advanced Trade:
`market_trades`, `ticker`, `level2`, `heartbeats`; every message of the connection is numbered. Both send
a client away that has not subscribed within five seconds.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from tickbus.testing.venue_server.depth import Change, Depth, Trade, price_text, size_text
from tickbus.testing.venue_server.protocol import Limits, Protocol, Stream, dumps, iso_time


def native(symbol: str) -> str:
    return symbol


def _maker(trade: Trade) -> str:
    """Both feeds name the maker's side."""
    return "sell" if trade.bought else "buy"


class Exchange(Protocol):
    """`wss://ws-feed.exchange.coinbase.com`"""

    LIMITS = Limits(attempts=(8, 1.0), messages=(100, 1.0), subscribe_within_s=5.0)
    CHANNELS = ("matches", "ticker", "level2_batch", "heartbeat")

    def received(self, text: str) -> Iterable[str]:
        try:
            message = json.loads(text)
            type, channels = message["type"], message["channels"]
            wanted = [
                (name, product)
                for channel in channels
                for name in [channel if isinstance(channel, str) else channel["name"]]
                for product in (channel if isinstance(channel, dict) else message)["product_ids"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            return [_error("Malformed JSON", str(error))]
        if type == "unsubscribe":
            for stream in wanted:
                self.streams.pop(stream, None)
            return [self._subscriptions()]
        for name, product in wanted:
            if name == "level2":
                return [_error("Failed to subscribe", "level2 requires authentication")]
            if name not in self.CHANNELS:
                return [_error("Failed to subscribe", f"{name} is not a valid channel")]
            if not self.lists(product, native):
                return [_error("Failed to subscribe", f"{product} is not a valid product")]
        new = [stream for stream in wanted if stream not in self.streams]
        self.streams.update(dict.fromkeys(wanted))
        return [self._subscriptions(), *(frame for stream in new for frame in self._first(*stream))]

    def wants(self, stream: Stream) -> bool:
        return super().wants(("level2_batch", stream[1]) if stream[0] == "level2" else stream)

    def told(self, event: Trade | Change) -> Iterable[str]:
        if isinstance(event, Trade):
            if ("matches", event.symbol) in self.streams:
                yield self._match("match", event)
            return
        book = self.market.books[event.symbol]
        if ("ticker", event.symbol) in self.streams:
            yield self._ticker(book)
        if ("level2_batch", event.symbol) in self.streams:
            changes = [
                [side, price_text(level.ticks), size_text(level.size)]
                for side, levels in (("buy", event.bids), ("sell", event.asks))
                for level in levels
            ]
            head = {"type": "l2update", "product_id": event.symbol, "changes": changes}
            yield dumps(head | {"time": iso_time(event.time_ns)})

    def heartbeats(self) -> Iterable[str]:
        for channel, product in self.streams:
            if channel == "heartbeat" and (book := self.market.books.get(product)):
                trade = self.market.last_trades.get(product)
                message = {"type": "heartbeat", "last_trade_id": trade.number if trade else 0}
                message |= {"product_id": product, "sequence": book.last_id}
                yield dumps(message | {"time": iso_time(self.market.time_ns)})

    def _subscriptions(self) -> str:
        names: dict[str, list[str]] = {}
        for channel, product in self.streams:
            names.setdefault(channel, []).append(product)
        rows = [{"name": name, "product_ids": products} for name, products in names.items()]
        return dumps({"type": "subscriptions", "channels": rows})

    def _first(self, channel: str, product: str) -> Iterable[str]:
        book = self.market.books.get(product)
        if book is None:
            return
        if channel == "matches" and (trade := self.market.last_trades.get(product)):
            yield self._match("last_match", trade)
        elif channel == "ticker":
            yield self._ticker(book)
        elif channel == "level2_batch":
            sides = {
                key: [[price_text(level.ticks), size_text(level.size)] for level in side]
                for key, side in (("bids", book.bids()), ("asks", book.asks()))
            }
            yield dumps({"type": "snapshot", "product_id": product} | sides)

    def _match(self, type: str, trade: Trade) -> str:
        message = {"type": type, "trade_id": trade.number, "product_id": trade.symbol}
        message |= {"maker_order_id": _order(trade.number, 1), "taker_order_id": _order(trade.number, 2)}
        message |= {"side": _maker(trade), "size": size_text(trade.size), "price": price_text(trade.ticks)}
        return dumps(message | {"sequence": 10 * trade.number, "time": iso_time(trade.time_ns)})

    def _ticker(self, book: Depth) -> str:
        (bid,), (ask,) = book.bids(1), book.asks(1)
        message = {"type": "ticker", "sequence": book.last_id, "product_id": book.symbol}
        message |= {"price": price_text(bid.ticks), "side": "buy", "time": iso_time(book.time_ns)}
        message |= {"best_bid": price_text(bid.ticks), "best_bid_size": size_text(bid.size)}
        message |= {"best_ask": price_text(ask.ticks), "best_ask_size": size_text(ask.size)}
        return dumps(message | {"trade_id": 1, "last_size": "0.01"})


def _error(message: str, reason: str) -> str:
    return dumps({"type": "error", "message": message, "reason": reason})


def _order(number: int, kind: int) -> str:
    return f"6d1a0d0c-0000-4000-800{kind}-{number:012x}"


class Advanced(Protocol):
    """`wss://advanced-trade-ws.coinbase.com`"""

    LIMITS = Limits(attempts=(8, 1.0), messages=(8, 1.0), subscribe_within_s=5.0)
    CHANNELS = ("market_trades", "ticker", "level2", "heartbeats")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._number = 0
        self._past: deque[Trade] = deque(maxlen=5)
        self._beats = 0

    def received(self, text: str) -> Iterable[str]:
        try:
            message = json.loads(text)
            type, channel = message["type"], message["channel"]
            wanted = [(channel, product) for product in message.get("product_ids") or [""]]
        except (ValueError, KeyError, TypeError) as error:
            return [_error("malformed message", str(error))]
        if type == "unsubscribe":
            for stream in wanted:
                self.streams.pop(stream, None)
            return [self._subscriptions()]
        if channel not in self.CHANNELS:
            return [_error("channel not found", str(channel))]
        for _, product in wanted:
            if channel != "heartbeats" and not self.lists(product, native):
                return [_error("invalid product", str(product))]
        new = [stream for stream in wanted if stream not in self.streams]
        self.streams.update(dict.fromkeys(wanted))
        return [*(frame for stream in new for frame in self._first(*stream)), self._subscriptions()]

    def told(self, event: Trade | Change) -> Iterable[str]:
        time_ns = event.time_ns
        if isinstance(event, Trade):
            self._past.append(event)
            if ("market_trades", event.symbol) in self.streams:
                row = {"type": "update", "trades": [self._trade(event)]}
                yield self._envelope("market_trades", [row], time_ns)
            return
        if ("ticker", event.symbol) in self.streams:
            yield self._ticker(self.market.books[event.symbol], "update")
        if ("level2", event.symbol) in self.streams:
            yield self._levels(event.symbol, "update", event.bids, event.asks, time_ns)

    def heartbeats(self) -> Iterable[str]:
        if any(channel == "heartbeats" for channel, _ in self.streams):
            self._beats += 1
            time = iso_time(self.market.time_ns).replace("T", " ").replace("Z", " +0000 UTC")
            row = {"current_time": time, "heartbeat_counter": self._beats}
            yield self._envelope("heartbeats", [row], self.market.time_ns)

    def _first(self, channel: str, product: str) -> Iterable[str]:
        book = self.market.books.get(product)
        if book is None:
            return
        if channel == "market_trades":
            past = [self._trade(trade) for trade in reversed(self._past) if trade.symbol == product]
            if past:
                yield self._envelope(channel, [{"type": "snapshot", "trades": past}], self.market.time_ns)
        elif channel == "ticker":
            yield self._ticker(book, "snapshot")
        elif channel == "level2":
            yield self._levels(product, "snapshot", book.bids(), book.asks(), self.market.time_ns)

    def _subscriptions(self) -> str:
        names: dict[str, list[str]] = {}
        for channel, product in self.streams:
            names.setdefault(channel, []).append(product or channel)
        return self._envelope("subscriptions", [{"subscriptions": names}], self.market.time_ns)

    def _trade(self, trade: Trade) -> dict[str, Any]:
        row = {"product_id": trade.symbol, "trade_id": str(trade.number), "price": price_text(trade.ticks)}
        row |= {"size": size_text(trade.size), "time": iso_time(trade.time_ns)}
        return row | {"side": _maker(trade).upper()}

    def _ticker(self, book: Depth, type: str) -> str:
        (bid,), (ask,) = book.bids(1), book.asks(1)
        row = {"type": "ticker", "product_id": book.symbol, "price": price_text(bid.ticks)}
        row |= {"best_bid": price_text(bid.ticks), "best_bid_quantity": size_text(bid.size)}
        row |= {"best_ask": price_text(ask.ticks), "best_ask_quantity": size_text(ask.size)}
        return self._envelope("ticker", [{"type": type, "tickers": [row]}], book.time_ns)

    def _levels(self, product: str, type: str, bids: Any, asks: Any, time_ns: int) -> str:
        time = iso_time(time_ns)
        updates = [
            {"side": side, "event_time": time, "price_level": price_text(level.ticks)}
            | {"new_quantity": size_text(level.size) if level.size else "0"}
            for side, levels in (("bid", bids), ("offer", asks))
            for level in levels
        ]
        event = {"type": type, "product_id": product, "updates": updates}
        return self._envelope("l2_data", [event], time_ns)

    def _envelope(self, channel: str, events: list[Any], time_ns: int) -> str:
        number, self._number = self._number, self._number + 1
        head = {"channel": channel, "timestamp": iso_time(time_ns), "sequence_num": number}
        return dumps(head | {"events": events})
