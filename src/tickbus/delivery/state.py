"""
What has become of every followed event: a function of the records in the log, and of nothing else.

The state itself is native, since every critical event passes through it in each process that asks.
"""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tickbus import _native
from tickbus.delivery.policy import NextRole, Policies, Policy
from tickbus.receipts import Outcome

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = ["OUTCOMES", "Fate", "Kind", "differing", "new_state", "rule_of", "rules_of"]


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


#: By plain words, which hash faster than those of an enumeration.
OUTCOMES: dict[str, Outcome] = {
    Fate.PENDING.value: Outcome.TIMEOUT,
    Fate.ESCALATED.value: Outcome.ESCALATED,
    Fate.ACKED.value: Outcome.ACKED,
    Fate.DEAD.value: Outcome.DEAD_LETTERED,
}


def new_state(bus: Bus, rules: dict[str, Any]) -> _native.DeliveryState:
    """The state before the first record, under rules as `rules_of` gives them, or as JSON had them."""
    every = (rule_of(rules, number) if _native.is_followed_type(number) else None for number in range(256))
    return _native.DeliveryState(bus, [None if rule is None else tuple(rule) for rule in every])


def rule_of(rules: dict[str, Any], number: int) -> Any:
    """What is asked for a type; ``None`` when its events are not followed."""
    return rules["types"].get(str(number), rules["default"])


def rules_of(policies: Policies) -> dict[str, Any]:
    """What is asked for whom, as JSON takes it: of most types, and by number of those with another rule."""
    rules = {number: _rule(policies.of(number)) for number in range(256) if _native.is_followed_type(number)}
    most, _ = Counter(map(repr, rules.values())).most_common(1)[0]
    default = next(rule for rule in rules.values() if repr(rule) == most)
    types = {str(number): rule for number, rule in rules.items() if rule != default}
    return {"default": default, "types": types}


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[int]:
    """Numbers of types with another rule here than there; both may have been JSON."""
    ours, theirs = json.loads(json.dumps(ours)), json.loads(json.dumps(theirs))
    followed = (number for number in range(256) if _native.is_followed_type(number))
    return [number for number in followed if rule_of(ours, number) != rule_of(theirs, number)]


def _rule(policy: Policy | None) -> tuple[str, list[str], list[str | None]] | None:
    if policy is None:
        return None
    ladder = [step.role if isinstance(step, NextRole) else None for step in policy.ladder]
    if isinstance(policy.required, str):
        return policy.required, [], ladder
    return "roles", list(policy.required), ladder
