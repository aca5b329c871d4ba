"""
A slow decoder to compare with: Python's json and decimal, written from the venues' documentation.

`told(venue, market, frame, memory)` is what one frame tells, in its order:

    ("trade", wire name, price, signed size, time_ns, id, sequence)
    ("quote", wire name, bid, ask, bid size, ask size, time_ns, sequence)
    ("book", wire name, kind, first, last, previous, sequence, checksum, limit, time_ns, bids, asks)

Prices and sizes are `Decimal`, levels pairs of the texts that were sent; sizes are as sent, in the
venue's own unit. *memory* is a dict kept for the connection.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def told(venue, market, frame, memory):
    if frame in (b"ping", b"pong"):
        return []
    message = json.loads(frame, parse_float=Decimal)
    return READERS[venue](message, memory)


def ms(value):
    return int(value) * 1_000_000


def seconds(text):
    return int(Decimal(text) * 1_000_000_000)


def iso(text):
    whole, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return (moment - EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def identity(text):
    return int(text) if str(text).isdigit() else UUID(text).int


def signed(size, bought):
    return Decimal(size) if bought else -Decimal(size)


def pairs(rows):
    return [(str(row[0]), str(row[1])) for row in rows]


def book(name, kind, bids, asks, **ids):
    keys = ("first", "last", "previous", "sequence", "checksum", "limit", "time")
    assert set(ids) <= set(keys)
    return ("book", name, kind, *(ids.get(key) for key in keys), bids, asks)


def binance(message, memory):
    stream, data = message.get("stream", ""), message.get("data", message)
    kind = data.get("e")
    limit = re.search(r"@depth(\d+)", stream)
    if kind in ("trade", "aggTrade"):
        if data.get("X", "MARKET") != "MARKET":
            return []
        identity = data["t" if kind == "trade" else "a"]
        size = signed(data["q"], not data["m"])
        return [("trade", data["s"], Decimal(data["p"]), size, ms(data["T"]), identity, None)]
    if kind == "bookTicker" or {"b", "B", "a", "A"} <= set(data):
        numbers = [Decimal(data[key]) for key in "baBA"]
        return [("quote", data["s"], *numbers, ms(data["T"]) if "T" in data else None, data["u"])]
    if kind == "depthUpdate":
        assert limit is None
        ids = {"first": data["U"], "last": data["u"], "previous": data.get("pu")}
        time = ms(data.get("T", data["E"]))
        return [book(data["s"], "update", pairs(data["b"]), pairs(data["a"]), time=time, **ids)]
    if "lastUpdateId" in data:
        time = ms(data["T"]) if "T" in data else None
        name = data.get("symbol", memory.get("instrument"))
        sides = pairs(data["bids"]), pairs(data["asks"])
        return [book(name, "snapshot", *sides, last=data["lastUpdateId"], time=time)]
    return []


def coinbase(message, memory):
    events = []
    channel, kind = message.get("channel"), message.get("type")
    time = iso(message["timestamp"]) if "timestamp" in message else None
    for event in message.get("events", ()):
        if channel == "market_trades" and event["type"] == "update":
            events += [coinbase_trade(trade, None) for trade in event["trades"]]
        elif channel == "ticker":
            events += [
                (
                    "quote",
                    ticker["product_id"],
                    *(Decimal(ticker[key]) for key in ("best_bid", "best_ask")),
                    *(Decimal(ticker[key]) for key in ("best_bid_quantity", "best_ask_quantity")),
                    time,
                    None,
                )
                for ticker in event["tickers"]
            ]
        elif channel == "l2_data":
            sides = {"bid": [], "offer": []}
            for update in event["updates"]:
                sides[update["side"]].append((update["price_level"], update["new_quantity"]))
            events.append(book(event["product_id"], event["type"], sides["bid"], sides["offer"], time=time))
    if kind == "match":
        events.append(coinbase_trade(message, message["sequence"]))
    elif kind == "snapshot":
        events.append(book(message["product_id"], "snapshot", pairs(message["bids"]), pairs(message["asks"])))
    elif kind == "l2update":
        sides = {"buy": [], "sell": []}
        for side, price, size in message["changes"]:
            sides[side].append((price, size))
        time = iso(message["time"])
        events.append(book(message["product_id"], "update", sides["buy"], sides["sell"], time=time))
    return events


def coinbase_trade(trade, sequence):
    """The side is the maker's."""
    size = signed(trade["size"], trade["side"].lower() == "sell")
    identity = int(trade["trade_id"])
    return (
        "trade",
        trade["product_id"],
        Decimal(trade["price"]),
        size,
        iso(trade["time"]),
        identity,
        sequence,
    )


