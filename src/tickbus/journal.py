"""
The journal of a bus: every event kept in a directory, persisted at a named level.

    bus = Bus("desk", journal="desk.journal")
    bus = Bus("desk", journal=Journal("desk.journal", critical="os", when_full="overwrite"))

=============  ==============================  ===============================================
level          acknowledged when               survives
=============  ==============================  ===============================================
``memory``     it is in the lane               nothing: the lane is not journaled
``os``         the write has returned          the process's death (kill -9)
``interval``   as ``os``; synced regularly     as ``os``; the machine's but for the last moment
``disk``       the sync has returned           the machine's death, if the device honours flushes
=============  ==============================  ===============================================

`verify` reads every byte of a journal and says whether it is whole, `salvage` writes what can be read of a
damaged one as a new one, and `inspect` counts what is in it; so do the commands `tickbus verify` and
`tickbus inspect`. `docs/parts/journal.md` says how a journal works and what a fault does to it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from tickbus import _native
from tickbus._inspect import Contents, inspect
from tickbus._native import Compaction, compact_old
from tickbus._verify import Finding, Gap, Lost, Report, Salvaged, Segment, salvage, verify

__all__ = [
    "Compaction",
    "Contents",
    "Cursor",
    "Finding",
    "Gap",
    "Journal",
    "Level",
    "Lost",
    "Report",
    "Salvaged",
    "Segment",
    "WhenFull",
    "compact_old",
    "cursors",
    "drop_cursor",
    "inspect",
    "least_cursors",
    "salvage",
    "verify",
]

Level = Literal["memory", "os", "interval", "disk"]
WhenFull = Literal["wait", "overwrite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """Figures as the native half takes them."""

    path: str
    levels: tuple[str, str, str]
    interval_ms: float
    when_full: str
    segment_bytes: int
    pack_after: timedelta | float | None
    keep: timedelta | float | None
    keep_bytes: int | None


@dataclass(frozen=True, slots=True)
class Journal:
    """
    Where and how a bus is journaled.

    Args:
        path: The directory; made when there is none. One process at a time writes to it.
        critical: Level of the critical lane: before any subscriber sees an event.
        high, normal: Levels of the other lanes, persisted behind the publisher's back.
        interval_ms: Time between two syncs of level ``interval``.
        when_full: What a publisher of high or normal events does when the journal is a whole lane
            behind: "wait", or "overwrite", and the journal records the gap.
        segment_mib: Size of a log segment, a multiple of 1/256 from 1/128 on; a full one is sealed in the
            background: its events side by side, with an index by time.
        pack_after: Age (a ``timedelta``, or seconds) at which sealed segments are packed: a tenth of
            the space or less, read in the same way. None: only by ``compact_old``.
        keep: Age at which sealed and packed segments are removed. None: never.
        keep_bytes: Bytes of the whole journal above which the oldest sealed and packed ones are removed.
            The log itself (two segments or three) and the newest sealed segment stay.
    """

    path: str | os.PathLike[str]
    critical: Level = "disk"
    high: Level = "os"
    normal: Level = "os"
    interval_ms: float = 100.0
    when_full: WhenFull = "wait"
    segment_mib: float = 64
    pack_after: timedelta | float | None = None
    keep: timedelta | float | None = None
    keep_bytes: int | None = None

    @classmethod
    def of(cls, journal: Journal | str | os.PathLike[str]) -> Journal:
        """A path stands for a journal with the defaults."""
        return journal if isinstance(journal, Journal) else cls(journal)

    def _options(self) -> _Options:
        return _Options(
            path=str(Path(self.path).absolute()),
            levels=(self.normal, self.high, self.critical),
            interval_ms=self.interval_ms,
            when_full=self.when_full,
            segment_bytes=int(self.segment_mib * (1 << 20)),
            pack_after=self.pack_after,
            keep=self.keep,
            keep_bytes=self.keep_bytes,
        )


_LANES = ("normal", "high", "critical")


@dataclass(frozen=True, slots=True)
class Cursor:
    """
    Where a durable subscription is.

    Attributes:
        name: Its name.
        patterns: What it read when it was last open.
        next: By lane, the sequence of the next event it has not acknowledged; empty when it never
            began, or is damaged.
        age_s: Seconds since it last acknowledged something; ``None`` when it never did.
        holder: PID of the process that has it open, 0 when that is not known; ``None`` when nobody has.
        trouble: What is wrong with its file; empty when nothing is.
    """

    name: str
    patterns: tuple[str, ...]
    next: dict[str, int]
    age_s: float | None
    holder: int | None
    trouble: str

    def lag(self, ends: dict[str, int]) -> dict[str, int]:
        """By lane, how many events it is behind *ends*, ids as ``bus.journal.persisted`` has them."""
        return {lane: max((ends[lane] >> 2) - following, 0) for lane, following in self.next.items()}


def cursors(path: str | os.PathLike[str]) -> list[Cursor]:
    """The durable subscriptions of the journal in *path*, by name, open or not."""
    now = time.time_ns()
    return [
        Cursor(
            name=row["name"],
            patterns=tuple(row["patterns"]),
            next={} if row["next"] is None else dict(zip(_LANES, row["next"], strict=True)),
            age_s=None if row["written"] is None else max(now - row["written"], 0) / 1e9,
            holder=row["holder"],
            trouble=row["trouble"] or "",
        )
        for row in _native.list_cursors(path)
    ]


def drop_cursor(path: str | os.PathLike[str], name: str) -> None:
    """
    Forget the durable subscription *name*: the next one of this name starts anew.

    Raises:
        CursorLockedError: Somebody has it open.
        UnknownNameError: There is none of this name.
    """
    _native.drop_cursor(path, name)


def least_cursors(path: str | os.PathLike[str]) -> dict[str, int]:
    """
    By lane, the first sequence that a durable subscription still needs; empty when there is none.

    Raises:
        CursorError: A cursor is damaged, so it may need anything.
    """
    least = _native.least_cursors(path)
    return {} if least is None else dict(zip(_LANES, least, strict=True))
