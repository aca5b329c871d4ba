"""`tickbus query` and `tickbus replay` on an exported log."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import tickbus as tb
from tickbus import cli
from tickbus.journal import Journal
from tickbus.store import JournalSource, MemorySource, Names, Store

MIDNIGHT = 1_786_233_600 * 10**9


@pytest.fixture
def exported(tmp_path):
    """A folder with three trades of one day."""
    events = np.array(
        [(MIDNIGHT + at, 0, 1, 1, 1, 100.0 + at, tb.pack_quantity(0.5)) for at in range(3)], tb.EVENT_DTYPE
    )
    Store(MemorySource(events, Names({1: "BTC-USDT"}, {1: "binance"}))).export_parquet(tmp_path)
    return str(tmp_path)


class TestQuery:
    QUERY = "select symbol, ts, price, bid from events"

    def test_prints_a_table(self, exported, capsys):
        """Columns under their names; times to the nanosecond; what is null is empty."""
        assert cli.main(["query", self.QUERY, "--store", exported]) == 0

        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["symbol", "ts", "price", "bid"]
        assert lines[3].split() == ["BTC-USDT", "2026-08-09", "00:00:00.000000001", "101"]

    def test_prints_json(self, exported, capsys):
        """One array of objects, also without rows."""
        assert (
            cli.main(["query", "select count(*) as n, 'nan'::double as x", "--store", exported, "--json"])
            == 0
        )
        assert json.loads(capsys.readouterr().out) == [{"n": 1, "x": None}]

        assert cli.main(["query", f"{self.QUERY} where price > 999", "--store", exported, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []

    def test_prints_csv(self, exported, capsys):
        """With a header; all rows, whatever the limit of the table."""
        assert cli.main(["query", self.QUERY, "--store", exported, "--csv", "--limit", "1"]) == 0

        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [row["price"] for row in rows] == ["100.0", "101.0", "102.0"]

    def test_says_when_it_shows_less(self, exported, capsys):
        """A table that was cut says so, apart from the rows."""
        assert cli.main(["query", self.QUERY, "--store", exported, "--limit", "2"]) == 0

        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 4
        assert "the first 2 rows" in printed.err

    def test_reads_what_is_selected(self, exported, capsys):
        """--start, --symbol and the others are those of `Store.query`."""
        arguments = [
            "--start",
            "2026-08-09T00:00:00.000000001Z",
            "--symbol",
            "BTC-USDT",
            "--type",
            "price_update",
        ]

        assert (
            cli.main(["query", "select count(*) n from events", "--store", exported, "--json", *arguments])
            == 0
        )
        assert json.loads(capsys.readouterr().out) == [{"n": 2}]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["selec"], "syntax error"),
            (["select 1 from nothing"], "nothing"),
            (["select 1", "--start", "2026-08-09"], "time zone"),
            (["select 1", "--symbol", "ETH"], "no symbol 'ETH'"),
            (["select 1", "--store", "no-such-folder"], "no-such-folder"),
        ],
        ids=str,
    )
    def test_a_fault_is_one_line(self, exported, capsys, arguments, message):
        """On standard error, with exit code 1."""
        assert cli.main(["query", "--store", exported, *arguments]) == 1

        printed = capsys.readouterr()
        assert message in printed.err
        assert len(printed.err.splitlines()) == 1
        assert printed.out == ""


@pytest.fixture
def journal(tmp_path):
    """A closed journal of a thousand trades."""
    events = np.zeros(1_000, tb.EVENT_DTYPE)
    events["timestamp"] = MIDNIGHT + np.arange(1_000)
    with tb.Bus(journal=Journal(tmp_path / "journal", segment_mib=1 / 128)) as bus:
        events["symbol"] = bus.symbol_id("BTC-USDT")
        for batch in np.split(events, 20):
            bus.publish_batch(batch)
            bus.journal.sync(disk=False)
    return tmp_path / "journal"


class TestJournal:
    COUNT = "select count(*) n, count(distinct sequence) d from events"

    def test_is_queried_alone_and_with_what_was_exported_of_it(self, journal, tmp_path, capsys):
        """Several stores of one log are one: no row twice."""
        Store(journal).export_parquet(tmp_path / "exported")
        both = ["--store", str(tmp_path / "exported"), "--store", str(journal)]

        for stores in (["--store", str(journal)], both):
            assert cli.main(["query", self.COUNT, *stores, "--json"]) == 0
            assert json.loads(capsys.readouterr().out) == [{"n": 1_000, "d": 1_000}]

    def test_is_replayed(self, journal, bus_name, capsys):
        """As any store."""
        assert cli.main(["replay", str(journal), bus_name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["events"] == 1_000

    def test_damage_is_an_error_and_salvage_says_what_is_left_out(self, journal, capsys):
        """One line and exit code 1, or the rest of the rows."""
        part = JournalSource(journal).parts()[1]
        Path(part["file"]).unlink()

        assert cli.main(["query", self.COUNT, "--store", str(journal), "--json"]) == 1
        assert "missing" in capsys.readouterr().err

        assert cli.main(["query", self.COUNT, "--store", str(journal), "--json", "--salvage"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)[0]["n"] == 1_000 - part["lanes"]["normal"]["events"]
        assert "left out: " in printed.err


class TestReplay:
    def test_publishes_into_a_named_bus(self, exported, named_bus, capsys):
        """Other processes read the log as if it were live."""
        reader = named_bus.subscribe("market.>")

        assert cli.main(["replay", exported, named_bus.name, "--json"]) == 0

        summary = json.loads(capsys.readouterr().out)
        assert (summary["events"], summary["first_ns"], summary["last_ns"]) == (3, MIDNIGHT, MIDNIGHT + 2)
        assert [event.topic for event in reader.drain(10)] == ["market.price_update.binance.BTC-USDT"] * 3

    def test_takes_a_pace_and_a_selection(self, exported, bus_name, capsys):
        """The summary says how late events were."""
        assert cli.main(["replay", exported, bus_name, "--speed", "1", "--end", str(MIDNIGHT + 2)]) == 0

        printed = capsys.readouterr().out
        assert printed.startswith("2 events of 2026-08-09T00:00:00.000000000Z")
        assert "late by at most" in printed

    def test_of_nothing_says_so(self, exported, bus_name, capsys):
        """An empty range is no fault."""
        assert cli.main(["replay", exported, bus_name, "--end", str(MIDNIGHT)]) == 0
        assert capsys.readouterr().out == "no events\n"

    @pytest.mark.parametrize("speed", ["0", "nan", "fast"])
    def test_wrong_use_is_2(self, exported, bus_name, speed, capsys):
        """A speed that is none."""
        with pytest.raises(SystemExit) as ended:
            cli.main(["replay", exported, bus_name, "--speed", speed])

        assert ended.value.code == 2
        assert "--speed" in capsys.readouterr().err
