"""
Recorded files for the demo: what is in them, and when each frame is due.

Files are played in order of their receive times, side by side where they overlap. Where nothing was
recorded for longer than `LONGEST_GAP_S`, as between two days, the rest of the gap is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tickbus import EventType
from tickbus.exchanges import Capture, Frame, merge

LONGEST_GAP_S = 1.0
_FRAMES_PER_LOOK = 2_000


@dataclass
class Survey:
    """What a complete pass over the files found."""

    frames: int = 0
    events: int = 0
    duration_s: float = 0.0
    trades: Counter[str] = field(default_factory=Counter)
    first_price: dict[str, float] = field(default_factory=dict)

    def holdings(self, worth: float = 100_000.0) -> dict[str, float]:
        """An account of the symbol that trades most, worth *worth* at its first price."""
        return {symbol: worth / self.first_price[symbol] for symbol, _ in self.trades.most_common(1)}


def in_time(captures: Sequence[Capture]) -> Iterator[tuple[int, Frame, float]]:
    """(index of its capture, frame, seconds after the first frame with long gaps cut)."""
    index = {id(capture): number for number, capture in enumerate(captures)}
    due_s, previous_ns = 0.0, None
    for capture, frame in merge(captures):
        if previous_ns is not None:
            due_s += min(max(0, frame.receive_ns - previous_ns) / 1e9, LONGEST_GAP_S)
        previous_ns = frame.receive_ns
        yield index[id(capture)], frame, due_s


def survey(captures: Sequence[Capture], progress: Callable[[float], None]) -> Survey:
    """
    Read and decode everything once, so that a damaged file is refused before anything starts.

    Args:
        captures: From `tickbus.exchanges.open_capture`.
        progress: Called with the share done, 0 to 1.
    Raises:
        CaptureError: A file is damaged; the message names file and line.
    """
    found = Survey()
    decoders = [capture.decoders() for capture in captures]
    size_bytes = sum(capture.size_bytes for capture in captures) or 1
    for number, frame, due_s in in_time(captures):
        found.frames += 1
        found.duration_s = due_s
        for event_type, symbol, value, *_ in decoders[number][frame.connection].decode(frame.data):
            found.events += 1
            if event_type == EventType.PRICE_UPDATE:
                found.trades[symbol] += 1
                found.first_price.setdefault(symbol, value)
        if found.frames % _FRAMES_PER_LOOK == 0:
            progress(sum(capture.position_bytes for capture in captures) / size_bytes)
    progress(1.0)
    return found
