"""
Latency histograms: HDR, three significant digits from 1 ns to 100 s.

Needs the package `hdrhistogram` (extra ``bench``). Recording happens after a run, never in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tickbus.errors import MissingExtraError

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_LOWEST_NS, _HIGHEST_NS, _DIGITS = 1, 100_000_000_000, 3


def require() -> Any:
    """The class that records. Raises MissingExtraError; jobs ask before they spend a minute."""
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as error:
        raise MissingExtraError("measuring latencies", "bench") from error
    return HdrHistogram


def record(latencies_ns: Iterable[int]) -> Any:
    """A histogram of the latencies. Raises MissingExtraError without `hdrhistogram`."""
    histogram = require()(_LOWEST_NS, _HIGHEST_NS, _DIGITS)
    for latency in latencies_ns:
        # A clock read on the other core may be a few ns early; below 1 ns there is no bucket.
        histogram.record_value(min(max(latency, _LOWEST_NS), _HIGHEST_NS))
    return histogram


def percentiles(latencies_ns: Iterable[int]) -> dict[str, float]:
    """``{"p50": ns, "p90": ns, "p99": ns, "p99.9": ns, "max": ns}``."""
    histogram = record(latencies_ns)
    row = {f"p{point:g}": float(histogram.get_value_at_percentile(point)) for point in PERCENTILES}
    row["max"] = float(histogram.get_max_value())
    return row
