"""
What has become of every followed event: a function of the records in the log, and of nothing else.

The state itself is native, since every critical event passes through it in each process that asks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from tickbus import _native
from tickbus.delivery.policy import NextRole, Policies, Policy

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = ["Fate", "Kind", "new_state"]


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


def _rule(policy: Policy | None) -> tuple[str, list[str], list[str | None]] | None:
    if policy is None:
        return None
    ladder = [step.role if isinstance(step, NextRole) else None for step in policy.ladder]
    if isinstance(policy.required, str):
        return policy.required, [], ladder
    return "roles", list(policy.required), ladder
