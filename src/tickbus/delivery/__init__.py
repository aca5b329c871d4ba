"""
Guaranteed delivery: critical events are followed until they are acknowledged.

    with Bus("desk", journal="desk.journal") as bus, Delivery(bus) as delivery:
        receipt = bus.publish_critical(EventType.DRAWDOWN_ALERT, "BTC-USDT", 0.2)
        if not receipt.wait(5.0):
            ...

``docs/parts/delivery.md`` says what it promises and how it works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from tickbus import _native, journal
from tickbus.delivery import files, wire
from tickbus.delivery.lease import Watch
from tickbus.delivery.loop import Clock, Loop, event_at
from tickbus.delivery.policy import Action, Escalation, NextRole, Notify, Policies, Policy, Publish, Retry
from tickbus.delivery.replica import Replica
from tickbus.delivery.roles import RoleSubscription, cursor_of
from tickbus.delivery.state import OUTCOMES, Fate, Kind, differing, rule_of, rules_of
from tickbus.durable import Ack
from tickbus.errors import (
    BusClosedError,
    CursorLockedError,
    InFlightFullError,
    InvalidEventError,
    JournalError,
    UnknownNameError,
)
from tickbus.receipts import DeadLetter, Outcome, Receipt, Result
from tickbus.taxonomy import Priority

if TYPE_CHECKING:
    from tickbus.bus import Bus, Wait

__all__ = [
    "Action",
    "Clock",
    "DeadLetter",
    "Delivery",
    "Escalation",
    "NextRole",
    "Notify",
    "Outcome",
    "Policy",
    "Publish",
    "Receipt",
    "Result",
    "Retry",
    "RoleSubscription",
]

#: Between two looks whether nobody runs the loop, and after it failed.
_LOOK_S = 0.15
_FAILED_S = 1.0
#: One reader waits at a time; the others look this often whether it found what they wait for.
_TURN_S = 0.005

_log = logging.getLogger("tickbus")


class Delivery:
    """
    Guaranteed delivery on a bus that has a journal, kept by this process or another.

    Args:
        policies: What is asked for events of a type; ``None`` for types that are not followed.
        default: The policy of all others. Without either the policies of whoever ran the loop last count.
        loop: Whether this process may run the loop, in a thread, when nobody else does. One without
            policies leaves it to others when the last loop had some.
        wait: How receipts and the loop wait; see ``Bus.subscribe``.
        max_in_flight: Critical events of this object that may be without outcome at once.
    Raises:
        JournalError: Nobody keeps a journal of this bus, or its critical lane is at level ``memory``.
        TypeTakenError: A type number of delivery (112 to 120) stands for something else.
    """

    def __init__(
        self,
        bus: Bus,
        policies: Mapping[int, Policy | None] | None = None,
        *,
        default: Policy | None = None,
        loop: bool = True,
        wait: Wait = "adaptive",
        max_in_flight: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        path = bus._journal_path
        if path is None:
            raise JournalError(
                "delivery needs a journal: open the bus with journal=, here or in another process"
            )
        if not bus._stats()["journaled"]["persisted_first"]:
            raise JournalError(
                "delivery follows events that are persisted before they are seen, and the level of this"
                ' journal\'s critical lane is "memory": give Journal(critical=...) another'
            )
        if max_in_flight < 1:
            raise InvalidEventError(f"max_in_flight={max_in_flight} is not 1 or more")
        wire.register(bus)
        self._bus = bus
        self._path = path
        self._folder = files.folder_of(path)
        self._policies = Policies(policies, default)
        self._has_policies = policies is not None or default is not None
        self._wait: Wait = wait
        #: Bound once: both are on the way of every event.
        self._publish = bus.publish
        self._most = max_in_flight
        self._lock = threading.RLock()
        self._replica = Replica(bus, self._policies if self._has_policies else None, self._folder, wait)
        self._state = self._replica.state
        self._followed = frozenset(
            number
            for number in range(256)
            if _native.is_followed_type(number) and rule_of(self._replica.rules, number) is not None
        )
        self._differ = self._differing(self._replica.last)
        self._fly = self._state.fly
        #: Events in flight after the last publish: no fewer than now.
        self._flying = 0
        self._roles: list[RoleSubscription] = []
        self._stop = threading.Event()
        self._clock = clock
        self._running: Loop | None = None
        self._concluded: Counter[str] = Counter()
        self._thread: threading.Thread | None = None
        # The last one made answers for the bus.
        bus._deliverer = self
        if loop:
            self._thread = threading.Thread(target=self._run, name="tickbus-delivery", daemon=True)
            self._thread.start()

    def publish_critical(
        self,
        event_type: int,
        symbol: str | int,
        value: float,
        *,
        metadata: int | None = None,
        source: str | int | None = None,
        timestamp: int | None = None,
        payload: bytes | None = None,
        timeout_s: float = 1.0,
    ) -> Receipt:
        """
        Publish an event that is followed until it is acknowledged; returns when it is persisted.

        Args:
            timeout_s: How long to wait when ``max_in_flight`` events are without outcome.
        Raises:
            InvalidEventError: As ``Bus.publish``, or events of this type are not followed.
            InFlightFullError: Nothing was published.
            BackpressureError, StalledError: As ``Bus.publish``.
            StorageFullError, DurabilityUnknownError, JournalLateError: ``event_id`` is on the bus and
                not known to be persisted; ``wait_ack(event_id)`` says what became of it.
        """
        if event_type not in self._followed:
            raise InvalidEventError(
                f"event_type={event_type} is not followed: only risk and critical types with a policy are"
            )
        if self._flying >= self._most:
            self._make_room(timeout_s)
        # Their own lane is the critical one.
        if metadata is None and source is None and timestamp is None and payload is None:
            event_id = self._publish(event_type, symbol, value)
        else:
            event_id = self._publish(
                event_type,
                symbol,
                value,
                metadata=metadata,
                source=source,
                timestamp=timestamp,
                payload=payload,
            )
        self._flying = self._fly(event_id >> 2)
        return Receipt(event_id, self)

    def subscribe(
        self,
        *patterns: str,
        role: str,
        ack: Ack = "auto",
        exclusive: bool = False,
        start: Literal["latest", "earliest"] = "latest",
        wait: Wait = "adaptive",
    ) -> RoleSubscription:
        """
        Become a member of *role*, which acknowledges the risk and critical events that match.

        Args:
            ack: "auto": the next read acknowledges; "manual": ``ack(event)`` does.
            exclusive: Raise when the role has an active member, instead of standing by.
            start: Where a role begins that never had a member.
        Raises:
            PatternError: A pattern is malformed, or wants other events than these.
            InvalidNameError: The role's name is none.
            CursorLockedError: With *exclusive*: another process, ``pid``, is active.
            CapacityError: The role has 64 members.
        """
        self._read()
        member = RoleSubscription(
            self._bus,
            self._folder,
            patterns,
            role,
            ack=ack,
            exclusive=exclusive,
            start=start,
            wait=wait,
            known=self._known,
            done=self._done,
        )
        self._roles.append(member)
        return member

    def wait_ack(self, event_id: int, timeout_s: float | None = None) -> Result:
        """
        Wait for the outcome of the event with this id, whoever published it, in this run or an earlier one.

        Raises:
            InvalidEventError: It is no event that is followed.
        """
        sequence = self._check(event_id)
        state = self._state
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not state.is_over(sequence):
            left = _TURN_S if deadline is None else min(deadline - time.monotonic(), _TURN_S)
            if left <= 0 or self._is_settled_before(sequence):
                # Whatever the time allowed, what the log says by now counts.
                self._read_all()
                break
            # Whoever has the lock reads for all who wait.
            if self._lock.acquire(timeout=left):
                try:
                    self._replica.wait(sequence, left)
                finally:
                    self._lock.release()
        return self._result(event_id)

    def result(self, event_id: int) -> Result:
        """The outcome of the event with this id now; see ``wait_ack``."""
        self._check(event_id)
        self._read_all()
        return self._result(event_id)

    def dead_letters(self) -> list[DeadLetter]:
        """Events that were given up on, oldest first."""
        self._read_all()
        with self._lock:
            return [self._letter(one) for one in self._state.all_dead()]

    def redrive(self, event_id: int) -> None:
        """
        Take an event from the dead letters and try as often again.

        Raises:
            UnknownNameError: It is no dead letter.
        """
        self._read_all()
        tracked = self._state.find(event_id >> 2)
        dead = self._fate(event_id >> 2) is Fate.DEAD and event_id & 3 == Priority.CRITICAL
        if tracked is None or not dead:
            raise UnknownNameError(f"event {event_id} is no dead letter")
        self._bus.publish(
            wire.NUMBERS[Kind.REDRIVEN],
            tracked.symbol,
            float(tracked.redrives + 1),
            metadata=tracked.sequence,
            priority=Priority.CRITICAL,
        )

    def drop_role(self, role: str) -> None:
        """
        Ask for this role's acknowledgements no more, also of pending events.

        Raises:
            CursorLockedError: It has an active member.
            UnknownNameError: There is no such role.
        """
        name = cursor_of(role)
        self._read_all()
        journal.drop_cursor(self._path, name)
        self._bus.publish(
            wire.NUMBERS[Kind.ROLE], 0, 0.0, metadata=0, source=role, priority=Priority.CRITICAL
        )

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Registered roles with their patterns, attached or not."""
        self._read_all()
        return self._state.roles

    def stats(self) -> dict[str, Any]:
        """
        Figures: pending, dead, in_flight (of this object), repeated and unknown records, missed records,
        whether this object runs the loop and what its loops have concluded (``redeliver``, ``escalated``,
        ``dead``, and ``failed`` steps), types of which the last loop asked for something else than this
        object's policies, and of each role how many events it owes and the oldest's age.
        """
        self._read_all()
        with self._lock:
            state = self._state
            now = time.time_ns()
            pending, dead = state.counts()
            return {
                "pending": pending,
                "dead": dead,
                "in_flight": state.in_flight,
                "repeated": state.repeated,
                "unknown": state.unknown,
                "missed": self._replica.missed,
                "loop": self._running is not None,
                "policies_differ": self._differ,
                "concluded": {key: self._concluded[key] for key in _CONCLUDED},
                "roles": {
                    role: {"unacked": count, "oldest_s": (now - oldest) / 1e9 if count else 0.0}
                    for role, count, oldest in state.owed()
                },
            }

    def close(self) -> None:
        """Leave: members, then the loop. Pending events stay pending. Safe to repeat."""
        self._stop.set()
        for member in self._roles:
            member.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None
        self._replica.close()
        if self._bus._deliverer is self:
            self._bus._deliverer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _differing(self, theirs: dict[str, Any] | None) -> list[str]:
        """Types for which the last loop asked for something else than this process does."""
        numbers = [] if theirs is None else differing(self._replica.rules, theirs)
        names = {number: name for name, number in self._bus.types().items()}
        differ = [names.get(number, str(number)) for number in numbers]
        if differ:
            shown = ", ".join(differ[:5]) + (f" and {len(differ) - 5} more" if len(differ) > 5 else "")
            _log.warning("delivery: the last loop had other policies than this process for %s", shown)
        return differ

    def _known(self, role: str) -> tuple[str, ...] | None:
        self._read_all()
        return self._state.roles.get(role)

    def _done(self, sequence: int, role: str) -> bool:
        """Whether the log says that the role has acknowledged the event."""
        self._read_all()
        tracked = self._state.find(sequence)
        return self._is_settled_before(sequence) if tracked is None else role in tracked.acked

    def _check(self, event_id: int) -> int:
        sequence = event_id >> 2
        if self._state.flies(sequence) and event_id & 3 == Priority.CRITICAL:
            return sequence
        if event_id < 0 or event_id & 3 != Priority.CRITICAL or sequence < self._replica.began:
            raise InvalidEventError(f"event {event_id} is not followed")
        self._read_all()
        if sequence >= self._bus._stats()["lanes"]["critical"]["published"]:
            raise InvalidEventError(f"event {event_id} has not been published")
        if self._fate(sequence) is Fate.UNKNOWN and sequence < self._state.next:
            event = event_at(self._bus, event_id)
            followed = event is None or wire.is_followed(event)
            if not followed or (event and event.event_type not in self._followed):
                raise InvalidEventError(f"event {event_id} is not followed: {event!r}")
        return sequence

    def _is_settled_before(self, sequence: int) -> bool:
        """Whether it was settled so long ago that nobody remembers by whom."""
        return sequence < self._state.next and self._fate(sequence) is Fate.UNKNOWN

    def _result(self, event_id: int) -> Result:
        sequence = event_id >> 2
        known = self._state.outcome(sequence)
        if known is None:
            settled = self._is_settled_before(sequence)
            return Result(Outcome.ACKED if settled else Outcome.STORAGE_ERROR, event_id)
        fate, by, missing, attempts, steps = known
        return Result(OUTCOMES[fate], event_id, by, missing, attempts, steps)

    def _fate(self, sequence: int) -> Fate:
        return Fate(self._state.fate(sequence))

    def _read(self, timeout_s: float = 0.0) -> int:
        """Take in what the log says; how many records."""
        with self._lock:
            return self._replica.pump(timeout_s).events

    def _read_all(self) -> None:
        while self._read():
            pass

    def _make_room(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._read_all()
        while self._state.in_flight >= self._most:
            left = deadline - time.monotonic()
            if left <= 0:
                raise InFlightFullError(
                    f"{self._state.in_flight} critical events are without outcome after {timeout_s} s, as"
                    f" many as max_in_flight={self._most} allows; nothing was published"
                )
            self._read(min(left, 0.05))
        self._flying = self._state.in_flight

    def _letter(self, tracked: _native.Tracked) -> DeadLetter:
        bus = self._bus
        names = {number: name for name, number in bus.types().items()}
        return DeadLetter(
            event_id=tracked.sequence << 2 | Priority.CRITICAL,
            event_type=names.get(tracked.event_type, str(tracked.event_type)),
            symbol=bus.symbol_name(tracked.symbol) if tracked.symbol else "",
            source=bus.source_name(tracked.source) if tracked.source else "",
            time=tracked.time,
            missing=tracked.missing(),
            by=dict(tracked.acked),
            attempts=dict(tracked.attempts),
            steps=tracked.steps,
            redrives=tracked.redrives,
        )

    def _may_lead(self) -> bool:
        """
        Whether this process knows what a loop has to do: one without policies of its own does not follow one
        that had some, whose steps it could not carry out.
        """
        if self._has_policies:
            return True
        last = (files.read_snapshot(self._folder) or {}).get("policies")
        return last is None or not differing(rules_of(self._policies), last)

    def _run(self) -> None:
        """Run the loop when nobody else does, until this object is closed."""
        watch = Watch()
        while not self._stop.is_set() and not self._bus.closed:
            if not self._may_lead():
                self._stop.wait(_LOOK_S)
                continue
            try:
                self._running = Loop(
                    self._bus,
                    self._policies,
                    self._folder,
                    clock=self._clock,
                    wait=self._wait,
                    watch=watch,
                    concluded=self._concluded,
                )
            except CursorLockedError:
                self._stop.wait(_LOOK_S)
                continue
            except BusClosedError:
                return
            except Exception:
                _log.exception("delivery: the loop could not begin")
                self._stop.wait(_FAILED_S)
                continue
            try:
                while not self._stop.is_set():
                    self._running.step()
                self._running.close()
            except BusClosedError:
                self._running.abandon()
                return
            except CursorLockedError as taken:
                _log.warning("delivery: the loop is another's now: %s", taken)
                self._running.abandon()
            except Exception:
                # Another process may do better; this one tries again as well.
                _log.exception("delivery: the loop failed")
                self._running.abandon()
                self._stop.wait(_FAILED_S)
            finally:
                self._running = None


_CONCLUDED = (Kind.REDELIVER.value, Kind.ESCALATED.value, Kind.DEAD.value, "failed")
