"""
Frames of several connections to one market become one stream of events on the bus: first arrival wins.

What has an identity of the venue's is published the first time it comes, from whichever connection. What has
none is published from one connection, the leader, and from the next when that is lost. A frame of which
only some events are new is told event by event. Content is never compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

from tickbus.exchanges.connect.dedup import Dedup
from tickbus.exchanges.readings import Kind, Reading
from tickbus.exchanges.sequences import Chains

if TYPE_CHECKING:
    from tickbus import Bus
    from tickbus.exchanges.decoders import VenueDecoder

__all__ = ["Merger"]


class Merger:
    """
    See the module.

    Args:
        make_decoder: Makes one of the market, for each connection, since some venues' messages build on
            earlier ones; None where there is none, and frames are only counted.
        bus: Where events go; None for nowhere.
        dedup: What has been seen.
    Attributes:
        published: Events that went to the bus.
        counts: Frames with nothing new, frames without identities from those that do not lead, frames of
            which it could not be said which events are new.
        first: By connection, how many events with an identity came there first.
        chains: Of what was published, the sequences of numbered trades: what both connections missed.
    """

    def __init__(
        self,
        make_decoder: Callable[[], VenueDecoder] | None,
        bus: Bus | None,
        dedup: Dedup | None = None,
    ) -> None:
        self.dedup = dedup or Dedup()
        self.published = 0
        self.counts: Counter[str] = Counter()
        self.first: Counter[str] = Counter()
        self.chains = Chains()
        self._make_decoder = make_decoder
        self._decoders: dict[str, VenueDecoder] = {}
        self._past: dict[str, Any] = {}
        self._bus = bus
        self._live: dict[str, dict[str, bool]] = {}

    # Who leads.

    def opened(self, group: str, connection: str, *, is_live: bool) -> None:
        """*connection* can tell what *group* is subscribed to; live when all of it is."""
        self._live.setdefault(group, {})[connection] = is_live

    def lost(self, group: str, connection: str) -> None:
        self._live.get(group, {}).pop(connection, None)
        if (decoder := self._decoders.pop(connection, None)) is not None:
            self._past = _sum(self._past, decoder.counters())

    def counters(self) -> dict[str, Any]:
        """What the decoders of all connections counted, those that are no more included."""
        total = self._past
        for decoder in self._decoders.values():
            total = _sum(total, decoder.counters())
        return total

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
        decoder = self._decoder(connection)
        if reading.kind != Kind.DATA:
            if decoder is not None:
                # For its own account of what it was given.
                decoder.decode(frame)
            return 0
        keys, fresh = self._judged(reading, connection == self.leader(group), receive_ns)
        if keys and not any(fresh):
            self.counts["duplicate_frames" if any(keys) else "follower_frames"] += 1
            if decoder is not None and not all(keys):
                # What has no identity may be needed to understand what follows.
                decoder.decode(frame)
            return 0
        if decoder is None:
            self._note(connection, reading, keys, fresh)
            return 0
        count = self._publish(decoder, fresh, frame, receive_ns)
        self.published += count
        if count:
            self._note(connection, reading, keys, fresh)
        else:
            # Malformed to the decoder: a good copy on another connection is still to come.
            for key, is_new in zip(keys, fresh, strict=True):
                if key is not None and is_new:
                    self.dedup.forget(key)
        return count

    def _decoder(self, connection: str) -> VenueDecoder | None:
        decoder = self._decoders.get(connection)
        if decoder is None and self._make_decoder is not None:
            decoder = self._decoders[connection] = self._make_decoder()
        return decoder

    def _judged(
        self, reading: Reading, is_leader: bool, receive_ns: int
    ) -> tuple[list[Hashable | None], list[bool]]:
        """The key of each event, None where it has no identity, and whether it is to be published."""
        keys: list[Hashable | None] = []
        fresh: list[bool] = []
        for part in reading.parts:
            for id in part.ids:
                key = None if id is None else (part.channel, part.symbol, id)
                keys.append(key)
                fresh.append(is_leader if key is None else self.dedup.is_first(key, receive_ns))
        return keys, fresh

    def _publish(self, decoder: VenueDecoder, fresh: list[bool], frame: bytes, receive_ns: int) -> int:
        bus = self._bus
        if all(fresh) and bus is not None:
            return decoder.publish(bus, frame, receive_ns)
        rows = decoder.decode(frame)
        if fresh and len(rows) != len(fresh):
            # It cannot be said which are new. Twice is bad, never is worse.
            self.counts["unaligned"] += 1
            fresh = [True] * len(rows)
        new = [row for row, is_new in zip(rows, fresh or [True] * len(rows), strict=True) if is_new]
        for event_type, symbol, value, metadata, *_ in new:
            if bus is None:
                break
            bus.publish(
                event_type,
                symbol,
                value,
                metadata=metadata,
                source=decoder.source,
                timestamp=receive_ns,
            )
        return len(new)

    def _note(self, connection: str, reading: Reading, keys: list[Any], fresh: list[bool]) -> None:
        self.first[connection] += sum(1 for key, new in zip(keys, fresh, strict=False) if new and key)
        for part in reading.parts:
            if part.ids and part.sequence is not None and part.sequence.previous is None:
                self.chains.check((part.channel, part.symbol), part.sequence)


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Counters of both, nested ones too."""
    total = dict(one)
    for name, value in other.items():
        total[name] = (
            _sum(total.get(name, {}), value) if isinstance(value, dict) else total.get(name, 0) + value
        )
    return total
