"""
journal.batches: 1,024 events a commit, on the device when it returns.
journal.one: one event, on the device when it returns.
journal.written: the high lane at level ``os``, 1,024 events a call, until all are written.
journal.publish: what a publisher of high events pays with a journal and without.
journal.critical: one critical event at level ``os``.
journal.reopen: from kill -9 with a full active segment to a bus that can be published to.

Everything is in one folder of the user's cache, so on one file system; where that is a tmpfs, syncs
cost nothing and the figures mean nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tickbus as tb
from tickbus.bench.floor import cache_folder
from tickbus.bench.jobs.support import expect, ns_case
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers.contract import installed
from tickbus.bench.peers.durable import LOGS, AppendedFile, DurableLog, ZeroedFile
from tickbus.bench.timing import Loop
from tickbus.journal import Journal

ROWS = 1_024
FEED, RISK, SYMBOL = tb.EventType.PRICE_UPDATE, tb.EventType.DRAWDOWN_ALERT, "BTC-USDT"
#: Events that fill a segment of 64 MiB, but for the last few percent.
KILLED_WITH = 2_000_000
#: What the preparing thread needs to have a segment ready, before anything is timed.
SETTLE_S = 0.5
QUICK_SETTLE_S = 0.01


def cases(options: Options) -> list[Case | Absent]:
    folder = Path(tempfile.mkdtemp(prefix="journal-", dir=cache_folder()))
    shared = _Shared(folder, QUICK_SETTLE_S if options.quick else SETTLE_S)
    found: list[Case | Absent] = []
    for figure, rows, commits in (
        ("journal.batches", ROWS, options.count(400, quick=3)),
        ("journal.one", 1, options.count(1_000, quick=3)),
    ):
        found.append(_durable(figure, shared, rows, commits))
        for kind in LOGS:
            # The two files that say what tickbus's own way saves are no peers.
            if options.peers or issubclass(kind, ZeroedFile):
                found.append(_peer(figure, kind, shared, rows, commits))
    calls = options.count(4_000, quick=5)
    found += [_written(shared, calls), _appended(shared, calls)]
    found += [_publish(name, shared, options.count(1_000_000)) for name in (TICKBUS, WITHOUT)]
    found += [_critical(shared, options.count(50_000)), _pwrite(shared, options.count(50_000))]
    found.append(_reopen(shared, options.count(KILLED_WITH, quick=1_000)))
    return found


class _Shared:
    """The folder, removed when the last case that uses it is closed."""

    def __init__(self, folder: Path, settle_s: float) -> None:
        self.folder = folder
        self.settle_s = settle_s
        self._users = 0

    def place(self) -> Path:
        """A folder for one user, who leaves in the end."""
        self._users += 1
        return Path(tempfile.mkdtemp(dir=self.folder))

    def leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


def rows_of(kind: tb.EventType, count: int, symbol: int = 0) -> NDArray[np.void]:
    """Stamped rows of a type, at its priority, whose values count from 0."""
    rows = np.zeros(count, tb.EVENT_DTYPE)
    rows["timestamp"] = 1
    rows["event_type"] = int(kind)
    rows["priority"] = int(tb.Priority.CRITICAL if kind is RISK else tb.Priority.HIGH)
    rows["symbol"] = symbol
    rows["value"] = np.arange(count)
    return rows


def _timed(commit: Callable[[], object], commits: int, rows: int) -> Sample:
    latencies = []
    begin = perf_counter_ns()
    for _ in range(commits):
        start = perf_counter_ns()
        commit()
        latencies.append(perf_counter_ns() - start)
    took = perf_counter_ns() - begin
    value = median(latencies) if rows == 1 else commits * rows * 1e9 / took
    return Sample(value, tuple(latencies))


def _unit(rows: int) -> Unit:
    return Unit.NS if rows == 1 else Unit.EVENTS_PER_S


def _durable(figure: str, shared: _Shared, rows: int, commits: int) -> Case:
    """`publish_batch`, or `publish`, to the critical lane at level ``disk``."""
    bus = tb.Bus(journal=shared.place() / "journal")
    batch = rows_of(RISK, rows, bus.symbol_id(SYMBOL))

    def commit() -> object:
        return bus.publish(RISK, SYMBOL, 1.0) if rows == 1 else bus.publish_batch(batch)

    def sample() -> Sample:
        sleep(shared.settle_s)
        return _timed(commit, commits, rows)

    def close() -> None:
        bus.close()
        shared.leave()

    return Case(figure, TICKBUS, Kind.SUBJECT, _unit(rows), sample, partial(_check_kept, shared), close)


def _check_kept(shared: _Shared) -> None:
    """What was published is there when the journal is opened again."""
    path = shared.place() / "journal"
    with tb.Bus(journal=path) as bus:
        bus.publish_batch(rows_of(RISK, ROWS, bus.symbol_id(SYMBOL)))
    with tb.Bus(journal=path) as bus:
        kept = bus.subscribe(">", start="earliest").read_batch(2 * ROWS)
    shared.leave()
    expect("values read back", list(range(ROWS)), kept["value"].astype(int).tolist())


def _peer(figure: str, kind: type[DurableLog], shared: _Shared, rows: int, commits: int) -> Case | Absent:
    if not installed(kind.requires):
        return Absent(figure, kind.name, f"{kind.requires} is not installed")
    log = kind(shared.place())
    batch = rows_of(RISK, rows)

    def check() -> None:
        log.begin()
        log.commit(batch)
        log.commit(batch)
        expect("rows read back", 2 * rows, log.count())

    def sample() -> Sample:
        log.begin()
        return _timed(lambda: log.commit(batch), commits, rows)

    def close() -> None:
        log.close()
        shared.leave()

    role = Kind.FLOOR if kind is ZeroedFile else Kind.PEER
    return Case(figure, kind.name, role, _unit(rows), sample, check, close)


def _written(shared: _Shared, calls: int) -> Case:
    bus = tb.Bus(journal=shared.place() / "journal")
    batch = rows_of(FEED, ROWS, bus.symbol_id(SYMBOL))
    journal = bus.journal
    assert journal is not None

    def sample() -> Sample:
        sleep(shared.settle_s)
        begin = perf_counter_ns()
        for _ in range(calls):
            bus.publish_batch(batch)
        journal.sync(disk=False)
        return Sample(calls * ROWS * 1e9 / (perf_counter_ns() - begin))

    def close() -> None:
        bus.close()
        shared.leave()

    check = partial(_check_kept, shared)
    return Case("journal.written", TICKBUS, Kind.SUBJECT, Unit.EVENTS_PER_S, sample, check, close)


def _appended(shared: _Shared, calls: int) -> Case:
    """`write` at the end of a file."""
    path = shared.place() / "file"
    batch = rows_of(FEED, ROWS)

    def sample() -> Sample:
        with open(path, "wb", buffering=0) as file:
            begin = perf_counter_ns()
            for _ in range(calls):
                file.write(batch.tobytes())
            return Sample(calls * ROWS * 1e9 / (perf_counter_ns() - begin))

    def check() -> None:
        sample()
        expect("bytes in the file", calls * batch.nbytes, path.stat().st_size)

    name = AppendedFile.name
    return Case("journal.written", name, Kind.PEER, Unit.EVENTS_PER_S, sample, check, shared.leave)


WITHOUT = "tickbus, no journal"


def _publish(name: str, shared: _Shared, count: int) -> Case:
    place = shared.place()
    bus = tb.Bus() if name == WITHOUT else tb.Bus(journal=place / "journal")
    loop = Loop("publish(kind, symbol, 1.5)", publish=bus.publish, kind=FEED, symbol=SYMBOL)

    def close() -> None:
        bus.close()
        shared.leave()

    def ns() -> float:
        sleep(shared.settle_s)
        return loop.ns(count)

    return ns_case("journal.publish", name, Kind.SUBJECT, ns, partial(_check_kept, shared), close)


def _critical(shared: _Shared, count: int) -> Case:
    bus = tb.Bus(journal=Journal(shared.place() / "journal", critical="os"))

    def sample() -> Sample:
        sleep(shared.settle_s)
        return _timed(lambda: bus.publish(RISK, SYMBOL, 1.0), count, rows=1)

    def close() -> None:
        bus.close()
        shared.leave()

    check = partial(_check_kept, shared)
    return Case("journal.critical", TICKBUS, Kind.SUBJECT, Unit.NS, sample, check, close)


def _pwrite(shared: _Shared, count: int) -> Case:
    """64 bytes, a batch's header and an event, with one system call."""
    path = shared.place() / "file"
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    # Page by page, as a log grows: partial writes to the large folios of one long write cost more.
    for at in range(0, count * 64, 4096):
        os.pwrite(file, bytes(4096), at)
    data = b"\1" * 64

    def sample() -> Sample:
        positions = iter(range(0, count * 64, 64))
        return _timed(lambda: os.pwrite(file, data, next(positions)), count, rows=1)

    def check() -> None:
        os.pwrite(file, data, 0)
        expect("bytes read back", data, os.pread(file, 64, 0))

    def close() -> None:
        os.close(file)
        shared.leave()

    return Case("journal.critical", "floor: pwrite", Kind.FLOOR, Unit.NS, sample, check, close)


