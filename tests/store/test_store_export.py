"""An export is the log again, appears whole or not at all, and can be repeated and interrupted."""

import fcntl
import json
import os
import signal
import stat
import time
from pathlib import Path
from random import Random

import numpy as np
import polars
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_logs import MIDNIGHT, NAMES, everything, logs, rows

import tickbus as tb
from tickbus.errors import InvalidEventError, QueryError, StoreError
from tickbus.store import MemorySource, Names, ParquetSource, Store, TypeMeaning
from tickbus.store.times import DAY_NS

#: The days around midnight, or none.
days = st.sampled_from([None, MIDNIGHT - 5, MIDNIGHT, MIDNIGHT + 5])


def part_of(source, keep):
    """The log with the rows that *keep* picks, in replay order: another length of the same log."""
    events, lanes, sequences = (np.concatenate(arrays) for arrays in zip(*source.batches(), strict=True))
    return MemorySource(
        events[keep], source.names, lanes=lanes[keep], sequences=sequences[keep], id=source.id
    )


def files(folder):
    return sorted(path.name for path in folder.iterdir())


class TestContent:
    @settings(max_examples=30)
    @given(log=logs())
    def test_is_the_log(self, log, tmp_path_factory):
        """Rows, lanes, sequences, names and order come back, late events and days included."""
        if not len(log):
            return
        folder = tmp_path_factory.mktemp("export")

        Store(log).export_parquet(folder)

        back = ParquetSource(folder)
        back.verify()
        assert everything(back, max_rows=7) == everything(log)
        assert (back.id, back.names) == (log.id, log.names)
        selection = {"start_ns": MIDNIGHT, "types": {0, 4}, "symbols": {1, 2}, "sources": {1}}
        assert everything(back, **selection) == everything(log, **selection)

    def test_is_a_file_a_day(self, source, tmp_path):
        """Named after the day, UTC."""
        done = Store(source).export_parquet(tmp_path)

        assert files(tmp_path) == done.written == ["2026-08-08.parquet", "2026-08-09.parquet"]
        assert (done.kept, done.rows) == ([], 7)

    def test_puts_a_late_event_where_the_log_had_got(self, tmp_path):
        """Files in order are the replay order, so an event of yesterday told today is in today's."""
        late = MemorySource(
            rows([(MIDNIGHT + 1, 0, 1, 1, 1, 1.0, 0), (MIDNIGHT - 1, 0, 1, 1, 1, 2.0, 0)]), NAMES
        )

        Store(late).export_parquet(tmp_path)

        assert files(tmp_path) == ["2026-08-09.parquet"]
        assert everything(ParquetSource(tmp_path), end_ns=MIDNIGHT) == everything(late, end_ns=MIDNIGHT)

    def test_can_be_read_by_others(self, source, tmp_path):
        """Any Parquet reader sees the table `events`."""
        Store(source).export_parquet(tmp_path)

        frame = polars.read_parquet(tmp_path / "*.parquet")

        trades = frame.filter(polars.col("type") == "price_update")
        assert trades["symbol"].to_list() == ["BTC-USDT", "ETH-USDT", "BTC-USDT"]
        assert trades["price"].to_list() == [100.5, 20.0, 101.25]
        assert frame["ts"].cast(polars.Int64).to_list()[0] == MIDNIGHT - 300

    def test_leaves_decoded_columns_out_when_asked(self, source, tmp_path):
        """They can be made again from the others."""
        Store(source).export_parquet(tmp_path, decoded=False)

        assert "price" not in pq.read_schema(tmp_path / "2026-08-09.parquet").names
        assert everything(ParquetSource(tmp_path)) == everything(source)

    def test_is_encoded_and_described(self, source, tmp_path):
        """Rising numbers as deltas, names as dictionaries, zstd; the footer says whose and which events."""
        Store(source).export_parquet(tmp_path)

        metadata = pq.ParquetFile(tmp_path / "2026-08-09.parquet").metadata
        columns = {
            column.path_in_schema: column
            for column in map(metadata.row_group(0).column, range(metadata.num_columns))
        }
        assert all("DELTA_BINARY_PACKED" in columns[name].encodings for name in ("ts", "sequence"))
        assert all("RLE_DICTIONARY" in columns[name].encodings for name in ("type", "symbol", "source"))
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        footer = metadata.metadata
        assert footer[b"tickbus.log_id"].decode() == source.id.hex()
        assert json.loads(footer[b"tickbus.lanes"]) == {"1": [2, 4, 3], "2": [0, 0, 1]}
        assert np.dtype([tuple(field) for field in json.loads(footer[b"tickbus.event"])]) == tb.EVENT_DTYPE

    def test_keeps_what_registered_types_mean(self, tmp_path):
        """A type of the user's own is decoded after the export as before."""
        names = Names(types={20: TypeMeaning(20, "print", "price", "size", "signed_quantity")})
        log = MemorySource(rows([(MIDNIGHT, 20, 1, 0, 0, 9.5, np.float64(2).view(np.uint64))]), names)
        Store(log).export_parquet(tmp_path)

        assert Store(tmp_path).sql("select type, price, quantity from events").rows() == [("print", 9.5, 2.0)]

    def test_cuts_row_groups(self, tmp_path):
        """Large days have several row groups, and a range reads those it needs."""
        many = np.zeros(300_000, tb.EVENT_DTYPE)
        many["timestamp"] = MIDNIGHT + np.arange(len(many))
        log = MemorySource(many)

        Store(log).export_parquet(tmp_path, group_rows=131_072)

        metadata = pq.ParquetFile(tmp_path / "2026-08-09.parquet").metadata
        assert [metadata.row_group(at).num_rows for at in range(3)] == [131_072, 131_072, 37_856]
        found = Store(tmp_path).query(MIDNIGHT + 131_070, MIDNIGHT + 131_075).numpy()
        assert (found["timestamp"] - np.uint64(MIDNIGHT)).tolist() == [
            131_070,
            131_071,
            131_072,
            131_073,
            131_074,
        ]


