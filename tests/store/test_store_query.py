"""A query understands times and names, refuses what it does not, and hands its rows out in any form."""

import sys
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_logs import MIDNIGHT, logs

import tickbus as tb
from tickbus.errors import MissingExtraError, QueryError, StoreError, UnknownNameError
from tickbus.store import MemorySource, Names, Store, TypeMeaning
from tickbus.store.decode import FIELDS, Decoder
from tickbus.store.times import to_ns, to_text


@pytest.fixture
def store(source):
    return Store(source)


class TestTimes:
    @pytest.mark.parametrize(
        "time",
        [
            MIDNIGHT,
            np.uint64(MIDNIGHT),
            str(MIDNIGHT),
            datetime(2026, 8, 9, tzinfo=UTC),
            datetime(2026, 8, 9, 2, tzinfo=timezone(timedelta(hours=2))),
            "2026-08-09T00:00Z",
            "2026-08-09T02:00:00+02:00",
        ],
        ids=repr,
    )
    def test_of_one_instant_are_one_number(self, time):
        """Nanoseconds, aware datetimes and ISO 8601."""
        assert to_ns(time, "start") == MIDNIGHT

    @given(st.integers(0, 2**63))
    def test_come_back_from_text_to_the_nanosecond(self, ns):
        """What is printed can be given again."""
        assert to_ns(to_text(ns), "start") == ns

    @given(st.datetimes(datetime(1970, 1, 1), datetime(2500, 1, 1)))
    def test_of_datetimes_are_exact(self, naive):
        """No float is on the way: every microsecond counts."""
        aware = naive.replace(tzinfo=UTC)

        assert to_ns(aware, "start") == to_ns(aware.isoformat(), "start")
        assert to_ns(aware, "start") % 10**9 == naive.microsecond * 1000

    @pytest.mark.parametrize(
        ("time", "message"),
        [
            (datetime(2026, 8, 9), "start=.*no time zone"),
            ("2026-08-09T12:00", "start='2026-08-09T12:00' has no time zone"),
            ("yesterday", "start='yesterday' is no time"),
            ("", "start='' is no time"),
            (1.5, "start=1.5 is no time"),
            (True, "start=True is no time"),
            (-1, "1970"),
            (2**64, "2554"),
            (datetime(1969, 1, 1, tzinfo=UTC), "1970"),
        ],
    )
    def test_that_are_none_are_refused(self, store, time, message):
        """The message names the argument and what it was given."""
        with pytest.raises(QueryError, match=message):
            store.query(time)

    def test_the_wrong_way_round_are_refused(self, store):
        """An end before the start is a slip, not an empty result."""
        with pytest.raises(QueryError, match=r"2026-08-09T00:00:00\.0000000\d\dZ is after end"):
            store.query(MIDNIGHT + 10, MIDNIGHT)

    def test_that_are_equal_are_an_empty_range(self, store):
        """The end is not in the range."""
        assert store.query(MIDNIGHT, MIDNIGHT).count() == 0


class TestNames:
    @pytest.mark.parametrize(
        ("selection", "count"),
        [
            ({"types": "price_update"}, 3),
            ({"types": tb.EventType.PRICE_UPDATE}, 3),
            ({"types": ["PRICE_UPDATE", 4]}, 5),
            ({"types": []}, 0),
            ({"symbols": "ETH-USDT"}, 2),
            ({"symbols": ["ETH-USDT", 1]}, 7),
            ({"sources": "binance", "types": "top_of_book"}, 2),
            ({}, 7),
        ],
        ids=repr,
    )
    def test_select(self, store, selection, count):
        """By text or number, one or several; none of several is nothing, not all."""
        assert store.query(**selection).count() == count

    @pytest.mark.parametrize(
        ("selection", "message"),
        [
            ({"types": "price"}, "no event type 'price'"),
            ({"types": 77}, "no event type number 77"),
            ({"symbols": "BTC"}, "no symbol 'BTC'; it has BTC-USDT, ETH-USDT, SOL-USDT"),
            ({"symbols": [1, 9]}, "no symbol number 9"),
            ({"sources": ["binance", "mars"]}, "no source 'mars'"),
        ],
    )
    def test_that_the_log_has_never_had_are_refused(self, store, selection, message):
        """A slip in a name is no empty result."""
        with pytest.raises(UnknownNameError, match=message):
            store.query(**selection)

    def test_of_a_bus_are_those_in_the_rows(self, named_bus):
        """A session read from a bus becomes a log with names."""
        reader = named_bus.subscribe("market.>")
        named_bus.register_type(20, "depth_update")
        named_bus.publish(0, "BTC-USDT", 1.0, source="binance")

        names = Names.of_bus(named_bus, events := reader.read_batch())

        assert names.symbol(int(events["symbol"][0])) == "BTC-USDT"
        assert names.source(int(events["source"][0])) == "binance"
        assert names.type(20) == "depth_update"

    def test_that_come_while_a_query_reads_are_found(self, source):
        """A log that is being written may name a symbol after the query has begun."""

        class Growing(MemorySource):
            known = Names({1: "BTC-USDT"}, {1: "binance"})

            def batches(self, *arguments, max_rows, **selection):
                yield from super().batches(*arguments, **selection, max_rows=1)

            @property
            def names(self):
                return self.known

        log = Growing(np.concatenate([batch.events for batch in source.batches()]))
        texts = []
        for batch in Store(log).query().reader(["symbol", "source"]):
            texts += batch.column("symbol").to_pylist()
            Growing.known = source.names

        assert texts == ["BTC-USDT"] * 3 + ["ETH-USDT"] * 2 + ["BTC-USDT"] * 2

    def test_missing_are_told_as_numbers(self):
        """A number without a name is shown, not hidden."""
        names = Names()

        assert [names.symbol(7), names.source(8), names.type(250)] == ["#7", "#8", "#250"]
        assert [names.symbol(0), names.source(0)] == ["", ""]


