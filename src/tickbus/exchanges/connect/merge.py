"""
Frames of several connections to one market become one stream of events on the bus: first arrival wins.

What has an identity of the venue's is published the first time it comes, from whichever connection. What has
none is published from one connection, the leader, and from the next when that is lost. A frame of which
only some events are new is told event by event. Content is never compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tickbus._native import Dedup
from tickbus.exchanges.readings import Kind, Part, Reading
from tickbus.exchanges.sequences import Chains

if TYPE_CHECKING:
    from tickbus import Bus
    from tickbus.exchanges.decoders import Row, VenueDecoder

__all__ = ["Merger"]

#: Each event of a frame: its part of the reading, and what identifies it.
Identities = list[tuple[Part, int | str | None]]


class Merger:
    """
    See the module.

    Args:
        make_decoder: Makes one of the market, for each connection, since some venues' messages build on
            earlier ones; None where there is none, and frames are only counted.
        bus: Where events go; None for nowhere.
        dedup: What has been seen; anything with the method `first` of `Dedup`.
    Attributes:
        published: Events that went to the bus.
        counts: Events told before, frames with nothing new, frames without identities from those that do
            not lead, frames of which it could not be said which events are new.
        first: By line of connections, how many events with an identity came there first.
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
        # Also what is told already: the decoder's account is of every frame, and later ones may build on it.
        rows = decoder.decode(frame) if decoder is not None else []
        ids = [(part, id) for part in reading.parts for id in part.ids] if reading.kind == Kind.DATA else []
        if decoder is not None and not rows:
            # Nothing to tell. If it is malformed, a good copy on another connection is still to come.
            return 0
        fresh = self._judged(ids, connection == self.leader(group), receive_ns)
        if decoder is not None and len(rows) != len(fresh):
            # It cannot be said which are new. Twice is bad, never is worse.
            self.counts["unaligned"] += 1
            fresh = [True] * len(rows)
        if any(fresh):
            self._note(connection, reading, ids, fresh)
        elif ids:
            has_identity = any(id is not None for _, id in ids)
            self.counts["duplicate_frames" if has_identity else "follower_frames"] += 1
        return self._publish(decoder, rows, fresh, receive_ns) if decoder is not None else 0

    def _decoder(self, connection: str) -> VenueDecoder | None:
        decoder = self._decoders.get(connection)
        if decoder is None and self._make_decoder is not None:
            decoder = self._decoders[connection] = self._make_decoder()
        return decoder

    def _judged(self, ids: Identities, is_leader: bool, receive_ns: int) -> list[bool]:
        """Whether each event is to be published."""
        fresh = []
        for part, id in ids:
            if id is None:
                fresh.append(is_leader)
                continue
            is_first = self.dedup.first(f"{part.channel} {part.symbol}", id, receive_ns)
            self.counts["duplicates"] += not is_first
            fresh.append(is_first)
        return fresh

    def _publish(self, decoder: VenueDecoder, rows: list[Row], fresh: list[bool], receive_ns: int) -> int:
        new = [row for row, is_new in zip(rows, fresh, strict=True) if is_new]
        self.published += len(new)
        if (bus := self._bus) is not None:
            source = decoder.source
            for event_type, symbol, value, metadata, *_ in new:
                bus.publish(event_type, symbol, value, metadata=metadata, source=source, timestamp=receive_ns)
        return len(new)

    def _note(self, connection: str, reading: Reading, ids: Identities, fresh: list[bool]) -> None:
        new = zip(ids, fresh, strict=False)
        # By line, not by life: a count for every reconnect would grow for ever.
        line = connection.rpartition(".")[0] or connection
        self.first[line] += sum(1 for (_, id), is_new in new if is_new and id is not None)
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
