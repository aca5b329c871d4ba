"""
Gaps, repeats and latecomers in what venues number, stream by stream.

    chains = Chains()
    for part in reading.parts:
        verdict = chains.check((connection, part.channel, part.symbol), part.sequence)

A stream's first message is taken as it comes. After it either each message begins where the last ended
(`first == last + 1`) or names its predecessor (`previous`). Which numbers are missing is remembered, up to
`HOLES_MAX` ranges a stream, so that a message that was merely overtaken is told from a repeated one.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from tickbus.exchanges.readings import Sequence

__all__ = ["Chain", "Chains", "GAP", "LATE", "OK", "REPEATED"]

OK = "ok"
#: Something before this message is missing.
GAP = "gap"
#: It fills a gap that was told before.
LATE = "late"
#: Nothing new in it.
REPEATED = "repeated"

HOLES_MAX = 64


@dataclass(slots=True)
class Chain:
    """
    How one stream's sequence has gone.

    Attributes:
        gaps: How often something was missing, at the moment it showed.
        missing: Numbers that never came; gaps of unknown size count one.
        late, repeated: Messages that came out of order, and that told nothing new.
    """

    last: int | None = None
    gaps: int = 0
    late: int = 0
    repeated: int = 0
    missing: int = 0
    _holes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_begun(self) -> bool:
        """Whether anything of the stream was seen."""
        return self.last is not None

    def check(self, sequence: Sequence) -> str:
        """What *sequence* says about the stream."""
        if self.last is None or sequence.restarts:
            return self._restart(sequence)
        if sequence.previous is not None:
            return self._named(sequence, sequence.previous)
        if sequence.last <= self.last:
            return self._backward(sequence)
        expected, self.last = self.last + 1, sequence.last
        if sequence.first <= expected:
            return OK
        self._holes = [*self._holes[1 - HOLES_MAX :], (expected, sequence.first - 1)]
        self.missing += sequence.first - expected
        self.gaps += 1
        return GAP

    def _restart(self, sequence: Sequence) -> str:
        if self.last == sequence.last and sequence.restarts:
            self.repeated += 1
            return REPEATED
        self.last = sequence.last
        self._holes.clear()
        return OK

    def _named(self, sequence: Sequence, previous: int) -> str:
        # A message that names the last one follows it, even where a reset made its own number smaller.
        assert self.last is not None
        if previous == self.last:
            self.last = sequence.last
            return OK
        if sequence.last <= self.last:
            return self._backward(sequence)
        self._holes = [*self._holes[1 - HOLES_MAX :], (self.last + 1, sequence.first - 1)]
        self.last = sequence.last
        self.missing += 1
        self.gaps += 1
        return GAP

    def _backward(self, sequence: Sequence) -> str:
        for index, (low, high) in enumerate(self._holes):
            if low <= sequence.first and sequence.last <= high:
                rest = [(low, sequence.first - 1), (sequence.last + 1, high)]
                self._holes[index : index + 1] = [(a, b) for a, b in rest if a <= b]
                by_number = sequence.previous is None
                self.missing -= sequence.last - sequence.first + 1 if by_number else 1
                self.late += 1
                return LATE
        self.repeated += 1
        return REPEATED


class Chains:
    """The chains of many streams, by any key."""

    def __init__(self) -> None:
        self._chains: dict[Hashable, Chain] = {}

    def check(self, key: Hashable, sequence: Sequence | None) -> str:
        """What *sequence* says about the stream *key*; a message without one is fine."""
        if sequence is None:
            return OK
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Chain()
        return chain.check(sequence)

    def get(self, key: Hashable) -> Chain:
        """The chain of *key*; an empty one when nothing of it was seen."""
        return self._chains.get(key) or Chain()

    def items(self) -> list[tuple[Hashable, Chain]]:
        return list(self._chains.items())
