"""The durable subscriptions of a journal, open or not: where they are, and how one is dropped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tickbus import _native

__all__ = ["Cursor", "cursors", "drop_cursor", "least_cursors"]

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
