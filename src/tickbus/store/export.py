"""
The log as Parquet, one file a day: `export_parquet(source, "exported/")`.

A file appears whole or not at all: it is written as `*.tmp`, synced, read back and compared with what
was written, renamed, and the folder synced. An event's day is that of the log's clock, the greatest
timestamp so far, so that the files one after the other are the replay order, late events included.

Exporting again is safe and cheap. A first pass over the source finds which sequences of each lane fall
into each day; days whose file has them already are left alone, days that have grown are written anew.
A file is never replaced by one that lacks some of its events, as when the log has dropped its oldest.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickbus.errors import QueryError, StoreError
from tickbus.store import _extras
from tickbus.store.columns import COLUMNS, LOGGED, Columns
from tickbus.store.parquet import DayFile, Digest, Footer, Run
from tickbus.store.source import LANES, Batch, EventSource
from tickbus.store.times import DAY_NS, Time, check_range, to_ns

__all__ = ["Exported", "export_parquet"]

GROUP_ROWS = 262_144
_GROUPS = range(131_072, 1_048_576 + 1)
#: Measured on quotes and trades: sizes in docs/parts/store.md.
_ZSTD_LEVEL = 3
#: Columns of numbers that rise.
_DELTAS = ("ts", "sequence")

Progress = Callable[[str, int], object]


class Exported(NamedTuple):
    """What an export did, by file name: those written, those that were right already, and all rows."""

    written: list[str]
    kept: list[str]
    rows: int


def export_parquet(
    source: EventSource,
    directory: str | os.PathLike[str],
    *,
    start: Time | None = None,
    end: Time | None = None,
    decoded: bool = True,
    group_rows: int = GROUP_ROWS,
    progress: Progress | None = None,
) -> Exported:
    """
    Write the log, or the days from *start* to *end*, into *directory*; made if need be.

    Args:
        start, end: As `Store.query`; rounded outwards to whole days, UTC, of the log's clock.
        decoded: Also the columns price, quantity, side, bid, ask and sizes, for other readers.
        group_rows: Rows of a row group, 131,072 to 1,048,576.
        progress: Called with a file's name and the rows of it that are written, now and then.
    Raises:
        StoreError: The folder cannot be written, is being written by another export, holds files of
            another log, or a day that has events which the log no longer has as well as fewer.
        QueryError: As `Store.query`, or *group_rows*.
        InvalidEventError: An event after the year 2262, where Parquet's nanoseconds end.
    """
    start_ns, end_ns = to_ns(start, "start"), to_ns(end, "end")
    check_range(start_ns, end_ns)
    if group_rows not in _GROUPS:
        raise QueryError(f"group_rows={group_rows} is not within {_GROUPS.start} to {_GROUPS.stop - 1}")
    days = _Days(
        source,
        0 if start_ns is None else start_ns // DAY_NS,
        None if end_ns is None else -(-end_ns // DAY_NS),
    )
    folder = Path(directory)
    try:
        with _locked(folder):
            _remove_left_over(folder)
            planned = days.survey()
            stale = [
                day for day, lanes in planned.items() if _is_stale(folder / _name(day), source.id, lanes)
            ]
            writer = _Writer(source, folder, COLUMNS if decoded else LOGGED, group_rows, progress)
            if stale:
                writer.write(days, {day: planned[day] for day in stale})
    except OSError as error:
        raise StoreError(f"cannot export to {folder}: {error}") from error
    rows = sum(count for lanes in planned.values() for _, _, count in lanes.values())
    return Exported([_name(day) for day in stale], [_name(day) for day in planned if day not in stale], rows)


def _name(day: int) -> str:
    return f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}.parquet"


class _Days:
    """
    The source's rows by day of the log's clock, from day *first* to before day *end*.

    The source is read from its beginning: a clock that starts later would put an event that came late
    into another day, and into two when the days around it are exported by themselves.
    """

    def __init__(self, source: EventSource, first: int, end: int | None) -> None:
        self._source = source
        self._first = first
        self._end = end

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        clock = np.uint64(0)
        for batch in self._source.batches():
            clocks = np.maximum.accumulate(batch.events["timestamp"])
            clocks = np.maximum(clocks, clock)
            clock = clocks[-1]
            days: NDArray[np.uint64] = clocks // np.uint64(DAY_NS)
            borders = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
            for first, last in itertools.pairwise(borders):
                day = int(days[first])
                if self._end is not None and day >= self._end:
                    return
                if day >= self._first:
                    yield day, batch.take(slice(first, last))

    def survey(self) -> dict[int, dict[int, Run]]:
        """The sequences of each lane by day."""
        found: dict[int, dict[int, Run]] = {}
        for day, rows in self:
            _extend(found.setdefault(day, {}), rows)
        return found


def _extend(lanes: dict[int, Run], rows: Batch) -> None:
    for lane in range(len(LANES)):
        own = rows.sequences[rows.lanes == lane]
        if len(own):
            first, _, count = lanes.get(lane, (int(own[0]), 0, 0))
            lanes[lane] = (first, int(own[-1]), count + len(own))


def _is_stale(path: Path, log_id: bytes, lanes: dict[int, Run]) -> bool:
    """Whether the day has to be written; a file that has more than the log is left alone."""
    if not path.exists():
        return True
    footer = DayFile(path).footer
    if footer.log_id != log_id:
        raise StoreError(f"{path} is of another log: {footer.log_id.hex()}, not {log_id.hex()}")
    if _covers(footer.lanes, lanes):
        return False
    if _covers(lanes, footer.lanes):
        return True
    raise StoreError(
        f"{path} has events that the log no longer has, and lacks some that it has; export to another folder"
    )


def _covers(more: dict[int, Run], less: dict[int, Run]) -> bool:
    """A day's events of a lane follow each other, so that first and last tell them all."""
    return all(
        lane in more and more[lane][0] <= first and more[lane][1] >= last and more[lane][2] >= count
        for lane, (first, last, count) in less.items()
    )


