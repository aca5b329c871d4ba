"""What is asked for an event of a type: who acknowledges it, how often it is tried, what happens then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tickbus import _native
from tickbus.errors import InvalidEventError

__all__ = ["Action", "Escalation", "NextRole", "Notify", "Policies", "Policy", "Publish", "Retry"]


@dataclass(frozen=True, slots=True)
class Retry:
    """
    When an event is handed out again to a role that has not acknowledged it.

    Args:
        attempts: How often it is handed out, the first time included.
        first_s: Seconds before the second time; each wait is ``factor`` times the last, ``most_s`` at most.
        jitter: Share by which a wait is longer or shorter, at random.
    """

    attempts: int = 12
    first_s: float = 0.05
    factor: float = 2.0
    most_s: float = 1.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.attempts < 0xFFFF:
            raise InvalidEventError(f"attempts={self.attempts} is not from 1 to 65534")
        if not 0 < self.first_s <= self.most_s or self.factor < 1 or not 0 <= self.jitter < 1:
            raise InvalidEventError(
                f"{self!r}: waits are above 0 and do not shrink, first_s is not above most_s, and jitter is "
                "from 0 to below 1"
            )

    def wait_s(self, attempt: int, chance: float) -> float:
        """Seconds to wait after *attempt*; *chance* is from 0 to 1."""
        # Beyond some attempts the power alone would overflow.
        wait = min(self.first_s * self.factor ** min(attempt - 1, 64), self.most_s)
        return wait * (1 + self.jitter * (2 * chance - 1))


@dataclass(frozen=True, slots=True)
class Escalation:
    """
    An event that was not acknowledged in time, as a step's callback gets it.

    Attributes:
        event: The event; ``None`` when the log no longer has it.
        event_id: Its id.
        step: Which step this is, from 1.
        missing: Roles that have not acknowledged it.
    """

    event: _native.Event | None
    event_id: int
    step: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NextRole:
    """Hand the event to *role* too, whatever its patterns are; its acknowledgement is enough."""

    role: str


@dataclass(frozen=True, slots=True)
class Publish:
    """
    Publish an event of this type on the critical lane, from source ``delivery``; ``metadata`` is the
    escalated one's sequence. Events from there are followed, and publish nothing further.
    """

    event_type: int
    symbol: str | None = None
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Notify:
    """Send a notification through ``apprise`` (extra ``notify``) to these URLs, for *timeout_s* at most."""

    urls: tuple[str, ...]
    timeout_s: float = 10.0


Action = Callable[[Escalation], object] | NextRole | Publish | Notify


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What is asked for events of a type.

    Args:
        required: Whose acknowledgement is needed: "all" roles that match, "any" role, or these.
        retry: When it is handed out again.
        escalate_after_s: Age at which it is escalated.
        step_s: Seconds from one step of the ladder to the next.
        ladder: What each step does. The first step is always recorded, also with an empty ladder.
    """

    required: Literal["all", "any"] | tuple[str, ...] = "all"
    retry: Retry = field(default_factory=Retry)
    escalate_after_s: float = 5.0
    step_s: float = 5.0
    ladder: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.required, str) and self.required not in ("all", "any"):
            raise InvalidEventError(f'required={self.required!r} is none of "all", "any", a tuple of roles')
        if self.required == ():
            raise InvalidEventError("required=() asks nobody; a policy of None does not follow the events")
        if self.escalate_after_s <= 0 or self.step_s <= 0:
            raise InvalidEventError(f"{self!r}: escalate_after_s and step_s are above 0")

    @property
    def steps(self) -> int:
        return max(len(self.ladder), 1)

    def next_roles(self, steps: int) -> tuple[str, ...]:
        """Roles that the first *steps* steps of the ladder hand the event to."""
        return tuple(one.role for one in self.ladder[:steps] if isinstance(one, NextRole))


class Policies:
    """The policy of each type."""

    def __init__(
        self, policies: Mapping[int, Policy | None] | None = None, default: Policy | None = None
    ) -> None:
        self._by_type = dict(policies or {})
        self._default = default or Policy()

    def of(self, event_type: int) -> Policy | None:
        """``None`` when events of the type are not followed."""
        return self._by_type.get(event_type, self._default)
