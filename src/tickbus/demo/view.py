"""
What one sees while the demo runs: tables that refresh with rich, plain lines without it or in a pipe.
"""

from __future__ import annotations

import sys
from collections import deque
from datetime import datetime
from typing import Any, Protocol

from tickbus.demo import report, summary
from tickbus.demo.cast import SPINNER
from tickbus.demo.latency import text as duration

_COLOURS = {"critical": "bold red", "high": "yellow", "normal": "cyan"}
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARKS = 24
#: Columns of the readers' table, and the width from which each is shown.
_COLUMNS = (
    ("reader", 0),
    ("waits", 0),
    ("high p50", 0),
    ("p99", 0),
    ("crit p50", 0),
    ("p99", 108),
    ("normal p50", 122),
    ("delivered", 88),
    ("filtered", 98),
    ("missed", 0),
    ("pending", 132),
    ("sum", 0),
)
_LATENCIES = (("high", "p50"), ("high", "p99"), ("critical", "p50"), ("critical", "p99"), ("normal", "p50"))


class View(Protocol):
    """Shows documents as they come."""

    every_s: float

    def show(self, document: report.Document) -> None: ...

    def close(self) -> None: ...


def best(quiet: bool) -> View:
    """The view for this standard output."""
    if quiet:
        return Nothing()
    if sys.stdout.isatty():
        try:
            return Tables()
        except ImportError:
            pass
    return Lines()


class Nothing:
    """For machines."""

    every_s = 1.0

    def show(self, document: report.Document) -> None:
        pass

    def close(self) -> None:
        pass


class Rates:
    """Events a second on each lane, from one document to the next."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._published = dict.fromkeys(summary.LANES, 0)

    def since_last(self, document: report.Document) -> dict[str, float]:
        passed_s = max(document["seconds"] - self._seconds, 1e-3)
        published = {lane: document["lanes"][lane]["published"] for lane in summary.LANES}
        rates = {lane: (published[lane] - self._published[lane]) / passed_s for lane in summary.LANES}
        self._seconds, self._published = document["seconds"], published
        return rates


def reaction_text(reaction: dict[str, Any]) -> str:
    """One line on one reaction."""
    shown = [pair for number, pair in enumerate(reaction["fields"].items()) if pair[1] or not number]
    fields = ", ".join(f"{name} {_number(value)}" for name, value in shown)
    return f"{reaction['source']}: {reaction['type']} {reaction['symbol']}  {fields}"


def _number(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def _clock(timestamp_ns: int) -> str:
    return datetime.fromtimestamp(timestamp_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]


class Lines:
    """A line a second, and one for each critical reaction."""

    every_s = 1.0

    def __init__(self) -> None:
        self._rates = Rates()
        self._shown_ns = 0

    def show(self, document: report.Document) -> None:
        rates = self._rates.since_last(document)
        for reaction in document["recent"]:
            if reaction["timestamp"] > self._shown_ns and reaction["lane"] == "critical":
                print(f"          {_clock(reaction['timestamp'])}  {reaction_text(reaction)}")
        if document["recent"]:
            self._shown_ns = document["recent"][-1]["timestamp"]
        on_lanes = "  ".join(f"{lane} {rates[lane]:,.0f}/s" for lane in summary.LANES)
        fastest = [
            f"{one['name']} {duration(one['latency_ns']['high']['p50'])}"
            for one in summary.readers(document)
            if one["name"] in ("tripwire", SPINNER) and "high" in one["latency_ns"]
        ]
        print(f"{document['seconds']:6.1f} s  {on_lanes}  p50: {', '.join(fastest) or '-'}", flush=True)

    def close(self) -> None:
        pass


class Tables:
    """Everything at a glance, refreshed in place."""

    every_s = 0.25

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._rates = Rates()
        self._history = {lane: deque([0.0] * _SPARKS, maxlen=_SPARKS) for lane in summary.LANES}
        self._live.start()

    def show(self, document: report.Document) -> None:
        from rich.console import Group

        for lane, rate in self._rates.since_last(document).items():
            self._history[lane].append(rate)
        parts = [self._head(document), self._lanes(document), self._readers(document), self._needs(document)]
        used = sum(len(self._console.render_lines(part, pad=False)) for part in parts)
        rows = max(3, self._console.height - used - 2)
        self._live.update(Group(*parts, self._reactions(document, rows)), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _head(self, document: report.Document) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        plan = document["plan"]
        what = f"{plan['frames']:,} recorded frames at {plan['speed']:.3g} x"
        if document["mode"] == "simulated":
            what = f"3 simulated venues, {plan['rate']:,.0f} frames/s each"
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column()
        grid.add_column(ratio=1)
        grid.add_column(justify="right")
        seconds = min(document["seconds"], plan["seconds"])
        grid.add_row(
            f"[bold]tickbus demo[/]  {what}",
            ProgressBar(total=plan["seconds"] or 1.0, completed=seconds),
            f"{seconds:.0f} / {plan['seconds']:.0f} s",
        )
        return grid

    def _lanes(self, document: report.Document) -> Any:
        table = self._table("lane", "events/s", "", "published", "stalled", "refused")
        table.columns[2].justify = "left"
        for lane in summary.LANES:
            rates = self._history[lane]
            top = max(rates) or 1.0
            sparks = "".join(_BLOCKS[round(rate / top * (len(_BLOCKS) - 1))] for rate in rates)
            counts = [f"{document['lanes'][lane][key]:,}" for key in ("published", "stalled", "refused")]
            colour = _COLOURS[lane]
            table.add_row(f"[{colour}]{lane}[/]", f"{rates[-1]:,.0f}", f"[{colour}]{sparks}[/]", *counts)
        return table

    def _readers(self, document: report.Document) -> Any:
        shown = [i for i, (_, width) in enumerate(_COLUMNS) if self._console.width >= width]
        table = self._table(*(_COLUMNS[i][0] for i in shown))
        for reader in summary.readers(document):
            latency = reader["latency_ns"]
            times = [duration(latency[lane][name]) if lane in latency else "" for lane, name in _LATENCIES]
            total = reader["totals"]
            counts = [f"{total[key]:,}" for key in ("delivered", "filtered", "missed", "pending")]
            verdict = "[green]✓[/]" if reader["ok"] else "[bold red]✗[/]"
            cells = [reader["name"], reader["wait"], *times, *counts, verdict]
            table.add_row(*(cells[i] for i in shown))
        return table

    def _needs(self, document: report.Document) -> Any:
        from rich.text import Text

        line = Text(" ")
        for need, count in document["needs"].items():
            unbroken = need.replace(" ", "\N{NO-BREAK SPACE}") + "\N{NO-BREAK SPACE}"
            line.append(unbroken).append(f"{count:,}", "bold green" if count else "dim").append("   ")
        line.append("".join(f"\n {failure}" for failure in document["failures"]), "bold red")
        return line

    def _reactions(self, document: report.Document, rows: int) -> Any:
        from rich.text import Text

        text = Text("\n", no_wrap=True, overflow="ellipsis")
        # The monitor reads critical events first; people read in order of time.
        recent = sorted(document["recent"], key=lambda one: one["timestamp"])
        for reaction in recent[-rows:]:
            text.append(f" {_clock(reaction['timestamp'])}  ", "dim")
            text.append(f"{reaction_text(reaction)}\n", _COLOURS[reaction["lane"]])
        text.rstrip()
        return text

    def _table(self, *columns: str) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, header_style="dim")
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        return table
