"""Bars and as-of quotes are what a loop over the events finds, without looking ahead."""

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_logs import MIDNIGHT, QUOTE, logs, rows

from tickbus.errors import QueryError
from tickbus.store import Store, asof, bars

BUY, SELL = np.array([2.0, -1.0]).view(np.uint64).tolist()


def trades_of(log):
    """(time, symbol, price, signed quantity) in replay order."""
    events = Store(log).query(types="price_update").numpy()
    quantities = np.ascontiguousarray(events["metadata"]).view(np.float64).tolist()
    columns = (events[name].tolist() for name in ("timestamp", "symbol", "value"))
    return list(zip(*columns, quantities, strict=True))


def bar_of(start, end, trades):
    volume = math.fsum(abs(q) for *_, q in trades)
    turnover = math.fsum(price * abs(q) for _, _, price, q in trades)
    prices = [price for _, _, price, _ in trades]
    return {
        "symbol": trades[0][1],
        "start": start,
        "end": end,
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": volume,
        "bought": math.fsum(q for *_, q in trades if q > 0),
        "vwap": turnover / volume if volume else prices[-1],
        "trades": len(trades),
    }


def check(found, expected):
    """Counts, times and prices exactly; sums to the last bits."""
    assert len(found) == len(expected)
    for name in bars.BAR_DTYPE.names:
        wanted = [bar[name] for bar in expected]
        if name in ("volume", "bought", "vwap"):
            np.testing.assert_allclose(found[name], wanted, rtol=1e-12)
        else:
            assert found[name].tolist() == wanted


def of_symbols(trades):
    in_order = sorted(trades, key=lambda trade: trade[1])
    return [list(group) for _, group in groupby(in_order, key=lambda trade: trade[1])]


class TestBars:
    @given(logs(), st.integers(1, 12))
    def test_of_time_are_those_of_a_loop(self, log, interval):
        """Each trade is in the interval of its timestamp; an interval without one has no bar."""
        expected = []
        for trades in of_symbols(trades_of(log)):
            by_interval = {}
            for trade in trades:
                by_interval.setdefault(trade[0] // interval * interval, []).append(trade)
            expected += [bar_of(start, start + interval, by_interval[start]) for start in sorted(by_interval)]

        check(Store(log).bars(interval_ns=interval), expected)

    @given(logs(), st.integers(1, 12))
    def test_of_time_can_be_filled(self, log, interval):
        """With `fill` each interval of a symbol has a bar, flat where nothing traded."""
        plain = Store(log).bars(interval_ns=interval)
        expected = []
        for bar in plain:
            said = {name: bar[name].item() for name in bars.BAR_DTYPE.names}
            if expected and expected[-1]["symbol"] == said["symbol"]:
                while (last := expected[-1])["end"] < said["start"]:
                    close = last["close"]
                    flat = dict.fromkeys(("open", "high", "low", "close", "vwap"), close)
                    flat |= dict.fromkeys(("volume", "bought", "trades"), 0)
                    expected.append({**last, **flat, "start": last["end"], "end": last["end"] + interval})
            expected.append(said)

        check(Store(log).bars(interval_ns=interval, fill=True), expected)

    @given(logs(), st.integers(1, 5))
    def test_of_trades_are_those_of_a_loop(self, log, count):
        """Every *count* trades of a symbol, and what is left."""
        parts = [
            trades[at : at + count]
            for trades in of_symbols(trades_of(log))
            for at in range(0, len(trades), count)
        ]

        check(Store(log).bars(trades=count), [bar_of(part[0][0], part[-1][0], part) for part in parts])

    @given(logs(), st.sampled_from([0.1, 0.25, 1.0, 1.6, 3.0, 100.0]))
    def test_of_volume_are_those_of_a_loop(self, log, volume):
        """A bar ends with the trade that fills it, which is not split."""
        parts = []
        for trades in of_symbols(trades_of(log)):
            parts.append([])
            for trade in trades:
                parts[-1].append(trade)
                if sum(abs(q) for *_, q in parts[-1]) >= volume:
                    parts.append([])
        expected = [bar_of(part[0][0], part[-1][0], part) for part in parts if part]

        check(Store(log).bars(volume=volume), expected)

    @settings(max_examples=15)
    @given(logs(), st.integers(1, 12))
    def test_of_time_are_those_of_sql(self, log, interval):
        """The same in SQL, for who prefers it: the page of the store shows this query."""
        found = Store(log).bars(interval_ns=interval)
        query = """
            select symbol, epoch_ns(ts) // $i * $i as start, max(price), min(price), count(*), sum(quantity)
            from trades group by all"""
        names = log.names.symbol

        expected = sorted(Store(log).sql(query, {"i": interval}).rows())
        columns = (found[name].tolist() for name in ("start", "high", "low", "trades", "volume"))
        assert sorted(zip(map(names, found["symbol"].tolist()), *columns, strict=True)) == expected

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"trades": 1, "volume": 1.0},
            {"interval_ns": 0},
            {"trades": 0},
            {"volume": 0.0},
            {"volume": math.nan},
            {"trades": 1, "fill": True},
        ],
        ids=repr,
    )
    def test_need_one_size_above_0(self, source, arguments):
        """What fills a bar has to be said, once."""
        with pytest.raises(QueryError):
            Store(source).bars(**arguments)


def quotes_one_by_one(log, across):
    """For each trade its quote: the greatest (time, place) before its own."""
    events = list(enumerate(Store(log).query().numpy()))
    found = []
    for place, trade in events:
        if trade["event_type"] != 0:
            continue
        before = [
            (int(quote["timestamp"]), at, float(quote["value"]))
            for at, quote in events
            if quote["event_type"] == 4
            and quote["symbol"] == trade["symbol"]
            and (across or quote["source"] == trade["source"])
            and (quote["timestamp"], at) < (trade["timestamp"], place)
        ]
        time, _, bid = max(before, default=(0, 0, None))
        found.append((int(trade["timestamp"]), time, bid))
    return found


class TestQuotesAtTrades:
    @given(logs(), st.booleans())
    def test_are_those_of_a_loop(self, log, across):
        """The last quote of symbol and venue before the trade, in time and among equals in place."""
        found = Store(log).quotes_at_trades(across_sources=across)

        assert [
            (time, quoted, None if math.isnan(bid) else bid)
            for time, quoted, bid in zip(
                *(found[n].tolist() for n in ("time", "quote_time", "bid")), strict=True
            )
        ] == quotes_one_by_one(log, across)

    def test_do_not_look_ahead_within_a_nanosecond(self):
        """A quote of the trade's own nanosecond counts only if it came first."""
        t = MIDNIGHT
        quote, trade = (t, 4, 1, 1, 1, 100.0, QUOTE), (t, 0, 1, 1, 1, 100.5, BUY)

        before, after = (asof.quotes_at_trades(rows(pair)) for pair in ([quote, trade], [trade, quote]))

        assert before["bid"].tolist() == [100.0]
        assert (before["ask"][0], before["ask_size"][0], before["side"][0]) == (100.5, 3.0, 1)
        assert np.isnan(after["bid"]).all()
        assert after["quote_time"].tolist() == [0]

    def test_of_nothing_are_nothing(self):
        """An empty log has no trades, and a log without quotes has trades without."""
        assert len(asof.quotes_at_trades(rows([]))) == 0
        assert np.isnan(asof.quotes_at_trades(rows([(1, 0, 1, 1, 1, 1.0, SELL)]))["ask"]).all()
