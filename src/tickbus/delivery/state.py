"""
What has become of every followed event: a function of the records in the log, and of nothing else.

No clock, no file, no bus. Records of one lane come in its order; how the lanes are merged does not
matter, so every process that reads the log comes to the same state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from tickbus.delivery.policy import Policies

__all__ = ["Fate", "Kind", "Record", "State", "Tracked"]

#: Settled events that are remembered, to answer who acknowledged them and to know a repeated record.
REMEMBERED = 65_536
#: Records kept for events that have not been read yet.
MOST_EARLY = 65_536
#: Kinds of events for which it is remembered which roles want them.
MOST_WANTED = 4_096


class Kind(StrEnum):
    """What a record says."""

    EVENT = "event"
    ACK = "ack"
    NAK = "nak"
    REDELIVER = "redeliver"
    ROLE = "role"
    ESCALATED = "escalated"
    STEP_DONE = "step_done"
    DEAD = "dead"
    REDRIVEN = "redriven"
    LOOP = "loop"


class Fate(StrEnum):
    """What has become of an event."""

    PENDING = "pending"
    ESCALATED = "escalated"
    ACKED = "acked"
    DEAD = "dead"
    #: It is not followed, or nobody has published it.
    UNKNOWN = "unknown"


class Record(NamedTuple):
    """One record: what it is about by sequence on the critical lane, and the time in ns since the epoch."""

    kind: Kind
    sequence: int
    role: str = ""
    value: float = 0.0
    time: int = 0
    #: Of an event: numbers of its type, source and symbol.
    names: tuple[int, int, int] | None = None
    #: Of a role: its patterns.
    patterns: tuple[str, ...] = ()


@dataclass(slots=True)
class Tracked:
    """A followed event."""

    sequence: int
    event_type: int
    source: int
    symbol: int
    time: int
    #: Roles that were registered for it when it was published.
    roles: tuple[str, ...]
    #: Who has acknowledged it, and when first.
    acked: dict[str, int] = field(default_factory=dict)
    #: Of each role, how often it was handed out again, plus one.
    attempts: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    steps_done: frozenset[int] = frozenset()
    redrives: int = 0

    def missing(self) -> tuple[str, ...]:
        """Roles registered for it that have not acknowledged it."""
        return tuple(role for role in self.roles if role not in self.acked)


#: Whether patterns match an event's type, source and symbol.
Matches = Callable[[tuple[str, ...], int, int, int], bool]


class State:
    """The state after some records; ``apply`` takes one more."""

    def __init__(self, policies: Policies, matches: Matches) -> None:
        self.policies = policies
        self._matches = matches
        self.roles: dict[str, tuple[str, ...]] = {}
        #: Neither settled nor dead, by sequence.
        self.pending: dict[int, Tracked] = {}
        self.dead: dict[int, Tracked] = {}
        self.settled: dict[int, Tracked] = {}
        #: Sequence after the last event read.
        self.next = 0
        #: Roles that want an event, by its numbers.
        self._wanted: dict[tuple[int, int, int], tuple[str, ...]] = {}
        self._early: dict[int, list[Record]] = {}
        self._early_count = 0
        self.repeated = 0
        self.unknown = 0

    def apply(self, record: Record) -> Tracked | None:
        """Take one more record; the event it changed."""
        kind = record.kind
        if kind is Kind.EVENT:
            return self._event(record)
        if kind is Kind.ROLE:
            self._role(record)
            return None
        if kind is Kind.LOOP:
            return None
        tracked = self.pending.get(record.sequence)
        if tracked is None:
            return self._not_pending(record)
        self._note(tracked, record)
        if kind in (Kind.ACK, Kind.ESCALATED):
            self._settle(tracked)
        elif kind is Kind.DEAD and int(record.value) == tracked.redrives:
            del self.pending[tracked.sequence]
            self.dead[tracked.sequence] = tracked
        return tracked

    def fate(self, sequence: int) -> Fate:
        """What has become of the event at *sequence* of the critical lane."""
        if tracked := self.pending.get(sequence):
            return Fate.ESCALATED if tracked.steps else Fate.PENDING
        if sequence in self.dead:
            return Fate.DEAD
        return Fate.ACKED if sequence in self.settled else Fate.UNKNOWN

    def find(self, sequence: int) -> Tracked | None:
        """What is known of the event at *sequence*."""
        return self.pending.get(sequence) or self.dead.get(sequence) or self.settled.get(sequence)

    def low(self) -> int:
        """The first sequence of an event that is still pending."""
        # Events come in order, so the first is the least, unless dead ones came back.
        return min(self.pending, default=self.next)

    def is_settled(self, tracked: Tracked) -> bool:
        """Whether those have acknowledged it whose acknowledgement is needed."""
        policy = self.policies.of(tracked.event_type)
        if policy is None:
            return True
        acked = tracked.acked
        if not acked:
            return False
        if tracked.steps and any(role in acked for role in policy.next_roles(tracked.steps)):
            return True
        if policy.required == "any":
            return True
        needed = tracked.roles if policy.required == "all" else policy.required
        # A set of the keys would be made anew for each record.
        for role in needed:  # noqa: SIM110
            if role not in acked:
                return False
        return True

    def _event(self, record: Record) -> Tracked | None:
        assert record.names is not None, "an event has a type"
        sequence = record.sequence
        if sequence < self.next:
            return self.find(sequence)
        self.next = sequence + 1
        early: list[Record] = self._early.pop(sequence, []) if self._early else []
        self._early_count -= len(early)
        number, source, symbol = record.names
        if self.policies.of(number) is None:
            return None
        roles = self._wanted.get(record.names)
        if roles is None:
            roles = self._who_wants(number, source, symbol)
            if len(self._wanted) >= MOST_WANTED:
                self._wanted.clear()
            self._wanted[record.names] = roles
        tracked = Tracked(sequence, number, source, symbol, record.time, roles)
        self.pending[sequence] = tracked
        for one in early:
            self.apply(one)
        return tracked

    def _who_wants(self, number: int, source: int, symbol: int) -> tuple[str, ...]:
        return tuple(
            name for name, patterns in self.roles.items() if self._matches(patterns, number, source, symbol)
        )

    def _role(self, record: Record) -> None:
        """Register a role for the events after this record, or drop it."""
        self._wanted.clear()
        if record.value:
            self.roles[record.role] = record.patterns
            return
        self.roles.pop(record.role, None)
        for tracked in (*self.pending.values(), *self.dead.values(), *self.settled.values()):
            if record.role in tracked.roles:
                tracked.roles = tuple(role for role in tracked.roles if role != record.role)
                if tracked.sequence not in self.settled:
                    self._settle(tracked)

    def _note(self, tracked: Tracked, record: Record) -> None:
        """What a record adds, whatever the event's fate: in any order the same."""
        role = record.role
        if record.kind is Kind.ACK:
            first = tracked.acked.get(role)
            if first is None:
                tracked.acked[role] = record.time
            else:
                self.repeated += 1
                tracked.acked[role] = min(record.time, first)
            return
        value = int(record.value)
        if record.kind is Kind.REDELIVER:
            tracked.attempts[role] = max(tracked.attempts.get(role, 1), value)
        elif record.kind is Kind.ESCALATED:
            tracked.steps = max(tracked.steps, value)
        elif record.kind is Kind.STEP_DONE:
            tracked.steps_done |= {value}
        elif record.kind is Kind.REDRIVEN:
            tracked.redrives = max(tracked.redrives, value)

    def _settle(self, tracked: Tracked) -> None:
        if not self.is_settled(tracked):
            return
        self.pending.pop(tracked.sequence, None)
        self.dead.pop(tracked.sequence, None)
        self.settled[tracked.sequence] = tracked
        if len(self.settled) > REMEMBERED:
            del self.settled[next(iter(self.settled))]

    def _not_pending(self, record: Record) -> Tracked | None:
        """A record about an event that is dead, settled, not read yet, or nobody's."""
        sequence = record.sequence
        if tracked := self.dead.get(sequence):
            self._note(tracked, record)
            if record.kind is Kind.ACK:
                self._settle(tracked)
            elif record.kind is Kind.REDRIVEN:
                del self.dead[sequence]
                self.pending[sequence] = tracked
            return tracked
        if tracked := self.settled.get(sequence):
            self._note(tracked, record)
            return tracked
        if sequence >= self.next and self._early_count < MOST_EARLY:
            self._early.setdefault(sequence, []).append(record)
            self._early_count += 1
        else:
            self.unknown += 1
        return None
