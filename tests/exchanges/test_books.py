"""Order books, aggregate and duplicates from Python: what is told, what is refused."""

import json

import numpy as np
import pytest

from tickbus import EventType
from tickbus.errors import UntrustedBookError
from tickbus.exchanges import AggregatedBook, Books, Decoder, Dedup, depth_table

SECOND = 1_000_000_000


def snapshot(number, bids, asks):
    return json.dumps({"lastUpdateId": number, "bids": bids, "asks": asks}).encode()


def update(number, bids=(), asks=(), first=None):
    message = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first or number, "u": number}
    return json.dumps(message | {"b": list(bids), "a": list(asks)}).encode()


def trade(number, quantity):
    message = {
        "e": "trade",
        "E": 1,
        "s": "BTCUSDT",
        "t": number,
        "p": "100",
        "q": quantity,
        "T": 1,
        "m": True,
    }
    return json.dumps(message).encode()


def bybit(kind, number):
    data = {"s": "BTCUSDT", "b": [["100", "1"]], "a": [["101", "1"]], "u": number, "seq": number}
    return json.dumps({"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": 1, "data": data}).encode()


@pytest.fixture
def books():
    return Books(Decoder("binance", instrument="BTCUSDT"), stale_after_s=5, recovery_s=10)


@pytest.fixture
def book(books):
    books.feed(snapshot(10, [["100.0", "1.50"], ["99.5", "2"]], [["101.0", "3"]]), 1)
    return books["BTC-USDT"]


def kinds(changes):
    return [(change.kind, change.integrity, change.reason) for change in changes]


class TestBook:
    def test_levels_come_as_numbers_and_as_they_were_written(self, book):
        bids, asks = book.depth(10)
        assert bids.dtype.names == ("price", "size")
        assert bids.tolist() == [(100.0, 1.5), (99.5, 2.0)]
        assert asks.tolist() == [(101.0, 3.0)]
        assert book.best == (100.0, 1.5, 101.0, 3.0)
        assert book.exact("bid") == [(1000, 1, 150, 2), (995, 1, 2, 0)]
        assert (len(book), book.limit, book.last_id) == (3, None, 10)

    def test_a_book_that_is_not_trusted_is_not_read_by_accident(self, books, book):
        changes = books.feed(update(99), 2)
        assert kinds(changes) == [("integrity", "suspect", "gap"), ("need_snapshot", "suspect", "gap")]
        for read in (lambda: book.best, lambda: book.depth(), lambda: book.exact("bid")):
            with pytest.raises(UntrustedBookError, match="BTC-USDT is suspect"):
                read()
        assert book.depth(1, untrusted=True)[0].tolist() == [(100.0, 1.5)]

    def test_a_side_is_bid_or_ask(self, book):
        with pytest.raises(ValueError, match=r"side .buy."):
            book.exact("buy")

    def test_an_unknown_symbol_is_a_key_error(self, books):
        with pytest.raises(KeyError):
            books["ETH-USDT"]


