"""
What a frame is, before it is decoded: `reader(venue)(frame)`.

A reading says whether a frame is data, an acknowledgement, a pong or something else, which streams it
tells about, by what the venue identifies each of its events, and where it stands in the venue's
sequence. Connections, the check of recordings and the merging of connections all go by it; prices
stay with the decoder. A file per venue, no I/O, no state.

Frames here are read by Python's own JSON: a few microseconds each. Bytes that are no JSON are a
reading of kind "unreadable", never an exception.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Kind", "Part", "Reader", "Reading", "Sequence", "VENUES_READ", "reader"]

VENUES_READ = ("binance", "coinbase", "kraken", "okx", "bybit")


class Kind:
    """What a frame is for."""

    DATA = "data"
    ACK = "ack"
    REFUSAL = "refusal"
    PONG = "pong"
    HEARTBEAT = "heartbeat"
    #: The venue is about to close the connection.
    NOTICE = "notice"
    STATUS = "status"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"


class Sequence(NamedTuple):
    """
    Where a message stands among those of its stream.

    Attributes:
        first, last: Numbers it covers.
        previous: Number of the message before, where the venue names it; then numbers may jump.
        restarts: It begins anew, whatever came before.
    """

    first: int
    last: int
    previous: int | None = None
    restarts: bool = False


class Part(NamedTuple):
    """
    What a frame says about one stream.

    Attributes:
        channel, symbol: In the venue's own words; together the stream.
        ids: What identifies each event that a decoder makes of it, in its order; None where the venue
            gives nothing that does. Empty for what is no trade and no quote, and for history.
        sequence: Where the venue numbers its messages.
        is_snapshot: It tells all of a book, and takes the place of what was known.
    """

    channel: str
    symbol: str
    ids: tuple[int | str | None, ...] = ()
    sequence: Sequence | None = None
    is_snapshot: bool = False


class Reading(NamedTuple):
    """
    What a frame is.

    Attributes:
        parts: For data, the streams it tells about; for acknowledgements and refusals, those it answers.
        request: Number of the request it answers, where the venue repeats it.
        text: What a refusal, a status or a notice says; of an acknowledgement what it acknowledges, where
            the venue says so.
        sequence: Where it stands among all messages of its connection, where the venue counts those.
    """

    kind: str
    parts: tuple[Part, ...] = ()
    request: str = ""
    text: str = ""
    sequence: Sequence | None = None


Reader = Callable[[bytes], Reading]

UNREADABLE = Reading(Kind.UNREADABLE)
UNKNOWN = Reading(Kind.UNKNOWN)


def reader(venue: str) -> Reader:
    """
    The function that reads frames of *venue*.

    Raises:
        ValueError: It is none of `VENUES_READ`.
    """
    if venue not in VENUES_READ:
        raise ValueError(f"venue {venue!r} is none of: {', '.join(VENUES_READ)}")
    module = importlib.import_module(f"tickbus.exchanges.readings.{venue}")
    read: Callable[[Any], Reading] = module.read
    texts: dict[bytes, Reading] = getattr(module, "TEXTS", {})

    def read_frame(frame: bytes) -> Reading:
        if (fixed := texts.get(frame)) is not None:
            return fixed
        try:
            return read(json.loads(frame))
        except (ValueError, RecursionError):
            return UNREADABLE
        except (KeyError, IndexError, TypeError, AttributeError):
            # JSON, but not in a shape this venue sends.
            return UNKNOWN

    return read_frame


def run_of(ids: list[int]) -> Sequence | None:
    """The sequence of a message whose events are numbered one by one."""
    return Sequence(min(ids), max(ids)) if ids else None
