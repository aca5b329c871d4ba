"""A sink gets every event once, however often a copy is started, killed and started again."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_logs import logs

from tickbus.errors import MissingExtraError, QueryError, StoreError
from tickbus.store import sinks
from tickbus.store.columns import COLUMNS
from tickbus.store.sinks import copy_to


class ListSink:
    """Keeps rows in a list; can be told to fail in the middle, before or after it has stored a batch."""

    def __init__(self):
        self.rows = []
        self.fail_after = None
        self.writes = 0

    def last(self, log_id):
        found = {}
        for row in self.rows:
            if row["log"] == log_id.hex():
                found[row["lane"]] = max(row["sequence"], found.get(row["lane"], 0))
        return found

    def write(self, batch):
        self.writes += 1
        if self.writes == self.fail_after:
            raise StoreError("gone")
        self.rows += batch.to_pylist()

    def close(self):
        pass


def stored(sink):
    return [(row["lane"], row["sequence"]) for row in sink.rows]


def told(log):
    return [
        (int(lane), int(sequence))
        for batch in log.batches()
        for lane, sequence in zip(batch.lanes, batch.sequences, strict=True)
    ]


class TestCopy:
    @given(logs(), st.integers(1, 12), st.integers(1, 9))
    def test_is_each_event_once_after_any_failure(self, log, failing, max_rows):
        """What was stored before a failure is not written again, what was not is."""
        sink = ListSink()
        sink.fail_after = failing
        try:
            copy_to(log, sink, max_rows=max_rows)
        except StoreError:
            sink.fail_after = None

        before = len(sink.rows)
        copied = copy_to(log, sink, max_rows=max_rows)

        assert stored(sink) == told(log)
        assert copied == (len(log) - before, before)

    def test_has_the_table_and_the_log(self, source):
        """Columns of `events`, and whose they are."""
        sink = ListSink()
        written = []
        copy_to(source, sink, max_rows=3, progress=written.append)

        assert set(sink.rows[0]) == {"log", *COLUMNS}
        assert {row["log"] for row in sink.rows} == {source.id.hex()}
        assert written == [3, 6, 7]


class TestNames:
    def test_of_sinks_come_from_packages(self, monkeypatch):
        """A package registers a sink in the group `tickbus.sinks`."""

        class Entry:
            name = "list"

            def load(self):
                return lambda target: ListSink()

        found = {"list": Entry()}
        monkeypatch.setattr(
            sinks, "entry_points", lambda group, name=None: [e for n, e in found.items() if name in (None, n)]
        )

        assert sinks.sinks() == ["list"]
        assert isinstance(sinks.open_sink("list", "anywhere"), ListSink)
        with pytest.raises(QueryError, match="no sink 'tape'; installed are list"):
            sinks.open_sink("tape", "anywhere")

    def test_of_ours_are_registered(self):
        """ClickHouse comes with tickbus, its library with an extra."""
        assert "clickhouse" in sinks.sinks()

    def test_of_one_without_its_library_names_the_extra(self, monkeypatch, tmp_path):
        """As every other optional part."""
        monkeypatch.setitem(sys.modules, "chdb", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[clickhouse\]"):
            sinks.open_sink("clickhouse", str(tmp_path))


#: In a process of its own: chdb keeps one folder a process, and half a gigabyte of library.
CLICKHOUSE = """
import sys
import numpy as np
import tickbus as tb
from tickbus.store import MemorySource, Names
from tickbus.store.sinks import copy_to, open_sink

events = np.zeros(1000, tb.EVENT_DTYPE)
events["timestamp"] = 1_786_233_600 * 10**9 + np.arange(1000)
events["priority"] = np.arange(1000) % 3
events["symbol"] = 1
events["value"] = np.arange(1000)
events["event_type"][::2] = 4
events["metadata"] = tb.pack_quantity(-2.0)
log = MemorySource(events, Names({1: "BTC-USDT"}))
sink = open_sink("clickhouse", sys.argv[1])
sink.write_ = sink.write
sink.write = lambda batch: sink.write_(batch) if batch.num_rows == 300 else sys.exit("killed")
if sys.argv[2] == "first":
    copy_to(log, sink, max_rows=300)
sink.write = sink.write_
print(copy_to(log, sink, max_rows=300))
print(copy_to(log, sink, max_rows=300))
print(sink.query("select count(), min(lane), max(lane), toString(max(sequence)) from tickbus.events"))
print(sink.query("select toString(toUnixTimestamp64Nano(max(ts))), sum(price), sum(quantity), sum(side), "
                 "count(bid), any(symbol) from tickbus.events"))
sink.close()
"""


class TestClickHouse:
    def test_has_the_log_after_a_copy_that_was_cut(self, python, tmp_path):
        """Copied in part, finished by the next process, and then there is nothing to do."""
        pytest.importorskip("chdb", reason="the extra clickhouse is not installed")
        first = python(CLICKHOUSE, tmp_path / "ticks", "first")
        assert "killed" in first.communicate(timeout=100)[1]

        second = python(CLICKHOUSE, tmp_path / "ticks", "second")
        printed, errors = second.communicate(timeout=100)

        assert printed.splitlines() == [
            "Copied(written=100, skipped=900)",
            "Copied(written=0, skipped=1000)",
            "[[1000, 0, 2, '333']]",
            "[['1786233600000000999', 250000, 1000, -500, 500, 'BTC-USDT']]",
        ], errors
