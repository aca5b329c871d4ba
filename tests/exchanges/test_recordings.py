"""Promises about what venues really sent: every recorded frame is explained, every side proven."""

from collections import Counter, defaultdict

import pytest

from tickbus.exchanges import VENUES, open_capture

pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")

#: File, market, frames, and what is in them: the counts of the data's README.
RECORDED = [
    (
        "binance/2024-08-08_spot_btcusdt.tsjson.zst",
        "spot",
        41_249,
        "trades=9757 quotes=28040 books=3452",
    ),
    ("binance/2024-08-09_spot_btcusdt.tsjson.zst", "spot", 58_325, "trades=10147 quotes=45134 books=3044"),
    ("binance/2024-07-18_usdm_btcusdt.tsjson.zst", "usdm", 11_414, "trades=974 quotes=7113 books=3327"),
    ("binance/2024-07-19_usdm_btcusdt.tsjson.zst", "usdm", 60_570, "trades=9727 quotes=45147 books=5696"),
    ("binance/2024-08-08_usdm_btcusdt.tsjson.zst", "usdm", 93_954, "trades=21313 quotes=66089 books=6552"),
    (
        "binance/2024-08-08_coinm_btcusd_perp.tsjson.zst",
        "coinm",
        48_270,
        "trades=2286 quotes=19136 books=26848",
    ),
    (
        "binance/2024-08-09_coinm_btcusd_perp.tsjson.zst",
        "coinm",
        50_116,
        "trades=2949 quotes=29219 books=17948",
    ),
    (
        "binance/2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
        "spot",
        11_357,
        "trades=1240 quotes=5408 books=4709",
    ),
    (
        "binance/2021-04-05_usdm_5symbols_with_rest.rec.txt.zst",
        "usdm",
        8_421,
        "trades=574 quotes=3424 books=4423",
    ),
    (
        "binance/2021-07-22_coinm_10symbols.rec.jsonl.zst",
        "coinm",
        4_371,
        "trades=51 quotes=2240 books=2047 candle=33",
    ),
    (
        "binance_us/2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
        "spot-us",
        6_008,
        "trades=188 quotes=2624 books=3196",
    ),
    (
        "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst",
        "spot",
        1_030,
        "trades=79 quotes=160 history=200 books=775 heartbeat=25 candle=6 ack=5",
    ),
    (
        "coinbase/2021-04-17_pro_5products.rec.txt.zst",
        "spot",
        5_896,
        "trades=72 history=5 books=5739 ticker_without_sizes=77 ack=3",
    ),
    ("kraken/2021-04-05_spot_trade.rec.txt.zst", "spot", 142, "trades=28 heartbeat=119 ack=10 status=1"),
    ("kraken/2021-04-05_spot_ticker.rec.txt.zst", "spot", 152, "quotes=22 heartbeat=119 ack=10 status=1"),
    ("kraken/2021-04-05_spot_book.rec.txt.zst", "spot", 14_636, "books=14506 heartbeat=119 ack=10 status=1"),
    # Half of the instruments are sized in contracts, and these files have no list of them.
    (
        "okx/2022-02-27_ws.rec.txt.zst",
        "spot",
        3_777,
        "trades=15 quotes=12 books=3679 ack=60 contract_size_unknown=9 one_sided_quote=2",
    ),
    (
        "okx/2021-07-22_redundant_conn1.rec.txt.zst",
        "spot",
        1_616,
        "trades=27 quotes=32 books=1504 ack=30 contract_size_unknown=23",
    ),
    (
        "okx/2021-07-22_redundant_conn2.rec.txt.zst",
        "spot",
        1_559,
        "trades=27 quotes=32 books=1446 ack=30 contract_size_unknown=24",
    ),
    (
        "okx/2021-07-22_redundant_conn3.rec.txt.zst",
        "spot",
        1_534,
        "trades=27 quotes=32 books=1422 ack=30 contract_size_unknown=23",
    ),
    (
        "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst",
        "linear",
        3_227,
        "trades=347 quotes=638 books=2148 ack=24 candle=96 ticker_without_quote=201",
    ),
]

