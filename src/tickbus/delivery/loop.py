"""
The loop: draws conclusions from the state and the clock, and writes each down before it counts.

Whoever has the newest term runs it (``lease.py``). A loop acts only when it has read its own ``loop``
record, and so everything that any loop before it wrote; it stops when it learns of a newer term, from the
lease before each thing it does, or from the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tickbus import _native, journal
from tickbus.delivery import files, wire
from tickbus.delivery.actions import Actions
from tickbus.delivery.lease import BEAT_S, Lease, Watch
from tickbus.delivery.policy import Escalation, Policies
from tickbus.delivery.replica import BURST, Replica, Told
from tickbus.delivery.schedule import Due, Schedule
from tickbus.delivery.state import Fate, Kind
from tickbus.errors import (
    BackpressureError,
    CursorLockedError,
    JournalError,
    StalledError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from tickbus.bus import Bus, Wait

__all__ = ["Clock", "Loop", "event_at"]

#: Each term has a cursor of its own: what a stopped loop holds must not be in the way of the next.
CURSOR = "delivery.loop"
#: Seconds from one snapshot to the next, and of those at least how many times what the last one took.
_SNAPSHOT_S = 1.0
_SNAPSHOT_REST = 20
_LONGEST_WAIT_S = BEAT_S
#: Records after which an event's timers begin anew.
_TIMED = (Kind.EVENT, Kind.NAK, Kind.REDRIVEN)
#: Seconds until a record is tried again that the bus did not take.
_TRY_AGAIN_S = 0.1

_log = logging.getLogger("tickbus")


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the time comes from: seconds that never jump, and ns since the epoch."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], int] = time.time_ns


class Loop:
    """
    Retries, escalations and dead letters of one bus.

    Args:
        watch: What this process has seen of the loop that runs; without it one that hangs is waited for.
    Raises:
        CursorLockedError: Somebody else runs it; also from all methods, when somebody has taken it over.
    """

    def __init__(
        self,
        bus: Bus,
        policies: Policies,
        folder: Path,
        *,
        clock: Clock | None = None,
        wait: Wait = "adaptive",
        actions: Actions | None = None,
        chance: Callable[[], float] = random.random,
        watch: Watch | None = None,
        concluded: Counter[str] | None = None,
    ) -> None:
        self._bus = bus
        #: How often what was concluded, and how many steps failed.
        self.concluded: Counter[str] = Counter() if concluded is None else concluded
        self._policies = policies
        self._folder = folder
        self._clock = clock or Clock()
        self._actions = actions or Actions(bus, self.concluded)
        self._schedule = Schedule(policies, chance)
        #: Records on the bus that wait to be persisted.
        self._unseen: set[tuple[str, int, int]] = set()
        #: Steps that were begun and whose end has not been read.
        self._begun: set[tuple[int, int]] = set()
        self._next_save = 0.0
        with contextlib.ExitStack() as undo:
            self._lease = Lease(folder, watch)
            undo.callback(self._lease.close)
            self._cursor_name = f"{CURSOR}.{self._lease.term}"
            self._cursor = _native.Cursor(bus, self._cursor_name, list(wire.PATTERNS), False)
            undo.callback(self._leave_cursor)
            self._replica = Replica(bus, policies, folder, wait)
            undo.callback(self._replica.close)
            self.state = self._replica.state
            self._hold_log(self._replica.places())
            self._earlier = [one.name for one in journal.cursors(folder.parent) if self._is_earlier(one.name)]
            self._catch_up()
            undo.pop_all()

    def step(self, timeout_s: float = _LONGEST_WAIT_S) -> int:
        """Read, and write what is due; how many records were read or written."""
        before = self._clock.monotonic()
        due = self._schedule.next_due()
        wait = min(timeout_s, _LONGEST_WAIT_S, _LONGEST_WAIT_S if due is None else max(due - before, 0.0))
        if self._actions.busy:
            wait = min(wait, 0.01)
        read = self._replica.pump(wait, tell=True)
        self._lease.hold()
        # The wall clock first: an event is then taken for younger than it is, and never escalated early.
        wall = self._clock.wall()
        now = self._clock.monotonic()
        self._lease.note(wall - int(now * 1e9))
        for told in read.told:
            self._follow(told, now, wall)
        if read.roles_changed:
            self._forget_settled()
        elif read.events < BURST:
            # It came to the end of the lanes after this look began: what comes now is younger.
            self._looked = before
        written = self._write_due(now)
        for sequence, step in self._actions.done():
            written += self._publish(Kind.STEP_DONE, sequence, "", step)
        self._changed += read.events + written
        if self._changed and now >= self._next_save:
            self.save()
        return read.events + written

    def save(self) -> None:
        """Write the snapshot, and let go of what lies before it in the log."""
        self._lease.hold()
        begun = self._clock.monotonic()
        if self._replica.state.has_early(self._replica.read()):
            # The places in the lanes would be behind records that are in no state yet.
            return
        content, places = self._replica.snapshot(self._schedule.began())
        # With much pending each half takes a while.
        self._lease.hold()
        files.write_snapshot(self._folder, content, self._lease.term)
        self._hold_log(places)
        self._earlier = [name for name in self._earlier if not self._drop(name)]
        now = self._clock.monotonic()
        # It costs what is pending: of much there is a snapshot less often.
        self._changed, self._next_save = 0, now + max(_SNAPSHOT_S, _SNAPSHOT_REST * (now - begun))

    def close(self) -> None:
        """Leave the loop to others."""
        try:
            self.save()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Leave without a word, as a crash does."""
        self._replica.close()
        self._leave_cursor()
        self._lease.close()

    def _hold_log(self, places: tuple[int, int, int]) -> None:
        """Let the log keep what lies behind these places, and what is pending or dead."""
        self._cursor.set((places[0], places[1], self.state.low(places[2])))

    def _leave_cursor(self) -> None:
        self._cursor.close()
        if self._lease.lost:
            # The one who has the loop now may have looked for earlier cursors before this one was there.
            self._drop(self._cursor_name)

    def _is_earlier(self, name: str) -> bool:
        prefix, _, term = name.rpartition(".")
        return prefix == CURSOR and term.isdecimal() and int(term) < self._lease.term

    def _drop(self, name: str) -> bool:
        """Take away a term's cursor; not while somebody holds it, who is stopped then."""
        try:
            journal.drop_cursor(self._folder.parent, name)
        except CursorLockedError:
            return False
        except UnknownNameError:
            pass
        return True

    def _catch_up(self) -> None:
        """Read everything up to a record of our own, then begin the timers of what is pending."""
        replica = self._replica
        number = self._bus.publish(
            wire.NUMBERS[Kind.LOOP],
            0,
            float(os.getpid()),
            metadata=self._lease.term,
            priority=wire.lane_of(Kind.LOOP),
        )
        while replica.pump().events or replica.read() <= number >> 2:
            self._lease.hold()
        wall, now = self._clock.wall(), self._clock.monotonic()
        self._lease.note(wall - int(now * 1e9))
        self._looked, self._next_save, self._changed = now, now, 1
        pending = replica.state.all_pending()
        for tracked in pending:
            policy = self._policies.of(tracked.event_type)
            if policy is None:
                continue
            age = min(max(self._age(tracked, now, wall), 0.0), policy.escalate_after_s)
            self._schedule.begin(tracked, now, age, at_once=True)
        for tracked in (*pending, *replica.state.all_dead()):
            for step in range(1, tracked.steps + 1):
                self._carry_out(tracked, step)

    def _age(self, tracked: _native.Tracked, now: float, wall: int) -> float:
        """
        Age of an event from before this loop.

        The last snapshot has it on a clock that nobody sets. What was published since has it from the wall
        clock, as that stands or as the last loop knew it. Which of them is right nobody knows, so the event
        is taken for the younger.
        """
        began = self._replica.began_at.get(tracked.sequence)
        if began is not None:
            return now - began
        age = (wall - tracked.time) / 1e9
        if before := self._lease.ahead_before:
            age = min(age, now - (tracked.time - before) / 1e9)
        return age

    def _follow(self, told: Told, now: float, wall: int) -> None:
        """Set the timers that a record asks for."""
        kind, sequence, role, value = told
        if kind == Kind.LOOP:
            if sequence > self._lease.term:
                raise CursorLockedError(f"the log says that term {sequence} of the loop has begun")
            return
        self._unseen.discard((kind, sequence, int(value)))
        if kind == Kind.ESCALATED and (tracked := self.state.find(sequence)):
            # It may be one that was late, or of an earlier loop that was stopped and never carries it out.
            self._carry_out(tracked, int(value))
        elif kind == Kind.STEP_DONE:
            self._begun.discard((sequence, int(value)))
        if not self.state.is_pending(sequence):
            self._schedule.end(sequence)
        elif kind in _TIMED and (tracked := self.state.find(sequence)):
            if kind == Kind.EVENT:
                age = min(max((wall - tracked.time) / 1e9, 0.0), now - self._looked)
                self._schedule.begin(tracked, now, age, at_once=False)
            elif kind == Kind.NAK:
                self._schedule.refused(tracked, role, now, value)
            else:
                self._schedule.redriven(tracked, now)

    def _forget_settled(self) -> None:
        """A dropped role settles events that only waited for it."""
        for sequence in self._schedule.sequences().difference(self.state.pending()):
            self._schedule.end(sequence)

    def _write_due(self, now: float) -> int:
        written = 0
        while (sequence := self._schedule.take(now)) is not None:
            tracked = self.state.find(sequence) if self.state.is_pending(sequence) else None
            if tracked is None:
                self._schedule.end(sequence)
                continue
            dues = self._schedule.conclude(tracked, now)
            concluded = [self._conclude(tracked, due) for due in dues]
            written += len(dues)
            # What was concluded counts already.
            tracked = self.state.find(sequence) if self.state.is_pending(sequence) else None
            if tracked is None:
                self._schedule.end(sequence)
            elif all(concluded):
                self._schedule.again(tracked)
            else:
                self._schedule.retry(tracked, now + _TRY_AGAIN_S)
        return written

    def _conclude(self, tracked: _native.Tracked, due: Due) -> bool:
        if (due.kind, tracked.sequence, due.value) in self._unseen:
            return False
        value = float(due.value)
        if due.kind is Kind.REDELIVER:
            members = files.live_members(self._folder, due.role)
            member = members[(due.value - 1) % len(members)] if members else wire.NOBODY
            value = wire.pack_attempt(due.value, member)
        if not self._publish(due.kind, tracked.sequence, due.role, value, tracked.symbol):
            return False
        self.concluded[due.kind.value] += 1
        # It will be read back as well, and says nothing new then.
        self.state.note(due.kind, tracked.sequence, due.role, float(due.value), self._clock.wall())
        if due.kind is Kind.ESCALATED and (known := self.state.find(tracked.sequence)):
            self._carry_out(known, due.value)
        return True

    def _carry_out(self, tracked: _native.Tracked, step: int) -> None:
        policy = self._policies.of(tracked.event_type)
        if policy is None or not policy.ladder:
            return
        if step in tracked.steps_done or (tracked.sequence, step) in self._begun:
            return
        self._lease.hold()
        self._begun.add((tracked.sequence, step))
        action = policy.ladder[(step - 1) % len(policy.ladder)]
        event_id = tracked.sequence << 2 | 2
        escalation = Escalation(event_at(self._bus, event_id), event_id, step, tracked.missing())
        try:
            self._actions.run(action, escalation, tracked.symbol)
        except (BackpressureError, StalledError, JournalError):
            # Without its STEP_DONE the next loop does it again.
            self.concluded["failed"] += 1
            _log.exception("delivery: step %d for event %d failed", step, event_id)

    def _publish(self, kind: Kind, sequence: int, role: str, value: float, symbol: int = 0) -> bool:
        self._lease.hold()
        try:
            self._bus.publish(
                wire.NUMBERS[kind],
                symbol,
                float(value),
                metadata=sequence,
                source=role or None,
                priority=wire.lane_of(kind),
            )
        except JournalError as error:
            # It is on the bus, and counts when it is persisted: then it will be read.
            if error.event_id:
                self._unseen.add((kind, sequence, int(value)))
            _log.exception("delivery: %s of event %d is not persisted yet", kind.value, sequence << 2 | 2)
            return False
        except (BackpressureError, StalledError):
            _log.exception("delivery: %s of event %d is not written yet", kind.value, sequence << 2 | 2)
            return False
        return True

    def fate(self, sequence: int) -> Fate:
        """What has become of an event, as far as the loop has read."""
        return Fate(self.state.fate(sequence))


def event_at(bus: Bus, event_id: int) -> _native.Event | None:
    """The event of an id, from its lane or the journal; ``None`` when neither has it."""
    with bus.subscribe(">", start=event_id, lossy=True) as reader:
        event = reader.poll()
        return event if event is not None and event.id == event_id else None
