"""
Where stored events come from: anything that yields batches in replay order.

    normal    1   3   9      ┐
    high      2   5   4*  6  ├─►  1 2 3 5 4* 6 9       *late: its lane had reached 5
    critical  3              ┘    3 is told critical first

**Replay order** is one order of all lanes. Each lane has a clock, the greatest timestamp it has shown so
far; the lane with the earliest clock goes on, ties are settled critical, high, normal. So a lane is
never reordered, an event is told no earlier than the desk could have known it, and a selection comes
in the order of the whole.

`MemorySource` has rows in memory; `ParquetSource` (parquet.py) reads exported files, `JournalSource`
(journal.py) a journal, `JoinedSource` (joined.py) both of one log. Everything else in this package
knows only `EventSource`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE
from tickbus.errors import InvalidEventError, QueryError
from tickbus.store.names import Names

__all__ = ["LANES", "MAX_ROWS", "Batch", "EventSource", "MemorySource", "selected"]

#: Lane numbers are priorities.
LANES = ("normal", "high", "critical")
MAX_ROWS = 65_536


class Batch(NamedTuple):
    """Some rows in replay order; the three arrays are equally long."""

    events: NDArray[np.void]
    lanes: NDArray[np.uint8]
    sequences: NDArray[np.uint64]

    def take(self, rows: NDArray[np.bool_] | slice) -> Batch:
        """The rows of a mask or a slice."""
        return Batch(self.events[rows], self.lanes[rows], self.sequences[rows])


class EventSource(Protocol):
    """A log of events that can be read again and again."""

    @property
    def id(self) -> bytes:
        """16 bytes that no other log has."""

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""

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
        """
        The rows with start <= timestamp < end that match, in replay order, in bounded memory.

        Args:
            types, symbols, sources: Numbers to select; None is all.
            max_rows: No batch is longer. None is empty.
        """


def selected(
    events: NDArray[np.void],
    start_ns: int | None,
    end_ns: int | None,
    types: Collection[int] | None,
    symbols: Collection[int] | None,
    sources: Collection[int] | None,
) -> NDArray[np.bool_] | None:
    """Mask of the rows that match; None when nothing is asked and all do."""
    conditions: list[NDArray[np.bool_]] = []
    if start_ns is not None:
        conditions.append(events["timestamp"] >= np.uint64(start_ns))
    if end_ns is not None:
        conditions.append(events["timestamp"] < np.uint64(end_ns))
    if types is not None:
        wanted = np.zeros(256, bool)
        wanted[list(types)] = True
        conditions.append(wanted[events["event_type"]])
    for column, numbers in (("symbol", symbols), ("source", sources)):
        if numbers is not None:
            conditions.append(_member(events[column], numbers))
    return functools.reduce(np.logical_and, conditions) if conditions else None


def _member(column: NDArray[np.unsignedinteger], numbers: Collection[int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_]
    if len(numbers) == 1:
        found = np.equal(column, next(iter(numbers)))
    else:
        found = np.isin(column, np.array(sorted(numbers), column.dtype))
    return found


class MemorySource:
    """
    A source whose rows are in memory.

    Args:
        events: Rows of `EVENT_DTYPE`, each lane in its order; lanes may be mixed in any way. Copied.
        names: Texts of the numbers. Without them only the built-in types have names.
        lanes: Lane of each row; by default its priority.
        sequences: Place of each row in its lane, rising; by default 0, 1, 2 ... in each.
        id: 16 bytes; by default made of the content, so that equal rows are one log.
    Raises:
        InvalidEventError: Wrong dtype or shape, a lane that is none, sequences that do not rise.
    """

    def __init__(
        self,
        events: NDArray[np.void],
        names: Names | None = None,
        *,
        lanes: NDArray[np.uint8] | None = None,
        sequences: NDArray[np.uint64] | None = None,
        id: bytes | None = None,
    ) -> None:
        if getattr(events, "dtype", None) != EVENT_DTYPE or events.ndim != 1:
            raise InvalidEventError("events is no one-dimensional array of EVENT_DTYPE")
        lanes = np.array(events["priority"] if lanes is None else lanes, np.uint8)
        if lanes.shape != events.shape or (lanes.size and lanes.max() >= len(LANES)):
            raise InvalidEventError("lanes has to name lane 0, 1 or 2 of each row")
        sequences = _numbered(lanes) if sequences is None else np.array(sequences, np.uint64)
        _check_rising(lanes, sequences)
        order, clock = _replay_order(events["timestamp"], lanes)
        self._rows = Batch(events[order], lanes[order], sequences[order])
        for array in self._rows:
            array.flags.writeable = False
        self._clock = clock[order]
        #: Least timestamp of a row and all after it: where it has reached the end, nothing follows.
        self._rest = np.minimum.accumulate(self._rows.events["timestamp"][::-1])[::-1]
        self._in_time = bool(np.array_equal(self._clock, self._rows.events["timestamp"]))
        self._names = names or Names()
        self._id = id or _digest(self._rows)
        if len(self._id) != 16:
            raise InvalidEventError(f"id has {len(self._id)} bytes, not 16")

    @property
    def id(self) -> bytes:
        """16 bytes that no other log has."""
        return self._id

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""
        return self._names

    def __len__(self) -> int:
        return len(self._rows.events)

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
        """See `EventSource`. Batches of whole rows are read-only views."""
        if max_rows < 1:
            raise QueryError(f"max_rows={max_rows} is not at least 1")
        # A row's clock is never before its timestamp, so rows before `first` are before the start.
        first = 0 if start_ns is None else int(np.searchsorted(self._clock, np.uint64(start_ns)))
        last = len(self) if end_ns is None else int(np.searchsorted(self._rest, np.uint64(end_ns)))
        if self._in_time:
            start_ns = end_ns = None
        for at in range(first, last, max_rows):
            part = self._rows.take(slice(at, min(at + max_rows, last)))
            mask = selected(part.events, start_ns, end_ns, types, symbols, sources)
            if mask is None:
                yield part
            elif mask.any():
                yield part.take(mask)


def _numbered(lanes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    sequences = np.zeros(len(lanes), np.uint64)
    for lane in range(len(LANES)):
        rows = lanes == lane
        sequences[rows] = np.arange(np.count_nonzero(rows), dtype=np.uint64)
    return sequences


def _check_rising(lanes: NDArray[np.uint8], sequences: NDArray[np.uint64]) -> None:
    if sequences.shape != lanes.shape:
        raise InvalidEventError(f"{sequences.shape} sequences for {lanes.shape} rows")
    for lane, name in enumerate(LANES):
        own = sequences[lanes == lane]
        if not (own[1:] > own[:-1]).all():
            raise InvalidEventError(f"the sequences of lane {name} do not rise")


def _replay_order(
    timestamps: NDArray[np.uint64], lanes: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Indices of the rows in replay order, and the lane's clock at each row."""
    clock = np.zeros(len(timestamps), np.uint64)
    for lane in range(len(LANES)):
        rows = lanes == lane
        clock[rows] = np.maximum.accumulate(timestamps[rows])
    # Stable: rows of one lane and clock stay as they were.
    return np.lexsort((len(LANES) - lanes, clock)), clock


def _digest(rows: Batch) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in rows:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