#: Files of venues without a decoder, and their frames.
RAW = [
    ("bitfinex/2021-04-05_10pairs.rec.txt.zst", "bitfinex", 22_675),
    ("bitmex/2021-04-05_ws.rec.txt.zst", "bitmex", 7_043),
    ("bitstamp/2021-04-05_10pairs_with_rest.rec.txt.zst", "bitstamp", 3_254),
    ("deribit/2021-04-05_ws.rec.txt.zst", "deribit", 461),
    ("gateio/2021-04-22_spot_10symbols.rec.jsonl.zst", "gateio", 239),
    ("gemini/2021-04-05_10symbols.rec.txt.zst", "gemini", 1_804),
    ("gemini/2026-08-09_10symbols.rec.jsonl.zst", "gemini", 563),
    ("hitbtc/2021-07-15_redundant_conn1.rec.txt.zst", "hitbtc", 800),
    ("huobi/2021-04-17_spot_gzip_frames.rec.jsonl.zst", "huobi", 362),
    ("kraken_futures/2021-04-17_ws.rec.txt.zst", "kraken_futures", 7_123),
    ("kucoin/2021-04-25_10symbols.rec.jsonl.zst", "kucoin", 4_721),
    ("poloniex/2022-08-21_v2.rec.jsonl.zst", "poloniex", 302),
    ("upbit/2021-04-17_binary_frames.rec.jsonl.zst", "upbit", 449),
]


@pytest.mark.parametrize(("name", "market", "frames", "expected"), RECORDED)
def test_every_frame_is_explained(data, name, market, frames, expected):
    """Events, book messages, history or a reason for each frame; none malformed; as many as were counted."""
    capture = open_capture(data / name)
    decoders = capture.decoders()
    latest = 0
    for frame in capture:
        decoders[frame.connection].decode(frame.data)
        assert latest <= frame.receive_ns
        latest = frame.receive_ns

    counted: Counter[str] = Counter()
    for decoder in decoders.values():
        counters = decoder.counters()
        assert ({}, 0) == (counters["malformed"], counters["unpackable"])
        counted += Counter(counters["ignored"])
        counted += Counter(
            {kind: counters[kind] for kind in ("frames", "trades", "quotes", "books", "history")}
        )
    assert (market, frames) == (capture.market, counted.pop("frames"))
    parts = (part.split("=") for part in expected.split())
    assert {kind: int(count) for kind, count in parts} == counted


@pytest.mark.parametrize(("name", "venue", "frames"), RAW)
def test_frames_of_other_venues_are_carried(data, name, venue, frames):
    """A venue without a decoder is named, and its frames are there to the last one, also binary ones."""
    capture = open_capture(data / name)
    found = [frame.data for frame in capture]

    assert venue not in VENUES
    assert (venue, "", frames) == (capture.venue, capture.market, len(found))
    assert all(found)


def sides(capture):
    """How often a trade was at which place of the same connection's book, by the decoded taker's side."""
    decoders = capture.decoders()
    books = defaultdict(dict)
    seen: Counter[tuple[str, int]] = Counter()
    for frame in capture:
        decoder = decoders[frame.connection]
        rows = decoder.decode(frame.data)
        for message in decoder.depths():
            for side in ("bids", "asks"):
                book = books[frame.connection, message["symbol"], side]
                if message["kind"] == "snapshot":
                    book.clear()
                for price, price_scale, size, _ in message[side]:
                    book[price / 10**price_scale] = size
        for number, symbol, price, metadata, *_ in rows:
            bids, asks = (
                [level for level, size in books[frame.connection, symbol, side].items() if size]
                for side in ("bids", "asks")
            )
            if number == 0 and bids and asks:
                where = "ask" if price >= min(asks) else "bid" if price <= max(bids) else "inside"
                seen[where, -1 if metadata >> 63 else 1] += 1
    return seen


class TestTakerSide:
    """Who takes at the ask has bought: trades at the touch of the same connection's book decide."""

    def test_coinbase_advanced_names_the_maker(self, data):
        """71 of 71; the documentation leaves it open, and others read it the other way."""
        capture = open_capture(data / "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst")

        assert {("ask", 1): 48, ("bid", -1): 23, ("inside", -1): 5, ("inside", 1): 2} == sides(capture)

    def test_bybit_names_the_taker(self, data):
        """347 of 347, on both markets."""
        capture = open_capture(data / "bybit/2026-08-09_v5_linear_spot.rec.jsonl.zst")

        assert {("ask", 1): 120, ("bid", -1): 227} == sides(capture)

    def test_okx_names_the_taker(self, data):
        """All that were at the touch, over two recordings; most were inside a wide spread by then."""
        seen = Counter()
        for name in ("okx/2022-02-27_ws.rec.txt.zst", "okx/2021-07-22_redundant_conn1.rec.txt.zst"):
            seen += sides(open_capture(data / name))

        at_the_touch = {place: count for place, count in seen.items() if place[0] != "inside"}
        assert {("ask", 1), ("bid", -1)} == set(at_the_touch)
        assert 7 <= sum(at_the_touch.values())