class TestRecovery:
    def test_updates_wait_for_the_snapshot_that_bridges_them(self, books):
        assert kinds(books.feed(update(9), 1)) == [("need_snapshot", "rebuilding", "opened")]
        assert books.feed(update(11, [["100", "7"]], first=10), 2) == []
        changes = books.feed(snapshot(10, [["100", "1"]], [["101", "1"]]), 3)
        assert kinds(changes) == [("integrity", "verified", "snapshot")]
        assert books["BTC-USDT"].best == (100.0, 7.0, 101.0, 1.0)
        counted = books["BTC-USDT"].counters()
        assert (counted["updates"], counted["duplicates"], counted["kept"]) == (1, 1, 0)

    def test_one_request_is_under_way_at_a_time(self, books, book):
        assert len(books.feed(update(20), 2)) == 2
        assert books.feed(update(30), 3) == []
        assert book.is_recovering
        changes = books.recovery_begun(book.number)
        assert kinds(changes) == [("integrity", "rebuilding", "recovery")]
        assert books.tick(4) == []
        books.recovery_failed(book.number)
        assert kinds(books.tick(5)) == [("need_snapshot", "rebuilding", "deadline")]
        assert books.tick(6) == []

    def test_a_request_that_is_never_answered_is_made_again(self, books, book):
        books.feed(update(20), SECOND)
        assert books.tick(11 * SECOND) == []
        assert kinds(books.tick(12 * SECOND)) == [("need_snapshot", "suspect", "deadline")]

    def test_a_snapshot_from_before_what_was_kept_is_not_enough(self, books):
        books.feed(update(20), 1)
        changes = books.feed(snapshot(10, [["100", "1"]], [["101", "1"]]), 2)
        assert kinds(changes) == [("need_snapshot", "rebuilding", "gap")]
        assert kinds(books.feed(snapshot(19, [["100", "1"]], [["101", "1"]]), 3)) == [
            ("integrity", "verified", "snapshot")
        ]
        assert books["BTC-USDT"].last_id == 20

    def test_a_crossed_book_is_suspect_before_anybody_reads_it(self, books, book):
        changes = books.feed(update(11, [["101.0", "1"]]), 2)
        assert kinds(changes)[0] == ("integrity", "suspect", "crossed")

    def test_silence_makes_a_book_stale_and_a_message_ends_that(self, books, book):
        assert books.tick(5 * SECOND) == []
        assert kinds(books.tick(6 * SECOND)) == [("integrity", "stale", "deadline")]
        assert kinds(books.feed(update(11), 7 * SECOND)) == [("integrity", "verified", "checked")]

    def test_a_new_connection_starts_over(self, books, book):
        assert kinds(books.reconnected(SECOND)) == [("integrity", "rebuilding", "reconnected")]
        assert books.tick(20 * SECOND) == []
        assert kinds(books.feed(update(90), 21 * SECOND)) == [("need_snapshot", "rebuilding", "opened")]

    def test_a_subscription_is_the_request_where_snapshots_come_in_band(self):
        books = Books(Decoder("bybit"), recovery_s=10)
        books.feed(bybit("snapshot", 5), SECOND)
        books.reconnected(2 * SECOND)
        assert books.feed(bybit("delta", 6), 3 * SECOND) == []
        assert books.tick(12 * SECOND) == []
        assert kinds(books.tick(13 * SECOND)) == [("need_snapshot", "rebuilding", "deadline")]
        changes = books.feed(bybit("snapshot", 1), 14 * SECOND)
        assert kinds(changes) == [("integrity", "verified", "snapshot")]


class TestAggregate:
    @pytest.fixture
    def venues(self):
        """Two venues, a tick apart."""
        pair = {}
        for name, bid, ask in (("one", "100.0", "101.0"), ("two", "100.0", "100.5")):
            pair[name] = Books(Decoder("binance", instrument="BTCUSDT"))
            pair[name].feed(snapshot(10, [[bid, "1"], ["90", "4"]], [[ask, "2"]]), SECOND)
        return pair

    @pytest.fixture
    def merged(self, venues):
        merged = AggregatedBook(5, fresh_s=1, stale_after_s=3)
        for name, fee in (("one", 0.0), ("two", 0.01)):
            merged.add(name, venues[name]["BTC-USDT"], taker_fee=fee)
        return merged

    def test_levels_tell_what_each_venue_has(self, merged):
        merged.build(SECOND)
        bids, asks = merged.depth("bid"), merged.depth("ask")
        assert bids["price"].tolist() == [100.0, 90.0]
        assert bids["size"].tolist() == [2.0, 8.0]
        assert bids["venues"].tolist() == [2, 2]
        assert asks["price"].tolist() == [100.5, 101.0]
        np.testing.assert_array_equal(asks["by_venue"], [[0.0, 2.0], [2.0, 0.0]])
        assert merged.crossing is None

    def test_a_table_has_a_column_a_venue(self, merged):
        pytest.importorskip("pyarrow")
        merged.build(SECOND)
        assert depth_table(merged, "ask").to_pydict() == {
            "price": [100.5, 101.0],
            "size": [2.0, 2.0],
            "venues": [1, 1],
            "one": [0.0, 2.0],
            "two": [2.0, 0.0],
        }

    def test_best_prices_are_told_after_fees(self, merged):
        merged.build(SECOND)
        assert merged.best_after_fees("bid") == ("one", 100.0, 100.0)
        assert merged.best_after_fees("ask") == ("one", 101.0, 101.0)

    def test_a_suspect_or_silent_venue_leaves_at_once(self, venues, merged):
        venues["two"].feed(update(99), SECOND)
        merged.build(SECOND)
        assert merged.absent == {"two": "suspect"}
        assert merged.depth("ask")["price"].tolist() == [101.0]
        merged.build(5 * SECOND)
        assert merged.absent == {"one": "stale", "two": "suspect"}
        assert len(merged.depth("bid")) == 0

    def test_a_crossing_is_an_arbitrage_or_a_quote_that_is_gone(self, venues, merged):
        venues["one"].feed(update(11, [["100.8", "0.5"]]), SECOND)
        merged.build(SECOND)
        crossing = merged.crossing
        assert (crossing.kind, crossing.bid_venue, crossing.ask_venue) == ("arbitrage", "one", "two")
        assert crossing.net == pytest.approx(100.8 - 100.5 * 1.01)
        assert crossing.size == 0.5
        venues["one"].feed(update(12, [["100.8", "0.6"]]), 3 * SECOND)
        merged.build(3 * SECOND)
        assert merged.crossing.kind == "stale"

    def test_what_makes_no_sense_is_refused(self, venues, merged):
        with pytest.raises(ValueError, match="one"):
            merged.add("one", venues["one"]["BTC-USDT"])
        with pytest.raises(ValueError, match="taker_fee 1"):
            merged.add("three", venues["one"]["BTC-USDT"], taker_fee=1.0)
        with pytest.raises(ValueError, match="levels 0"):
            AggregatedBook(0)


