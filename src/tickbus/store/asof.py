"""
Trades beside the quote that stood when they happened: `quotes_at_trades(events)`.

    quote 100/101   trade 100.5   quote 99/100   trade 99.2
          └───────────┘                 └────────────┘

The quote of a trade is the last one of its symbol (and venue) with an earlier timestamp, or with the
same timestamp and an earlier place in the replay order. So nobody looks ahead: not in time, and not
among events of the same nanosecond. Costs a sort of the trades and quotes, some 0.6 us each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickbus.store.decode import Decoder
from tickbus.store.names import Names
from tickbus.taxonomy import EventType

__all__ = ["TRADE_DTYPE", "quotes_at_trades"]

#: `quote_time` is 0 and bid, ask and sizes are NaN where no quote came before.
TRADE_DTYPE = np.dtype(
    [
        ("time", "<u8"),
        ("symbol", "<u4"),
        ("source", "<u2"),
        ("side", "i1"),
        ("price", "<f8"),
        ("quantity", "<f8"),
        ("quote_time", "<u8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("bid_size", "<f8"),
        ("ask_size", "<f8"),
    ]
)


def quotes_at_trades(events: NDArray[np.void], *, across_sources: bool = False) -> NDArray[np.void]:
    """
    Every trade, in replay order, with its quote.

    Args:
        events: Rows in replay order; trades and tops of book are taken, the rest is passed over.
        across_sources: Take the latest quote of any venue, not only of the trade's own.
    Returns:
        Rows of `TRADE_DTYPE`, one a trade.
    """
    is_trade = events["event_type"] == EventType.PRICE_UPDATE
    rows = events[is_trade | (events["event_type"] == EventType.TOP_OF_BOOK)]
    is_trade = rows["event_type"] == EventType.PRICE_UPDATE
    group = rows["symbol"].astype(np.uint64)
    if not across_sources:
        group = group << np.uint64(16) | rows["source"]
    # Stable, so that rows of one group and time keep their places.
    order = np.lexsort((rows["timestamp"], group))
    latest = _last_before(~is_trade[order], group[order])
    quote_of = np.full(len(rows), -1)
    quote_of[order] = np.where(latest >= 0, order[latest], -1)

    trades, quotes = rows[is_trade], quote_of[is_trade]
    decode = Decoder(Names().types).column
    found = np.zeros(len(trades), TRADE_DTYPE)
    found["time"] = trades["timestamp"]
    for name in ("symbol", "source"):
        found[name] = trades[name]
    for name in ("price", "quantity", "side"):
        found[name] = decode(trades, name)[0]
    has = quotes >= 0
    found["quote_time"][has] = rows["timestamp"][quotes[has]]
    for name in ("bid", "ask", "bid_size", "ask_size"):
        found[name] = np.nan
        found[name][has] = decode(rows[quotes[has]], name)[0]
    return found


def _last_before(is_quote: NDArray[np.bool_], group: NDArray[np.uint64]) -> NDArray[np.intp]:
    """For each place the last place of a quote at or before it in its group, or -1."""
    places = np.arange(len(group))
    latest = np.maximum.accumulate(np.where(is_quote, places, -1))
    first = np.maximum.accumulate(np.where(np.diff(group, prepend=group[:1] + 1) != 0, places, 0))
    return np.where(latest >= first, latest, -1)
