"""
The words of a benchmark: Options in, Cases measured, a Result per contender and figure out.

A figure is one number worth a row ("publish.one"); a contender is who did the work ("tickbus",
"blinker", "floor: C"). All contenders of a figure use its unit and do the same work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

#: The contender every ratio is taken against.
TICKBUS = "tickbus"


class Kind(Enum):
    """Why a contender is in the table."""

    SUBJECT = "tickbus"
    PEER = "peer"
    FLOOR = "floor"


class Unit(Enum):
    """What a sample's value counts, and which way is better."""

    NS = "ns"
    EVENTS_PER_S = "events/s"
    SHARE = "share"
    COUNT = "events"

    @property
    def lower_is_better(self) -> bool:
        return self in (Unit.NS, Unit.COUNT)


@dataclass(frozen=True)
class Options:
    """What the user asked for; jobs size their work by it."""

    quick: bool = False
    peers: bool = False
    repeats: int = 5
    #: Folder of recorded frames to use instead of simulated ones, where a job reads frames.
    recordings: str | None = None

    def count(self, full: int, quick: int | None = None) -> int:
        """*full*, or with ``quick`` a count that only shows that the job runs (default a hundredth)."""
        if not self.quick:
            return full
        return max(10, full // 100) if quick is None else quick


@dataclass(frozen=True)
class Sample:
    """One measurement; with latencies, their nanoseconds, so that a histogram can be drawn."""

    value: float
    latencies_ns: tuple[int, ...] = ()
    #: Anything that must be reported beside the value: lost, disordered, publisher's own cost.
    notes: dict[str, float] = field(default_factory=dict)


class BehaviourError(AssertionError):
    """A contender lost, reordered or changed events: its speed would mean nothing."""


@dataclass
class Case:
    """
    One contender for one figure.

    ``check`` raises `BehaviourError` unless the contender does the work; it runs once, before any
    sample. ``sample`` measures once. ``close`` releases what both used.
    """

    figure: str
    contender: str
    kind: Kind
    unit: Unit
    sample: Callable[[], Sample]
    check: Callable[[], None]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Absent:
    """A contender that could not take part, and why."""

    figure: str
    contender: str
    reason: str


@dataclass(frozen=True)
class Result:
    """All samples of one contender for one figure, in the order of the rounds."""

    job: str
    figure: str
    contender: str
    kind: Kind
    unit: Unit
    samples: tuple[Sample, ...]

    @property
    def values(self) -> list[float]:
        return [sample.value for sample in self.samples]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def notes(self) -> dict[str, float]:
        """The median of every note; ``lost`` is summed, as one loss must not hide behind a median."""
        keys = {key for sample in self.samples for key in sample.notes}
        return {
            key: (sum if key == "lost" else median)([sample.notes.get(key, 0.0) for sample in self.samples])
            for key in sorted(keys)
        }

    def ratio_to(self, other: Result) -> float:
        """Median over the rounds of this value divided by *other*'s of the same round."""
        pairs = zip(self.values, other.values, strict=False)
        return median(mine / theirs if theirs else float("inf") for mine, theirs in pairs)