class TestAgain:
    @settings(max_examples=40)
    @given(
        log=logs(),
        rounds=st.lists(
            st.tuples(st.lists(st.integers(0, 15), min_size=3, max_size=3), days, days), max_size=3
        ),
    )
    def test_ends_with_the_log_whatever_came_before(self, log, rounds, tmp_path_factory):
        """Exports of any days, while each lane grew: the last one has all, and nothing twice."""
        if not len(log):
            return
        folder = tmp_path_factory.mktemp("export")
        _, lanes, sequences = (np.concatenate(arrays) for arrays in zip(*log.batches(), strict=True))
        lengths = np.zeros(3, np.uint64)
        for grown, start, end in rounds:
            lengths += np.array(grown, np.uint64)
            so_far = part_of(log, sequences < lengths[lanes])
            if start is None or end is None or start <= end:
                Store(so_far).export_parquet(folder, start=start, end=end)

        Store(log).export_parquet(folder)

        assert everything(ParquetSource(folder)) == everything(log)

    def test_writes_nothing_that_is_there(self, source, tmp_path):
        """The same log exported twice leaves the files alone."""
        first = Store(source).export_parquet(tmp_path)
        before = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())]

        second = Store(source).export_parquet(tmp_path)

        assert (second.written, second.kept) == ([], first.written)
        assert [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())] == before

    def test_writes_the_days_that_have_grown(self, source, tmp_path):
        """A log that went on is exported further, without a duplicate."""
        Store(part_of(source, slice(0, 5))).export_parquet(tmp_path)

        done = Store(source).export_parquet(tmp_path)

        assert (done.kept, done.written) == (["2026-08-08.parquet"], ["2026-08-09.parquet"])
        assert everything(ParquetSource(tmp_path)) == everything(source)

    def test_is_told_to_who_has_the_folder_open(self, source, tmp_path):
        """A reader that knows a file's row groups does not read another's by them."""
        Store(part_of(source, slice(0, 5))).export_parquet(tmp_path)
        opened = ParquetSource(tmp_path)
        Store(source).export_parquet(tmp_path)

        with pytest.raises(StoreError, match=r"2026-08-09\.parquet has been exported anew"):
            list(opened.batches())

    def test_keeps_what_the_log_has_dropped(self, source, tmp_path):
        """Days that the log no longer has, or has less of, stay as they were exported."""
        Store(source).export_parquet(tmp_path)

        Store(part_of(source, slice(5, None))).export_parquet(tmp_path)

        assert everything(ParquetSource(tmp_path)) == everything(source)

    def test_refuses_to_lose_what_only_the_file_has(self, source, tmp_path):
        """A day that grew at one end and was dropped at the other cannot be written without a loss."""
        Store(part_of(source, slice(0, 6))).export_parquet(tmp_path)
        before = (tmp_path / "2026-08-09.parquet").read_bytes()

        with pytest.raises(StoreError, match=r"2026-08-09\.parquet has events that the log no longer has"):
            Store(part_of(source, slice(5, None))).export_parquet(tmp_path)
        assert (tmp_path / "2026-08-09.parquet").read_bytes() == before

    def test_takes_whole_days(self, source, tmp_path):
        """A range is rounded outwards, so that a file is never part of a day."""
        done = Store(source).export_parquet(tmp_path, start=MIDNIGHT + 50, end=MIDNIGHT + 55)

        assert (done.written, done.rows) == (["2026-08-09.parquet"], 4)
        late = MemorySource(rows((MIDNIGHT + at, 0, 1, 1, 1, 1.0, 0) for at in (1, -1)), NAMES)
        assert Store(late).export_parquet(tmp_path / "late", end=MIDNIGHT).written == []
        assert Store(source).export_parquet(tmp_path, end=MIDNIGHT).written == ["2026-08-08.parquet"]

    def test_refuses_another_log(self, source, tmp_path):
        """Two logs in one folder would be one history that never was."""
        Store(source).export_parquet(tmp_path)
        other = part_of(source, slice(1, None))
        other._id = bytes(16)

        with pytest.raises(StoreError, match="is of another log"):
            Store(other).export_parquet(tmp_path)


