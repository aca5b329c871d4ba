"""
NautilusTrader's own parsing, by the steps of its live data clients (1.2xx, in Python over msgspec).

Of Binance: the stream's name, then the typed message, then `parse_to_trade_tick`; of Bybit alike. Its
clients of the other three venues are compiled and take no frame from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tickbus.bench.peers.frame_parsers import Parser, Seen
from tickbus.bench.trade_frames import Trades


def _make(trades: Trades) -> Callable[[bytes], Any]:
    return {"binance": _binance, "bybit": _bybit}[trades.venue](trades)


def _binance(trades: Trades) -> Callable[[bytes], Any]:
    import msgspec
    from nautilus_trader.adapters.binance.common.schemas.market import (
        BinanceAggregatedTradeMsg,
        BinanceDataMsgWrapper,
    )
    from nautilus_trader.model.identifiers import InstrumentId

    decode_name = msgspec.json.Decoder(BinanceDataMsgWrapper).decode
    decode = msgspec.json.Decoder(BinanceAggregatedTradeMsg).decode
    instruments = {wire: InstrumentId.from_str(f"{wire}.BINANCE") for wire in trades.symbols}

    def parse(frame: bytes) -> Any:
        if "@aggTrade" not in (decode_name(frame).stream or ""):
            return []
        message = decode(frame)
        return [message.data.parse_to_trade_tick(instrument_id=instruments[message.data.s], ts_init=0)]

    return parse


def _bybit(trades: Trades) -> Callable[[bytes], Any]:
    import msgspec
    from nautilus_trader.adapters.bybit.schemas.ws import BybitWsMessageGeneral, decoder_ws_trade
    from nautilus_trader.model.identifiers import InstrumentId

    decode_topic = msgspec.json.Decoder(BybitWsMessageGeneral).decode
    decode = decoder_ws_trade().decode
    instruments = {wire: InstrumentId.from_str(f"{wire}-LINEAR.BYBIT") for wire in trades.symbols}

    def parse(frame: bytes) -> Any:
        if "publicTrade" not in (decode_topic(frame).topic or ""):
            return []
        return [
            trade.parse_to_trade_tick(instruments[trade.s], price_precision=8, size_precision=8, ts_init=0)
            for trade in decode(frame).data
        ]

    return parse


def _seen(told: Any, trades: Trades) -> list[Seen]:
    from nautilus_trader.model.enums import AggressorSide

    def wire(trade: Any) -> str:
        return str(trade.instrument_id.symbol).removesuffix("-LINEAR")

    return [
        (
            trades.symbols[wire(trade)],
            float(str(trade.price)),
            float(str(trade.size)) * (1 if trade.aggressor_side == AggressorSide.BUYER else -1),
        )
        for trade in told
    ]


NAUTILUS = Parser("NautilusTrader", "nautilus_trader", _make, _seen, venues=("binance", "bybit"))
