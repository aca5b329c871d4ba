"""
Frames as venues write them: Binance's combined streams, Coinbase Exchange, Kraken v2, OKX v5, Bybit v5.

One class per venue, `trade` and `quote` each returning the text of a frame. Numbers are written as the
venue writes them (quoted and padded, or JSON numbers), sides as it means them (the maker's for
Binance and Coinbase, the taker's for the others).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from tickbus.testing.market import TICKS_PER_UNIT, Quote


class Wire(Protocol):
    """How a venue writes."""

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        """A trade; *bought* is the taker's side, *number* its id."""
        ...

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        """A top of book."""
        ...


def _price(ticks: int) -> str:
    return f"{ticks // TICKS_PER_UNIT}.{ticks % TICKS_PER_UNIT:02d}"


class Clock:
    """RFC 3339 with microseconds; the text of a second is made once."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, time_ns: int) -> str:
        second, rest = divmod(time_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{rest // 1000:06d}Z"


class Binance:
    """`SYMBOL@trade` and `SYMBOL@bookTicker` of the combined stream; spot, so no time on quotes."""

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        name = symbol.replace("-", "")
        time_ms = time_ns // 1_000_000
        buyer_is_maker = "false" if bought else "true"
        return (
            f'{{"stream":"{name.lower()}@trade","data":{{"e":"trade","E":{time_ms},"s":"{name}","t":{number},'
            f'"p":"{_price(ticks)}000000","q":"{size:.8f}","T":{time_ms},"m":{buyer_is_maker},"M":true}}}}'
        )

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        name = symbol.replace("-", "")
        return (
            f'{{"stream":"{name.lower()}@bookTicker","data":{{"u":{number},"s":"{name}",'
            f'"b":"{_price(quote.bid)}000000","B":"{quote.bid_size:.8f}",'
            f'"a":"{_price(quote.ask)}000000","A":"{quote.ask_size:.8f}"}}}}'
        )


class Coinbase:
    """`match` and `ticker` of the Exchange feed; `side` is the maker's."""

    def __init__(self) -> None:
        self._clock = Clock()

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        maker = "sell" if bought else "buy"
        return (
            f'{{"type":"match","trade_id":{number},"maker_order_id":"6d1a0d0c-0000-4000-8000-{number:012x}",'
            f'"taker_order_id":"8f7a1b2c-0000-4000-8000-{number:012x}","side":"{maker}","size":"{size:.8f}",'
            f'"price":"{_price(ticks)}","product_id":"{symbol}","sequence":{number},'
            f'"time":"{self._clock.text(time_ns)}"}}'
        )

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        bid, ask = _price(quote.bid), _price(quote.ask)
        return (
            f'{{"type":"ticker","sequence":{number},"product_id":"{symbol}","price":"{bid}",'
            f'"best_bid":"{bid}","best_bid_size":"{quote.bid_size:.8f}","best_ask":"{ask}",'
            f'"best_ask_size":"{quote.ask_size:.8f}","side":"buy","time":"{self._clock.text(time_ns)}",'
            f'"trade_id":{number},"last_size":"{quote.bid_size:.8f}"}}'
        )


class Kraken:
    """`trade` and `ticker` of v2: JSON numbers, the taker's side."""

    def __init__(self) -> None:
        self._clock = Clock()

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        return (
            f'{{"channel":"trade","type":"update","data":[{{"symbol":"{symbol.replace("-", "/")}",'
            f'"side":"{"buy" if bought else "sell"}","price":{_price(ticks)},"qty":{size:.8f},'
            f'"ord_type":"market","trade_id":{number},"timestamp":"{self._clock.text(time_ns)}"}}]}}'
        )

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        bid = _price(quote.bid)
        return (
            f'{{"channel":"ticker","type":"update","data":[{{"symbol":"{symbol.replace("-", "/")}",'
            f'"bid":{bid},"bid_qty":{quote.bid_size:.8f},"ask":{_price(quote.ask)},'
            f'"ask_qty":{quote.ask_size:.8f},"last":{bid},"timestamp":"{self._clock.text(time_ns)}"}}]}}'
        )


class Okx:
    """`trades` and `bbo-tbt`: quoted numbers, the taker's side."""

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        return (
            f'{{"arg":{{"channel":"trades","instId":"{symbol}"}},"data":[{{"instId":"{symbol}",'
            f'"tradeId":"{number}","px":"{_price(ticks)}","sz":"{size:.8f}",'
            f'"side":"{"buy" if bought else "sell"}","ts":"{time_ns // 1_000_000}","count":"1",'
            f'"seqId":{number}}}]}}'
        )

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        return (
            f'{{"arg":{{"channel":"bbo-tbt","instId":"{symbol}"}},"data":[{{'
            f'"asks":[["{_price(quote.ask)}","{quote.ask_size:.8f}","0","3"]],'
            f'"bids":[["{_price(quote.bid)}","{quote.bid_size:.8f}","0","5"]],'
            f'"ts":"{time_ns // 1_000_000}","seqId":{number}}}]}}'
        )


class Bybit:
    """`publicTrade` and `orderbook.1` of spot: quoted numbers, the taker's side, `ts` before `type`."""

    def trade(self, symbol: str, ticks: int, size: float, bought: bool, number: int, time_ns: int) -> str:
        name, time_ms = symbol.replace("-", ""), time_ns // 1_000_000
        return (
            f'{{"topic":"publicTrade.{name}","ts":{time_ms},"type":"snapshot","data":[{{"i":"{number}",'
            f'"T":{time_ms},"p":"{_price(ticks)}","v":"{size:.6f}","S":"{"Buy" if bought else "Sell"}",'
            f'"seq":{number},"s":"{name}","BT":false,"RPI":false}}]}}'
        )

    def quote(self, symbol: str, quote: Quote, number: int, time_ns: int) -> str:
        name, time_ms = symbol.replace("-", ""), time_ns // 1_000_000
        return (
            f'{{"topic":"orderbook.1.{name}","ts":{time_ms},"type":"snapshot","data":{{"s":"{name}",'
            f'"b":[["{_price(quote.bid)}","{quote.bid_size:.6f}"]],'
            f'"a":[["{_price(quote.ask)}","{quote.ask_size:.6f}"]],"u":{number},"seq":{number}}},'
            f'"cts":{time_ms}}}'
        )


#: Venues that can be simulated; their order is their number in the market's scenarios.
WIRES: dict[str, Callable[[], Wire]] = {
    "binance": Binance,
    "coinbase": Coinbase,
    "kraken": Kraken,
    "okx": Okx,
    "bybit": Bybit,
}
