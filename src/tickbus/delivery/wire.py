"""The events that delivery speaks in; ``docs/parts/delivery.md`` has the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickbus import _native
from tickbus.delivery.state import Kind
from tickbus.taxonomy import Priority

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = [
    "NOBODY",
    "PATTERNS",
    "is_followed",
    "pack_attempt",
    "register",
    "unpack_attempt",
]

#: Type numbers by what they say.
NUMBERS = {Kind(name): number for name, number in _native.DELIVERY_TYPES.items()}
_FIELDS = {
    Kind.ACK: ("attempt", "event_sequence"),
    Kind.NAK: ("delay", "event_sequence"),
    Kind.REDELIVER: ("attempt", "event_sequence"),
    Kind.ROLE: ("registered", "role_payload"),
    Kind.ESCALATED: ("step", "event_sequence"),
    Kind.STEP_DONE: ("step", "event_sequence"),
    Kind.DEAD: ("redrives", "event_sequence"),
    Kind.REDRIVEN: ("redrives", "event_sequence"),
    Kind.LOOP: ("pid", "term"),
}
#: Records that decide something; an acknowledgement can be lost, these cannot.
_CRITICAL = {Kind.ROLE, Kind.ESCALATED, Kind.DEAD, Kind.REDRIVEN, Kind.LOOP}

PATTERNS = ("risk.>", "critical.>", *(f"system.delivery_{kind.value}.>" for kind in NUMBERS))

#: Member of a redelivery when there was none.
NOBODY = 0xFFFF
_MEMBER_SHIFT = 16


def register(bus: Bus) -> None:
    """
    Make the types known to *bus*.

    Raises:
        TypeTakenError: A number or name stands for something else.
    """
    for kind, number in NUMBERS.items():
        value, metadata = _FIELDS[kind]
        bus.register_type(number, f"delivery_{kind.value}", value=value, metadata=metadata, encoding="u64")


def lane_of(kind: Kind) -> Priority:
    return Priority.CRITICAL if kind in _CRITICAL else Priority.NORMAL


def is_followed(event: _native.Event) -> bool:
    """Whether it is a risk or critical event on the critical lane."""
    return event.priority == Priority.CRITICAL and _native.is_followed_type(event.event_type)


def pack_attempt(attempt: int, member: int) -> float:
    return float(member << _MEMBER_SHIFT | min(attempt, NOBODY))


def unpack_attempt(value: float) -> tuple[int, int]:
    """Attempt and member."""
    return int(value) & NOBODY, int(value) >> _MEMBER_SHIFT
