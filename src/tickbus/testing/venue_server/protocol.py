"""
The venue's side of a connection, without the socket: messages of a client in, frames out.

A file per venue beside this one implements it. Streams are kept in the venue's own words, a channel
and a symbol, as `tickbus.exchanges.readings` reads them back.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tickbus.testing.venue_server.depth import Change, Depth, DepthMarket, Level, Trade

__all__ = ["Closing", "Limits", "Protocol", "dumps", "iso_time", "top_changes"]


class Limits(NamedTuple):
    """
    What the venue allows, each as (count, seconds) or a count.

    Attributes:
        attempts: Connection attempts; more are refused with 429.
        messages: Messages of one client; more close its connection.
        streams: Subscriptions of one connection.
        args: Streams in one message.
        subscribe_within_s: A client that has subscribed to nothing by then is sent away; 0 for never.
        client_silent_s: So is one that sends nothing, on venues that want to be pinged; 0 for never.
        heartbeat_s: Time between heartbeats, where the venue sends any.
    """

    attempts: tuple[int, float] = (1_000, 1.0)
    messages: tuple[int, float] = (1_000, 1.0)
    streams: int = 1_000
    args: int = 1_000
    subscribe_within_s: float = 0.0
    client_silent_s: float = 0.0
    heartbeat_s: float = 1.0


class Closing(Exception):
    """The venue ends the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


Stream = tuple[str, str]


class Protocol:
    """
    One connection, as the venue sees it.

    Attributes:
        streams: What the client is subscribed to, as (channel, symbol).
    """

    LIMITS = Limits()

    def __init__(self, market: DepthMarket, path: str, limits: Limits, *, any_symbol: bool) -> None:
        self.market = market
        self.path = path
        self.limits = limits
        self.streams: dict[Stream, Any] = {}
        self._any_symbol = any_symbol

    def opened(self) -> Iterable[str]:
        """What the venue says first."""
        return ()

    def received(self, text: str) -> Iterable[str]:
        """Answers to a client's message: acknowledgements, then snapshots."""
        raise NotImplementedError

    def told(self, event: Trade | Change) -> Iterable[str]:
        """Frames of this connection about *event*."""
        raise NotImplementedError

    def heartbeats(self) -> Iterable[str]:
        """What the venue says now and then by itself."""
        return ()

    def closing_notice(self) -> str | None:
        """How the venue announces that it will close, where it does."""
        return None

    def wants(self, stream: Stream) -> bool:
        """Whether recorded frames of *stream* are for this client."""
        return stream in self.streams

    def http(self, path: str, query: dict[str, str]) -> tuple[int, str] | None:
        """Answer of the REST side: status and body; None where the venue has no such page."""
        return None

    def book_of(self, name: str, native: Callable[[str], str]) -> Depth | None:
        """The book of the symbol that the venue calls *name*."""
        return next((book for symbol, book in self.market.books.items() if native(symbol) == name), None)

    def lists(self, name: str, native: Callable[[str], str]) -> bool:
        """Whether the venue has the symbol *name*; one that replays a recording has any."""
        return self._any_symbol or self.book_of(name, native) is not None


def dumps(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))


def iso_time(time_ns: int) -> str:
    """RFC 3339 with microseconds."""
    second, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def top_changes(
    before: dict[int, int], after: list[Level], whole: dict[int, int], *, says_out_of_range: bool
) -> list[Level]:
    """
    What takes a client from the top *before* to the top *after*.

    Levels that only fell out of the subscribed depth are told as gone where *says_out_of_range*;
    elsewhere the client has to cut its book itself.
    """
    now = dict(after)
    changed = [level for level in after if before.get(level.ticks) != level.size]
    gone = [ticks for ticks in before if ticks not in now and (says_out_of_range or ticks not in whole)]
    return changed + [Level(ticks, 0) for ticks in gone]


def crc32(text: str) -> int:
    return zlib.crc32(text.encode())
