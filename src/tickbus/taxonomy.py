"""Event types and priorities, made from the native table: nothing is written down twice."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from tickbus import _native

__all__ = ["EventType", "Priority"]


class Priority(IntEnum):
    """The lane an event takes. Critical overtakes the others; normal keeps a guaranteed share."""

    NORMAL = 0
    HIGH = 1
    CRITICAL = 2


if TYPE_CHECKING:
    # For editors and mypy, which cannot see the native table; tests/test_taxonomy.py compares.
    class EventType(IntEnum):
        PRICE_UPDATE = 0
        VOLUME_SPIKE = 1
        ORDER_BOOK_IMBALANCE = 2
        SPREAD_WIDENING = 3
        TOP_OF_BOOK = 4
        SIGNAL_GENERATED = 32
        ORDER_PLACED = 33
        ORDER_FILLED = 34
        ORDER_CANCELLED = 35
        POSITION_OPENED = 36
        POSITION_CLOSED = 37
        RISK_LIMIT_APPROACHED = 64
        STOP_LOSS_TRIGGERED = 65
        DRAWDOWN_ALERT = 66
        CORRELATION_SPIKE = 67
        STRATEGY_STARTED = 96
        STRATEGY_PAUSED = 97
        SYSTEM_OVERLOAD = 98
        CONNECTION_LOST = 99
        EMERGENCY_STOP = 128
        MARKET_MANIPULATION = 129
        BLACK_SWAN_DETECTED = 130
        CIRCUIT_BREAKER = 131
else:
    EventType = IntEnum(
        "EventType",
        {row["name"].upper(): row["number"] for row in _native.taxonomy()},
        module=__name__,
    )
    EventType.__doc__ = """
    The built-in event types; ``docs/parts/events.md`` says what each one's fields mean.

    Market 0-31, trading 32-63, risk 64-95, system 96-127, critical 128-255; the free numbers are for
    ``Bus.register_type``.
    """


def _field(name: str) -> property:
    def read(event: _native.Event) -> Any:
        return event.field(name)

    return property(read, doc=f"The {name} of an event whose type has one; AttributeError otherwise.")


# Each field the table names is an attribute of Event. The frequent ones are native already.
for _row in _native.taxonomy():
    for _name in (_row["value"], _row["metadata"]):
        if _name and not hasattr(_native.Event, _name):
            setattr(_native.Event, _name, _field(_name))
