"""
Whether a journal is whole, in words: what `tickbus.journal.verify` and `salvage` return.

The native half reads and checks (crates/tickbus-core/src/journal/audit); here its findings become
dataclasses, sentences and advice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tickbus import _native

__all__ = ["Finding", "Gap", "Lost", "Progress", "Report", "Salvaged", "Segment", "salvage", "verify"]

Kind = Literal[
    "damaged",
    "missing",
    "foreign",
    "contradiction",
    "unnamed",
    "unreadable",
    "torn",
    "being_written",
    "removed",
    "leftover",
    "stray",
]
#: Called now and then with the bytes read so far and those there are.
Progress = Callable[[int, int], object]

LANES = ("critical", "high", "normal")

_SALVAGE = "or write what can be read anew with --salvage, which leaves gaps in the place of the rest"
#: What to do about each kind of finding.
ADVICE: dict[str, str] = {
    "damaged": f"Restore the file from a copy made before, {_SALVAGE}.",
    "missing": f"Put the file back where it was, {_SALVAGE}.",
    "foreign": f"Move the file away and put the right one in its place, {_SALVAGE}.",
    "contradiction": f"One of the files is of another time: put the right one in its place, {_SALVAGE}.",
    "unnamed": "The events are whole. --salvage writes them with the names found elsewhere in the journal, "
    "or with made-up ones.",
    "unreadable": "See to the permissions; if those are right, the device is failing: copy the journal "
    "off it and verify the copy.",
    "torn": "Nothing. It was never acknowledged at level disk; the next opening cuts it and keeps it "
    "as *.torn.",
    "being_written": "Nothing. Whoever writes the journal has not finished this.",
    "removed": "Nothing, if retention was asked for or the files were removed on purpose; which it was, the "
    "journal does not say.",
    "leftover": "Nothing: the next opening removes *.new. A *.torn keeps bytes that were cut; remove it when "
    "nobody wants them.",
    "stray": "Nothing of the journal needs it, and nothing reads it. Move it elsewhere.",
}
#: Why there is a gap, by the number in it.
REASONS: dict[int, str] = {
    1: "overwritten in the lane before they were journaled",
    2: "lost to damage, and left out when the journal was salvaged",
    3: "not in the journal any more when it was salvaged",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """
    Something about a file of the journal that is told of.

    Attributes:
        damage: Whether the journal is not what it was because of it.
        file: Name in the journal's directory; empty for the directory.
        offset: Bytes from the start of the file.
        position: Slot of the log, and ``until`` the one where something whole follows; None if unknown.
        sequences: For each lane that is concerned the first sequence and the one behind the last;
            None where nothing follows that would tell.
    """

    kind: Kind
    damage: bool
    file: str
    offset: int
    position: int | None
    until: int | None
    sequences: Mapping[str, tuple[int, int | None]]
    bytes: int
    why: str

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        place = self.file or "the directory"
        if self.offset or self.position is not None:
            place += f", offset {self.offset:,}"
        if self.position is not None:
            until = f" to {self.until - 1}" if self.until and self.until > self.position + 1 else ""
            place += f" (position {self.position}{until})"
        lanes = "".join(f"; {span(lane, *of)}" for lane, of in sorted(self.sequences.items()))
        size = f" ({self.bytes:,} bytes)" if self.bytes else ""
        return f"{place}: {self.why}{size}{lanes}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the journal: positions from ``first`` to before ``end``, and what is in it by lane."""

    file: str
    form: Literal["log", "sealed", "packed"]
    first: int
    end: int
    bytes: int
    created_ns: int
    prepared: bool
    batches: int
    records: int
    events: Mapping[str, int]
    first_sequence: Mapping[str, int]
    next_sequence: Mapping[str, int]
    times: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Gap:
    """Sequences of a lane that the journal knows it never got, and why."""

    lane: str
    first: int
    count: int
    reason: int

    def __str__(self) -> str:
        why = REASONS.get(self.reason, f"reason {self.reason}")
        return f"{span(self.lane, self.first, self.first + self.count)}: {why}"


@dataclass(frozen=True, slots=True)
class Lost:
    """Sequences of a lane that should be there and cannot be read; ``count`` is None when unknown."""

    lane: str
    first: int
    count: int | None

    def __str__(self) -> str:
        return span(self.lane, self.first, None if self.count is None else self.first + self.count)