class _Writer:
    """Writes days, one file each."""

    def __init__(
        self,
        source: EventSource,
        folder: Path,
        columns: tuple[str, ...],
        group_rows: int,
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._folder = folder
        self._columns = columns
        self._group_rows = group_rows
        self._progress = progress or (lambda name, rows: None)

    def write(self, days: _Days, wanted: dict[int, dict[int, Run]]) -> None:
        """Write the days of *wanted*, with the sequences seen before: the log may have grown since."""
        file: _File | None = None
        try:
            for day, rows in days:
                if file is not None and file.day != day:
                    self._finish(file, wanted)
                    file = None
                if day > max(wanted):
                    break
                if day in wanted:
                    file = file or _File(self._source, self._folder, day, self._columns, self._group_rows)
                    file.add(_up_to(rows, wanted[day]))
                    self._progress(file.path.name, file.rows)
            if file is not None:
                self._finish(file, wanted)
        except BaseException:
            if file is not None:
                file.abandon()
            raise

    def _finish(self, file: _File, wanted: dict[int, dict[int, Run]]) -> None:
        try:
            if file.lanes != wanted[file.day]:
                raise StoreError(f"{file.path}: the log lost events while it was exported")
            file.finish()
        except BaseException:
            file.abandon()
            raise


def _up_to(rows: Batch, lanes: dict[int, Run]) -> Batch:
    last = np.zeros(len(LANES), np.int64) - 1
    for lane, run in lanes.items():
        last[lane] = run[1]
    return rows.take(rows.sequences.astype(np.int64) <= last[rows.lanes])


class _File:
    """A day being written, beside its place."""

    def __init__(
        self, source: EventSource, folder: Path, day: int, columns: tuple[str, ...], group_rows: int
    ) -> None:
        parquet = _extras.pyarrow("parquet")
        self.day = day
        self.path = folder / _name(day)
        self.rows = 0
        self.lanes: dict[int, Run] = {}
        self._temporary = self.path.with_name(self.path.name + ".tmp")
        self._source = source
        self._group_rows = group_rows
        self._columns = Columns(lambda: source.names, columns)
        self._digest = Digest()
        self._groups: list[tuple[int, int, list[int]]] = []
        self._pending: list[Batch] = []
        self._file: Any = self._temporary.open("wb")
        self._writer: Any = parquet.ParquetWriter(
            self._file,
            self._columns.schema,
            compression="zstd",
            compression_level=_ZSTD_LEVEL,
            # Prices and quantities come again and again: as dictionaries they take half of what the
            # splitting of their bytes leaves, and a third less time.
            use_dictionary=[name for name in columns if name not in _DELTAS],
            column_encoding=dict.fromkeys(_DELTAS, "DELTA_BINARY_PACKED"),
        )

    def add(self, rows: Batch) -> None:
        """Append rows; whole row groups are written."""
        self._digest.add(rows)
        _extend(self.lanes, rows)
        self.rows += len(rows.events)
        while sum(len(batch.events) for batch in self._pending) + len(rows.events) >= self._group_rows:
            room = self._group_rows - sum(len(batch.events) for batch in self._pending)
            self._pending.append(rows.take(slice(0, room)))
            self._write_group()
            rows = rows.take(slice(room, None))
        if len(rows.events):
            self._pending.append(rows)

    def _write_group(self) -> None:
        table = _extras.pyarrow().Table.from_batches([self._columns.batch(batch) for batch in self._pending])
        self._writer.write_table(table.unify_dictionaries(), self._group_rows)
        times = np.concatenate([batch.events["timestamp"] for batch in self._pending])
        types = {
            number for batch in self._pending for number in np.unique(batch.events["event_type"]).tolist()
        }
        self._groups.append((int(times.min()), int(times.max()), sorted(types)))
        self._pending = []

    def finish(self) -> None:
        """Write the footer, sync, compare, and put the file into its place."""
        if self._pending:
            self._write_group()
        footer = Footer(
            self._source.id, self._source.names, self.lanes, self._groups, self._digest.hexdigest()
        )
        self._writer.add_key_value_metadata(footer.key_values())
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        DayFile(self._temporary).verify()
        os.replace(self._temporary, self.path)
        _sync(self.path.parent)

    def abandon(self) -> None:
        """Leave nothing behind."""
        with suppress(Exception):  # its fault has been raised already, or is the disk's
            self._writer.close()
        self._file.close()
        self._temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder for ourselves; the kernel takes the lock back from whoever dies with it."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        _sync(folder.parent)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another export is writing to {folder}") from None
        yield
    finally:
        os.close(descriptor)


def _remove_left_over(folder: Path) -> None:
    """What an export that was killed had not finished."""
    for path in folder.glob("????-??-??.parquet.tmp"):
        path.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
