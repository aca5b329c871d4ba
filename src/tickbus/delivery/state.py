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

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = ["Fate", "Kind", "differing", "new_state", "rules_of"]


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


def new_state(bus: Bus, policies: Policies) -> _native.DeliveryState:
    """The state before the first record."""
    return _native.DeliveryState(bus, [_rule(policies.of(number)) for number in range(256)])


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

    def rule(rules: dict[str, Any], number: int) -> Any:
        return rules["types"].get(str(number), rules["default"])

    followed = (number for number in range(256) if _native.is_followed_type(number))
    return [number for number in followed if rule(ours, number) != rule(theirs, number)]


def _rule(policy: Policy | None) -> tuple[str, list[str], list[str | None]] | None:
    if policy is None:
        return None
    ladder = [step.role if isinstance(step, NextRole) else None for step in policy.ladder]
    if isinstance(policy.required, str):
        return policy.required, [], ladder
    return "roles", list(policy.required), ladder
