"""
A folder of Parquet files as a source: `2026-08-09.parquet`, one a day, written by export.py.

Any Parquet reader sees the table `events` (columns.py). The footer's key-values, all starting with
`tickbus.`, have what a table cannot say: whose log it is, which sequences of each lane the file holds,
texts and meanings of the numbers, the least and greatest timestamp and the types of each row group, and
a digest of the rows. Row groups that cannot match are not read. Rows lie in replay order, files are
read in the order of their days, and memory holds a row group and a batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE
from tickbus.errors import QueryError, StoreError
from tickbus.store import _extras
from tickbus.store.names import Names, TypeMeaning
from tickbus.store.source import MAX_ROWS, Batch, selected

__all__ = ["DayFile", "Digest", "Footer", "ParquetSource"]

#: The sequences of a lane that a file holds: first, last, how many.
Run = tuple[int, int, int]

VERSION = "1"
_PREFIX = "tickbus."
_DIGEST = b"tickbus.digest"
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.parquet")
_READ = ("ts", "event_type", "priority", "source", "symbol", "value", "metadata", "lane", "sequence")


class Digest:
    """A checksum of rows that does not depend on how they are cut into batches."""

    def __init__(self) -> None:
        self._parts = [hashlib.blake2b(digest_size=16) for _ in Batch._fields]

    def add(self, rows: Batch) -> None:
        """Append the rows."""
        for part, array in zip(self._parts, rows, strict=True):
            part.update(np.ascontiguousarray(array).view(np.uint8).data)

    def hexdigest(self) -> str:
        """The checksum so far."""
        return "".join(part.hexdigest() for part in self._parts)


@dataclass(frozen=True)
class Footer:
    """The key-values of a file's footer."""

    log_id: bytes
    names: Names
    lanes: dict[int, Run]
    #: Of each row group: least and greatest timestamp, the types in it.
    groups: list[tuple[int, int, list[int]]]
    digest: str

    def key_values(self) -> dict[str, str]:
        """As they are written."""
        names = {
            "symbols": {str(number): text for number, text in self.names.symbols.items()},
            "sources": {str(number): text for number, text in self.names.sources.items()},
            "types": [asdict(row) for row in self.names.types.values()],
        }
        return {
            f"{_PREFIX}version": VERSION,
            f"{_PREFIX}log_id": self.log_id.hex(),
            f"{_PREFIX}lanes": json.dumps(self.lanes),
            f"{_PREFIX}names": json.dumps(names),
            f"{_PREFIX}groups": json.dumps(self.groups),
            f"{_PREFIX}digest": self.digest,
            f"{_PREFIX}event": json.dumps(EVENT_DTYPE.descr),
        }

    @classmethod
    def of(cls, key_values: dict[bytes, bytes]) -> Footer:
        """From what was read; KeyError or ValueError when something is missing or wrong."""
        read = {
            key: key_values[f"{_PREFIX}{key}".encode()].decode() for key in ("version", "log_id", "digest")
        }
        if read["version"] != VERSION:
            raise ValueError(f"version {read['version']}, this tickbus reads {VERSION}")
        lanes, names, groups = (
            json.loads(key_values[f"{_PREFIX}{key}".encode()]) for key in ("lanes", "names", "groups")
        )
        return cls(
            bytes.fromhex(read["log_id"]),
            Names(
                {int(number): text for number, text in names["symbols"].items()},
                {int(number): text for number, text in names["sources"].items()},
                {row["number"]: TypeMeaning(**row) for row in names["types"]},
            ),
            {int(lane): (first, last, count) for lane, (first, last, count) in lanes.items()},
            [(least, greatest, types) for least, greatest, types in groups],
            read["digest"],
        )


