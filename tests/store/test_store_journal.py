"""A journal is a source like any other: while it is written, when it is closed, and when it is damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from store_logs import MIDNIGHT, NAMES, logs, rows

import tickbus as tb
from tickbus.errors import CorruptJournalError, JournalError, MissingSegmentError, QueryError, StoreError
from tickbus.journal import Journal, compact_old
from tickbus.store import JournalSource, MemorySource, ReplayBus, Store, replay

times = st.none() | st.integers(MIDNIGHT - 15, MIDNIGHT + 25)
some = st.none() | st.sets(st.sampled_from(["BTC-USDT", "ETH-USDT", "SOL-USDT", ""]))
COLUMNS = ("ts", "type", "priority", "source", "symbol", "value", "metadata", "lane", "sequence")


def keep(folder: Path, segment_mib: float = 1) -> Journal:
    """Options of a journal whose segments are small."""
    return Journal(folder, critical="os", segment_mib=segment_mib)


def sealed(folder: Path) -> None:
    """Wait until the writer, which is still there, has sealed what is full."""
    source = JournalSource(folder)
    deadline = time.monotonic() + 30
    while [part["form"] for part in source.parts()].count("log") > 2:
        assert time.monotonic() < deadline, "nobody seals"
        time.sleep(0.002)


def forms(folder: Path) -> list[str]:
    """Packed, sealed or log: of each segment."""
    return [part["form"] for part in JournalSource(folder).parts()]


def in_all_forms(folder: Path, source: MemorySource) -> list[str]:
    """A closed journal of these events, with the older segments packed and sealed."""
    every = next(source.batches(), None)
    middle = 0 if every is None else len(every.events) // 2
    with tb.Bus(journal=keep(folder, 1 / 128)) as bus:
        bus.register_type(200, "kill_switch", value="level")
        for half in (slice(0, middle), slice(middle, None)):
            if every is not None:
                part = every.take(half)
                replay(MemorySource(part.events, source.names, lanes=part.lanes), bus)
            bus.journal.sync(disk=False)
            sealed(folder)
            if half.start == 0:
                bus.journal.compact_old(0)
    return forms(folder)


def written(folder: Path, source: MemorySource) -> Path:
    """A closed journal of these events."""
    with tb.Bus(journal=keep(folder)) as bus:
        bus.register_type(200, "kill_switch", value="level")
        replay(source, bus)
    return folder


def told(store: Store, **selection: object) -> list[tuple[object, ...]]:
    """The rows by their texts: numbers are each log's own."""
    names = store.names
    return [
        (
            row["timestamp"],
            row["event_type"],
            row["priority"],
            names.source(int(row["source"])),
            names.symbol(int(row["symbol"])),
            row["value"],
            row["metadata"],
            lane,
            sequence,
        )
        for batch in store.query(**selection).batches(max_rows=7)
        for row, lane, sequence in zip(*batch, strict=True)
    ]


def trades(symbol: int, count: int, first: int = 0) -> np.ndarray:
    """Events a microsecond apart, values counting from *first*."""
    events = np.zeros(count, tb.EVENT_DTYPE)
    events["timestamp"] = MIDNIGHT + 1_000 * np.arange(first, first + count)
    events["priority"] = 1
    events["symbol"] = symbol
    events["value"] = np.arange(first, first + count)
    events["metadata"] = np.full(count, 0.5).view(np.uint64)
    return events


