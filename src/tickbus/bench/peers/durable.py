"""
Where else a desk would put events that must survive a power cut: a file, SQLite, LMDB.

Each commits a run of 32-byte rows and returns when they are on the device. `count` reads back how many
rows there are, for the behaviour check.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tickbus.bench.peers.contract import LAYOUT

FILE_BYTES = 64 << 20
_BLOCK = 4096


class DurableLog:
    """A place for rows. Made empty in *folder*; `begin` is called before each sample, untimed."""

    name: ClassVar[str]
    requires: ClassVar[str | None] = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Be as it is in the middle of a long day."""

    def commit(self, rows: NDArray[np.void]) -> None:
        """Return when *rows* are on the device."""
        raise NotImplementedError

    def count(self) -> int:
        """Rows committed since `begin`."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what is open."""


class ZeroedFile(DurableLog):
    """`pwrite` and `fdatasync` into blocks that have been written before: the least there is to do."""

    name = "floor: fdatasync"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = os.open(folder / f"{type(self).__name__}.bin", os.O_RDWR | os.O_CREAT, 0o600)
        self._at = 0
        self.prepare()

    def prepare(self) -> None:
        for at in range(0, FILE_BYTES, 1 << 20):
            os.pwrite(self._file, bytes(1 << 20), at)
        os.fsync(self._file)

    def begin(self) -> None:
        self._at = 0

    def commit(self, rows: NDArray[np.void]) -> None:
        data = rows.tobytes()
        # A journal never writes again what it has acknowledged, so the next commit begins a block.
        data += bytes(-len(data) % _BLOCK)
        if self._at + len(data) > FILE_BYTES:
            self._at = 0
        os.pwrite(self._file, data, self._at)
        os.fdatasync(self._file)
        self._at += len(data)

    def count(self) -> int:
        found = np.frombuffer(os.pread(self._file, self._at, 0), np.uint64).reshape(-1, 4)
        return int(np.count_nonzero(found[:, 0]))

    def close(self) -> None:
        os.close(self._file)


class PreallocatedFile(ZeroedFile):
    """The same into blocks that `fallocate` reserved: the first write of each changes the file system too."""

    name = "preallocated file"

    def prepare(self) -> None:
        os.posix_fallocate(self._file, 0, FILE_BYTES)
        os.fsync(self._file)

    def begin(self) -> None:
        super().begin()
        os.ftruncate(self._file, 0)
        self.prepare()


class AppendedFile(ZeroedFile):
    """The same at the end of a file that grows."""

    name = "appended file"

    def prepare(self) -> None:
        os.ftruncate(self._file, 0)
        os.fsync(self._file)

    def begin(self) -> None:
        super().begin()
        self.prepare()


class Sqlite(DurableLog):
    """A table with a column a field, write-ahead log, `synchronous=FULL`."""

    name = "SQLite, FULL"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._database = sqlite3.connect(folder / "events.sqlite", isolation_level=None)
        self._database.execute("pragma journal_mode=wal")
        self._database.execute("pragma synchronous=full")
        self._database.execute("create table events(ts, type, priority, source, symbol, value, metadata)")

    def begin(self) -> None:
        self._database.execute("delete from events")

    def commit(self, rows: NDArray[np.void]) -> None:
        self._database.execute("begin")
        self._database.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", rows.tolist())
        self._database.execute("commit")

    def count(self) -> int:
        (count,) = self._database.execute("select count(*) from events").fetchone()
        return int(count)

    def close(self) -> None:
        self._database.close()


class Lmdb(DurableLog):
    """A key an event, its sequence, and its 32 bytes."""

    name = "LMDB"
    requires = "lmdb"

    def __init__(self, folder: Path) -> None:
        import lmdb

        super().__init__(folder)
        self._environment = lmdb.open(str(folder / "lmdb"), map_size=2 << 30)
        self._next = 0

    def begin(self) -> None:
        with self._environment.begin(write=True) as transaction:
            transaction.drop(self._environment.open_db(None, transaction), delete=False)
        self._next = 0

    def commit(self, rows: NDArray[np.void]) -> None:
        data = rows.tobytes()
        size = LAYOUT.size
        with self._environment.begin(write=True) as transaction:
            for at in range(0, len(data), size):
                transaction.put(self._next.to_bytes(8, "big"), data[at : at + size], append=True)
                self._next += 1

    def count(self) -> int:
        return int(self._environment.stat()["entries"])

    def close(self) -> None:
        self._environment.close()


LOGS: tuple[type[DurableLog], ...] = (ZeroedFile, PreallocatedFile, AppendedFile, Sqlite, Lmdb)
