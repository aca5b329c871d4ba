"""
A journal as a source: `Store("desk.journal")`, while it is written or when it is closed.

    normal    │ packed │ sealed │ log, being written ··· │
              └─── one log, in replay order ─────────────┘

A query sees what was written when its first batch was asked for, in this or any other process, and is
not disturbed by sealing, packing and recycling meanwhile. Its memory is bounded: a block of 128 KiB a
lane, 2 MiB where segments are packed, and a batch; the index of each log segment (60 KiB) is kept.

What is damaged or missing is an error, before or while it is read. With ``salvage=True`` everything
else is read, and what was left out stands in `JournalSource.left_out`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE, Event, JournalArchive, is_journal
from tickbus.errors import QueryError
from tickbus.store.names import Names, TypeMeaning
from tickbus.store.source import LANES, MAX_ROWS, Batch

__all__ = ["JournalSource", "LeftOut", "is_journal"]

_LAST_NS = 2**64 - 1


@dataclass(frozen=True, slots=True)
class LeftOut:
    """
    Something that cannot be read.

    Attributes:
        why: What is wrong.
        file: Where; None if that is not known.
        offset: Place in the file, in bytes.
        lane: Name of the lane that is affected; None: any may be.
        sequences: First and last sequence it costs, as far as they are known.
    """

    why: str
    file: str | None = None
    offset: int | None = None
    lane: str | None = None
    sequences: tuple[int, int] | None = None

    def __str__(self) -> str:
        place = f"{self.file}, offset {self.offset}: " if self.offset is not None else ""
        lane = f" ({self.lane} lane" if self.lane else ""
        sequences = f", sequences {self.sequences[0]} to {self.sequences[1]}" if self.sequences else ""
        return f"{place}{self.why}{lane}{sequences}{')' if lane else ''}"


class JournalSource:
    """
    The journal in a directory.

    Args:
        directory: Where it is. It is read and never changed.
        salvage: Read around damage.
    Raises:
        JournalError: There is none, or it cannot be read at all.
    """

    def __init__(self, directory: str | os.PathLike[str], *, salvage: bool = False) -> None:
        self._archive = JournalArchive(os.fspath(directory))
        self._id = self._archive.id
        self._salvage = salvage
        self._names = Names()
        self._named = (0, 0, 0)
        #: What queries could not read so far, each thing once.
        self.left_out: list[LeftOut] = []

    @property
    def id(self) -> bytes:
        """16 bytes that no other journal has."""
        return self._id

    @property
    def path(self) -> Path:
        """The directory."""
        return self._archive.path

    @property
    def names(self) -> Names:
        """Texts of all numbers that the journal has named by now."""
        named = self._archive.named()
        if named != self._named:
            symbols, sources, types = self._archive.names()
            self._names = Names(symbols, sources, {row[0]: TypeMeaning(*row) for row in types})
            self._named = (len(symbols), len(sources), len(types))
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
        from_sequences: Sequence[int] = (0, 0, 0),
    ) -> Iterator[Batch]:
        """
        See `EventSource`.

        Args:
            from_sequences: For each lane the first sequence that is wanted; 0 is the oldest there is.
        Raises:
            JournalError: Such a sequence is no longer there, or a segment was removed while it was read.
            CorruptJournalError, MissingSegmentError: Unless it salvages; where the damage is known
                only when it is read, behind the rows before it.
        """
        if max_rows < 1:
            raise QueryError(f"max_rows={max_rows} is not at least 1")
        if end_ns is not None and end_ns <= (start_ns or 0):
            return
        scan = self._archive.scan(
            start_ns or 0,
            _LAST_NS if end_ns is None else end_ns - 1,
            types=_below(types, 8),
            symbols=_below(symbols, 32),
            sources=_below(sources, 16),
            from_sequences=tuple(from_sequences),
            max_rows=max_rows,
            salvage=self._salvage,
        )
        try:
            for arrays in scan:
                yield Batch(*arrays)
        finally:
            if self._salvage:
                self._note(scan.left_out)

    def _note(self, left_out: list[dict[str, Any]]) -> None:
        for fields in left_out:
            one = LeftOut(**fields)
            if one not in self.left_out:
                self.left_out.append(one)

    def lanes(self) -> dict[int, tuple[int, int]]:
        """By lane number, the first sequence that the journal still has and the next it will get."""
        return dict(enumerate(self._archive.lanes()))

    def parts(self) -> list[dict[str, Any]]:
        """The segments, oldest first: form, file, positions, and what each lane has in it."""
        return self._archive.parts()

    def mapped(self, part: Mapping[str, Any], lane: str) -> NDArray[np.void]:
        """
        The events of a lane in a sealed segment as a read-only `np.memmap` of `EVENT_DTYPE`: no copy.

        Nothing is checked: `tickbus verify` does that, and reading by a query. Row *i* has the
        sequence ``part["lanes"][lane]["first"] + i`` unless the journal has gaps there. The mapping
        stays whole when the segment is packed or removed.

        Args:
            part: One of `parts`.
            lane: "critical", "high" or "normal".
        Raises:
            QueryError: The part is not sealed, or has changed its form since; there is no such lane.
        """
        if lane not in LANES:
            raise QueryError(f"lane={lane!r} is none of {', '.join(LANES)}")
        where = part["lanes"][lane]
        if where["offset"] is None:
            raise QueryError(f"{part['file']} is {part['form']}: only sealed segments can be mapped")
        if where["events"] == 0:
            return np.empty(0, EVENT_DTYPE)
        shape = (where["events"],)
        try:
            return np.memmap(part["file"], EVENT_DTYPE, "r", where["offset"], shape)
        except FileNotFoundError:
            raise QueryError(f"{part['file']} has gone: packed or removed; ask for the parts again") from None

    def damage(self) -> list[LeftOut]:
        """What is known to be damaged or missing without reading every event."""
        return [LeftOut(**fields) for fields in self._archive.damage()]

    def payload(
        self, event: Event | int, sequence: int | None = None, lane: int | None = None
    ) -> bytes | None:
        """
        The payload that an event refers to; None when the journal has it not, or no longer.

        Args:
            event: An event with its id, or the reference that stands in `metadata`.
            sequence, lane: Of a row of a batch, where *event* is a reference.
        Raises:
            QueryError: It is not said which event it is.
        """
        if isinstance(event, Event):
            sequence, lane, event = event.sequence, event.priority, event.metadata
        if sequence is None or lane is None:
            raise QueryError("say sequence and lane of the event, or pass one that has an id")
        if lane not in range(len(LANES)):
            raise QueryError(f"lane={lane} is none of 0, 1, 2")
        return self._archive.payload(lane, sequence, event)


def _below(numbers: Collection[int] | None, bits: int) -> list[int] | None:
    """As the native half takes them; no event has a greater number."""
    return None if numbers is None else [int(one) for one in numbers if 0 <= one < 1 << bits]