@dataclass(frozen=True, slots=True)
class Report:
    """
    What a journal is, after all of it was read.

    Attributes:
        id: Of the journal, in hexadecimal; None if no file says it.
        writer: Process that writes it now, or None.
        closed: Its last writer closed it.
        begins: First sequence of each lane that should be there; above 0 where old parts were removed.
        position, next: Where the log ends, and the sequence each lane goes on with.
    """

    path: Path
    id: str | None
    writer: int | None
    closed: bool
    position: int
    begins: Mapping[str, int]
    next: Mapping[str, int]
    bytes_read: int
    segments: tuple[Segment, ...]
    findings: tuple[Finding, ...]
    lost: tuple[Lost, ...]
    gaps: tuple[Gap, ...]

    @property
    def damage(self) -> tuple[Finding, ...]:
        """The findings that are damage."""
        return tuple(finding for finding in self.findings if finding.damage)

    @property
    def unreadable(self) -> tuple[Finding, ...]:
        """What the system refused to read."""
        return tuple(finding for finding in self.findings if finding.kind == "unreadable")

    @property
    def whole(self) -> bool:
        """Everything that was acknowledged as durable is there and what was written."""
        return not self.damage and not self.unreadable

    @property
    def events(self) -> dict[str, int]:
        """Events of each lane."""
        return {lane: sum(segment.events[lane] for segment in self.segments) for lane in LANES}

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        said = asdict(self) | {"path": str(self.path), "whole": self.whole, "events": self.events}
        for finding, row in zip(self.findings, said["findings"], strict=True):
            row["advice"] = finding.advice
        return said


@dataclass(frozen=True, slots=True)
class Salvaged:
    """
    What was written anew of a damaged journal.

    Attributes:
        report: On the damaged one.
        events: Copied, of each lane.
        lost: What is a gap in the new journal and was none in the damaged one.
        made_up: Names in the place of lost ones.
    """

    path: Path
    report: Report
    events: Mapping[str, int]
    records: int
    lost: tuple[Lost, ...]
    made_up: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        said = {"path": str(self.path), "events": dict(self.events), "records": self.records}
        return said | {"lost": [asdict(lost) for lost in self.lost], "made_up": list(self.made_up)}


def verify(path: str | os.PathLike[str], *, progress: Progress | None = None) -> Report:
    """
    Read every byte of the journal in *path* and check it; also while a process writes it.

    Nothing is changed and nobody is kept from opening it. Damage is no error but in the report.

    Raises:
        JournalError: The directory cannot be read.
        CorruptJournalError: There is no journal in it.
    """
    return report_of(path, _native.journal_audit(path, progress))


def salvage(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: Progress | None = None
) -> Salvaged:
    """
    Write everything that can be read of the journal in *path* as a new one, *out*.

    Events keep their lane, sequence and names; what is lost becomes a gap with a reason. The damaged
    journal is not changed. *out* must not exist, and does not if this raises.

    Raises:
        JournalLockedError: A process writes the journal.
        JournalError: The journal cannot be read at all, or *out* cannot be written.
    """
    said = _native.journal_salvage(path, out, progress)
    return Salvaged(
        path=Path(out),
        report=report_of(path, said["report"]),
        events=said["events"],
        records=said["records"],
        lost=tuple(Lost(**row) for row in said["lost"]),
        made_up=tuple(said["made_up"]),
    )


def report_of(path: str | os.PathLike[str], said: dict[str, Any]) -> Report:
    """The report that the native half's figures make."""
    return Report(
        path=Path(path),
        id=said["id"].hex() if said["id"] else None,
        writer=said["writer"],
        closed=said["closed"],
        position=said["position"],
        begins=said["begins"],
        next=said["next"],
        bytes_read=said["bytes_read"],
        segments=tuple(Segment(**row) for row in said["parts"]),
        findings=tuple(Finding(**row) for row in said["findings"]),
        lost=tuple(Lost(**row) for row in said["lost"]),
        gaps=tuple(Gap(**row) for row in said["gaps"]),
    )


def span(lane: str, first: int, end: int | None) -> str:
    """Sequences of a lane in words."""
    if end is None:
        return f"{lane} from {first} on"
    return f"{lane} {first}" if end == first + 1 else f"{lane} {first} to {end - 1}"
