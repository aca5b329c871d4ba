"""
Frames of several connections to one market become one stream of events on the bus: first arrival wins.

What has an identity of the venue's is published the first time it comes, from whichever connection. What has
none is published from one connection, the leader, and from the next when that is lost. A frame of which
only some events are new is told event by event. Content is never compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from tickbus.exchanges.connect.dedup import Dedup
from tickbus.exchanges.readings import Kind, Reading
from tickbus.exchanges.sequences import Chains

if TYPE_CHECKING:
    from tickbus import Bus
    from tickbus._native import Decoder

__all__ = ["Merger"]


class Merger:
    """
    See the module.

    Args:
        decoder: Of the market; None where there is none, and frames are only counted.
        bus: Where events go; None for nowhere.
        dedup: What has been seen.
    Attributes:
        published: Events that went to the bus.
        counts: Frames with nothing new, frames without identities from those that do not lead, frames of
            which it could not be said which events are new.
        first: By connection, how many events with an identity came there first.
        chains: Of what was published, the sequences of numbered trades: what both connections missed.
    """

    def __init__(self, decoder: Decoder | None, bus: Bus | None, dedup: Dedup | None = None) -> None:
        self.dedup = dedup or Dedup()
        self.published = 0
        self.counts: Counter[str] = Counter()
        self.first: Counter[str] = Counter()
        self.chains = Chains()
        self._decoder = decoder
        self._bus = bus
        self._live: dict[str, dict[str, bool]] = {}

    # Who leads.

    def opened(self, group: str, connection: str, *, is_live: bool) -> None:
        """*connection* can tell what *group* is subscribed to; live when all of it is."""
        self._live.setdefault(group, {})[connection] = is_live

    def lost(self, group: str, connection: str) -> None:
        self._live.get(group, {}).pop(connection, None)

    def leader(self, group: str) -> str | None:
        """The connection that tells what has no identity: the longest live one."""
        members = self._live.get(group, {})
        return next((name for name, is_live in members.items() if is_live), next(iter(members), None))

    # Frames.

    def take(self, group: str, connection: str, reading: Reading, frame: bytes, receive_ns: int) -> int:
        """
        Publish what is new in *frame*; how many events that were.

        Raises:
            TickbusError: The bus is closed, or did not take an event.
        """
        if reading.kind != Kind.DATA:
            # For the decoder's own count of what it was given.
            self._publish_frame(frame, receive_ns)
            return 0
        keys: list[Hashable | None] = []
        fresh: list[bool] = []
        is_leader = connection == self.leader(group)
        for part in reading.parts:
            for id in part.ids:
                key = None if id is None else (part.channel, part.symbol, id)
                keys.append(key)
                fresh.append(is_leader if key is None else self.dedup.is_first(key, receive_ns))
        if not keys:
            self._publish_frame(frame, receive_ns)
            return 0
        if not any(fresh):
            self.counts["duplicate_frames" if any(keys) else "follower_frames"] += 1
            return 0
        count = self._publish_new(keys, fresh, frame, receive_ns)
        if count or self._decoder is None:
            self._note(connection, reading, keys, fresh)
        return count

    def _publish_new(self, keys: list[Any], fresh: list[bool], frame: bytes, receive_ns: int) -> int:
        if self._decoder is None:
            return 0
        if all(fresh):
            count = self._publish_frame(frame, receive_ns)
        else:
            rows = self._decoder.decode(frame)
            if len(rows) != len(fresh):
                # It cannot be said which are new. Twice is bad, never is worse.
                self.counts["unaligned"] += 1
                fresh = [True] * len(rows)
            count = self._publish_rows(rows, fresh, receive_ns)
        if not count:
            # Malformed to the decoder: a good copy on another connection is still to come.
            for key, is_new in zip(keys, fresh, strict=False):
                if key is not None and is_new:
                    self.dedup.forget(key)
        return count

    def _publish_frame(self, frame: bytes, receive_ns: int) -> int:
        if self._decoder is None:
            return 0
        if self._bus is None:
            count = len(self._decoder.decode(frame))
        else:
            count = self._decoder.publish(self._bus, frame, receive_ns)
        self.published += count
        return count

    def _publish_rows(self, rows: list[Any], fresh: list[bool], receive_ns: int) -> int:
        count = 0
        assert self._decoder is not None
        for (event_type, symbol, value, metadata, *_), is_new in zip(rows, fresh, strict=True):
            if not is_new:
                continue
            count += 1
            if self._bus is not None:
                self._bus.publish(
                    event_type,
                    symbol,
                    value,
                    metadata=metadata,
                    source=self._decoder.source,
                    timestamp=receive_ns,
                )
        self.published += count
        return count

    def _note(self, connection: str, reading: Reading, keys: list[Any], fresh: list[bool]) -> None:
        self.first[connection] += sum(1 for key, new in zip(keys, fresh, strict=False) if new and key)
        for part in reading.parts:
            if part.ids and part.sequence is not None and part.sequence.previous is None:
                self.chains.check((part.channel, part.symbol), part.sequence)