class TestRows:
    @settings(max_examples=40)
    @given(log=logs(), start=times, end=times, symbols=some)
    def test_are_those_of_memory_in_the_same_order(self, tmp_path_factory, log, start, end, symbols):
        """Whatever is asked, a journal answers as the same events in memory do."""
        known = {text for text in symbols or () if text in ("", *NAMES.symbols.values())}
        selection = {"symbols": None if symbols is None else known}
        if start is not None and end is not None:
            start, end = sorted((start, end))
        memory = Store(log)
        named = {memory.names.symbol(int(row["symbol"])) for row in memory.query().numpy()}
        if symbols is not None:
            selection["symbols"] = known & (named | {""})

        journal = Store(written(tmp_path_factory.mktemp("journal"), log))

        assert told(journal) == told(memory)
        assert told(journal, start=start, end=end, **selection) == told(
            memory, start=start, end=end, **selection
        )

    @settings(max_examples=15)
    @given(log=logs(size=900), start=times, end=times, types=st.none() | st.sets(st.sampled_from([0, 4, 33])))
    def test_are_the_same_in_all_forms(self, tmp_path_factory, log, start, end, types):
        """Packed, sealed and in the log: one order, the same rows."""
        folder = tmp_path_factory.mktemp("journal")
        used = in_all_forms(folder, log)
        note(f"forms: {used}")
        if start is not None and end is not None:
            start, end = sorted((start, end))

        journal, memory = Store(folder), Store(log)

        assert told(journal) == told(memory)
        assert told(journal, start=start, end=end, types=types) == told(
            memory, start=start, end=end, types=types
        )

    def test_come_packed_sealed_and_from_the_log(self, tmp_path):
        """What the test above compares is there in all three forms."""
        log = MemorySource(trades(1, 3_000), NAMES)

        assert set(in_all_forms(tmp_path, log)) == {"packed", "sealed", "log"}
        assert told(Store(tmp_path)) == told(Store(log))

    def test_are_not_disturbed_by_packing(self, tmp_path):
        """A query goes on while its segments are sealed and packed."""
        with tb.Bus(journal=keep(tmp_path, 1 / 16)) as bus:
            btc = bus.symbol_id("BTC-USDT")
            found = []
            for first in range(0, 60_000, 20_000):
                bus.publish_batch(trades(btc, 20_000, first))
                bus.journal.sync(disk=False)
                batches = Store(tmp_path).query().batches(max_rows=1_000)
                found.append([next(batches)])
                sealed(tmp_path)
                bus.journal.compact_old(0)
                found[-1] += batches

        for number, parts in enumerate(found, 1):
            values = np.concatenate([batch.events["value"] for batch in parts])
            assert values.tolist() == list(range(20_000 * number))

    def test_come_from_all_segments(self, tmp_path):
        """A log of several segments is one log."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            btc = bus.symbol_id("BTC-USDT")
            for first in range(0, 200_000, 10_000):
                bus.publish_batch(trades(btc, 10_000, first))
        source = JournalSource(tmp_path)

        assert len(source.parts()) > 4
        values = Store(source).query(MIDNIGHT + 10**6, MIDNIGHT + 150 * 10**6).numpy()["value"]
        assert values.tolist() == list(range(1_000, 150_000))

    def test_can_start_at_a_sequence(self, tmp_path, source):
        """For each lane its own."""
        journal = JournalSource(written(tmp_path, source))

        batches = journal.batches(from_sequences=(1, 2, 0))

        found = {lane: [] for lane in range(3)}
        for batch in batches:
            for lane, sequence in zip(batch.lanes.tolist(), batch.sequences.tolist(), strict=True):
                found[lane].append(sequence)
        assert found == {0: [], 1: [2, 3, 4], 2: [0]}

    def test_a_sequence_that_is_gone_is_an_error(self, tmp_path):
        """Rather than to begin later without a word."""
        in_all_forms(tmp_path, MemorySource(trades(1, 3_000), NAMES))
        oldest = JournalSource(tmp_path).parts()[0]
        Path(oldest["file"]).unlink()

        source = JournalSource(tmp_path)

        first = source.lanes()[1][0]
        assert first == oldest["lanes"]["high"]["next"]
        assert next(source.batches(from_sequences=(0, first, 0))).sequences[0] == first
        with pytest.raises(JournalError, match="is gone"):
            next(source.batches(from_sequences=(0, first - 1, 0)))

    def test_refuses_batches_of_nothing(self, tmp_path, source):
        """A length of 0 would go on for ever."""
        with pytest.raises(QueryError, match="max_rows=0"):
            next(JournalSource(written(tmp_path, source)).batches(max_rows=0))


class TestNames:
    def test_are_the_journals(self, tmp_path, source):
        """Symbols, sources, and registered types with their meaning."""
        names = JournalSource(written(tmp_path, source)).names

        assert set(names.symbols.values()) == {"BTC-USDT", "ETH-USDT"}
        assert set(names.sources.values()) == {"binance", "kraken"}
        assert names.type_numbers("price_update") == {0}

    def test_of_registered_types_have_their_meaning(self, tmp_path):
        """As it was registered."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            bus.register_type(201, "house_flags", value="level", metadata="flags", encoding="u64")
            bus.publish(201, "BTC-USDT", 1.0)

        meaning = JournalSource(tmp_path).names.types[201]

        assert (meaning.name, meaning.value, meaning.metadata) == ("house_flags", "level", "flags")

    def test_survive_the_next_session(self, tmp_path):
        """A bus that goes on with the journal has other numbers; the journal's stay."""
        for symbol in ("AAA", "BBB", "AAA"):
            with tb.Bus(journal=keep(tmp_path)) as bus:
                bus.publish(tb.EventType.PRICE_UPDATE, symbol, 1.0)

        store = Store(tmp_path)

        assert [store.names.symbol(n) for n in store.query().numpy()["symbol"]] == ["AAA", "BBB", "AAA"]


