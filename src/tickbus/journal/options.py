"""Where and how a bus is journaled: what `Bus(journal=...)` takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

__all__ = ["Journal", "Level", "WhenFull"]

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
