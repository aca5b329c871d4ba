"""
Processes that publish until something happens to them, and what has to be in their journal then.

Every event says which writer published it and as which of its events, and all its other fields follow
from that. So what a journal holds can be judged without having seen it written: for each writer, its
events from the first on, each once, none changed, and at least as many as were acknowledged.
"""

from __future__ import annotations

import os
import random
import select
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tickbus as tb
from tickbus.errors import JournalError
from tickbus.journal import Journal, Level

KINDS = {
    tb.Priority.CRITICAL: tb.EventType.DRAWDOWN_ALERT,
    tb.Priority.HIGH: tb.EventType.PRICE_UPDATE,
    tb.Priority.NORMAL: tb.EventType.ORDER_PLACED,
}
#: Lanes of the threads of a writer.
THREADS = (tb.Priority.CRITICAL, tb.Priority.CRITICAL, tb.Priority.HIGH, tb.Priority.NORMAL)
#: Writer, thread, and how many of its events are acknowledged.
ACKNOWLEDGED = struct.Struct("<IIQ")
BEGUN_NS = 1_700_000_000_000_000_000


class Child:
    """A forked process that runs some work until it is killed."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            run_and_exit(work)
        self._code: int | None = None

    def kill(self) -> int:
        """Kill it, unless it has ended; its exit code, -9 when it was killed."""
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


def run_and_exit(work: Callable[[], int | None]) -> None:
    """What a fork does: it never comes back into the test."""
    try:
        os._exit(work() or 0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(99)


def journal(path: Path, level: Level, kib: int = 64, **options: object) -> Journal:
    """A journal of small segments, all lanes at one level."""
    levels = {"critical": level, "high": level, "normal": level}
    return Journal(path, segment_mib=kib / 1024, **levels, **options)  # type: ignore[arg-type]


def opened(path: Path, level: Level, kib: int = 64, **options: object) -> tb.Bus:
    sizes = {"critical_size": 1024, "high_size": 4096, "normal_size": 4096}
    return tb.Bus(journal=journal(path, level, kib, **options), **sizes)  # type: ignore[arg-type]


def events(writer: int, thread: int, first: int, count: int) -> NDArray[np.void]:
    """The events of a writer's thread from its *first* on."""
    rows = np.zeros(count, tb.EVENT_DTYPE)
    numbers = np.arange(first, first + count, dtype=np.uint64)
    lane = THREADS[thread]
    rows["event_type"], rows["priority"] = KINDS[lane], lane
    rows["metadata"] = np.uint64(writer << 40 | thread << 32) | numbers
    rows["value"] = numbers * 0.25 + writer
    rows["timestamp"] = BEGUN_NS + writer * 10**9 + numbers
    return rows


@dataclass
class Writer:
    """Publishes the events of one writer on a bus and writes to a pipe what was acknowledged."""

    number: int
    bus: tb.Bus
    pipe: int
    sync: bool
    published: dict[int, int] = field(default_factory=dict)

    def publish(self, thread: int, count: int) -> None:
        """One event, or a batch; acknowledged when it is persisted."""
        first = self.published.get(thread, 0)
        rows = events(self.number, thread, first, count)
        try:
            if count == 1:
                (row,) = rows
                what = int(row["event_type"]), 0, float(row["value"])
                fields = {name: int(row[name]) for name in ("metadata", "priority", "timestamp")}
                self.bus.publish(*what, **fields)
            else:
                self.bus.publish_batch(rows)
        except JournalError as error:
            # It is on the bus, and not acknowledged.
            self.published[thread] = first + (1 if error.event_id else 0)
            raise
        self.published[thread] = first + count
        if THREADS[thread] != tb.Priority.CRITICAL:
            assert self.bus.journal is not None
            self.bus.journal.sync(disk=self.sync)
        self.acknowledge(thread)

    def acknowledge(self, thread: int) -> None:
        os.write(self.pipe, ACKNOWLEDGED.pack(self.number, thread, self.published[thread]))