class TestLiving:
    def test_shows_what_is_written_and_the_names_of_it(self, tmp_path):
        """The store is opened once and sees what comes, with new names."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            store = Store(tmp_path)
            for number in range(5):
                bus.publish(tb.EventType.PRICE_UPDATE, f"SYMBOL-{number}", float(number))
                bus.journal.sync(disk=False)

                events = store.query().numpy()
                assert events["value"].tolist() == [float(one) for one in range(number + 1)]
                assert store.names.symbol(int(events["symbol"][-1])) == f"SYMBOL-{number}"
                assert store.query(symbols=f"SYMBOL-{number}").count() == 1

    def test_a_query_ends_at_what_was_written_when_it_began(self, tmp_path):
        """However much comes while it is read."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            btc = bus.symbol_id("BTC-USDT")
            bus.publish_batch(trades(btc, 100_000))
            bus.journal.sync(disk=False)
            batches = Store(tmp_path).query().batches(max_rows=10_000)
            found = [next(batches)]
            bus.publish_batch(trades(btc, 100_000, first=100_000))
            bus.journal.sync(disk=False)

            found += batches

        assert np.concatenate([batch.events["value"] for batch in found]).tolist() == list(range(100_000))

    def test_in_another_process(self, tmp_path, bus_name):
        """One process writes for a while; each answer is the log up to a moment after the question."""
        script = f"""
import sys, numpy as np, tickbus as tb
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_store_journal import keep, trades
with tb.Bus({bus_name!r}, journal=keep({str(tmp_path)!r})) as bus:
    btc = bus.symbol_id("BTC-USDT")
    print("open", flush=True)
    for first in range(0, 400_000, 500):
        bus.publish_batch(trades(btc, 500, first))
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            store, seen = Store(tmp_path), 0
            while writer.poll() is None:
                values = store.query().numpy()["value"]
                assert np.array_equal(values, np.arange(len(values)))
                assert len(values) >= seen
                seen = len(values)
            assert writer.wait() == 0

        assert store.query().count() == 400_000

    def test_threads_share_a_source(self, tmp_path):
        """Queries at the same time do not disturb each other."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            btc = bus.symbol_id("BTC-USDT")
            bus.publish_batch(trades(btc, 200_000))
        store, sums = Store(tmp_path), []

        def ask() -> None:
            sums.append(sum(float(b.events["value"].sum()) for b in store.query().batches(max_rows=999)))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sums == [sum(range(200_000))] * 4