def kraken(message, memory):
    if not isinstance(message, list):
        return []
    *parts, channel, pair = message[1:]
    if channel == "trade":
        return [
            ("trade", pair, Decimal(price), signed(size, side == "b"), seconds(time), None, None)
            for price, size, time, side, *_ in parts[0]
        ]
    if channel == "ticker":
        bid, ask = parts[0]["b"], parts[0]["a"]
        return [("quote", pair, *map(Decimal, (bid[0], ask[0], bid[2], ask[2])), None, None)]
    if channel.startswith("book-"):
        whole = {key: value for part in parts for key, value in part.items()}
        kind = "snapshot" if "as" in whole or "bs" in whole else "update"
        bids, asks = (whole.get(side + "s", whole.get(side, [])) for side in "ba")
        times = [seconds(row[2]) for row in bids + asks]
        checksum = int(whole["c"]) if "c" in whole else None
        limit = int(channel.removeprefix("book-"))
        return [book(pair, kind, pairs(bids), pairs(asks), checksum=checksum, limit=limit, time=max(times))]
    return []


def okx(message, memory):
    if "event" in message or "arg" not in message:
        return []
    channel, name = message["arg"]["channel"], message["arg"]["instId"]
    events = []
    for data in message["data"]:
        if channel == "trades":
            size = signed(data["sz"], data["side"] == "buy")
            events.append(
                ("trade", name, Decimal(data["px"]), size, ms(data["ts"]), int(data["tradeId"]), None)
            )
        elif channel == "tickers" and all(data[key] for key in ("bidPx", "bidSz", "askPx", "askSz")):
            numbers = [Decimal(data[key]) for key in ("bidPx", "askPx", "bidSz", "askSz")]
            events.append(("quote", name, *numbers, ms(data["ts"]), None))
        elif channel == "books-l2-tbt":
            ids = {"checksum": data["checksum"], "limit": 400, "time": ms(data["ts"])}
            events.append(book(name, message["action"], pairs(data["bids"]), pairs(data["asks"]), **ids))
    return events


def bybit(message, memory):
    channel, *words = message.get("topic", "").split(".")
    data = message.get("data")
    if channel == "publicTrade":
        return [
            (
                "trade",
                trade["s"],
                Decimal(trade["p"]),
                signed(trade["v"], trade["S"] == "Buy"),
                ms(trade["T"]),
                identity(trade["i"]),
                trade["seq"],
            )
            for trade in data
            if not trade["BT"]
        ]
    if channel == "orderbook":
        kind = {"snapshot": "snapshot", "delta": "update"}[message["type"]]
        ids = {"last": data["u"], "sequence": data["seq"], "limit": int(words[0])}
        return [book(data["s"], kind, pairs(data["b"]), pairs(data["a"]), time=ms(message["cts"]), **ids)]
    keys = ("bid1Price", "ask1Price", "bid1Size", "ask1Size")
    if channel == "tickers" and any(key in data for key in keys):
        latest = memory.setdefault(data["symbol"], {})
        latest.update({key: data[key] for key in keys if key in data})
        numbers = (Decimal(latest[key]) for key in keys)
        return [("quote", data["symbol"], *numbers, ms(message["ts"]), message["cs"])]
    return []


READERS = {"binance": binance, "coinbase": coinbase, "kraken": kraken, "okx": okx, "bybit": bybit}
