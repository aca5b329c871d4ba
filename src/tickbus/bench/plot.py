"""
One picture: latency percentiles of whatever was timed one way, throughput bars of whatever flowed.

Needs matplotlib (extra ``bench``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tickbus.bench.histogram import record
from tickbus.bench.model import Kind, Result, Unit
from tickbus.bench.runner import Outcome
from tickbus.errors import MissingExtraError

_COLOURS = {Kind.SUBJECT: "#0b6e4f", Kind.PEER: "#9aa5b1", Kind.FLOOR: "#d9a441"}
#: Up to where the percentile axis goes; beyond, a run has too few events to say.
_HIGHEST = 99.9


def require() -> Any:
    """`matplotlib.pyplot`, drawing without a display. Raises MissingExtraError."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingExtraError("--plot", "bench") from error
    return pyplot


def draw(outcome: Outcome, machine: dict[str, Any], path: Path) -> None:
    """Write the picture; its type follows the name (.png, .svg, .pdf). Raises MissingExtraError."""
    pyplot = require()
    timed = [result for result in outcome.results if result.samples[0].latencies_ns]
    flows = [result for result in outcome.results if result.unit is Unit.EVENTS_PER_S]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(15, 7), layout="constrained")
    _latencies(left, timed)
    _throughput(right, flows)
    figure.suptitle(f"{machine['cpu']}, {machine['cores']} cores, {machine['python']}", size=10)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _latencies(axes: Any, results: list[Result]) -> None:
    """Latency over percentile, both logarithmic: the tail is the picture."""
    for result in results:
        histogram = record(n for sample in result.samples for n in sample.latencies_ns)
        points = [100 - 10 ** (-step / 20) * 100 for step in range(1, 61)]
        points = [point for point in points if point <= _HIGHEST]
        axes.plot(
            [100 / (100 - point) for point in points],
            [histogram.get_value_at_percentile(point) / 1e3 for point in points],
            label=f"{result.figure}: {result.contender}",
            linewidth=2.2 if result.kind is Kind.SUBJECT else 1.0,
            linestyle="-" if result.kind is Kind.SUBJECT else "--",
        )
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="one way, µs")
    axes.set_xticks([2, 10, 100, 1000], ["50", "90", "99", "99.9"])
    axes.set_title("Latency from due to read, paced")
    axes.grid(visible=True, which="both", alpha=0.25)
    if results:
        axes.legend(fontsize=7)


def _throughput(axes: Any, results: list[Result]) -> None:
    """A bar per contender, grouped by figure; whiskers from the slowest to the fastest run."""
    rows = sorted(results, key=lambda r: (r.figure, r.median))
    for place, result in enumerate(rows):
        low, high = result.spread
        whiskers = [[result.median - low], [high - result.median]]
        axes.barh(place, result.median, color=_COLOURS[result.kind], xerr=whiskers)
    axes.set_yticks(range(len(rows)), [f"{row.figure}: {row.contender}" for row in rows], fontsize=8)
    axes.set(xscale="log", xlabel="events per second")
    axes.set_title("Throughput")
    axes.grid(visible=True, axis="x", alpha=0.25)
