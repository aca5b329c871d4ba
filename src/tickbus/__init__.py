"""tickbus: an event bus for Python trading strategies, with a native core."""

from tickbus import errors
from tickbus._native import EVENT_DTYPE, Event, pack_quantity, pack_quote
from tickbus.bus import Bus
from tickbus.subscription import Subscription
from tickbus.taxonomy import EventType, Priority

__all__ = [
    "EVENT_DTYPE",
    "Bus",
    "Event",
    "EventType",
    "Priority",
    "Subscription",
    "errors",
    "pack_quantity",
    "pack_quote",
]
__version__ = "0.1.0"