class TestPayloads:
    def test_are_found_by_event_and_by_row(self, tmp_path):
        """An event with its id, or a row's reference with its lane and sequence."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            subscription = bus.subscribe(">")
            for number in range(3):
                bus.publish(tb.EventType.BLACK_SWAN_DETECTED, "BTC-USDT", 1.0, payload=b"%d" % number)
            events = subscription.drain()
        source = JournalSource(tmp_path)

        assert [source.payload(event) for event in events] == [b"0", b"1", b"2"]
        batch = next(source.batches())
        reference, sequence, lane = batch.events["metadata"][1], batch.sequences[1], batch.lanes[1]
        assert source.payload(int(reference), int(sequence), int(lane)) == b"1"
        assert source.payload(int(reference) + 1, int(sequence), int(lane)) is None

    def test_need_the_event(self, tmp_path, source):
        """A reference alone may have been used before."""
        with pytest.raises(QueryError, match="sequence"):
            JournalSource(written(tmp_path, source)).payload(5)


class TestStore:
    def test_replays_a_journal(self, tmp_path, source):
        """A strategy gets what was kept."""
        store = Store(written(tmp_path, source))
        with ReplayBus(source="test") as bus:
            seen = []
            bus.on(">")(lambda event: seen.append((event.timestamp, event.symbol, event.value)))
            replay(store, bus)

        memory = Store(source)
        assert seen == [(row[0], row[4], row[5]) for row in told(memory)]

    def test_sql_bars_and_frames(self, tmp_path, source):
        """The table is the same as that of any source."""
        journal, memory = Store(written(tmp_path, source)), Store(source)

        assert journal.query().arrow(COLUMNS).to_pylist() == memory.query().arrow(COLUMNS).to_pylist()
        query = "select symbol, count(*), sum(price) from trades group by symbol order by symbol"
        assert journal.sql(query).rows() == memory.sql(query).rows()
        assert len(journal.bars(trades=1)) == len(memory.bars(trades=1))

    def test_a_folder_of_neither_kind(self, tmp_path):
        """The message names both kinds."""
        with pytest.raises(StoreError, match="neither a journal nor an exported day"):
            Store(tmp_path)
        with pytest.raises(JournalError, match="no journal"):
            JournalSource(tmp_path)


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Seven segments of high events, one of them with a flipped bit."""
    with tb.Bus(journal=keep(tmp_path)) as bus:
        btc = bus.symbol_id("BTC-USDT")
        for first in range(0, 200_000, 1_000):
            bus.publish_batch(trades(btc, 1_000, first))
            bus.journal.sync(disk=False)
    (symbol,) = JournalSource(tmp_path).names.symbols
    marked = trades(symbol, 1, 50_500).tobytes()
    for path in sorted(tmp_path.glob("*")):
        data = bytearray(path.read_bytes())
        at = data.find(marked)
        if at >= 0:
            data[at + 16] ^= 1
            path.write_bytes(data)
            break
    else:
        pytest.fail("the event is nowhere")
    return tmp_path


class TestDamage:
    def test_is_an_error_that_says_where(self, damaged):
        """File, offset, lane and sequences."""
        with pytest.raises(CorruptJournalError) as raised:
            Store(damaged).query().count()

        error = raised.value
        assert Path(error.file).parent == damaged
        assert error.lane == "high"
        first, last = error.sequences
        assert first <= 50_500 <= last
        assert 0 < error.offset < os.path.getsize(error.file)

    def test_salvaging_gives_everything_else(self, damaged):
        """What is found and what is told to be left out are the log."""
        store = Store(damaged, salvage=True)

        found = np.concatenate([batch.sequences for batch in store.query().batches()])

        lost = {
            sequence
            for one in store.left_out
            if one.sequences is not None
            for sequence in range(one.sequences[0], one.sequences[1] + 1)
        }
        assert 50_500 in lost
        assert set(range(200_000)) - set(found.tolist()) == lost
        assert "high lane, sequences" in str(store.left_out[0])

    def test_is_known_before_it_is_asked_for(self, damaged):
        """Without reading all of it."""
        source = JournalSource(damaged, salvage=True)

        assert [one.lane for one in source.damage() if one.sequences] in (["high"], [])

    def test_a_missing_segment(self, tmp_path):
        """Between others it is an error; salvaged, its sequences are told."""
        with tb.Bus(journal=keep(tmp_path)) as bus:
            btc = bus.symbol_id("BTC-USDT")
            for first in range(0, 200_000, 1_000):
                bus.publish_batch(trades(btc, 1_000, first))
        gone = JournalSource(tmp_path).parts()[2]
        Path(gone["file"]).unlink()

        with pytest.raises(MissingSegmentError):
            Store(tmp_path).query().count()
        store = Store(tmp_path, salvage=True)
        held = gone["lanes"]["high"]
        assert store.query().count() == 200_000 - held["events"]
        assert (held["first"], held["next"] - 1) in [one.sequences for one in store.left_out]


