"""
Trades as venues write them, in the forms that every contender of the job `decode` reads.

Prices, sizes, sides and symbols are the simulator's; what it writes as other messages (Binance's
`trade`, Coinbase Exchange, Kraken v2) is written here as the peers know it: `aggTrade`, Advanced
Trade's `market_trades`, Kraken v1. With a folder of recordings, the trades that were recorded instead.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tickbus import EventType
from tickbus.exchanges import decoder_for, open_capture
from tickbus.testing.venues import Simulator

#: Market of each venue that all contenders read.
MARKETS = {"binance": "spot", "coinbase": "spot", "kraken": "spot", "okx": "spot", "bybit": "linear"}
#: Recordings with the messages that all contenders read.
RECORDINGS = {
    "binance": "binance/2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
    "coinbase": "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst",
    "kraken": "kraken/2021-04-05_spot_trade.rec.txt.zst",
    "okx": "okx/2022-02-27_ws.rec.txt.zst",
    "bybit": "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst",
}


@dataclass(frozen=True)
class Trades:
    """Frames of one venue, and what is in them."""

    venue: str
    frames: list[bytes]
    #: tickbus's name of an instrument by the venue's.
    symbols: dict[str, str]
    #: (symbol, price, size; negative if the taker sold) of every trade, in order.
    expected: list[tuple[str, float, float]]

    @property
    def market(self) -> str:
        return MARKETS[self.venue]


def simulated(venue: str, count: int) -> Trades:
    """*count* frames of one trade each, the same every time."""
    decoder = decoder_for("binance")
    frames: list[bytes] = []
    symbols: dict[str, str] = {}
    expected = []
    for frame in _endless():
        for kind, symbol, price, metadata, time_ns, trade_id, _ in decoder.decode(frame):
            if kind == EventType.PRICE_UPDATE:
                (size,) = struct.unpack("<d", struct.pack("<Q", metadata))
                wire, text = _write(venue, symbol, price, size, time_ns or 0, trade_id or 0)
                symbols[wire] = _name(venue, symbol)
                frames.append(text.encode())
                expected.append((symbols[wire], price, size))
        if len(frames) >= count:
            return Trades(venue, frames, symbols, expected)
    raise AssertionError("the simulator has no end")


def recorded(venue: str, folder: Path) -> Trades:
    """The frames with trades of a recording in *folder*."""
    capture = open_capture(folder / RECORDINGS[venue])
    decoders = capture.decoders()
    frames, symbols, expected = [], {}, []
    for frame in capture:
        decoder = decoders[frame.connection]
        rows = [row for row in decoder.decode(frame.data) if row[0] == EventType.PRICE_UPDATE]
        if rows and decoder.market == MARKETS[venue]:
            frames.append(frame.data)
            for _, symbol, price, metadata, *_ in rows:
                symbols[_wire(venue, symbol)] = symbol
                expected.append((symbol, price, struct.unpack("<d", struct.pack("<Q", metadata))[0]))
    return Trades(venue, frames, symbols, expected)


def _endless() -> Iterator[bytes]:
    simulator = Simulator("binance")
    while True:
        yield from simulator.frames(1_000)


def _name(venue: str, symbol: str) -> str:
    return f"{symbol}-PERP" if venue == "bybit" else symbol


def _wire(venue: str, symbol: str) -> str:
    """The venue's name of an instrument."""
    symbol = symbol.removesuffix("-PERP")
    if venue in ("binance", "bybit"):
        return symbol.replace("-", "")
    if venue == "kraken":
        base, quote = symbol.split("-")
        renamed = {"BTC": "XBT", "DOGE": "XDG"}
        return f"{renamed.get(base, base)}/{renamed.get(quote, quote)}"
    return symbol


def _write(venue: str, symbol: str, price: float, size: float, time_ns: int, number: int) -> tuple[str, str]:
    """(the venue's name of the instrument, the text of the frame)."""
    wire, bought, quantity, time_ms = _wire(venue, symbol), size > 0, abs(size), time_ns // 1_000_000
    if venue == "binance":
        return wire, (
            f'{{"stream":"{wire.lower()}@aggTrade","data":{{"e":"aggTrade","E":{time_ms},"s":"{wire}",'
            f'"a":{number},"p":"{price:.8f}","q":"{quantity:.8f}","f":{number},"l":{number},"T":{time_ms},'
            f'"m":{"false" if bought else "true"},"M":true}}}}'
        )
    if venue == "coinbase":
        moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        moment += f".{time_ns % 1_000_000_000 // 1_000:06d}Z"
        return wire, (
            f'{{"channel":"market_trades","timestamp":"{moment}","sequence_num":{number},"events":['
            f'{{"type":"update","trades":[{{"product_id":"{wire}","trade_id":"{number}","price":"{price:.2f}",'
            f'"size":"{quantity:.8f}","time":"{moment}","side":"{"SELL" if bought else "BUY"}"}}]}}]}}'
        )
    if venue == "kraken":
        seconds = f"{time_ns // 1_000_000_000}.{time_ns % 1_000_000_000 // 1_000:06d}"
        return wire, (
            f'[321,[["{price:.5f}","{quantity:.8f}","{seconds}","{"b" if bought else "s"}","m",""]],'
            f'"trade","{wire}"]'
        )
    if venue == "okx":
        return wire, (
            f'{{"arg":{{"channel":"trades","instId":"{wire}"}},"data":[{{"instId":"{wire}",'
            f'"tradeId":"{number}","px":"{price:.2f}","sz":"{quantity:.8f}",'
            f'"side":"{"buy" if bought else "sell"}","ts":"{time_ms}","count":"1"}}]}}'
        )
    identity = f"a9188a0a-82bc-50de-be60-{number:012x}"
    return wire, (
        f'{{"topic":"publicTrade.{wire}","type":"snapshot","ts":{time_ms},"data":[{{"T":{time_ms},'
        f'"s":"{wire}","S":"{"Buy" if bought else "Sell"}","v":"{quantity:.8f}","p":"{price:.2f}",'
        f'"L":"PlusTick","i":"{identity}","BT":false,"RPI":false,"seq":{number}}}]}}'
    )
