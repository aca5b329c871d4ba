"""The state of delivery as one reader of the log has it: from a snapshot on, record by record."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tickbus import _native
from tickbus.delivery import files, wire
from tickbus.delivery.policy import Policies
from tickbus.delivery.state import new_state, rules_of
from tickbus.errors import PatternError

if TYPE_CHECKING:
    from tickbus.bus import Bus, Wait

__all__ = ["Pumped", "Replica", "Told"]

#: Records that one pump takes at most.
BURST = 256

#: Kind, sequence of the event, role and value of a record about an event that is followed.
Told = tuple[str, int, str, float]

_log = logging.getLogger("tickbus")


class Pumped(NamedTuple):
    """What reading came to: how many events, what they said if that was asked for, and whether it ended at
    a role's record before the end of the lanes."""

    events: int
    told: list[Told]
    roles_changed: bool


class Replica:
    """
    The state, read from the bus.

    Attributes:
        state: As far as it has been read.
        began: First sequence of the critical lane that is followed at all.
    """

    def __init__(self, bus: Bus, policies: Policies | None, folder: Path, wait: Wait) -> None:
        """Without *policies* those of the last loop count."""
        self._bus = bus
        self._unknown = 0
        snapshot = _ensured(bus, folder)
        self.began: int = snapshot["began"]
        #: What the last loop asked for; ``None`` when there was none.
        self.last: dict[str, Any] | None = snapshot.get("policies")
        self.rules = rules_of(policies or Policies()) if policies or not self.last else self.last
        self.state = new_state(bus, self.rules)
        noted = snapshot["next"]
        places = _native.bus_places(bus, (snapshot["life"], (noted[0], noted[1], noted[2])))
        #: When timers of pending events began, on the monotonic clock of this boot of the machine.
        self.began_at: dict[int, float] = (
            dict(snapshot.get("timers", ())) if snapshot.get("boot") == boot_id() else {}
        )
        self._load(snapshot, places[2])
        normal, high, critical = places
        start = {"normal": normal << 2, "high": high << 2 | 1, "critical": critical << 2 | 2}
        # Lossy: what the lanes overwrite it reads from the journal, and a process that is stopped, or
        # only looks on, does not hold back publishers.
        self._subscription = bus.subscribe(*wire.PATTERNS, start=start, wait=wait, lossy=True)

    def pump(self, timeout_s: float = 0.0, *, tell: bool = False) -> Pumped:
        """Read what is there, or wait for it; *tell*: say what was read."""
        count, told, role = self.state.read(self._subscription, timeout_s, BURST, tell)
        if self.state.unknown != self._unknown:
            self._unknown = self.state.unknown
            _log.warning("delivery: %d records so far are about events that nobody follows", self._unknown)
        if role is not None:
            self._role(role)
        return Pumped(count, told, role is not None)

    def wait(self, sequence: int, timeout_s: float) -> None:
        """Read until the event at *sequence* is settled or dead, or for *timeout_s* seconds."""
        _, role = self.state.wait(self._subscription, sequence, timeout_s)
        if role is not None:
            self._role(role)

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

    def snapshot(self, timers: list[tuple[int, float]]) -> tuple[dict[str, Any], tuple[int, int, int]]:
        """The state as JSON takes it, and the places it was read up to."""
        places = self.places()
        state = self.state
        content = {
            "life": _native.bus_life(self._bus),
            "began": self.began,
            "next": places,
            "policies": self.rules,
            "roles": state.roles,
            "pending": [self._dump(one) for one in state.all_pending()],
            "dead": [self._dump(one) for one in state.all_dead()],
            "boot": boot_id(),
            "timers": timers,
        }
        return content, places

    def close(self) -> None:
        self._subscription.close()

    def _role(self, event: _native.Event) -> None:
        """Take in what the record of a role says."""
        if not event.value:
            self.state.drop_role(event.source)
            return
        try:
            patterns = json.loads(self._bus.payload(event))["patterns"]
            self.state.register(event.source, patterns)
        except (LookupError, ValueError, TypeError, PatternError) as error:
            # Anybody can publish an event of this type.
            _log.error("delivery: %r does not say what the role wants", event, exc_info=error)

    def _dump(self, tracked: _native.Tracked) -> dict[str, Any]:
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
        for name, patterns in snapshot["roles"].items():
            state.register(name, list(patterns))
        state.begin(min(snapshot["next"][2], end))
        beyond = 0
        for dead, rows in ((False, snapshot["pending"]), (True, snapshot["dead"])):
            for row in rows:
                if row["sequence"] >= end:
                    beyond += 1
                    continue
                state.restore(
                    dead=dead,
                    sequence=row["sequence"],
                    event_type=row["type"],
                    source=bus.source_id(row["source"]) if row["source"] else 0,
                    symbol=bus.symbol_id(row["symbol"]) if row["symbol"] else 0,
                    time=row["time"],
                    roles=row["roles"],
                    acked=list(row["acked"].items()),
                    attempts=list(row["attempts"].items()),
                    steps=row["steps"],
                    steps_done=row["steps_done"],
                    redrives=row["redrives"],
                )
        if beyond:
            _log.warning("delivery: %d events of the snapshot are beyond the log's end, and dropped", beyond)


def boot_id() -> str:
    """Which start of the machine this is: its monotonic clock counts from there."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


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
