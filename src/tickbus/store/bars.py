"""
Open, high, low, close and volume of trades, in bars of time, of trades or of volume.

    bars.by_time(events, 60 * 10**9)     one a minute, from the epoch on: [start, start + interval)
    bars.by_trades(events, 100)          one every 100 trades
    bars.by_volume(events, 25.0)         one as soon as 25 units have traded

*events* are rows in replay order; trades (`price_update`) are taken, the rest is passed over. Each symbol
has its own bars, all its venues together; they come by symbol number, then in time.

- An interval without a trade has no bar. With ``fill`` it has one, between the symbol's first and last:
  flat at the close before it, without volume.
- A trade belongs to the interval of its own timestamp, late or not. Open and close are the first and
  the last in replay order.
- Bars of trades and volume close with the trade that fills them, whole; what it brings too much is not
  carried over. The last bar of a symbol may not be full.

Memory: the trades, and some 100 bytes a trade while it works.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickbus.errors import QueryError
from tickbus.taxonomy import EventType

__all__ = ["BAR_DTYPE", "by_time", "by_trades", "by_volume"]

#: `start` and `end` in ns: of the interval (end not in it), else of the first and last trade.
#: `vwap` is the price weighted by volume, the close where nothing has volume.
BAR_DTYPE = np.dtype(
    [
        ("symbol", "<u4"),
        ("start", "<u8"),
        ("end", "<u8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
        ("bought", "<f8"),
        ("vwap", "<f8"),
        ("trades", "<u8"),
    ]
)


def by_time(events: NDArray[np.void], interval_ns: int, *, fill: bool = False) -> NDArray[np.void]:
    """
    A bar for each interval with trades; see the module for the rules.

    Args:
        interval_ns: Length; intervals start at its multiples since the epoch.
        fill: Flat bars for intervals without trades.
    Returns:
        Rows of `BAR_DTYPE`; `bought` is the volume whose taker bought.
    Raises:
        QueryError: The interval is not above 0.
    """
    if interval_ns < 1:
        raise QueryError(f"interval_ns={interval_ns} is not above 0")
    trades = _trades(events)
    intervals = trades["timestamp"] // np.uint64(interval_ns)
    order = np.lexsort((intervals, trades["symbol"]))
    bars = _bars(trades[order], intervals[order])
    bars["start"] = bars["start"] // np.uint64(interval_ns) * np.uint64(interval_ns)
    bars["end"] = bars["start"] + np.uint64(interval_ns)
    return _filled(bars, interval_ns) if fill else bars


def by_trades(events: NDArray[np.void], trades: int) -> NDArray[np.void]:
    """
    A bar for every *trades* trades of a symbol; the last may have fewer.

    Raises:
        QueryError: *trades* is not above 0.
    """
    if trades < 1:
        raise QueryError(f"trades={trades} is not above 0")
    rows = _trades(events)
    rows = rows[np.argsort(rows["symbol"], kind="stable")]
    firsts = _starts(rows["symbol"])
    place = np.arange(len(rows)) - np.repeat(firsts, np.diff([*firsts, len(rows)]))
    return _bars(rows, place // trades)


def by_volume(events: NDArray[np.void], volume: float) -> NDArray[np.void]:
    """
    A bar for every *volume* units traded of a symbol; the last may have less.

    Raises:
        QueryError: *volume* is not above 0.
    """
    if not 0 < volume < float("inf"):
        raise QueryError(f"volume={volume} is not above 0")
    rows = _trades(events)
    rows = rows[np.argsort(rows["symbol"], kind="stable")]
    # One after the other: a bar's volume is summed from its own first trade, and no running total of
    # all trades gives the same last bits.
    number, total, symbol = 0, 0.0, -1
    numbers = []
    for own, size in zip(rows["symbol"].tolist(), _sizes(rows).tolist(), strict=True):
        if own != symbol:
            number, total, symbol = number + 1, 0.0, own
        numbers.append(number)
        total += size
        if total >= volume:
            number, total = number + 1, 0.0
    return _bars(rows, np.array(numbers, np.int64))


def _trades(events: NDArray[np.void]) -> NDArray[np.void]:
    trades: NDArray[np.void] = events[events["event_type"] == EventType.PRICE_UPDATE]
    return trades


def _sizes(trades: NDArray[np.void]) -> NDArray[np.float64]:
    signed: NDArray[np.float64] = np.ascontiguousarray(trades["metadata"]).view(np.float64)
    return np.abs(signed)


def _starts(keys: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where runs of equal keys begin."""
    return np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.empty(0, np.intp)


def _bars(trades: NDArray[np.void], groups: NDArray[np.integer]) -> NDArray[np.void]:
    """One bar for each run of equal symbol and group."""
    first = np.union1d(_starts(trades["symbol"]), _starts(groups)).astype(np.intp)
    bars = np.zeros(len(first), BAR_DTYPE)
    if not len(first):
        return bars
    last = np.r_[first[1:], len(trades)] - 1
    prices = np.ascontiguousarray(trades["value"])
    sizes = _sizes(trades)
    bought = np.where(np.ascontiguousarray(trades["metadata"]).view(np.float64) > 0, sizes, 0.0)
    bars["symbol"] = trades["symbol"][first]
    bars["start"] = trades["timestamp"][first]
    bars["end"] = trades["timestamp"][last]
    bars["open"], bars["close"] = prices[first], prices[last]
    bars["high"] = np.maximum.reduceat(prices, first)
    bars["low"] = np.minimum.reduceat(prices, first)
    bars["volume"] = np.add.reduceat(sizes, first)
    bars["bought"] = np.add.reduceat(bought, first)
    bars["trades"] = last - first + 1
    turnover = np.add.reduceat(prices * sizes, first)
    has_volume = bars["volume"] > 0
    bars["vwap"] = np.where(has_volume, turnover / np.where(has_volume, bars["volume"], 1.0), bars["close"])
    return bars


def _filled(bars: NDArray[np.void], interval_ns: int) -> NDArray[np.void]:
    """With flat bars between a symbol's first and last."""
    if not len(bars):
        return bars
    steps = np.ones(len(bars), np.int64)
    same = bars["symbol"][1:] == bars["symbol"][:-1]
    gaps = (bars["start"][1:] - bars["start"][:-1]) // np.uint64(interval_ns)
    steps[:-1][same] = gaps[same].astype(np.int64)
    filled = np.repeat(bars, steps)
    behind = np.arange(len(filled)) - np.repeat(np.cumsum(steps) - steps, steps)
    flat = behind > 0
    shift = behind.astype(np.uint64) * np.uint64(interval_ns)
    filled["start"] += shift
    filled["end"] += shift
    for name in ("open", "high", "low", "vwap"):
        filled[name][flat] = filled["close"][flat]
    for name in ("volume", "bought", "trades"):
        filled[name][flat] = 0
    return filled
