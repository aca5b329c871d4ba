"""
Any venue that ccxt knows, as a source of trades and quotes: `CcxtSource(exchange, symbols, bus=bus)`.

    import ccxt.pro
    source = CcxtSource(ccxt.pro.kucoin(), ["BTC-USDT"], bus=bus)
    await source.run()

ccxt connects, subscribes and reconnects; this asks it for what is new and publishes it. It is the way to
venues without a decoder here, and no more: ccxt keeps the latest state and lets updates between two
questions collapse, hands out floats, and has neither sequences nor receive times. So everything that comes
from here is **unverified**: its sources are named `ccxt_VENUE`, `integrity` says so, and no gap will ever be
told.

Trades with an id are published once; those without one as ccxt gives them. Sizes of contracts are converted
by the contract size ccxt knows.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tickbus._native import Dedup
from tickbus.errors import InvalidEventError, InvalidNameError, MissingExtraError, TickbusError
from tickbus.exchanges.connect.clock import Clock, MachineClock
from tickbus.exchanges.connect.link import Change, State
from tickbus.exchanges.connect.pacing import Backoff

if TYPE_CHECKING:
    from tickbus import Bus

__all__ = ["CcxtSource", "exchange"]

#: Errors of ccxt that asking again does not cure, by name: the library may not be installed here.
_FOR_GOOD = {"BadSymbol", "NotSupported", "AuthenticationError", "PermissionDenied", "ArgumentsRequired"}
_DECIMALS_MAX = 15


def exchange(venue: str, **options: Any) -> Any:
    """
    ccxt's exchange object of *venue*, such as "kucoin".

    Raises:
        MissingExtraError: The extra `ccxt` is not installed.
        ValueError: ccxt has no such venue with streams.
    """
    try:
        import ccxt.pro
    except ImportError:
        raise MissingExtraError("connecting through ccxt", "ccxt") from None
    if venue not in ccxt.pro.exchanges:
        raise ValueError(f"venue {venue!r} is none that ccxt streams")
    return getattr(ccxt.pro, venue)({"newUpdates": True, **options})


class CcxtSource:
    """
    See the module.

    Args:
        exchange: Of ccxt.pro, by `exchange` or made by the caller, who also closes it.
        symbols: Our names ("BTC-USDT", "BTC-USDT-PERP") or ccxt's ("BTC/USDT:USDT").
        channels: Of "trades" and "quotes".
        bus: Where events go.
        on_change: Called with each `Change` of a stream.
        clock, seed: For tests.
    Attributes:
        source: Name of the source on the bus.
        integrity: "unverified", for all of it.
        counts: Events, duplicates, failures by name, and what could not be published by reason.
    Raises:
        InvalidNameError: A symbol is none.
        ValueError: A channel is neither.
    """

    integrity = "unverified"

    def __init__(
        self,
        exchange: Any,
        symbols: Iterable[str],
        *,
        bus: Bus,
        channels: Iterable[str] = ("trades", "quotes"),
        on_change: Callable[[Change], object] | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        self.source = f"ccxt_{exchange.id}"
        self.counts: Counter[str] = Counter()
        self._exchange = exchange
        self._bus = bus
        self._symbols = [_theirs(symbol) for symbol in symbols]
        self._channels = list(channels)
        if unknown := [channel for channel in self._channels if channel not in ("trades", "quotes")]:
            raise ValueError(f"channel {unknown[0]!r} is neither 'trades' nor 'quotes'")
        self._on_change = on_change or (lambda change: None)
        self._clock = clock or MachineClock()
        self._random = random.Random(seed)
        self._dedup = Dedup()

    async def run(self) -> None:
        """
        Publish until cancelled, or until every stream was refused for good.

        Raises:
            TickbusError: The bus refused an event.
        """
        watchers = {"trades": self._trades, "quotes": self._quotes}
        tasks = [
            asyncio.create_task(self._watch(f"{channel} {symbol}", watchers[channel], symbol))
            for channel in self._channels
            for symbol in self._symbols
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, name: str, once: Callable[[str], Any], symbol: str) -> None:
        """Ask again and again; after a failure with growing waits."""
        backoff = Backoff(0.5, 30.0, self._random)
        is_live = False
        self._tell(name, State.SUBSCRIBING)
        while True:
            try:
                await once(symbol)
            except TickbusError:
                raise
            except Exception as error:
                # Whatever ccxt or one of its hundred venues raises: told, counted, asked again.
                reason = type(error).__name__
                self.counts[reason] += 1
                is_live = False
                if _FOR_GOOD & {kind.__name__ for kind in type(error).__mro__}:
                    self._tell(name, State.REFUSED, reason, str(error))
                    return
                wait_s = backoff.next_s()
                self._tell(name, State.WAITING, reason, f"{wait_s:.2f} s")
                await self._clock.sleep(wait_s)
            else:
                backoff.reset()
                if not is_live:
                    is_live = True
                    self._tell(name, State.LIVE)

    async def _trades(self, symbol: str) -> None:
        trades = await self._exchange.watch_trades(symbol)
        now_ns = self._clock.time_ns()
        for trade in trades:
            if trade.get("id") is not None and not self._dedup.first(symbol, trade["id"], now_ns):
                self.counts["duplicates"] += 1
                continue
            self._publish(self._trade_event, trade, symbol, now_ns)

    async def _quotes(self, symbol: str) -> None:
        has = getattr(self._exchange, "has", {})
        if has.get("watchBidsAsks"):
            answer = await self._exchange.watch_bids_asks([symbol])
            quote = answer.get(symbol, answer)
        else:
            book = await self._exchange.watch_order_book(symbol)
            (bid, bid_size), (ask, ask_size) = book["bids"][0][:2], book["asks"][0][:2]
            quote = {"bid": bid, "bidVolume": bid_size, "ask": ask, "askVolume": ask_size}
        self._publish(self._quote_event, quote, symbol, self._clock.time_ns())

    def _publish(self, make: Callable[[Any, str], Any], row: Any, symbol: str, now_ns: int) -> None:
        """Publish what *make* makes of a row; one that is incomplete is counted and costs no other."""
        try:
            event_type, value, metadata = make(row, symbol)
        except (KeyError, TypeError, ValueError, ArithmeticError, InvalidEventError) as error:
            self.counts[f"unusable: {type(error).__name__}"] += 1
            return
        self._bus.publish(
            event_type, _ours(symbol), value, metadata=metadata, source=self.source, timestamp=now_ns
        )
        self.counts["events"] += 1

    def _trade_event(self, trade: Any, symbol: str) -> tuple[int, float, int]:
        from tickbus import EventType, pack_quantity

        price = float(trade["price"])
        size = self._base_size(symbol, float(trade["amount"]), price)
        # The side of the taker, in ccxt's unified trades.
        sign = {"buy": 1.0, "sell": -1.0}[trade["side"]]
        return int(EventType.PRICE_UPDATE), price, pack_quantity(sign * size)

    def _quote_event(self, quote: Any, symbol: str) -> tuple[int, float, int]:
        from tickbus import EventType, pack_quote

        bid, ask = float(quote["bid"]), float(quote["ask"])
        bid_size = self._base_size(symbol, float(quote["bidVolume"] or 0.0), bid)
        ask_size = self._base_size(symbol, float(quote["askVolume"] or 0.0), ask)
        decimals = min(max(_decimals(bid), _decimals(ask)), _DECIMALS_MAX)
        return int(EventType.TOP_OF_BOOK), *pack_quote(bid, ask, bid_size, ask_size, decimals)

    def _base_size(self, symbol: str, amount: float, price: float) -> float:
        market = (getattr(self._exchange, "markets", None) or {}).get(symbol) or {}
        if not market.get("contract"):
            return amount
        size = amount * float(market["contractSize"])
        return size / price if market.get("inverse") else size

    def _tell(self, name: str, state: str, reason: str = "", detail: str = "") -> None:
        connection = f"{self.source} {name}"
        self._on_change(Change(self._clock.time_ns(), connection, state, reason, detail))


def _theirs(symbol: str) -> str:
    """ccxt's name of our symbol."""
    if "/" in symbol:
        return symbol
    base, _, rest = symbol.partition("-")
    quote, _, tail = rest.partition("-")
    if not base or not quote:
        raise InvalidNameError(f"symbol {symbol!r} is no BASE-QUOTE")
    if not tail:
        return f"{base}/{quote}"
    # What is quoted in plain dollars is settled in the base asset; other ways go by ccxt's name.
    settled = base if quote == "USD" else quote
    return f"{base}/{quote}:{settled}" + ("" if tail == "PERP" else f"-{tail}")


def _ours(symbol: str) -> str:
    """Our name of ccxt's symbol."""
    pair, _, settled = symbol.partition(":")
    name = pair.replace("/", "-").replace(".", "_")
    if not settled:
        return name
    expiry = settled.partition("-")[2]
    return f"{name}-{expiry or 'PERP'}"


def _decimals(price: float) -> int:
    """Digits after the point of the shortest text that is this float."""
    exponent = Decimal(repr(price)).normalize().as_tuple().exponent
    return max(0, -int(exponent))
