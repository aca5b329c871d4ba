"""
A journal of ascending trades, the older half packed, the younger sealed, and its days as Parquet.

- store.sealed, store.packed: 20,000 events of a stretch of time as a NumPy array; the median of 21.
- store.sealed_type, store.packed_type: 20,000 events of a type that one in 50 has.
- store.read: everything, in batches.
- store.replay, store.handlers: everything into a bus; the same with an inline handler in Python.

DuckDB reads the same from Parquet, as an Arrow table, with a connection that is open. All are warm.
`TICKBUS_BENCH_JOURNAL` names a journal to ask instead of the one that is made (its first event is the
earliest, and the time between two is the same), for a log that is too long to be made each time.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np

import tickbus as tb
from tickbus.bench.jobs.support import expect
from tickbus.bench.model import TICKBUS, Absent, BehaviourError, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers.contract import installed
from tickbus.bench.targets import DUCKDB, PARQUET
from tickbus.bench.timing import no_gc
from tickbus.journal import Journal
from tickbus.store import JournalSource, ReplayBus, Store, replay

HITS = 20_000
#: One event in so many is of the type that is asked for.
RARE = 50
RUNS = 21
_START_NS = 1_786_233_600 * 10**9
_NS_AN_EVENT = 1_000
_AT_ONCE = 50_000
_LIMIT_S = 300

Ask = Callable[[int, int, int | None], int]


@dataclass
class _Log:
    """The journal, and what is known of it."""

    folder: Path
    exported: Path

    @cached_property
    def store(self) -> Store:
        return Store(self.folder)

    @cached_property
    def span(self) -> tuple[int, int]:
        """Time of the first event, and behind the last."""
        parts = [part["lanes"]["high"] for part in JournalSource(self.folder).parts()]
        times = [(part["least_ns"], part["greatest_ns"]) for part in parts if part["events"]]
        return min(least for least, _ in times), max(greatest for _, greatest in times) + 1

    @cached_property
    def count(self) -> int:
        return sum(part["lanes"]["high"]["events"] for part in JournalSource(self.folder).parts())

    def stretch(self, share: float, events: int) -> tuple[int, int]:
        """A time with about so many events, *share* of the log behind its start."""
        first, end = self.span
        start = first + int((end - first) * share)
        return start, min(end, start + (end - first) * min(events, self.count // 4) // self.count)

    def query(self, start: int, end: int, event_type: int | None) -> int:
        return len(self.store.query(start, end, types=event_type).numpy())


def cases(options: Options) -> list[Case | Absent]:
    stack = ExitStack()
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tickbus-bench-")))
    try:
        given = os.environ.get("TICKBUS_BENCH_JOURNAL")
        log = _Log(Path(given) if given else scratch / "journal", scratch / "exported")
        if not given:
            _make(log.folder, options.count(10_000_000, quick=40_000))
        found = _cases(log)
    except BaseException:
        stack.close()
        raise
    last = next(case for case in reversed(found) if isinstance(case, Case))
    last.close = stack.close
    return found


def _make(folder: Path, count: int) -> None:
    """Write the log: half of it, packed, and the other half."""
    journal = Journal(folder, segment_mib=16 if count > 1_000_000 else 0.25)
    with tb.Bus(journal=journal) as bus:
        symbols = np.array([bus.symbol_id(f"SYMBOL-{number}") for number in range(50)])
        for first in range(0, count, _AT_ONCE):
            numbers = np.arange(first, min(first + _AT_ONCE, count))
            if first <= count // 2 < first + _AT_ONCE:
                _sealed(bus, folder)
                assert bus.journal is not None
                bus.journal.compact_old(0)
            bus.publish_batch(_trades(numbers, symbols))
        _sealed(bus, folder)


def _trades(numbers: np.ndarray[Any, Any], symbols: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    events = np.zeros(len(numbers), tb.EVENT_DTYPE)
    events["timestamp"] = _START_NS + numbers * _NS_AN_EVENT
    events["event_type"] = np.where(
        numbers % RARE == 0, int(tb.EventType.ORDER_FILLED), int(tb.EventType.PRICE_UPDATE)
    )
    events["priority"] = int(tb.Priority.HIGH)
    events["symbol"] = symbols[numbers * 7_919 % 50]
    events["value"] = 100 + numbers * 31 % 997 / 100
    events["metadata"] = (1 + numbers * 17 % 400 / 8).view(np.uint64)
    return events


def _sealed(bus: tb.Bus, folder: Path) -> None:
    """Wait until the writer has sealed what is full."""
    assert bus.journal is not None
    bus.journal.sync()
    source, deadline = JournalSource(folder), time.monotonic() + _LIMIT_S
    while [part["form"] for part in source.parts()].count("log") > 2:
        if time.monotonic() > deadline:
            raise BehaviourError(f"full segments are not sealed after {_LIMIT_S} s")
        time.sleep(0.01)


def _cases(log: _Log) -> list[Case | Absent]:
    asks: dict[str, tuple[Kind, Ask]] = {TICKBUS: (Kind.SUBJECT, log.query)}
    found: list[Case | Absent] = []
    absent = [name for name in ("duckdb", "pyarrow") if not installed(name)]
    figures = {
        "store.sealed": (0.7, HITS, None),
        "store.packed": (0.2, HITS, None),
        "store.sealed_type": (0.7, HITS * RARE, int(tb.EventType.ORDER_FILLED)),
        "store.packed_type": (0.2, HITS * RARE, int(tb.EventType.ORDER_FILLED)),
    }
    if absent:
        found += [Absent(figure, DUCKDB, f"{absent[0]} is not installed") for figure in figures]
    else:
        log.store.export_parquet(log.exported, decoded=False)
        asks[DUCKDB] = (Kind.PEER, _duckdb(log.exported))
        exported = Store(log.exported)
        found.append(_rate("store.read", PARQUET, Kind.PEER, log.count, lambda: exported.query().count()))
    for figure, (share, events, event_type) in figures.items():
        start, end = log.stretch(share, events)
        for name, (kind, ask) in asks.items():
            found.append(_asking(figure, name, kind, log, ask, (start, end, event_type)))
    found += [
        _rate("store.read", TICKBUS, Kind.SUBJECT, log.count, lambda: log.store.query().count()),
        _rate("store.replay", TICKBUS, Kind.SUBJECT, log.count, lambda: _replay(log.store, False)),
        _rate("store.handlers", TICKBUS, Kind.SUBJECT, log.count, lambda: _replay(log.store, True)),
    ]
    return found


def _asking(
    figure: str, name: str, kind: Kind, log: _Log, ask: Ask, what: tuple[int, int, int | None]
) -> Case:
    """Median time of a query."""

    def sample() -> Sample:
        times = []
        with no_gc():
            for _ in range(RUNS):
                begin = perf_counter_ns()
                ask(*what)
                times.append(perf_counter_ns() - begin)
        return Sample(median(times))

    def check() -> None:
        start, end, event_type = what
        expect("events found", log.query(start, end, event_type), ask(*what))
        expect("any event found", True, ask(*what) > 0)

    return Case(figure, name, kind, Unit.NS, sample, check)


def _rate(figure: str, name: str, kind: Kind, count: int, run: Callable[[], int]) -> Case:
    """Events a second of something that goes through all of them."""

    def sample() -> Sample:
        with no_gc():
            begin = perf_counter_ns()
            expect("events", count, run())
            return Sample(count * 1e9 / (perf_counter_ns() - begin))

    return Case(figure, name, kind, Unit.EVENTS_PER_S, sample, lambda: expect("events", count, run()))


def _replay(store: Store, with_handler: bool) -> int:
    seen = 0

    def handler(event: tb.Event) -> None:
        nonlocal seen
        seen += 1

    with ReplayBus() as bus:
        if with_handler:
            bus.on(">")(handler)
        events = replay(store, bus).events
    return seen if with_handler else events


def _duckdb(folder: Path) -> Ask:
    connection = importlib.import_module("duckdb").connect(":memory:")
    connection.execute("set timezone = 'UTC'")
    columns = "ts, event_type, priority, source, symbol, value, metadata"
    rows = f"select {columns} from read_parquet('{folder}/*.parquet')"
    span = "where ts >= make_timestamp_ns(?) and ts < make_timestamp_ns(?)"

    def ask(start: int, end: int, event_type: int | None) -> int:
        narrowed = "" if event_type is None else f"and event_type = {event_type}"
        found = connection.sql(f"{rows} {span} {narrowed}", params=[start, end])
        return int(found.to_arrow_table().num_rows)

    return ask