class TestForms:
    @given(logs())
    def test_agree(self, log):
        """NumPy, Arrow, Polars and pandas have the same rows in the same order."""
        query = Store(log).query()
        events = query.numpy()

        for table in (query.arrow(), query.polars()):
            assert table["ts"].cast(_int64(table)).to_numpy().tolist() == events["timestamp"].tolist()
            assert table["value"].to_numpy().tolist() == events["value"].tolist()
        texts = [log.names.symbol(number) for number in events["symbol"].tolist()]
        assert query.arrow()["symbol"].to_pylist() == query.polars()["symbol"].to_list() == texts
        assert query.pandas()["metadata"].tolist() == events["metadata"].tolist()
        assert query.count() == len(events)

    def test_say_names_and_decoded_fields(self, store):
        """A row can be read without the table of types; what a type has not is null."""
        trade, stop = (store.query(types=types).arrow().to_pylist()[0] for types in (0, 65))

        assert (trade["type"], trade["symbol"], trade["source"]) == ("price_update", "BTC-USDT", "binance")
        assert (trade["price"], trade["quantity"], trade["side"], trade["bid"]) == (100.5, 1.5, 1, None)
        assert (stop["price"], stop["quantity"], stop["side"], stop["ask"]) == (19.0, 0.25, -1, None)
        assert (stop["lane"], stop["sequence"]) == (2, 0)

    def test_of_some_columns_have_only_those(self, store):
        """What is not asked for is not made."""
        assert store.query().polars(["ts", "price"]).columns == ["ts", "price"]

    def test_can_be_read_again(self, store):
        """A query is a description: reading it uses nothing up."""
        query = store.query(types="price_update")

        assert query.numpy().tobytes() == query.numpy().tobytes()
        assert isinstance(query.polars(), polars.DataFrame)

    @pytest.mark.parametrize(
        ("library", "extra"), [("pyarrow", "store"), ("polars", "frames"), ("pandas", "frames")]
    )
    def test_without_its_library_name_the_extra(self, store, monkeypatch, library, extra):
        """A missing library is told by the extra that brings it; NumPy needs none."""
        monkeypatch.setitem(sys.modules, library, None)
        method = {"pyarrow": "arrow"}.get(library, library)

        with pytest.raises(MissingExtraError, match=rf"tickbus\[{extra}\]"):
            getattr(store.query(), method)()
        assert len(store.query().numpy()) == 7

    def test_of_a_folder_without_a_log_are_refused(self, tmp_path):
        """A wrong path is told as such."""
        with pytest.raises(StoreError, match="nor an exported day"):
            Store(tmp_path)
        with pytest.raises(StoreError, match="is no folder"):
            Store(tmp_path / "nothing")


def _int64(table):
    return polars.Int64 if isinstance(table, polars.DataFrame) else "int64"


class TestDecoding:
    @given(
        st.floats(width=64) | st.integers(0, 10**9).map(lambda n: n / 100),
        st.integers(0, 2**64 - 1),
        st.sampled_from([int(number) for number in tb.EventType]),
    )
    def test_gives_what_the_accessors_give(self, value, metadata, number):
        """A column has the doubles that `event.price`, `event.ask` and the others have, for any 64 bits."""
        events = np.array([(1, number, 0, 0, 0, value, metadata)], tb.EVENT_DTYPE)
        event = tb.Event.from_bytes(events.tobytes())
        decoder = Decoder(Names().types)

        for name in FIELDS:
            values, has = decoder.column(events, name)
            try:
                expected = getattr(event, name)
            except AttributeError:
                assert not has[0]
            else:
                assert has[0]
                np.testing.assert_array_equal(values[0], expected)

    def test_follows_types_of_the_log(self):
        """A registered type says in its row what its numbers mean."""
        names = Names(types={20: TypeMeaning(20, "print", "price", "size", "signed_quantity")})
        event = np.array([(1, 20, 0, 0, 0, 9.0, np.float64(-2).view(np.uint64))], tb.EVENT_DTYPE)

        decoded = {name: Decoder(names.types).column(event, name) for name in ("price", "quantity", "side")}

        assert {name: values[0] for name, (values, _) in decoded.items()} == {
            "price": 9.0,
            "quantity": 2.0,
            "side": -1,
        }