class TestFaults:
    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_leave_no_half_file(self, source, tmp_path, monkeypatch, call):
        """What fails before the rename leaves the folder as it was."""
        Store(part_of(source, slice(0, 3))).export_parquet(tmp_path)
        before = files(tmp_path)

        def fail(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, call, fail)
        with pytest.raises(StoreError, match="No space left"):
            Store(source).export_parquet(tmp_path)

        assert files(tmp_path) == before

    def test_cannot_reorder_the_steps(self, source, tmp_path, monkeypatch):
        """Content on the disk before the name, the name on the disk before the export returns."""
        steps = []

        def watch(call, step):
            real = getattr(os, call)

            def watched(*arguments):
                steps.append(step(*arguments))
                return real(*arguments)

            monkeypatch.setattr(os, call, watched)

        watch("fsync", lambda number: f"fsync {Path(os.readlink(f'/proc/self/fd/{number}')).name}")
        watch("replace", lambda old, new: f"rename to {new.name}")
        Store(source).export_parquet(tmp_path, start=MIDNIGHT)

        day = "2026-08-09.parquet"
        assert steps == [f"fsync {day}.tmp", f"rename to {day}", f"fsync {tmp_path.name}"]

    def test_of_the_source_leave_no_half_file(self, source, tmp_path):
        """A log that cannot be read to its end is not half exported."""

        class Failing(MemorySource):
            passes = 0

            def batches(self, *arguments, **selection):
                Failing.passes += 1
                for number, batch in enumerate(super().batches(*arguments, max_rows=2)):
                    if Failing.passes == 2 and number == 3:
                        raise StoreError("the log is damaged")
                    yield batch

        log = part_of(source, slice(None))
        log.__class__ = Failing

        with pytest.raises(StoreError, match="damaged"):
            Store(log).export_parquet(tmp_path)
        assert files(tmp_path) == ["2026-08-08.parquet"]

    def test_of_the_disk_are_found_before_the_rename(self, source, tmp_path, monkeypatch):
        """What is read back is compared with what was written."""
        from tickbus.store import export, parquet

        class Flipped(parquet.DayFile):
            def batches(self, *arguments):
                for batch in super().batches(*arguments):
                    batch.events["value"][0] += 1
                    yield batch

        monkeypatch.setattr(export, "DayFile", Flipped)
        with pytest.raises(StoreError, match="is damaged"):
            Store(source).export_parquet(tmp_path)

        assert files(tmp_path) == []

    def test_killed_in_the_middle_leaves_no_half_file(self, tmp_path, python, wait_until):
        """kill -9 while a day is written: no file of that name, and the next export cleans up."""
        export = python(KILLED, tmp_path)
        wait_until(lambda: list(tmp_path.glob("*.tmp")) and export.stdout.readline())
        export.send_signal(signal.SIGKILL)
        export.wait()
        assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]

        with pytest.raises(StoreError, match="nor an exported day"):
            ParquetSource(tmp_path)
        log = MemorySource(rows([(MIDNIGHT, 0, 1, 1, 1, 1.0, 0)]), NAMES)
        Store(log).export_parquet(tmp_path)
        assert files(tmp_path) == ["2026-08-09.parquet"]

    @pytest.mark.slow
    def test_killed_at_any_instant_is_finished_by_the_next(self, tmp_path, python, stress):
        """Days that are there are whole and are kept; the others are written; nothing else is left."""
        random = Random(7)
        log = five_days()
        for number in range(8 * stress):
            folder = tmp_path / str(number)
            export = python(FIVE_DAYS, folder)
            assert export.stdout.readline() == "begins\n"
            time.sleep(random.uniform(0, 1.0))
            export.send_signal(signal.SIGKILL)
            export.wait()
            days = sorted(path.name for path in folder.glob("*.parquet"))

            assert Store(log).export_parquet(folder).kept == days
            ParquetSource(folder).verify()
            assert everything(ParquetSource(folder)) == everything(log)
            assert len(files(folder)) == 5

    def test_in_a_file_are_told_with_its_name(self, source, tmp_path):
        """A cut-off, foreign or changed file is damage, not an empty day."""
        Store(source).export_parquet(tmp_path)
        path = tmp_path / "2026-08-09.parquet"
        whole = path.read_bytes()

        for content in (whole[:-20], b"", b"not Parquet" * 10):
            path.write_bytes(content)
            with pytest.raises(StoreError, match=r"2026-08-09\.parquet"):
                ParquetSource(tmp_path)
        pq.write_table(pq.read_table(tmp_path / "2026-08-08.parquet").replace_schema_metadata({}), path)
        with pytest.raises(StoreError, match="no footer of tickbus"):
            ParquetSource(tmp_path)

    def test_in_the_rows_are_found_by_verify(self, source, tmp_path):
        """The digest in the footer is of the rows, whoever wrote them."""
        Store(source).export_parquet(tmp_path)
        path = tmp_path / "2026-08-09.parquet"
        table = pq.read_table(path)
        swapped = table.take([1, 0, *range(2, table.num_rows)])
        pq.write_table(swapped.replace_schema_metadata(pq.ParquetFile(path).metadata.metadata), path)

        with pytest.raises(StoreError, match=r"2026-08-09\.parquet is damaged"):
            ParquetSource(tmp_path).verify()


