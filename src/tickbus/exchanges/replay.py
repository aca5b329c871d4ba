"""
Recorded frames into a bus, as if they came now: `Replay(captures, bus).run()`.

Frames of all files go in order of receive time, each through the decoder of its connection, and events carry
the time they were received at then. Our own recordings say when each connection stood and ended, so several
connections become one stream exactly as they did live; other recordings are told as they are, unless *merge*
asks for what is identified twice to be told once.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tickbus._native import Dedup
from tickbus.exchanges.capture import Capture, Change, Frame, merge
from tickbus.exchanges.connect.merge import Merger
from tickbus.exchanges.decoders import VenueDecoder, decoder_for
from tickbus.exchanges.readings import VENUES_READ, reader

if TYPE_CHECKING:
    from tickbus import Bus

__all__ = ["Replay"]

_SHORTEST_SLEEP_S = 0.000_5
_FRAMES_PER_LOOK = 2_000


class Replay:
    """
    See the module.

    Args:
        captures: What is played, side by side.
        bus: Where events go.
        speed: Times the recorded pace; None for as fast as possible.
        merge: Tell once what several connections of any recording tell twice.
        progress: Called now and then with the receive time reached, in nanoseconds.
        sleep: For tests.
    Attributes:
        frames, events: How many were played.
        first_ns, last_ns: Receive times of the first and the last frame.
    Raises:
        CaptureError: There is no decoder for the venue of a capture.
    """

    def __init__(
        self,
        captures: Iterable[Capture],
        bus: Bus,
        *,
        speed: float | None = None,
        merge: bool = False,
        progress: Callable[[int], object] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.captures = list(captures)
        self.frames = self.events = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self._bus, self._speed, self._sleep = bus, speed, sleep
        self._progress = progress or (lambda now_ns: None)
        self._mergers: dict[tuple[str, str], Merger] = {}
        self._players = {id(capture): self._player(capture, merge) for capture in self.captures}

    def _player(self, capture: Capture, merge: bool) -> _Plain | _Merged:
        if capture.venue not in VENUES_READ or not (merge or _is_ours(capture)):
            return _Plain(capture, self._bus)
        market = (capture.venue, capture.market)
        if market not in self._mergers:
            self._mergers[market] = _merger_of(capture, self._bus, Dedup())
        return _Merged(capture, self._mergers[market])

    def run(self) -> None:
        """
        Play everything.

        Raises:
            CaptureError: A file is damaged; frames before it were played.
            TickbusError: The bus refused an event.
        """
        begin_s = time.monotonic()
        for capture, frame in merge(self.captures):
            if self.first_ns is None:
                self.first_ns = frame.receive_ns
            if self._speed is not None:
                due_s = begin_s + (frame.receive_ns - self.first_ns) / 1e9 / self._speed
                if (ahead_s := due_s - time.monotonic()) > _SHORTEST_SLEEP_S:
                    self._sleep(ahead_s)
            self.last_ns = frame.receive_ns
            self.events += self._players[id(capture)].play(frame)
            self.frames += 1
            if self.frames % _FRAMES_PER_LOOK == 0:
                self._progress(frame.receive_ns)

    def summary(self) -> dict[str, Any]:
        """What was played, in plain values."""
        cut = {capture.path: capture.cut_off for capture in self.captures if capture.cut_off}
        span_s = ((self.last_ns or 0) - (self.first_ns or 0)) / 1e9
        figures = {"frames": self.frames, "events": self.events, "recorded_s": round(span_s, 6)}
        times = {"first_ns": self.first_ns, "last_ns": self.last_ns}
        return figures | times | {"cut_off": cut}


class _Plain:
    """A recording told as it is."""

    def __init__(self, capture: Capture, bus: Bus) -> None:
        self._bus = bus
        self._decoders = capture.decoders()

    def play(self, frame: Frame) -> int:
        return self._decoders[frame.connection].publish(self._bus, frame.data, frame.receive_ns)


class _Merged:
    """Connections of a recording, or of several, as one stream."""

    def __init__(self, capture: Capture, merger: Merger) -> None:
        self._merger = merger
        self._path = capture.path
        self._read = reader(capture.venue)
        changes = list(capture.changes())
        self._has_changes = bool(changes)
        self._changes = iter(changes)
        self._next = next(self._changes, None)

    def play(self, frame: Frame) -> int:
        while self._next is not None and self._next.time_ns <= frame.receive_ns:
            self._change(self._next)
            self._next = next(self._changes, None)
        connection = f"{self._path}/{frame.connection}"
        group = _group_of(frame.connection) if self._has_changes else "all"
        if not self._has_changes and self._merger.leader(group) is None:
            self._merger.opened(group, connection, is_live=True)
        reading = self._read(frame.data)
        return self._merger.take(group, connection, reading, frame.data, frame.receive_ns)

    def _change(self, change: Change) -> None:
        group, connection = _group_of(change.connection), f"{self._path}/{change.connection}"
        if change.kind == "close":
            self._merger.lost(group, connection)
        else:
            self._merger.opened(group, connection, is_live=change.kind == "live")


def _merger_of(capture: Capture, bus: Bus, dedup: Dedup) -> Merger:
    market = capture.market or "spot"
    make: Callable[[], VenueDecoder] = lambda: decoder_for(capture.venue, market)  # noqa: E731
    return Merger(make, bus, dedup)


def _group_of(connection: str) -> str:
    """The connections that carry the same: ours are called GROUP.LINE.LIFE."""
    return ".".join(connection.split(".")[:-2])


def _is_ours(capture: Capture) -> bool:
    """Whether the recording says what became of its connections."""
    kinds = {change.kind for change in itertools.islice(capture.changes(), 8)}
    return "live" in kinds
