"""The state of delivery as one reader of the log has it: from a snapshot on, record by record."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickbus import _native
from tickbus.delivery import files, wire
from tickbus.delivery.policy import Policies
from tickbus.delivery.state import Kind, Record, State, Tracked

if TYPE_CHECKING:
    from tickbus.bus import Bus, Wait

__all__ = ["Replica"]

#: Records that one pump takes at most.
BURST = 256

_log = logging.getLogger("tickbus")


class Replica:
    """
    The state, read from the bus.

    Attributes:
        state: As far as it has been read.
        began: First sequence of the critical lane that is followed at all.
    """

    def __init__(self, bus: Bus, policies: Policies, folder: Path, wait: Wait) -> None:
        self._bus = bus
        self._matchers: dict[tuple[str, ...], _native.Matcher] = {}
        self.state = State(policies, self._matches)
        snapshot = _ensured(bus, folder)
        self.began: int = snapshot["began"]
        noted = snapshot["next"]
        places = _native.bus_places(bus, (snapshot["life"], (noted[0], noted[1], noted[2])))
        self._load(snapshot, places[2])
        normal, high, critical = places
        start = {"normal": normal << 2, "high": high << 2 | 1, "critical": critical << 2 | 2}
        self._subscription = bus.subscribe(*wire.PATTERNS, start=start, wait=wait)

    def pump(self, timeout_s: float = 0.0) -> list[tuple[Record, Tracked | None]]:
        """Read what is there, or wait for it; the records with the events they changed."""
        changed = []
        event = self._subscription.poll(timeout_s)
        while event is not None:
            record = self._record(event)
            if record is not None:
                changed.append((record, self.state.apply(record)))
                if len(changed) >= BURST:
                    break
            event = self._subscription.poll()
        return changed

    def read(self) -> int:
        """Next sequence of the critical lane to be read."""
        return self.places()[2]

    def places(self) -> tuple[int, int, int]:
        """Next sequences to be read, by lane number."""
        return self._subscription._next()

    @property
    def missed(self) -> int:
        """Records that could not be read any more."""
        return self._subscription.missed

    def snapshot(self) -> tuple[dict[str, Any], tuple[int, int, int]]:
        """The state as JSON takes it, and the places it was read up to."""
        places = self.places()
        state = self.state
        content = {
            "life": _native.bus_life(self._bus),
            "began": self.began,
            "next": places,
            "roles": state.roles,
            "pending": [self._dump(one) for one in state.pending.values()],
            "dead": [self._dump(one) for one in state.dead.values()],
        }
        return content, places

    def close(self) -> None:
        self._subscription.close()

    def _record(self, event: _native.Event) -> Record | None:
        record = wire.record_of(event)
        if record is None or record.kind is not Kind.ROLE or not record.value:
            return record
        try:
            patterns = tuple(json.loads(self._bus.payload(event))["patterns"])
        except (LookupError, ValueError, TypeError) as error:
            # Anybody can publish an event of this type.
            _log.error("delivery: %r does not say what the role wants", event, exc_info=error)
            return None
        return record._replace(patterns=patterns)

    def _matches(self, patterns: tuple[str, ...], event_type: int, source: int, symbol: int) -> bool:
        matcher = self._matchers.get(patterns)
        if matcher is None:
            matcher = self._matchers[patterns] = _native.Matcher(self._bus, list(patterns))
        return matcher.matches(event_type, source, symbol)

    def _dump(self, tracked: Tracked) -> dict[str, Any]:
        """Numbers of symbols and sources are a bus's own, so their names are kept."""
        bus = self._bus
        return {
            "sequence": tracked.sequence,
            "type": tracked.event_type,
            "source": bus.source_name(tracked.source) if tracked.source else "",
            "symbol": bus.symbol_name(tracked.symbol) if tracked.symbol else "",
            "time": tracked.time,
            "roles": tracked.roles,
            "acked": tracked.acked,
            "attempts": tracked.attempts,
            "steps": tracked.steps,
            "steps_done": sorted(tracked.steps_done),
            "redrives": tracked.redrives,
        }

    def _load(self, snapshot: dict[str, Any], end: int) -> None:
        """Take the snapshot, up to sequence *end* of the critical lane: beyond, the log has other events."""
        bus, state = self._bus, self.state
        state.roles = {name: tuple(patterns) for name, patterns in snapshot["roles"].items()}
        state.next = min(snapshot["next"][2], end)
        beyond = 0
        for kept, rows in ((state.pending, snapshot["pending"]), (state.dead, snapshot["dead"])):
            for row in rows:
                if row["sequence"] >= end:
                    beyond += 1
                    continue
                kept[row["sequence"]] = Tracked(
                    sequence=row["sequence"],
                    event_type=row["type"],
                    source=bus.source_id(row["source"]) if row["source"] else 0,
                    symbol=bus.symbol_id(row["symbol"]) if row["symbol"] else 0,
                    time=row["time"],
                    roles=tuple(row["roles"]),
                    acked=dict(row["acked"]),
                    attempts=dict(row["attempts"]),
                    steps=row["steps"],
                    steps_done=frozenset(row["steps_done"]),
                    redrives=row["redrives"],
                )
        if beyond:
            _log.warning("delivery: %d events of the snapshot are beyond the log's end, and dropped", beyond)


def _ensured(bus: Bus, folder: Path) -> dict[str, Any]:
    """The snapshot; the first who asks says that delivery begins now."""
    while (snapshot := files.read_snapshot(folder)) is None:
        places = _native.bus_places(bus)
        first = {
            "life": _native.bus_life(bus),
            "began": places[2],
            "next": places,
            "roles": {},
            "pending": [],
            "dead": [],
        }
        files.write_first_snapshot(folder, first, os.getpid())
    return snapshot
