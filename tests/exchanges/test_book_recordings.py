"""Recorded book messages: every book equals a slow one of dicts and Decimals after every message."""

import json
import os
import re
from collections import Counter
from decimal import Decimal
from itertools import pairwise

import pytest
from reference import told

from tickbus.exchanges import Books, Dedup, merge, open_capture
from tickbus.exchanges.lines import LineReader

#: All levels are compared after so many messages (1: each); number and best of them after every one.
EVERY = int(os.environ.get("TICKBUS_BOOKS_EVERY", "40"))

#: Recording, and what its books' counters add up to: messages, checksums, failures.
RECORDINGS = {
    "binance/2024-08-08_spot_btcusdt.tsjson.zst": (3_452, 0, 0),
    "binance/2024-08-08_usdm_btcusdt.tsjson.zst": (6_552, 0, 0),
    "binance/2024-08-08_coinm_btcusd_perp.tsjson.zst": (26_848, 0, 0),
    "binance/2021-04-05_spot_10symbols_with_rest.rec.txt.zst": (4_719, 0, 0),
    "binance/2021-04-05_usdm_5symbols_with_rest.rec.txt.zst": (4_428, 0, 0),
    "binance/2021-07-22_coinm_10symbols.rec.jsonl.zst": (2_057, 0, 0),
    "binance_us/2021-04-05_spot_10symbols_with_rest.rec.txt.zst": (3_206, 0, 0),
    "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst": (2_148, 0, 0),
    "coinbase/2021-04-17_pro_5products.rec.txt.zst": (5_739, 0, 0),
    "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst": (775, 0, 0),
    "kraken/2021-04-05_spot_book.rec.txt.zst": (14_506, 14_496, 0),
    "okx/2021-07-22_redundant_conn1.rec.txt.zst": (1_504, 1_504, 0),
    "okx/2021-07-22_redundant_conn2.rec.txt.zst": (1_446, 1_446, 0),
    "okx/2021-07-22_redundant_conn3.rec.txt.zst": (1_422, 1_422, 0),
    "okx/2022-02-27_ws.rec.txt.zst": (3_679, 3_679, 0),
}

NAMES = re.compile(rb'"instId":"([^"]+)"')


def answers(path):
    """REST snapshots that a recorder asked for: (time in ns, venue's name, body)."""
    for line in LineReader(path):
        if found := re.match(rb"https\S+symbol=(\w+)\S* -> ([\d.]+): ", line):
            yield int(float(found[2]) * 1e9), found[1].decode(), line[found.end() :].strip()
        elif line.startswith(b'{"t":"http"') and b"depth?symbol=" in line[:300]:
            record = json.loads(line)
            name = re.search(r"symbol=(\w+)", record["url"])[1]
            yield int(record["ts"] * 1e9), name, record["data"].encode()


def frames(path, capture):
    """(time, connection, data, instrument it is about if it does not say) in order of time."""
    every = [(one.receive_ns, one.connection, one.data, None) for one in capture]
    if "2021" in path.name and capture.venue == "binance":
        connection = every[0][1]
        every += [(time, connection, body, name) for time, name, body in answers(path)]
        every.sort(key=lambda frame: frame[0])
    return every


class SlowBook:
    """Levels by price, as texts; updates from before a REST snapshot are kept for it."""

    def __init__(self):
        self.sides = ({}, {})
        self.kept = []
        self.last = None
        self.stands = False
        self.is_chained = False

    def is_news(self, last, previous):
        """Binance's rule for futures: drop what is before the snapshot, not what ends where it does."""
        return last > self.last or (last == self.last and previous is not None and not self.is_chained)

    def take(self, message, by_request):
        _, _, kind, _, last, previous, _, _, limit, _, *sides = message
        if kind == "snapshot":
            if by_request and self.stands and last <= self.last:
                return []
            self.sides = ({}, {})
            self.last = last
            self.stands, self.is_chained = True, False
            changed = self.put(sides, limit)
            for kept in self.kept:
                if self.is_news(kept[4], kept[5]):
                    self.last, self.is_chained = kept[4], True
                    changed += self.put(kept[-2:], limit)
            self.kept = []
            return changed
        if by_request and not self.stands:
            self.kept.append(message)
            return []
        if by_request and not self.is_news(last, previous):
            return []
        self.last, self.is_chained = last, True
        return self.put(sides, limit)

    def put(self, sides, limit):
        changed = []
        for side, levels in enumerate(sides):
            book = self.sides[side]
            for price, size in levels:
                key = Decimal(price)
                changed.append((side, key))
                if Decimal(size):
                    book[key] = (price, size)
                else:
                    book.pop(key, None)
            if limit and len(book) > limit:
                for key in self.best(side)[limit:]:
                    del book[key]
        return changed

    def best(self, side):
        return sorted(self.sides[side], reverse=side == 0)


def texts(book, side, levels=None):
    def text(units, scale):
        digits = str(units).zfill(scale + 1)
        return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits

    return [(text(*row[:2]), text(*row[2:])) for row in book.exact(side, levels)]


