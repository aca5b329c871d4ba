"""
What is in a journal, counted: what `tickbus.journal.inspect` returns.

One reading of all of it, the same that `verify` does, so that what is counted is whole. Numbers of
symbols and sources are the journal's own; here they have their names again.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tickbus import _native
from tickbus.journal.audit import LANES, Progress, Report, report_of
from tickbus.journal.cursors import Cursor, cursors

__all__ = ["Contents", "Opening", "StoredEvent", "inspect"]

#: Kinds of records, by their number in the log.
_RECORDS = {
    1: "symbol",
    2: "source",
    3: "event type",
    4: "payload",
    5: "opened",
    6: "closed",
    7: "bus",
    8: "names",
    9: "sequences",
}
_DELIVERY = range(16, 32)


@dataclass(frozen=True, slots=True)
class Opening:
    """
    That a process opened the journal, or closed it (``pid`` is None).

    Attributes:
        after_ns: Greatest timestamp of the events before, 0 if there is none: the log keeps no time of
            its own for this.
        this_boot: Whether the machine has not been restarted since; None if not known.
    """

    position: int
    pid: int | None
    bus: str
    after_ns: int
    this_boot: bool | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is stored, with its names; ``fields`` are what its type says they are."""

    id: int
    lane: str
    sequence: int
    timestamp: int
    type: str
    source: str
    symbol: str
    value: float
    metadata: int
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        fields = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.fields.items()
        )
        names = " ".join(text for text in (self.type, self.source, self.symbol) if text)
        return f"{self.lane} {self.sequence}  {names}: {fields}"


@dataclass(frozen=True, slots=True)
class Contents:
    """
    What is in a journal.

    Attributes:
        report: Whether it is whole, its segments and its gaps.
        types, symbols, sources: Events of each, most first; an event without one counts under "".
        records: How many of each kind, and the bytes in them.
        bytes_an_event: Of all segments that have begun, everything included; None without an event.
        buses: Ids of the buses it was the journal of, the last one last.
        durable: The durable subscriptions, by name.
        first, last: The first and last events of each lane, as many as were asked for, by timestamp.
    """

    report: Report
    types: Mapping[str, int]
    symbols: Mapping[str, int]
    sources: Mapping[str, int]
    records: Mapping[str, tuple[int, int]]
    bytes_an_event: float | None
    buses: tuple[str, ...]
    openings: tuple[Opening, ...]
    durable: tuple[Cursor, ...]
    first: tuple[StoredEvent, ...]
    last: tuple[StoredEvent, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: they become None."""
        said: dict[str, Any] = asdict(self) | {"report": self.report.as_dict()}
        for event in (*said["first"], *said["last"]):
            event["value"] = _finite(event["value"])
            event["fields"] = {name: _finite(value) for name, value in event["fields"].items()}
        return said


def inspect(path: str | os.PathLike[str], *, events: int = 0, progress: Progress | None = None) -> Contents:
    """
    Count what is in the journal in *path*; also while a process writes it. Nothing is changed.

    Args:
        events: So many of the first and of the last events are returned, of all lanes together.
    Raises:
        JournalError: The directory cannot be read.
        CorruptJournalError: There is no journal in it.
    """
    said = _native.journal_audit(path, progress, events)
    report, counted = report_of(path, said), said["contents"]
    names = _Names(counted)
    begun = [segment for segment in report.segments if not segment.prepared]
    total = sum(report.events.values())
    first, last = (sorted(map(names.event, counted[end]), key=_in_time) for end in ("first", "last"))
    return Contents(
        report=report,
        types=_most_first({names.type(number): count for number, count in counted["types"].items()}),
        symbols=_most_first({names.symbol(n): count for n, count in counted["symbols"].items()}),
        sources=_most_first({names.source(n): count for n, count in counted["sources"].items() if count}),
        records={_record(kind): of for kind, of in sorted(counted["records"].items())},
        bytes_an_event=sum(segment.bytes for segment in begun) / total if total else None,
        buses=tuple(f"{bus:016x}" for bus in counted["buses"]),
        openings=tuple(_opening(row, counted["boot"]) for row in counted["openings"]),
        durable=tuple(cursors(path)),
        first=tuple(first[:events]),
        last=tuple(last[-events:] if events else ()),
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_time(event: StoredEvent) -> tuple[int, int, int]:
    """Of the same moment the most urgent first, then in the lane's order."""
    return event.timestamp, LANES.index(event.lane), event.sequence


def _most_first(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _record(kind: int) -> str:
    known = "delivery" if kind in _DELIVERY else f"kind {kind}"
    return _RECORDS.get(kind, known)


def _opening(row: dict[str, Any], boot: int | None) -> Opening:
    pid, its_boot, bus = row["by"] or (None, 0, "")
    return Opening(
        row["position"], pid, bus, row["after_ns"], its_boot == boot if its_boot and boot else None
    )


class _Names:
    """Texts of the journal's numbers. One that nothing names is told as ``#number`` and not hidden."""

    def __init__(self, counted: dict[str, Any]) -> None:
        self._symbols: dict[int, str] = counted["symbol_names"]
        self._sources: dict[int, str] = counted["source_names"]
        self._builtin = {row["number"]: row for row in _native.taxonomy()}
        self._types = self._builtin | {row["number"]: row for row in counted["registered"]}

    def symbol(self, number: int) -> str:
        return self._symbols.get(number, f"#{number}") if number else ""

    def source(self, number: int) -> str:
        return self._sources.get(number, f"#{number}") if number else ""

    def type(self, number: int) -> str:
        row = self._types.get(number)
        return row["name"] if row else f"#{number}"

    def event(self, placed: tuple[int, int, bytes]) -> StoredEvent:
        event_id, sequence, data = placed
        timestamp, kind, _, source, symbol, value, metadata = struct.unpack("<QBBHIdQ", data)
        fields: dict[str, Any] = {"value": value, "metadata": metadata}
        if kind in self._builtin:
            fields = _native._rebuild_event(data, "", "", None).fields()
        elif kind in self._types:
            fields = {
                self._types[kind]["value"]: value,
                self._types[kind]["metadata"] or "metadata": metadata,
            }
        return StoredEvent(
            id=event_id,
            lane=LANES[2 - (event_id & 3)],
            sequence=sequence,
            timestamp=timestamp,
            type=self.type(kind),
            source=self.source(source),
            symbol=self.symbol(symbol),
            value=value,
            metadata=metadata,
            fields=fields,
        )
