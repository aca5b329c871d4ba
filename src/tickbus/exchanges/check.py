"""
Recordings explained: `check(capture)` says per channel and instrument what came and what is wrong with it.

Every frame is counted in one of a recording's sums: data, answers and heartbeats (`other`), unknown,
unreadable. What a stream numbers is tested on each connection apart; what its messages are identified by
is looked for twice. What cannot be explained (frames nobody understands, frames the decoder calls
malformed, gaps, a file that is cut off, a venue nobody reads) is in `unexplained`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tickbus._native import Dedup
from tickbus.exchanges.capture import Capture, Frame
from tickbus.exchanges.decoders import VenueDecoder, venues
from tickbus.exchanges.readings import VENUES_READ, Kind, Reader, Reading, reader
from tickbus.exchanges.sequences import GAP, LATE, REPEATED, Chain

__all__ = ["Report", "Row", "check"]

#: Frames between two calls of *progress*.
_FRAMES_PER_LOOK = 2_000
#: Of what the decoder ignores, what it does not know.
_UNKNOWN = ("unknown", "unknown_event", "unknown_channel")


@dataclass(slots=True)
class Row:
    """
    One channel of one instrument of a recording, over all its connections.

    Attributes:
        frames: Frames that tell about it; one that tells about several counts in each.
        events: Trades and quotes in them.
        malformed: Frames the decoder refused.
        duplicates: Events and messages that a connection had told before.
        gaps: Times something was missing; `missing` how much of it never came, `late` what came after all.
        first_ns, last_ns: Receive times.
    """

    frames: int = 0
    events: int = 0
    malformed: int = 0
    duplicates: int = 0
    gaps: int = 0
    missing: int = 0
    late: int = 0
    first_ns: int | None = None
    last_ns: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass
class Report:
    """
    What a recording holds.

    Attributes:
        path, venue, market: Of the recording; see `Capture`.
        frames: How many there are, in all and by kind.
        rows: By market, channel and instrument, the last two in the venue's words.
        malformed, ignored: By the decoder's reason.
        cut_off: Where the file ends too early; empty where it is whole.
        connection_gaps: Gaps in what numbers all messages of a connection.
        unexplained: What to look at, a line each; empty where all is well.
    """

    path: str
    venue: str
    market: str
    frames: Counter[str] = field(default_factory=Counter)
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    malformed: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    cut_off: str = ""
    connection_gaps: int = 0
    connections: int = 0
    first_ns: int | None = None
    last_ns: int | None = None

    @property
    def unexplained(self) -> list[str]:
        said = []
        if self.venue not in VENUES_READ:
            said.append(
                f"no readings for {self.venue or 'this venue'}: {self.frames['frames']} frames unread"
            )
        for kind in (Kind.UNKNOWN, Kind.UNREADABLE):
            if self.frames[kind]:
                said.append(f"{self.frames[kind]} frames {kind}")
        said += [f"{count} frames malformed: {reason}" for reason, count in self.malformed.items()]
        if self.connection_gaps:
            said.append(f"{self.connection_gaps} gaps in the numbers of a connection")
        for (_, channel, symbol), row in self.rows.items():
            if row.missing:
                said.append(f"{channel} {symbol}: {row.gaps} gaps, {row.missing} messages missing")
        if self.cut_off:
            said.append(f"cut off: {self.cut_off}")
        return said

    def as_dict(self) -> dict[str, Any]:
        """In plain values."""
        streams = [
            {"market": market, "channel": channel, "instrument": symbol} | row.as_dict()
            for (market, channel, symbol), row in sorted(self.rows.items())
        ]
        plain = {name: getattr(self, name) for name in ("path", "venue", "market", "connections")}
        counts = {name: dict(getattr(self, name)) for name in ("frames", "malformed", "ignored")}
        more = {"connection_gaps": self.connection_gaps, "cut_off": self.cut_off}
        times = {"first_ns": self.first_ns, "last_ns": self.last_ns}
        return plain | counts | more | times | {"streams": streams, "unexplained": self.unexplained}


def check(capture: Capture, progress: Callable[[int, int], object] | None = None) -> Report:
    """
    Read a recording to its end, and explain it.

    Args:
        capture: From `open_capture(path, accept_cut=True)`; without that a file cut off raises.
        progress: Called now and then with the bytes read and those there are.
    Raises:
        CaptureError: The file is damaged.
    """
    return _Check(capture).run(progress)


class _Check:
    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._report = Report(capture.path, capture.venue, capture.market)
        self._read: Reader | None = reader(capture.venue) if capture.venue in VENUES_READ else None
        self._decoders = capture.decoders() if capture.venue in venues() else None
        self._chains: dict[tuple[str, str, str], Chain] = {}
        self._seen = Dedup(ttl_s=3600.0)
        self._connections: set[str] = set()

    def run(self, progress: Callable[[int, int], object] | None) -> Report:
        report, capture = self._report, self._capture
        for number, frame in enumerate(capture):
            report.frames["frames"] += 1
            report.first_ns = frame.receive_ns if report.first_ns is None else report.first_ns
            report.last_ns = frame.receive_ns
            self._connections.add(frame.connection)
            self._take(frame)
            if progress is not None and number % _FRAMES_PER_LOOK == 0:
                progress(capture.position_bytes, capture.size_bytes)
        report.cut_off = capture.cut_off
        report.connections = len(self._connections)
        for (connection, channel, symbol), chain in self._chains.items():
            if channel:
                row = self._row(connection, channel, symbol)
                row.gaps, row.missing = row.gaps + chain.gaps, row.missing + chain.missing
                row.late += chain.late
            else:
                report.connection_gaps += chain.gaps
        return report

    def _take(self, frame: Frame) -> None:
        if self._read is None:
            self._decoded(frame)
            return
        reading = self._read(frame.data)
        self._report.frames[_sum_of(reading)] += 1
        if reading.sequence is not None:
            self._chain(frame.connection, "", "").check(reading.sequence)
        events, is_malformed = self._decoded(frame)
        is_data = reading.kind == Kind.DATA
        for part, told in zip(reading.parts, _shared(events, reading), strict=True) if is_data else ():
            row = self._row(frame.connection, part.channel, part.symbol)
            row.frames += 1
            row.events += told
            row.malformed += is_malformed
            row.first_ns = frame.receive_ns if row.first_ns is None else row.first_ns
            row.last_ns = frame.receive_ns
            verdict = ""
            if part.sequence is not None:
                verdict = self._chain(frame.connection, part.channel, part.symbol).check(part.sequence)
            stream = f"{frame.connection} {part.channel} {part.symbol}"
            repeated = [
                not self._seen.first(stream, id, frame.receive_ns) for id in part.ids if id is not None
            ]
            row.duplicates += sum(repeated) if part.ids else verdict == REPEATED
            assert verdict in ("", "ok", GAP, LATE, REPEATED)

    def _decoded(self, frame: Frame) -> tuple[int, bool]:
        """How many events the frame tells, and whether it is malformed."""
        if self._decoders is None:
            return 0, False
        decoder: VenueDecoder = self._decoders[frame.connection]
        events = len(decoder.decode(frame.data))
        # Where books are checked by sequence and checksum, `decoder.depths()` goes to them from here.
        kind, what = decoder.outcome
        if kind == "ignored":
            self._report.ignored[str(what)] += 1
        elif kind == "malformed":
            self._report.malformed[str(what)] += 1
        return events, kind == "malformed"

    def _row(self, connection: str, channel: str, symbol: str) -> Row:
        market = self._capture.markets.get(connection, self._capture.market)
        return self._report.rows.setdefault((market, channel, symbol), Row())

    def _chain(self, connection: str, channel: str, symbol: str) -> Chain:
        return self._chains.setdefault((connection, channel, symbol), Chain())


def _sum_of(reading: Reading) -> str:
    return reading.kind if reading.kind in (Kind.DATA, Kind.UNKNOWN, Kind.UNREADABLE) else "other"


def _shared(events: int, reading: Reading) -> Iterator[int]:
    """The events of a frame, by its parts: as many as each has ids, as far as they go."""
    left = events
    for part in reading.parts:
        told = min(left, len(part.ids))
        left -= told
        yield told