_KILLED = """
import os, signal, sys
import tickbus as tb
from tickbus.bench.jobs.journal import FEED, ROWS, SYMBOL, rows_of
from tickbus.journal import Journal
bus = tb.Bus(journal=Journal(sys.argv[1]))
batch = rows_of(FEED, ROWS, bus.symbol_id(SYMBOL))
for _ in range(int(sys.argv[2]) // ROWS + 1):
    bus.publish_batch(batch)
bus.journal.sync(disk=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _reopen(shared: _Shared, events: int) -> Case:
    place = shared.place()

    def killed() -> Path:
        path = place / "journal"
        shutil.rmtree(path, ignore_errors=True)
        child = subprocess.run([sys.executable, "-c", _KILLED, path, str(events)], check=False)
        expect("the child was killed", -9, child.returncode)
        return path

    def sample() -> Sample:
        path = killed()
        begin = perf_counter_ns()
        bus = tb.Bus(journal=path)
        took = perf_counter_ns() - begin
        bus.close()
        return Sample(took)

    def check() -> None:
        with tb.Bus(journal=killed()) as bus:
            reader: Any = bus.subscribe(">", start="earliest")
            expect("events kept", events // ROWS * ROWS + ROWS, reader.lag)

    return Case("journal.reopen", TICKBUS, Kind.SUBJECT, Unit.NS, sample, check, shared.leave)