def write_for_ever(path: Path, level: Level, pipe: int, number: int, seed: int, kib: int = 64) -> None:
    """Several threads publish in ones and in batches."""
    bus = opened(path, level, kib)

    def work(thread: int) -> None:
        writer, choose = Writer(number, bus, pipe, level == "disk"), random.Random(f"{seed} {thread}")
        while True:
            writer.publish(thread, choose.choice([1, 1, 2, 64, 65, 300]))

    for thread in range(1, len(THREADS)):
        threading.Thread(target=work, args=(thread,), daemon=True).start()
    work(0)


class Books:
    """What was acknowledged, by writer and thread."""

    def __init__(self) -> None:
        self.acknowledged: dict[tuple[int, int], int] = {}
        #: The beginning of what a writer was saying.
        self._rest = b""

    def enter(self, told: bytes) -> None:
        told = self._rest + told
        whole = len(told) - len(told) % ACKNOWLEDGED.size
        self._rest = told[whole:]
        for writer, thread, count in ACKNOWLEDGED.iter_unpack(told[:whole]):
            self.acknowledged[writer, thread] = count

    def listen_for_one(self, pipe: int) -> None:
        """Wait until a writer has something acknowledged."""
        assert self._hear(pipe, 20.0), "the writer says nothing"

    def listen(self, pipe: int, seconds: float) -> None:
        """Take what a writer says for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._hear(pipe, left)

    def _hear(self, pipe: int, seconds: float) -> bool:
        if not select.select([pipe], [], [], seconds)[0]:
            return False
        told = os.read(pipe, 1 << 16)
        self.enter(told)
        assert told, "the writer ended by itself"
        return True

    def listen_to_the_end(self, pipe: int) -> None:
        """What a writer said before it ended."""
        with os.fdopen(pipe, "rb") as stream:
            self.enter(stream.read())
        assert self._rest == b"", "a write to a pipe is whole or not there"

    def total(self) -> int:
        return sum(self.acknowledged.values())

    def judge(self, rows: NDArray[np.void], *, complete: bool = True) -> None:
        """
        Assert that *rows*, read from a journal, are what these writers published.

        Args:
            complete: All that was acknowledged has to be there. An exact prefix has to be in any case.
        """
        for lane in KINDS:
            of_lane = rows[rows["priority"] == lane]
            writers = of_lane["metadata"] >> np.uint64(40)
            assert np.all(np.diff(writers.astype(np.int64)) >= 0), "one writer after the other"
        keys = rows["metadata"] >> np.uint64(32)
        counts = {}
        for key in np.unique(keys):
            writer, thread = int(key) >> 8, int(key) & 0xFF
            of_thread = rows[keys == key]
            # Symbols are numbered by the bus, and these events have none.
            assert of_thread.tobytes() == events(writer, thread, 0, len(of_thread)).tobytes(), (
                f"events of writer {writer}, thread {thread} are no exact prefix: "
                f"{(of_thread['metadata'] & np.uint64(0xFFFFFFFF))[:10]} ..."
            )
            counts[writer, thread] = len(of_thread)
        if complete:
            lost = {
                key: f"{counts.get(key, 0)} of {count}"
                for key, count in self.acknowledged.items()
                if counts.get(key, 0) < count
            }
            assert lost == {}, "acknowledged and not there"

    def forget_what_is_lost(self, rows: NDArray[np.void]) -> None:
        """After a loss that was allowed: from here on what is there counts as acknowledged."""
        keys, counts = np.unique(rows["metadata"] >> np.uint64(32), return_counts=True)
        self.acknowledged = {
            (int(key) >> 8, int(key) & 0xFF): int(count) for key, count in zip(keys, counts, strict=True)
        }


def everything_on(bus: tb.Bus) -> NDArray[np.void]:
    """All events of a bus, from its journal's first on."""
    reader = bus.subscribe(">", start="earliest")
    parts: list[NDArray[np.void]] = [np.zeros(0, tb.EVENT_DTYPE)]
    while len(batch := reader.read_batch(1 << 16)):
        parts.append(batch.copy())
    assert reader.missed == 0
    reader.close()
    return np.concatenate(parts)


def everything_in(path: Path, level: Level = "os", kib: int = 64) -> NDArray[np.void]:
    """Open a journal as the next process would, and read all of it."""
    with opened(path, level, kib) as bus:
        return everything_on(bus)