class TestSignals:
    def signals(self, changes):
        return [change.signal for change in changes if change.kind == "signal"]

    def test_an_imbalance_is_told_once_until_it_has_gone(self, books, book):
        books.watch(levels=2, imbalance=(0.6, 0.4), spread=None, volume=None)
        [(number, value, depth)] = self.signals(books.feed(update(11, [["100.0", "30"]]), 2))
        assert number == EventType.ORDER_BOOK_IMBALANCE
        assert (value, depth) == (pytest.approx((32 - 3) / 35), 35.0)
        assert self.signals(books.feed(update(12, [["100.0", "8.5"]]), 3)) == []
        assert self.signals(books.feed(update(13, [["100.0", "30"]]), 4)) == []
        books.feed(update(14, [["100.0", "2"]]), 5)
        assert len(self.signals(books.feed(update(15, [["100.0", "30"]]), 6))) == 1
        [(_, turned, _)] = self.signals(books.feed(update(16, [["100.0", "0.1"]], [["101.0", "90"]]), 7))
        assert turned < -0.6

    def test_a_spread_is_wide_against_the_usual_one(self, books, book):
        books.watch(imbalance=None, spread=(3.0, 1.5), spread_half_life_s=1.0, volume=None)
        for second in range(1, 4):
            assert (
                self.signals(books.feed(update(10 + second, [["99.5", str(second)]]), second * SECOND)) == []
            )
        [(number, spread, ratio)] = self.signals(
            books.feed(update(14, [], [["101.0", "0"], ["105.0", "1"]]), 4 * SECOND)
        )
        assert number == EventType.SPREAD_WIDENING
        assert spread == pytest.approx(5 / 102.5 * 10_000)
        assert ratio == pytest.approx((5 / 102.5) / (1 / 100.5))

    def test_a_volume_is_high_against_the_windows_before(self, books, book):
        books.watch(imbalance=None, spread=None, volume=(5.0, 2.0), volume_window_s=1.0)
        for second in range(20):
            assert self.signals(books.feed(trade(second, "2"), (second + 1) * SECOND)) == []
        [(number, ratio, volume)] = self.signals(books.feed(trade(20, "13"), 21 * SECOND))
        assert (number, volume) == (EventType.VOLUME_SPIKE, 13.0)
        assert ratio == pytest.approx(6.5)
        assert self.signals(books.feed(trade(21, "50"), 21 * SECOND)) == []

    def test_thresholds_that_cannot_be_are_refused(self, books):
        with pytest.raises(ValueError, match="imbalance"):
            books.watch(imbalance=(0.2, 0.5))
        with pytest.raises(ValueError, match="volume_window_s"):
            books.watch(volume_window_s=0)


class TestDedup:
    def test_an_identity_counts_once_within_its_stream_and_time(self):
        dedup = Dedup(1_000, ttl_s=10)
        for identity in (7, 2**127, "a text that is longer than fifteen bytes", "T-1", b"T-2"):
            assert dedup.first("one", identity, 1)
            assert not dedup.first("one", identity, 2)
            assert dedup.first("two", identity, 2)
        assert dedup.first("one", 7, 1 + 11 * SECOND)
        counted = dedup.counters()
        assert (counted["checks"], counted["duplicates"], counted["early"]) == (16, 5, 0)

    def test_memory_is_stated_and_fixed(self):
        dedup = Dedup(1 << 16)
        assert dedup.memory_bytes == 40 << 16
        assert dedup.capacity == 1 << 16

    def test_frames_of_two_connections_come_once(self):
        dedup, decoders = Dedup(), [Decoder("binance"), Decoder("binance")]
        for decoder, expected in zip(decoders, (True, False), strict=True):
            decoder.decode(trade(1, "1"))
            assert dedup.frame(decoder, 1) is expected
        decoders[1].decode(b'{"result":null,"id":1}')
        assert all(dedup.frame(decoders[1], 1) for _ in range(2)), "a reply is its connection's"

    @pytest.mark.parametrize("identity", [-1, 2**128, 1.5, None])
    def test_what_is_no_identity_is_refused(self, identity):
        with pytest.raises((TypeError, ValueError), match="identity"):
            Dedup(16).first("one", identity)
