"""
Harm to what a venue sends, at random by a seed or on demand, each piece of it counted.

    server = VenueServer("binance", faults=Faults(drop=0.01, duplicate=0.01))

Rates are chances per data frame; acknowledgements, snapshots and heartbeats go unharmed. Which frames are
hit depends on the seed and the number of the connection alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Faults", "Harm"]

#: The longest noise of `garbage`.
_NOISE_BYTES = 40


@dataclass(frozen=True, slots=True)
class Faults:
    """
    How often what happens to a data frame.

    Attributes:
        drop: It is not sent.
        duplicate: It is sent twice.
        reorder: It is sent after the next one.
        truncate: Its end is missing.
        garbage: Noise is sent before it, as text or as bytes.
        frame_s: Time between two frames of a slow venue.
        handshake_s: Time a slow venue takes to accept a connection.
        seed: Same seed, same harm.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    truncate: float = 0.0
    garbage: float = 0.0
    frame_s: float = 0.0
    handshake_s: float = 0.0
    seed: int = 1


class Harm:
    """
    The faults of one connection.

    Attributes:
        injected: How many of each were done.
    """

    def __init__(self, faults: Faults, connection: int) -> None:
        self.faults = faults
        self.injected: Counter[str] = Counter()
        self._random = random.Random(f"{faults.seed}/{connection}")
        self._held: list[str] = []

    def done_to(self, frame: str) -> Iterator[str | bytes]:
        """What is sent in the place of *frame*."""
        faults, chance = self.faults, self._random.random
        # Always five numbers a frame, so that one rate does not change what another hits.
        drop, duplicate, reorder, truncate, garbage = (chance() for _ in range(5))
        held, self._held = self._held, []
        if garbage < faults.garbage:
            self.injected["garbage"] += 1
            yield self._noise()
        if drop < faults.drop:
            self.injected["drop"] += 1
        elif truncate < faults.truncate:
            self.injected["truncate"] += 1
            yield frame[: self._random.randrange(1, len(frame))]
        elif reorder < faults.reorder and not held:
            self.injected["reorder"] += 1
            self._held = [frame]
        else:
            yield frame
            if duplicate < faults.duplicate:
                self.injected["duplicate"] += 1
                yield frame
        yield from held

    def rest(self) -> list[str]:
        """Frames held back for a next one that never came."""
        held, self._held = self._held, []
        return held

    def _noise(self) -> str | bytes:
        noise = self._random.randbytes(self._random.randrange(1, _NOISE_BYTES))
        return noise if self._random.random() < 0.5 else noise.decode("latin-1")
