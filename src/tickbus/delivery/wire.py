"""The events that delivery speaks in; ``docs/parts/delivery.md`` has the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tickbus import _native
from tickbus.delivery.state import Kind, Record
from tickbus.taxonomy import Priority

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = [
    "NOBODY",
    "PATTERNS",
    "is_followed",
    "is_followed_type",
    "pack_attempt",
    "record_of",
    "register",
    "unpack_attempt",
]

#: Type numbers by what they say.
NUMBERS = {
    Kind.ACK: 112,
    Kind.NAK: 113,
    Kind.REDELIVER: 114,
    Kind.ROLE: 115,
    Kind.ESCALATED: 116,
    Kind.STEP_DONE: 117,
    Kind.DEAD: 118,
    Kind.REDRIVEN: 119,
    Kind.LOOP: 120,
}
_KINDS = {number: kind for kind, number in NUMBERS.items()}
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


def is_followed_type(number: int) -> bool:
    """Whether it is the number of a risk or critical type."""
    return 64 <= number < 96 or number >= 128


def is_followed(event: _native.Event) -> bool:
    """Whether it is a risk or critical event on the critical lane."""
    return event.priority == Priority.CRITICAL and is_followed_type(event.event_type)


def pack_attempt(attempt: int, member: int) -> float:
    return float(member << _MEMBER_SHIFT | min(attempt, NOBODY))


def unpack_attempt(value: float) -> tuple[int, int]:
    """Attempt and member."""
    return int(value) & NOBODY, int(value) >> _MEMBER_SHIFT


def record_of(event: _native.Event) -> Record | None:
    """What *event* says about delivery; ``None`` when nothing."""
    number = event.event_type
    kind = _KINDS.get(number)
    if kind is not None:
        value = unpack_attempt(event.value)[0] if kind is Kind.REDELIVER else event.value
        return Record(kind, event.metadata, event.source, value, event.timestamp)
    if is_followed(event):
        sequence = event.sequence
        assert sequence is not None, "delivered events have a sequence"
        names = (number, event.source_id, event.symbol_id)
        return Record(Kind.EVENT, sequence, "", 0.0, event.timestamp, names)
    return None