@pytest.mark.parametrize("name", RECORDINGS)
def test_books_equal_a_slow_reference_after_every_message(data, name):
    """And are never crossed while trusted; every checksum is right; nothing fails."""
    capture = open_capture(data / name)
    decoders, books, memories, slow = capture.decoders(), {}, {}, {}
    asked = 0
    by_request = capture.venue == "binance"
    for time, connection, frame, instrument in frames(data / name, capture):
        decoder = decoders[connection]
        if connection not in books:
            books[connection] = Books(decoder, stale_after_s=None)
            memories[connection] = {"instrument": capture.instrument}
        if instrument is not None:
            decoder.instrument = memories[connection]["instrument"] = instrument
        decoder.decode(frame)
        changes = books[connection].update(time)
        asked += sum(change.kind == "need_snapshot" for change in changes)
        reference = told(capture.venue, decoder.market, frame, memories[connection])
        expected = [event for event in reference if event[0] == "book"]
        for message, event in zip(decoder.depths(), expected, strict=True):
            key = connection, message["symbol"]
            mirror = slow.setdefault(key, SlowBook())
            changed = mirror.take(event, by_request)
            book = books[connection][message["symbol"]]
            assert (book.integrity in ("verified", "unverified")) == mirror.stands
            if mirror.stands:
                compare(book, mirror, changed)
    counted = Counter()
    for one in books.values():
        for book in one.all():
            counted.update(book.counters())
            if slow[next(key for key in slow if key[1] == book.symbol)].stands:
                assert book.integrity == ("unverified" if "pro_5products" in name else "verified")
    assert (counted["messages"], counted["checksums"], counted["failures"]) == RECORDINGS[name]
    assert asked == (sum(map(len, books.values())) if by_request else 0)


def compare(book, mirror, changed):
    bid, _, ask, _ = book.best or (0, 0, 1, 0)
    assert bid < ask
    is_full = book.counters()["messages"] % EVERY == 0
    for side, name in enumerate(("bid", "ask")):
        keys = mirror.best(side) if is_full else None
        if keys is not None:
            assert texts(book, name) == [mirror.sides[side][key] for key in keys]
        elif changed:
            pick = max if side == 0 else min
            best = pick(mirror.sides[side], default=None)
            found = texts(book, name, 1)
            assert found == ([] if best is None else [mirror.sides[side][best]])
    assert len(book) == len(mirror.sides[0]) + len(mirror.sides[1])


def test_books_go_on_from_one_file_to_the_next(data):
    days = ["binance/2024-08-08_spot_btcusdt.tsjson.zst", "binance/2024-08-09_spot_btcusdt.tsjson.zst"]
    captures = [open_capture(data / day) for day in days]
    decoder = captures[0].decoder("0")
    books = Books(decoder, stale_after_s=None)
    for _, frame in merge(captures):
        books.feed(frame.data, frame.receive_ns)
    counted = books["BTC-USDT"].counters()
    assert books["BTC-USDT"].integrity == "verified"
    assert counted["messages"] == 3_452 + 3_044
    assert counted["failures"] == 0


def test_redundant_connections_of_okx_come_out_once(data):
    """1,599 distinct messages of 4,619 on three connections, by ids, times and checksums alone."""
    captures = [open_capture(data / f"okx/2021-07-22_redundant_conn{n}.rec.txt.zst") for n in (1, 2, 3)]
    decoders = {id(capture): capture.decoder("0") for capture in captures}
    names = {name for capture in captures for frame in capture for name in NAMES.findall(frame.data)}
    sizes = [{"instId": name.decode(), "ctVal": "1", "ctValCcy": "BTC"} for name in sorted(names)]
    for decoder in decoders.values():
        # Any size will do: trades of a contract of unknown size would not be told.
        decoder.decode(json.dumps({"code": "0", "data": sizes}).encode())
    dedup = Dedup(1 << 14, ttl_s=60)
    messages, first = 0, []
    for capture, frame in merge(captures):
        decoder = decoders[id(capture)]
        decoder.decode(frame.data)
        if decoder.outcome[0] in ("events", "books"):
            messages += 1
            if dedup.frame(decoder, frame.receive_ns):
                first.append(frame.data)
    assert messages == 4_619
    assert len(first) == len(set(first)) == 1_599
    assert dedup.counters()["unidentified"] == 0


def test_redundant_connections_of_hitbtc_come_out_once(data):
    """A venue without a decoder here: its ids are named by hand. (Its 40 replies are not messages.)"""
    captures = [open_capture(data / f"hitbtc/2021-07-15_redundant_conn{n}.rec.txt.zst") for n in (1, 2, 3, 4)]
    dedup = Dedup(1 << 12, ttl_s=60)
    messages, first = 0, []
    for _, frame in merge(captures):
        message = json.loads(frame.data)
        if "method" not in message:
            continue
        messages += 1
        told = message["params"]
        identity = told.get("sequence") or told.get("timestamp")
        if identity is None:
            identity = " ".join(str(row.get("id", row.get("timestamp"))) for row in told["data"])
        if dedup.first(f"{message['method']} {told['symbol']}", identity, frame.receive_ns):
            first.append(frame.data)
    assert messages == 3_040
    assert len(first) == len(set(first)) == 758


@pytest.mark.parametrize(
    "name", ["bitmex/2021-04-05_ws.rec.txt.zst", "gemini/2021-04-05_10symbols.rec.txt.zst"]
)
def test_equal_messages_that_are_news_all_pass(data, name):
    """What has no id of the venue's is not compared: thousands of equal messages here are news."""
    every = [frame.data for frame in open_capture(data / name)]
    assert len(set(every)) < len(every)
    dedup = Dedup(1 << 16, ttl_s=3_600)
    passed = sum(dedup.first(name, number, 1) for number, _ in enumerate(every))
    assert passed == len(every)


def test_equal_prints_of_a_tape_all_pass(data):
    rows = list(LineReader(data / "us_equity/2013-10-10_spy_trade_ticks.csv.zst"))
    assert sum(one == other for one, other in pairwise(rows)) == 45_305
    dedup = Dedup(1 << 19, ttl_s=3_600)
    assert all(dedup.first("SPY", number, 1) for number in range(len(rows)))
