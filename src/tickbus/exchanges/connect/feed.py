"""
A venue's market on the bus: as many connections as asked for, kept up, recorded, merged.

One asyncio task per connection, all on one loop; nothing here is thread-safe. What a callback raises is
logged and counted, and ends nothing. What the bus refuses ends the feed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tickbus._native import Dedup
from tickbus.exchanges.capture import Frame
from tickbus.exchanges.connect.clock import Clock, MachineClock
from tickbus.exchanges.connect.line import Line
from tickbus.exchanges.connect.link import Change, Link, State
from tickbus.exchanges.connect.merge import Merger
from tickbus.exchanges.connect.pacing import Backoff, Pacing, shared_pacing
from tickbus.exchanges.connect.recovery import Recovery
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.snapshots import Snapshots
from tickbus.exchanges.connect.venues import Stream, adapter
from tickbus.exchanges.decoders import VenueDecoder, decoder_for, venues
from tickbus.exchanges.readings import Kind, Part, Reading, Sequence
from tickbus.exchanges.recorder import Recorder
from tickbus.exchanges.sequences import GAP, OK, Chains

if TYPE_CHECKING:
    from tickbus import Bus

__all__ = ["Feed"]

_log = logging.getLogger("tickbus.exchanges")

#: How often a recording is looked after while no frame comes.
_FLUSH_EVERY_S = 0.25


class Feed:
    """
    What a venue sends about some instruments, as events.

    Args:
        venue, market: As `tickbus.exchanges.connect.adapter` takes them.
        symbols: Our names ("BTC-USDT", "BTC-USDT-PERP"), or the venue's own.
        channels: Of "trades", "quotes", "books", or the venue's own names.
        bus: Where events go; None only counts and records.
        connections: How many carry the same at once; first arrival wins.
        recorder: Gets every frame before it is read; closed by whoever made it.
        on_frame: Called with each `Frame` and its `Reading`, of every connection, duplicates included.
        on_change: Called with each `Change` of a connection.
        on_snapshot: Called with (stream, body) for books that start with a REST request.
        url, rest_url: Other addresses than the venue's, as a local venue's.
        rules: Other rules than the venue's, as a share of its budgets.
        pacing: Budgets to share; those of this process for the address when left out.
        dedup: What has been seen; shared by feeds whose identities may meet.
        clock, seed: For tests.
    Raises:
        ValueError: There is no such venue or market.
        InvalidNameError: A symbol cannot be one of this market.
    """

    def __init__(
        self,
        venue: str,
        symbols: Iterable[str],
        *,
        channels: Iterable[str] = ("trades", "quotes"),
        market: str = "spot",
        bus: Bus | None = None,
        connections: int = 1,
        recorder: Recorder | None = None,
        on_frame: Callable[[Frame, Reading], object] | None = None,
        on_change: Callable[[Change], object] | None = None,
        on_snapshot: Callable[[Stream, bytes], object] | None = None,
        url: str | None = None,
        rest_url: str | None = None,
        rules: Rules | None = None,
        pacing: Pacing | None = None,
        dedup: Dedup | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        if connections < 1:
            raise ValueError(f"connections={connections} is below 1")
        self.adapter = adapter(venue, market)
        # The adapter cuts messages by them.
        self.adapter.rules = self.rules = rules or self.adapter.rules
        self.streams = self.adapter.streams(symbols, channels)
        if not self.streams:
            raise ValueError("no symbols, or no channels")
        self.url = (url or self.adapter.url) + self.adapter.path
        self.changes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.states: dict[str, str] = {}
        self._merger = Merger(self._make_decoder(), bus, dedup)
        #: By connection, and gone with it: their number grows with every reconnect.
        self._chains: dict[str, Chains] = {}
        self._suspect: set[tuple[str, Stream]] = set()
        self._recorder = recorder
        self._on_frame, self._on_change, self._on_snapshot = on_frame, on_change, on_snapshot
        self._clock = clock or MachineClock()
        self._random = random.Random(seed)
        self._pacing = pacing or shared_pacing(
            url or self.adapter.url, self.rules.attempts, self.rules.requests, self.rules.rest
        )
        self._rest_url = rest_url or (url or "").replace("ws", "http", 1) or self.adapter.rest_url
        self._snapshots = Snapshots(
            self._snapshot_url, self._pacing, self._clock, self._backoff, self._fetched, self.rules.ban_s
        )
        self._recovery = Recovery(self._ask_anew, self._clock, self._backoff, self.rules.steady_s)
        self._lines = [
            self._line(group, number)
            for group in range(-(-len(self.streams) // self._group_size))
            for number in range(connections)
        ]
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """
        Feed until cancelled or stopped.

        Raises:
            TickbusError: The bus is closed or refused an event.
            MissingExtraError: The extra `exchanges` is not installed.
        """
        stopping = asyncio.create_task(self._stopping.wait())
        tasks = [asyncio.create_task(line.run()) for line in self._lines]
        if self._recorder is not None:
            tasks.append(asyncio.create_task(self._flushing(self._recorder)))
        try:
            done, _ = await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)
            await self._snapshots.close()
            await self._recovery.close()

    async def live(self) -> None:
        """Return when all of it is subscribed, on as many connections as were asked for."""
        while not all(any(link.live.is_set() for link in line.links) for line in self._lines):
            self._changed.clear()
            await self._changed.wait()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopping.set()

    def renew(self, channel: str, symbol: str) -> int:
        """
        Have a book from its start, as after a checksum that does not hold; on how many connections.

        Where it is under way already nothing is asked for.
        """
        stream = Stream(self.adapter.channels.get(channel, channel), self.adapter.native(symbol))
        links = [link for line in self._lines for link in line.links]
        return sum(self._ask_anew(link, stream) for link in links if stream in link.streams)

    def quiet(self, for_s: float = 60.0) -> list[tuple[str, Stream]]:
        """(connection, stream) of what was accepted and has said nothing for so long."""
        now_s = self._clock.monotonic()
        sessions = [(link.name, link.session) for line in self._lines for link in line.links]
        return [
            (name, stream)
            for name, session in sessions
            if session is not None
            for stream in session.quiet(now_s, for_s)
        ]

    def stats(self) -> dict[str, Any]:
        """What has happened so far, in plain values."""
        merger, links = self._merger, [link for line in self._lines for link in line.links]
        refused = {
            f"{c} {s}": text
            for link in links
            if link.session
            for (c, s), text in link.session.refused.items()
        }
        return {
            "venue": self.adapter.venue,
            "market": self.adapter.market,
            "connections": {link.name: self.states.get(link.name, "") for link in links},
            "changes": dict(self.changes),
            "lives": sum(line.lives for line in self._lines),
            "replaced": sum(line.replaced for line in self._lines),
            "endings": dict(sum((line.endings for line in self._lines), Counter())),
            "refused": refused,
            "counts": dict(self.counts),
            "events": merger.published,
            "duplicates": merger.counts["duplicates"],
            "merged": dict(merger.counts),
            "first": dict(merger.first),
            "missing": sum(chain.missing for _, chain in merger.chains.items()),
            "snapshots": dict(self._snapshots.counts),
            "decoder": merger.counters(),
        }

    # What links tell.

    def received(self, link: Link, reading: Reading, frame: bytes, receive_ns: int) -> None:
        """A frame has come and, if at all, been recorded."""
        self.counts["frames"] += 1
        self.counts[reading.kind] += 1
        if reading.sequence is not None and self._verdict(link, Stream("", ""), reading.sequence) == GAP:
            self._lost_something(link)
        for part in reading.parts if reading.kind == Kind.DATA else ():
            self._follow(link, part, receive_ns)
        self._merger.take(link.group, link.name, reading, frame, receive_ns)
        if self._on_frame is not None:
            self._call(self._on_frame, Frame(receive_ns, link.name, frame), reading)

    def changed(self, link: Link, change: Change) -> None:
        """A connection is in another state."""
        if change.state in (State.SUBSCRIBING, State.LIVE):
            self._merger.opened(link.group, link.name, is_live=change.state == State.LIVE)
        if change.state == State.ENDED:
            self._merger.lost(link.group, link.name)
            self._suspect = {pair for pair in self._suspect if pair[0] != link.name}
            self.states.pop(link.name, None)
            self._chains.pop(link.name, None)
            self._recovery.forget(link.name)
        elif change.state not in (State.REFUSED, State.GAP, State.RECOVERED):
            self.states[link.name] = change.state
        self._changed.set()
        self._change(change)

    def _follow(self, link: Link, part: Part, receive_ns: int) -> None:
        """Test the sequence of a stream; a book with a gap is asked for anew."""
        stream = self.adapter.stream_of(part)
        is_first = not self._chains_of(link).get(stream).is_begun
        verdict = self._verdict(link, stream, part.sequence)
        if not self.adapter.is_book(stream.channel):
            if verdict == GAP:
                self._tell_gap(link, stream, receive_ns)
            return
        if is_first and self.adapter.snapshot_path(stream):
            self._snapshots.want(stream)
        if verdict == GAP:
            self._tell_gap(link, stream, receive_ns)
            self._suspect.add((link.name, stream))
            self._recovery.want(link, stream)
        elif part.is_snapshot:
            self._recovered(link.name, stream)

    def _chains_of(self, link: Link) -> Chains:
        return self._chains.setdefault(link.name, Chains())

    def _verdict(self, link: Link, stream: Stream, sequence: Sequence | None) -> str:
        verdict = self._chains_of(link).check(stream, sequence)
        if verdict != OK:
            self.counts[verdict] += 1
        return verdict

    def _lost_something(self, link: Link) -> None:
        """A venue that counts all messages of a connection does not say which stream lost one."""
        for stream in link.streams:
            if self.adapter.is_book(stream.channel):
                self._suspect.add((link.name, stream))
                self._recovery.want(link, stream)
        self._tell_gap(link, Stream("", ""), self._clock.time_ns())

    def _ask_anew(self, link: Link, stream: Stream) -> bool:
        """Ask for a book anew, unless that is under way: by the socket, or by REST where it starts there."""
        if self.adapter.snapshot_path(stream) is not None:
            return self._snapshots.want(stream, newer=True)
        return link.renew(stream)

    def _recovered(self, connection: str, stream: Stream) -> None:
        if (connection, stream) in self._suspect:
            self._suspect.discard((connection, stream))
            text = f"{stream.channel} {stream.symbol}"
            self._change(Change(self._clock.time_ns(), connection, State.RECOVERED, text))

    def _tell_gap(self, link: Link, stream: Stream, time_ns: int) -> None:
        text = f"{stream.channel} {stream.symbol}".strip() or "connection"
        self._change(Change(time_ns, link.name, State.GAP, text))

    def _change(self, change: Change) -> None:
        self.changes[change.state] += 1
        if self._on_change is not None:
            self._call(self._on_change, change)

    def _fetched(self, stream: Stream, url: str, body: bytes) -> None:
        if self._recorder is not None:
            text = body.decode(errors="replace")
            self._recorder.http("rest", self._clock.time_ns(), url, text)
        for connection, suspect in list(self._suspect):
            if suspect == stream:
                self._recovered(connection, stream)
        if self._on_snapshot is not None:
            self._call(self._on_snapshot, stream, body)

    def _call(self, callback: Callable[..., object], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            self.counts["callback_errors"] += 1
            _log.exception("a callback of the feed of %s raised", self.adapter.venue)

    # How it is made.

    @property
    def _group_size(self) -> int:
        # Room for what comes with them, such as a heartbeat per instrument.
        extra = len(self.adapter.companions(self.streams))
        return max(1, self.rules.streams_max - extra)

    def _line(self, group: int, number: int) -> Line:
        size = self._group_size
        streams = self.streams[group * size : (group + 1) * size]
        # Lines of one group grow old at different times, so that not all are replaced at once.
        before_s = self.rules.replace_before_s * (1.0 + 0.5 * number)
        rules = dataclasses.replace(self.rules, replace_before_s=before_s)
        prefix = f"{self.adapter.venue}-{self.adapter.market}.{group}"
        lives = iter(range(1, 1 << 62))

        def open_link() -> Link:
            return Link(
                f"{prefix}.{number}.{next(lives)}",
                prefix,
                self.adapter,
                rules,
                streams,
                self.url,
                self._pacing,
                self._clock,
                self,
                self._recorder,
            )

        def waiting(seconds: float, reason: str) -> None:
            name = f"{prefix}.{number}"
            self._change(Change(self._clock.time_ns(), name, State.WAITING, reason, f"{seconds:.2f} s"))

        return Line(open_link, rules, self._clock, self._backoff(), waiting)

    def _make_decoder(self) -> Callable[[], VenueDecoder] | None:
        venue, market = self.adapter.venue, self.adapter.decoder_market
        if venue not in venues():
            return None
        return lambda: decoder_for(venue, market)

    def _backoff(self) -> Backoff:
        return Backoff(self.rules.backoff_first_s, self.rules.backoff_max_s, self._random)

    def _snapshot_url(self, stream: Stream) -> str | None:
        path = self.adapter.snapshot_path(stream)
        return None if path is None else self._rest_url + path

    async def _flushing(self, recorder: Recorder) -> None:
        while True:
            await self._clock.sleep(_FLUSH_EVERY_S)
            recorder.flush_if_due()