class DayFile:
    """
    One file of an export.

    Raises:
        StoreError: It is no Parquet file, damaged, or not written by tickbus.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.rows: int = file.metadata.num_rows
            try:
                self.footer = Footer.of(file.metadata.metadata or {})
            except (KeyError, TypeError, ValueError) as error:
                raise StoreError(f"{path} has no footer of tickbus: {error}") from error
            if file.metadata.num_row_groups != len(self.footer.groups):
                raise StoreError(
                    f"{path}: {file.metadata.num_row_groups} row groups, the footer lists others"
                )

    def _open(self) -> Any:
        parquet = _extras.pyarrow("parquet")
        try:
            return parquet.ParquetFile(self.path, read_dictionary=["source", "symbol"])
        except (OSError, _extras.pyarrow().ArrowException) as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    def batches(self, groups: list[int], names: Names, max_rows: int) -> Iterator[Batch]:
        """The rows of these row groups, with the numbers that *names* gives their texts."""
        read = _Reader(names)
        with self._open() as file:
            if (file.metadata.metadata or {}).get(_DIGEST) != self.footer.digest.encode():
                raise StoreError(f"{self.path} has been exported anew; open the folder again")
            try:
                for table in file.iter_batches(max_rows, groups, columns=list(_READ), use_threads=False):
                    yield read.batch(table)
            except (OSError, _extras.pyarrow().ArrowException) as error:
                raise StoreError(f"{self.path} is damaged: {error}") from error

    def verify(self) -> None:
        """
        Read all rows and compare them with the footer's digest.

        Raises:
            StoreError: They are not what was written.
        """
        digest = Digest()
        for batch in self.batches(list(range(len(self.footer.groups))), self.footer.names, MAX_ROWS):
            digest.add(batch)
        if digest.hexdigest() != self.footer.digest:
            raise StoreError(f"{self.path} is damaged: its rows have not the checksum they were written with")


class _Reader:
    """Rows of the table as events again."""

    def __init__(self, names: Names) -> None:
        self._numbers = {
            "symbol": {"": 0, **{text: number for number, text in names.symbols.items()}},
            "source": {"": 0, **{text: number for number, text in names.sources.items()}},
        }

    def batch(self, table: Any) -> Batch:
        events = np.empty(table.num_rows, EVENT_DTYPE)
        events["timestamp"] = table.column("ts").cast("int64").to_numpy(zero_copy_only=False)
        for name in ("event_type", "priority", "value", "metadata"):
            events[name] = table.column(name).to_numpy(zero_copy_only=False)
        for name in ("symbol", "source"):
            events[name] = self._numbers_of(name, table.column(name))
        return Batch(events, np.asarray(table.column("lane")), np.asarray(table.column("sequence")))

    def _numbers_of(self, name: str, column: Any) -> NDArray[np.int64]:
        known = self._numbers[name]
        texts = column.dictionary.to_pylist()
        numbers = np.array([known[t] if t in known else int(t.removeprefix("#")) for t in texts], np.int64)
        indices: NDArray[np.int64] = column.indices.to_numpy(zero_copy_only=False)
        return numbers[indices] if len(numbers) else np.zeros(len(indices), np.int64)


class ParquetSource:
    """
    An exported folder.

    Raises:
        StoreError: There is no such folder or no such file in it, one is damaged, or they are of
            several logs.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        folder = Path(directory)
        if not folder.is_dir():
            raise StoreError(f"{folder} is no folder")
        self.files = [DayFile(path) for path in sorted(folder.iterdir()) if _DAY.fullmatch(path.name)]
        if not self.files:
            raise StoreError(f"{folder} has neither a journal nor an exported day, like 2026-08-09.parquet")
        self._take_over()

    @classmethod
    def of_files(cls, files: list[DayFile]) -> ParquetSource:
        """The same of some files, at least one, in the order of their days."""
        source = cls.__new__(cls)
        source.files = files
        source._take_over()
        return source

    def _take_over(self) -> None:
        logs = {file.footer.log_id: file for file in self.files}
        if len(logs) > 1:
            raise StoreError("files of several logs: " + ", ".join(str(file.path) for file in logs.values()))
        self._id = self.files[0].footer.log_id
        footers = [file.footer.names for file in self.files]
        self._names = Names(
            {number: text for names in footers for number, text in names.symbols.items()},
            {number: text for names in footers for number, text in names.sources.items()},
            {number: row for names in footers for number, row in names.types.items()},
        )

    @property
    def id(self) -> bytes:
        """The log's id."""
        return self._id

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""
        return self._names

    def batches(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        types: Collection[int] | None = None,
        symbols: Collection[int] | None = None,
        sources: Collection[int] | None = None,
        max_rows: int = MAX_ROWS,
    ) -> Iterator[Batch]:
        """See `EventSource`."""
        if max_rows < 1:
            raise QueryError(f"max_rows={max_rows} is not at least 1")
        for file in self.files:
            groups = [
                at
                for at, (least, greatest, held) in enumerate(file.footer.groups)
                if (start_ns is None or greatest >= start_ns)
                and (end_ns is None or least < end_ns)
                and (types is None or not set(types).isdisjoint(held))
            ]
            for part in file.batches(groups, self._names, max_rows) if groups else ():
                mask = selected(part.events, start_ns, end_ns, types, symbols, sources)
                if mask is None:
                    yield part
                elif mask.any():
                    yield part.take(mask)

    def verify(self) -> None:
        """Read every file and compare it with its digest; StoreError names the first that differs."""
        for file in self.files:
            file.verify()
