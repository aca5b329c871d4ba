"""SQL sees the log as a table, reads only what it needs of it, and a wrong query is one error."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_logs import MIDNIGHT, logs, rows

from tickbus.errors import InvalidEventError, MissingExtraError, QueryError, UnknownNameError
from tickbus.store import MemorySource, Store
from tickbus.store.columns import COLUMNS

CONDITIONS = [
    "type = 'price_update'",
    "type <> 'price_update'",
    "type in ('top_of_book', 'order_placed') and symbol <> 'BTC-USDT'",
    "symbol = 'BTC-USDT' or source = 'kraken'",
    "symbol like 'E%'",
    "symbol = ''",
    "source is null",
    "not (type = 'price_update' and symbol = 'ETH-USDT')",
    "type = '#200'",
    "type > '$'",
    "type < '$'",
    "event_type = 200",
    "price > 50 and side = 1",
    "ask is not null",
    f"ts >= make_timestamp_ns({MIDNIGHT})",
    f"ts between make_timestamp_ns({MIDNIGHT - 5}) and make_timestamp_ns({MIDNIGHT + 5}) and lane = 1",
]


class Watched(MemorySource):
    """Remembers what was asked of it."""

    def batches(self, *arguments, **selection):
        self.asked.append(selection)
        return super().batches(*arguments, **selection)

    @classmethod
    def of(cls, source):
        parts = [np.concatenate(arrays) for arrays in zip(*source.batches(), strict=True)]
        watched = cls(parts[0], source.names, lanes=parts[1], sequences=parts[2])
        watched.asked = []
        return watched


@pytest.fixture
def store(source):
    return Store(source)


class TestTable:
    def test_has_the_columns_of_the_log_and_the_fields(self, store):
        """Names, times in UTC to the nanosecond, and null where a type has no such field."""
        table = store.sql("select * from events").arrow()

        assert tuple(table.column_names) == COLUMNS
        assert table.column("ts").cast("int64").to_pylist() == [
            MIDNIGHT - 300,
            MIDNIGHT - 200,
            MIDNIGHT - 100,
            MIDNIGHT,
            MIDNIGHT,
            MIDNIGHT + 50,
            MIDNIGHT + 60,
        ]
        assert table.column("lane").to_pylist() == [1, 1, 0, 2, 1, 1, 1]

    def test_has_views_of_trades_and_quotes(self, store):
        """The two that are asked for most."""
        assert store.sql("select symbol, price, side from trades").rows() == [
            ("BTC-USDT", 100.5, 1),
            ("ETH-USDT", 20.0, -1),
            ("BTC-USDT", 101.25, -1),
        ]
        assert store.sql("select bid, ask, bid_size from quotes").rows() == [
            (100.0, 100.5, 2.0),
            (101.0, 101.5, 2.0),
        ]

    def test_can_be_joined_with_itself(self, store):
        """Each scan reads the source from its start."""
        query = (
            "select t.price, q.bid from trades t asof join quotes q on t.symbol = q.symbol and t.ts >= q.ts"
        )

        assert sorted(store.sql(query).rows()) == [(100.5, 100.0), (101.25, 101.0)]

    def test_takes_parameters(self, store):
        """Values need not be pasted into the text."""
        assert store.sql("select count(*) from events where symbol = ?", ["ETH-USDT"]).rows() == [(2,)]
        assert store.sql("select count(*) from events where value > $v", {"v": 100.0}).rows() == [(4,)]

    def test_of_a_selection_has_no_other_rows(self, store):
        """The arguments of `query` narrow the table."""
        count = "select count(*) from events"

        assert store.sql(count, start=MIDNIGHT, symbols="BTC-USDT").rows() == [(2,)]
        assert store.sql(count, types=[]).rows() == [(0,)]
        with pytest.raises(UnknownNameError):
            store.sql(count, symbols="BTC")

    @settings(max_examples=25)
    @given(logs(), st.sampled_from(CONDITIONS))
    def test_has_what_a_table_in_memory_has(self, log, condition):
        """Whatever is pushed down to the source, the rows are those of the whole log that fulfil it."""
        import duckdb

        store = Store(log)
        wanted = f"select lane, sequence from events where {condition} order by all"
        with duckdb.connect() as plain:
            plain.register("events", store.query().arrow())
            expected = plain.execute(wanted).fetchall()

        assert store.sql(wanted).rows() == expected


class TestPushdown:
    @pytest.mark.parametrize(
        ("query", "column", "numbers"),
        [
            ("select count(*) from trades", "types", {0}),
            ("select sum(value) from events where symbol in ('BTC-USDT', 'SOL-USDT')", "symbols", {1, 3}),
            ("select count(*) from events where source = 'kraken' and value > 1", "sources", {2}),
            ("select count(*) from events where type = '#200'", "types", None),
            ("select count(*) from events", "types", None),
        ],
    )
    def test_reads_only_the_names_that_can_match(self, source, query, column, numbers):
        """Conditions on names reach the source; what cannot be told for sure does not."""
        watched = Watched.of(source)

        Store(watched).sql(query).rows()

        assert [selection[column] for selection in watched.asked] == [numbers]

    def test_reads_only_the_times_given(self, source):
        """`start` and `end` reach the source."""
        watched = Watched.of(source)

        Store(watched).sql("select 1 from events", start=MIDNIGHT, end=MIDNIGHT + 1).rows()

        assert (watched.asked[0]["start_ns"], watched.asked[0]["end_ns"]) == (MIDNIGHT, MIDNIGHT + 1)

    def test_reads_no_more_than_a_limit_takes(self):
        """A query that needs few rows does not read the log to its end."""
        read = []

        class Long(MemorySource):
            def batches(self, *arguments, **selection):
                for number in range(10_000):
                    read.append(number)
                    yield from super().batches(*arguments, **selection)

        assert (
            len(
                Store(Long(rows([(1, 0, 1, 0, 0, 1.0, 0)] * 4096)))
                .sql("select ts from events limit 3")
                .rows()
            )
            == 3
        )
        assert len(read) < 1_000


class TestErrors:
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("selec 1", "syntax error"),
            ("select nosuch from events", "nosuch"),
            ("select * from nothing", "nothing does not exist"),
            ("select 'x'::integer", "Could not convert"),
            ("select sum(symbol) from events", "sum"),
        ],
    )
    def test_in_a_query_are_one_line(self, store, query, message):
        """What is wrong, without a traceback of the database."""
        with pytest.raises(QueryError, match=message) as raised:
            store.sql(query).rows()

        assert "\n" not in str(raised.value)

    def test_of_the_source_come_through(self):
        """A fault of the log is told as such, not as one of the query."""
        far = MemorySource(rows([(2**63 + 1, 0, 1, 0, 0, 1.0, 0)]))

        with pytest.raises(InvalidEventError, match="2262"):
            Store(far).sql("select ts from events").rows()

    def test_without_duckdb_name_the_extra(self, store, monkeypatch):
        """SQL needs the extra `store`."""
        monkeypatch.setitem(sys.modules, "duckdb", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[store\]"):
            store.sql("select 1")


class TestResult:
    def test_of_a_statement_without_rows_is_empty(self, store):
        """`set` and `create` are allowed, and say nothing."""
        assert store.sql("set threads = 1").rows() == []

    def test_can_be_streamed(self, store):
        """A large result need not fit into memory."""
        with store.sql("select sequence from events order by ts") as result:
            assert [row for batch in result.batches(2) for row in batch.column(0).to_pylist()]

    def test_is_a_frame(self, store):
        """Polars and pandas take it."""
        assert store.sql("select 1 as one").polars()["one"].to_list() == [1]
        assert store.sql("select 1 as one").pandas()["one"].tolist() == [1]