class TestRefusals:
    def test_of_a_folder_that_cannot_be_written(self, source, tmp_path):
        """A file in the way, or a folder without permission."""
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(StoreError, match="cannot export to"):
            Store(source).export_parquet(blocked)

        if os.geteuid() != 0:
            tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
            with pytest.raises(StoreError, match="cannot export to"):
                Store(source).export_parquet(tmp_path)

    def test_of_a_second_export_at_once(self, source, tmp_path):
        """Two exports into one folder would write the same names."""
        descriptor = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)

        with pytest.raises(StoreError, match="another export"):
            Store(source).export_parquet(tmp_path)
        os.close(descriptor)

    def test_of_arguments(self, source, tmp_path):
        """Said before anything is written."""
        with pytest.raises(QueryError, match="group_rows=10"):
            Store(source).export_parquet(tmp_path / "new", group_rows=10)
        with pytest.raises(QueryError, match="is after end"):
            Store(source).export_parquet(tmp_path / "new", start=MIDNIGHT + DAY_NS, end=MIDNIGHT)
        assert not (tmp_path / "new").exists()

    def test_of_times_that_parquet_cannot_say(self, tmp_path):
        """After the year 2262: nothing is written."""
        far = MemorySource(rows([(2**63 + 5, 0, 1, 0, 0, 1.0, 0)]))

        with pytest.raises(InvalidEventError, match="2262"):
            Store(far).export_parquet(tmp_path)
        assert files(tmp_path) == []


def five_days():
    exec(FIVE_DAYS_LOG, made := {})
    return made["log"]


FIVE_DAYS_LOG = """
import sys
import numpy as np
import tickbus as tb
from tickbus.store import MemorySource, Store

events = np.zeros(60_000, tb.EVENT_DTYPE)
events["timestamp"] = 1_786_233_600 * 10**9 + np.arange(60_000, dtype=np.uint64) * np.uint64(6 * 10**9)
events["value"] = np.arange(60_000) % 1000
log = MemorySource(events)
"""
FIVE_DAYS = (
    FIVE_DAYS_LOG
    + """
print("begins", flush=True)
Store(log).export_parquet(sys.argv[1])
"""
)

#: Writes a day for ever: says so once its temporary file is there.
KILLED = """
import sys
import numpy as np
import tickbus as tb
from tickbus.store import MemorySource, Store, export

class Endless(MemorySource):
    passes = 0
    def batches(self, *arguments, **selection):
        Endless.passes += 1
        yield from super().batches(*arguments, **selection)
        while Endless.passes == 2:
            print("writing", flush=True)
            yield from super().batches(*arguments, **selection)

events = np.zeros(200_000, tb.EVENT_DTYPE)
events["timestamp"] = 1_786_233_600 * 10**9
Store(Endless(events)).export_parquet(sys.argv[1], group_rows=131_072)
"""
