"""When something is due for a pending event, on a monotonic clock that the caller reads."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tickbus._native import Tracked
from tickbus.delivery.policy import Policies, Policy
from tickbus.delivery.state import Kind

__all__ = ["Due", "Schedule"]


class Due(NamedTuple):
    """A conclusion: the record to write."""

    kind: Kind
    role: str
    value: int


@dataclass(slots=True)
class _Timer:
    #: When the event began, or was redriven.
    began: float
    due: float
    redrives: int
    #: By role: when its next attempt is due.
    retries: dict[str, float] = field(default_factory=dict)


class Schedule:
    """
    Timers of pending events: one entry each, so 10,000 of them cost what one costs.

    Args:
        chance: A number from 0 to 1 for the jitter.
    """

    def __init__(self, policies: Policies, chance: Callable[[], float]) -> None:
        self._policies = policies
        self._chance = chance
        self._timers: dict[int, _Timer] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._timers)

    def begin(self, tracked: Tracked, now: float, age: float, *, at_once: bool) -> None:
        """Follow an event that is *age* seconds old; *at_once*: hand it out again without waiting."""
        policy = self._policies.of(tracked.event_type)
        if policy is None:
            return
        timer = _Timer(now - age, now, tracked.redrives)
        for role in self._roles(policy, tracked):
            attempt = tracked.attempts.get(role, 1)
            wait = 0.0 if at_once else policy.retry.wait_s(attempt, self._chance())
            timer.retries[role] = now + wait
        self._timers[tracked.sequence] = timer
        self._push(tracked, timer, policy)

    def redriven(self, tracked: Tracked, now: float) -> None:
        """Begin anew with an event that was dead."""
        self.begin(tracked, now, 0.0, at_once=True)

    def refused(self, tracked: Tracked, role: str, now: float, delay_s: float) -> None:
        """A role has refused an event: hand it out again after a delay, as configured when negative."""
        policy, timer = self._policies.of(tracked.event_type), self._timers.get(tracked.sequence)
        if policy is None or timer is None:
            return
        if delay_s < 0:
            delay_s = policy.retry.wait_s(tracked.attempts.get(role, 1), self._chance())
        timer.retries[role] = now + delay_s
        self._push(tracked, timer, policy)

    def began(self) -> list[tuple[int, float]]:
        """Of each event with a timer, when it began."""
        return [(sequence, timer.began) for sequence, timer in self._timers.items()]

    def sequences(self) -> set[int]:
        """Events with a timer."""
        return set(self._timers)

    def end(self, sequence: int) -> None:
        """The event is settled or dead."""
        self._timers.pop(sequence, None)

    def next_due(self) -> float | None:
        """When to look again."""
        while self._heap:
            due, sequence = self._heap[0]
            timer = self._timers.get(sequence)
            if timer is not None and timer.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> int | None:
        """The sequence of an event for which something is due."""
        due = self.next_due()
        if due is None or due > now:
            return None
        return heapq.heappop(self._heap)[1]

    def conclude(self, tracked: Tracked, now: float) -> list[Due]:
        """What is due for an event now. The caller writes the records and applies them, then ``again``."""
        policy, timer = self._policies.of(tracked.event_type), self._timers.get(tracked.sequence)
        if policy is None or timer is None:
            return []
        found = []
        missing = tracked.missing()
        if tracked.steps < self._steps(policy, timer) and self._step_due(policy, timer, tracked) <= now:
            found.append(Due(Kind.ESCALATED, missing[0] if missing else "", tracked.steps + 1))
        last = policy.retry.attempts * (timer.redrives + 1)
        exhausted = True
        for role in self._roles(policy, tracked):
            due = timer.retries.setdefault(role, now)
            attempt = tracked.attempts.get(role, 1)
            if due > now:
                exhausted = False
            elif attempt < last:
                exhausted = False
                found.append(Due(Kind.REDELIVER, role, attempt + 1))
                timer.retries[role] = now + policy.retry.wait_s(attempt + 1, self._chance())
        if exhausted and not found and tracked.steps >= self._steps(policy, timer):
            found.append(Due(Kind.DEAD, missing[0] if missing else "", timer.redrives))
        return found

    def again(self, tracked: Tracked) -> None:
        """After a conclusion: when to look at the event next."""
        policy, timer = self._policies.of(tracked.event_type), self._timers.get(tracked.sequence)
        if policy is not None and timer is not None:
            self._push(tracked, timer, policy)

    def retry(self, tracked: Tracked, due: float) -> None:
        """Look at the event at *due*: its conclusion could not be written."""
        timer = self._timers.get(tracked.sequence)
        if timer is not None:
            timer.due = due
            heapq.heappush(self._heap, (due, tracked.sequence))

    def _push(self, tracked: Tracked, timer: _Timer, policy: Policy) -> None:
        dues = []
        if tracked.steps < self._steps(policy, timer):
            dues.append(self._step_due(policy, timer, tracked))
        last = policy.retry.attempts * (timer.redrives + 1)
        waits = [timer.retries.setdefault(role, timer.began) for role in self._roles(policy, tracked)]
        spent = [tracked.attempts.get(role, 1) >= last for role in self._roles(policy, tracked)]
        dues += [due for due, over in zip(waits, spent, strict=True) if not over]
        if not dues:
            # Only its death is left, when the last attempt has had its time.
            dues = [max(waits, default=timer.began)]
        timer.due = min(dues)
        heapq.heappush(self._heap, (timer.due, tracked.sequence))

    @staticmethod
    def _steps(policy: Policy, timer: _Timer) -> int:
        return policy.steps * (timer.redrives + 1)

    @staticmethod
    def _step_due(policy: Policy, timer: _Timer, tracked: Tracked) -> float:
        step = max(tracked.steps - policy.steps * timer.redrives, 0)
        return timer.began + policy.escalate_after_s + step * policy.step_s

    @staticmethod
    def _roles(policy: Policy, tracked: Tracked) -> tuple[str, ...]:
        """Roles that it is handed out to: those that are missing and those it was escalated to."""
        if policy.required in ("all", "any"):
            roles = tracked.roles
        else:
            # A role that is not registered has no members; each of its attempts is one to nobody.
            roles = tuple(dict.fromkeys((*policy.required, *tracked.roles)))
        escalated = policy.next_roles(tracked.steps)
        return tuple(role for role in dict.fromkeys((*roles, *escalated)) if role not in tracked.acked)
