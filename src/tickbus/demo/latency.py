"""
A histogram of nanoseconds that is cheap to fill and small to send.

32 buckets an octave, so that a percentile is at most 2.2 % above the true one. Values are collected in a
list, 30 ns each, and sorted into buckets when somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_BUCKETS_PER_OCTAVE = 32
_BUCKETS = 40 * _BUCKETS_PER_OCTAVE
#: The share of events that were at least as fast, by the name in reports.
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


class Latencies:
    """Counts of latencies. Negative ones (the clock was set back) count as one nanosecond."""

    def __init__(self) -> None:
        self._counts: NDArray[np.int64] = np.zeros(_BUCKETS, np.int64)
        self._fresh: list[int] = []
        #: Adds one value in nanoseconds.
        self.add = self._fresh.append
        self._max = 0

    def _settle(self) -> None:
        if self._fresh:
            # Other threads may add meanwhile, so only what was taken is removed.
            taken = self._fresh[:]
            del self._fresh[: len(taken)]
            values = np.maximum(np.array(taken, np.int64), 1)
            buckets = np.ceil(np.log2(values) * _BUCKETS_PER_OCTAVE).astype(np.int64)
            self._counts += np.bincount(np.minimum(buckets, _BUCKETS - 1), minlength=_BUCKETS)
            self._max = max(self._max, int(values.max()))

    def figures(self) -> dict[str, int]:
        """Count, percentiles and maximum, in nanoseconds; only the count when there are none."""
        self._settle()
        cumulated = np.cumsum(self._counts)
        count = int(cumulated[-1])
        if not count:
            return {"count": 0}
        at = {name: int(np.searchsorted(cumulated, share * count)) for name, share in PERCENTILES.items()}
        figures = {name: min(round(2 ** (i / _BUCKETS_PER_OCTAVE)), self._max) for name, i in at.items()}
        return {"count": count, **figures, "max": self._max}


def by_lane(latencies: Mapping[str, Latencies]) -> dict[str, dict[str, int]]:
    """The figures of each lane that had events."""
    return {lane: figures for lane, one in latencies.items() if (figures := one.figures())["count"]}


def text(nanoseconds: float) -> str:
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            value = nanoseconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{nanoseconds:.0f} ns"