class TestJoined:
    def cut(self, folder: Path) -> None:
        """Remove the oldest parts, as retention does."""
        for part in JournalSource(folder).parts()[:3]:
            Path(part["file"]).unlink()

    @pytest.fixture
    def folders(self, tmp_path: Path) -> list[Path]:
        """Days of which the first were exported and then removed from the journal."""
        journal, exported = tmp_path / "journal", tmp_path / "exported"
        with tb.Bus(journal=keep(journal)) as bus:
            events = trades(bus.symbol_id("BTC-USDT"), 200_000)
            events["timestamp"] = MIDNIGHT + np.arange(200_000) * (3 * 86_400 * 10**9 // 200_000)
            for first in range(0, 150_000, 1_000):
                bus.publish_batch(events[first : first + 1_000])
            bus.journal.sync(disk=False)
            Store(journal).export_parquet(exported, group_rows=131_072)
            for first in range(150_000, 200_000, 1_000):
                bus.publish_batch(events[first : first + 1_000])
        self.cut(journal)
        return [exported, journal]

    def test_is_one_log_without_a_row_twice(self, folders):
        """Exported days, then the journal from the sequence behind."""
        assert Store(folders[1]).query().count() < 200_000

        store = Store(folders)

        sequences = np.concatenate([batch.sequences for batch in store.query().batches()])
        assert sequences.tolist() == list(range(200_000))
        assert store.sql("select count(*), count(distinct sequence) from events").rows() == [
            (200_000, 200_000)
        ]
        assert store.query(symbols="BTC-USDT", start=MIDNIGHT + 86_400 * 10**9).count() == 200_000 - 66_667

    def test_the_journal_is_read_where_it_has_all(self, folders):
        """Also when the order of the folders is another, and when only days are given."""
        assert Store(folders[::-1]).query().count() == 200_000
        assert Store(folders[:1]).query().count() == 150_000

    def test_a_hole_between_them_is_an_error(self, folders):
        """What neither has is never left out silently."""
        for day in sorted(folders[0].glob("*.parquet"))[1:]:
            day.unlink()
        for part in JournalSource(folders[1]).parts()[:-1]:
            Path(part["file"]).unlink()

        with pytest.raises(StoreError, match="neither the exported days nor the journal have the high"):
            Store(folders).query().count()

    def test_folders_of_two_logs_are_refused(self, folders, tmp_path):
        """Their numbers and sequences have nothing to do with each other."""
        other = MemorySource(rows([(MIDNIGHT, 0, 1, 1, 1, 1.0, 0)]), NAMES)
        Store(other).export_parquet(tmp_path / "other")

        with pytest.raises(StoreError, match="several logs"):
            Store([*folders, tmp_path / "other"])
        with pytest.raises(StoreError, match="more than one journal"):
            Store([folders[1], folders[1]])


BOUNDED = """
import resource, sys, time
import numpy as np
import tickbus as tb
from tickbus.store import ReplayBus, Store, replay
sys.path.insert(0, {tests!r})
from test_store_journal import keep, trades

count, at_once = 12_000_000, 100_000
if sys.argv[1] == "write":
    with tb.Bus(journal=keep({folder!r}, 16)) as bus:
        btc = bus.symbol_id("BTC-USDT")
        for first in range(0, count, at_once):
            bus.publish_batch(trades(btc, at_once, first))
else:
    import pyarrow, duckdb
    with ReplayBus() as bus:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store = Store({folder!r})
        assert sum(len(batch.events) for batch in store.query().batches()) == count
        assert store.query(types="price_update").count() == count
        assert replay(store, bus).events == count
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


class TestMemory:
    def test_is_bounded_however_long_the_log_is(self, tmp_path):
        """384 MB of events are read and replayed in a tenth of that."""
        script = BOUNDED.format(folder=str(tmp_path), tests=str(Path(__file__).parent))

        def run(what: str) -> str:
            done = subprocess.run(
                [sys.executable, "-c", script, what], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("write")
        assert int(run("read")) < 100_000  # KB


class TestMapped:
    """A sealed segment is contiguous for each lane, so NumPy maps it."""

    @pytest.fixture
    def folder(self, tmp_path):
        """Four parts or more: the oldest packed, the newest log, sealed between."""
        folder = tmp_path / "journal"
        with tb.Bus(journal=keep(folder, 1 / 64)) as bus:
            for number in range(3_000):
                bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", float(number))
            bus.journal.sync(disk=False)
            sealed(folder)
        return folder

    def test_has_the_events_of_the_lane(self, folder):
        source = JournalSource(folder)
        mapped = [source.mapped(part, "high") for part in source.parts() if part["form"] == "sealed"]
        values = np.concatenate(mapped)["value"].tolist()

        assert all(isinstance(events, np.memmap) and not events.flags.writeable for events in mapped)
        assert values == [float(number) for number in range(len(values))]
        assert len(values) > 1_000

    def test_a_lane_without_events_is_empty(self, folder):
        source = JournalSource(folder)

        assert len(source.mapped(source.parts()[0], "normal")) == 0

    def test_stays_whole_when_the_segment_is_packed(self, folder):
        """The part that was asked for has gone; a mapping made before has not."""
        source = JournalSource(folder)
        part = source.parts()[0]
        before = source.mapped(part, "high")
        compact_old(folder, 0)

        assert before["value"].tolist() == [float(number) for number in range(len(before))]
        with pytest.raises(QueryError, match="has gone"):
            source.mapped(part, "high")
        with pytest.raises(QueryError, match="only sealed segments"):
            source.mapped(source.parts()[0], "high")

    def test_of_no_lane(self, folder):
        source = JournalSource(folder)

        with pytest.raises(QueryError, match="'low' is none of"):
            source.mapped(source.parts()[0], "low")


class TestCutFiles:
    """A log segment has its full length from its first day."""

    @pytest.fixture
    def folder(self, tmp_path):
        """One log segment with 20,000 events, as a killed writer leaves it."""
        folder = tmp_path / "journal"
        with tb.Bus(journal=keep(folder)) as bus:
            bus.publish_batch(trades(0, 20_000))
            bus.journal.sync(disk=False)
            while len(list(folder.glob("*.log"))) < 2:  # The next one is made and renamed meanwhile.
                time.sleep(0.001)
            shutil.copytree(folder, copy := tmp_path / "killed")
        return copy

    @pytest.mark.parametrize("length", [100_000, 400_000, 600_000, 1_000_000])
    def test_are_an_error_and_told_by_a_salvage(self, folder, length):
        """However much of it is left: the last length is behind all events."""
        os.truncate(folder / "00000000000000000000.log", length)

        with pytest.raises(CorruptJournalError, match="shorter than it was"):
            Store(folder).query().count()
        store = Store(folder, salvage=True)
        found = store.query().count()

        assert found == 20_000 if length == 1_000_000 else found < 20_000
        assert any("shorter than it was" in str(left) for left in store.left_out)

    @pytest.mark.timeout(30)
    @pytest.mark.parametrize("name", ["00000000000000000000.log", "00000000009999999999.log"])
    def test_a_pipe_in_the_place_of_one_hangs_nobody(self, folder, name):
        """Neither who asks nor who opens."""
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

        with pytest.raises((JournalError, StoreError, OSError), match=r"no regular file"):
            Store(folder).query().count()
        with pytest.raises((JournalError, OSError), match=r"no regular file"):
            tb.Bus(journal=keep(folder))
