"""Figures as tables of text, each with what has changed since the last time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickbus.bus import Bus
from tickbus.delivery import Delivery, files
from tickbus.metrics import snapshot

if TYPE_CHECKING:
    from tickbus.delivery import DeadLetter

__all__ = ["Table", "Tables", "attach"]

_LANES = ("critical", "high", "normal")
_TROUBLES = ("refused", "stalled", "spilled", "repaired")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a line of headings and rows of text."""

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@contextmanager
def attach(name: str) -> Iterator[tuple[Bus, Delivery | None]]:
    """
    The bus of a name, and delivery where somebody has begun it; looking changes nothing.

    Raises:
        UnknownNameError: No bus runs under the name.
    """
    with contextlib.ExitStack() as opened:
        bus = opened.enter_context(Bus(name, create=False))
        delivery = None
        path = bus._journal_path
        # To open delivery where there is none would begin it.
        if path is not None and files.has_begun(path):
            delivery = opened.enter_context(Delivery(bus, loop=False))
        yield bus, delivery


class Tables:
    """The tables of a bus; ``look`` makes them anew."""

    def __init__(self, bus: Bus, delivery: Delivery | None) -> None:
        self._bus = bus
        self._delivery = delivery
        self.figures: dict[str, Any] = {}
        self._at = 0.0

    def look(self) -> list[Table]:
        """The tables of now; rates since the last look, of the first none."""
        before, at = self.figures, self._at
        self.figures, self._at = snapshot(self._bus, self._delivery), time.monotonic()
        elapsed = self._at - at if before else 0.0
        tables = [self._lanes(before, elapsed), self._readers(before, elapsed), self._journal()]
        if self._delivery is not None:
            tables += [self._roles(), self._dead(self._delivery.dead_letters())]
        return tables

    def _lanes(self, before: dict[str, Any], elapsed: float) -> Table:
        rows = []
        journaled = self.figures["journaled"]
        for lane in _LANES:
            row = self.figures["lanes"][lane]
            last = before["lanes"][lane]["published"] if before else 0
            troubles = [
                f"{row[key]:,} {key}" for key in ("refused", "stalled", "spilled", "repaired") if row[key]
            ]
            lag = journaled[lane]
            rows.append(
                (
                    lane,
                    f"{row['published']:,}",
                    _rate(row["published"] - last, elapsed),
                    "-" if lag is None else f"{lag:,}",
                    ", ".join(troubles) or "-",
                )
            )
        return Table("lanes", ("lane", "published", "a second", "not journaled", "trouble"), rows)

    def _readers(self, before: dict[str, Any], elapsed: float) -> Table:
        last = {(one["number"], one["pid"]): one for one in before.get("readers", ())}
        rows = []
        for one in self.figures["readers"]:
            counts = _summed(one)
            earlier = last.get((one["number"], one["pid"]))
            read = counts["delivered"] - (_summed(earlier)["delivered"] if earlier else counts["delivered"])
            rows.append(
                (
                    str(one["pid"]),
                    _program(one["pid"]),
                    f"{counts['pending']:,}",
                    f"{counts['missed']:,}",
                    _rate(read, elapsed),
                    ", ".join(one["gates"]) or "-",
                )
            )
        rows.sort(key=lambda row: -int(row[2].replace(",", "")))
        headings = ("pid", "program", "lag", "missed", "read a second", "holds back")
        return Table("subscriptions", headings, rows)

    def _journal(self) -> Table:
        journaled = self.figures["journaled"]
        path = journaled["path"]
        row = (journaled["state"], str(journaled["pid"] or "-"), str(path or "-"), _size(path))
        return Table("journal", ("state", "pid", "directory", "bytes"), [row])

    def _roles(self) -> Table:
        stats = self.figures["delivery"]
        rows = [
            (role, f"{row['unacked']:,}", f"{row['oldest_s']:.1f} s" if row["unacked"] else "-")
            for role, row in stats["roles"].items()
        ]
        return Table("critical events waiting for acknowledgement", ("role", "unacked", "oldest"), rows)

    @staticmethod
    def _dead(letters: list[DeadLetter]) -> Table:
        rows = [
            (str(one.event_id), one.event_type, one.symbol or "-", ", ".join(one.missing) or "-")
            for one in letters[-5:]
        ]
        return Table(f"dead letters: {len(letters):,}", ("event", "type", "symbol", "missing"), rows)


def _summed(reader: dict[str, Any]) -> dict[str, int]:
    books = reader["lanes"].values()
    return {key: sum(lane[key] for lane in books) for key in ("pending", "missed", "delivered")}


def _rate(count: int, elapsed: float) -> str:
    return f"{count / elapsed:,.0f}" if elapsed else "-"


def _program(pid: int | None) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "-"
    named = [word.decode(errors="replace") for word in words if word]
    # Of a script its name, not the interpreter's.
    script = next((word for word in named[1:] if not word.startswith("-")), named[0] if named else "-")
    return Path(script).name[:32]


def _size(path: str | Path | None) -> str:
    if path is None:
        return "-"
    try:
        total = sum(entry.stat().st_size for entry in Path(path).iterdir() if entry.is_file())
    except OSError:
        return "-"
    return f"{total:,}"
