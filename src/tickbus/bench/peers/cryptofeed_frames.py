"""
cryptofeed's own parsing: `Feed.message_handler` to a callback, as its connections call it.

The feed is made with a symbol table instead of asking the venue for one, and never connects. Its
handlers are coroutines that wait for nothing, so one step runs them to their end. It gets text, as
from its connections. It reads the frames as Binance's `aggTrade`, Coinbase Advanced, Kraken v1, OKX and
Bybit v5; its `Trade` says of Coinbase what the venue says, which is the maker's side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tickbus.bench.peers.frame_parsers import Parser, Seen
from tickbus.bench.trade_frames import Trades

#: cryptofeed's name of each venue.
_FEEDS = {
    "binance": "Binance",
    "coinbase": "Coinbase",
    "kraken": "Kraken",
    "okx": "OKX",
    "bybit": "Bybit",
}


class _Connection:
    """What Bybit's handler asks of one: its market is in the address."""

    address = "wss://stream.bybit.com/v5/public/linear"
    uuid = "bench"


def _make(trades: Trades) -> Callable[[str], Any]:
    from cryptofeed import exchanges
    from cryptofeed.defines import TRADES
    from cryptofeed.symbols import Symbols

    kind = getattr(exchanges, _FEEDS[trades.venue])
    table = {symbol: wire for wire, symbol in trades.symbols.items()}
    Symbols.set(kind.id, table, {"instrument_type": {}, "tick_size": {}})
    told: list[Any] = []

    async def callback(trade: Any, receipt_timestamp: float) -> None:
        told.append(trade)

    feed = kind(symbols=list(table), channels=[TRADES], callbacks={TRADES: callback})
    handle, connection = feed.message_handler, _Connection()

    def parse(frame: str) -> Any:
        told.clear()
        try:
            handle(frame, connection, 0.0).send(None)
        except StopIteration:
            return told
        raise AssertionError("a handler waited for something")

    return parse


def _seen(told: Any, trades: Trades) -> list[Seen]:
    turned = trades.venue == "coinbase"
    return [
        (
            trade.symbol,
            float(trade.price),
            float(trade.amount) * (1 if (trade.side == "buy") != turned else -1),
        )
        for trade in told
    ]


CRYPTOFEED = Parser("cryptofeed", "cryptofeed", _make, _seen, prepare=bytes.decode)
