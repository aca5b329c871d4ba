"""
Keep the journal of a named bus that runs, until Ctrl-C, SIGTERM or --for:

    tickbus record desk desk.journal
    tickbus record desk desk.journal --critical os --when-full overwrite --for 60

Once a second it says how many events a second are journaled and how many of each lane are not yet. While it
runs, critical events of every process on the bus are persisted here before anybody sees them. A recorder
that was killed is started again with the same arguments and goes on where the journal ends.

With --raw it records what a venue sends instead, each frame with its receive time before anything reads it,
and publishes it into the bus NAME, if one is given:

    tickbus record --raw binance.rec.jsonl.zst --venue binance --symbols BTC-USDT,ETH-USDT --connections 2

A full disk is told of and tried again. Exit code: 0 when it was ended, 1 when no bus runs under the name,
another process keeps its journal or writes to the directory (the message has its PID), the journal is
damaged, or a sync has failed.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tickbus._signals import Signals
from tickbus.cli import _record_raw
from tickbus.cli._numbers import above_0

if TYPE_CHECKING:
    from tickbus import Bus

HELP = "keep the journal of a bus that runs"

_LEVELS = ("memory", "os", "interval", "disk")
_LANES = ("critical", "high", "normal")
_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from tickbus.journal import Journal

    levels = {"critical": Journal("").critical, "high": Journal("").high, "normal": Journal("").normal}
    parser.add_argument("bus", metavar="NAME", nargs="?", help="name of the bus")
    parser.add_argument("path", metavar="PATH", nargs="?", help="directory of the journal, made if need be")
    for lane, level in levels.items():
        parser.add_argument(
            f"--{lane}", choices=_LEVELS, default=level, help=f"level of {lane} events ({level})"
        )
    parser.add_argument(
        "--interval-ms", type=above_0, default=100.0, metavar="MS", help="between syncs of level interval"
    )
    parser.add_argument(
        "--when-full",
        choices=("wait", "overwrite"),
        default="wait",
        help="what high and normal publishers do when the journal is a lane behind (wait)",
    )
    parser.add_argument(
        "--segment-mib", type=int, default=64, metavar="MIB", help="size of a log segment (64)"
    )
    parser.add_argument("--for", type=above_0, dest="seconds", metavar="SECONDS", help="end after so long")
    parser.add_argument("--json", action="store_true", help="print figures as one JSON object a line")
    _record_raw.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus import Bus
    from tickbus.journal import Journal

    if args.raw:
        return _record_raw.run(args)
    if not args.bus or not args.path:
        print("tickbus record: the following arguments are required: NAME, PATH", file=sys.stderr)
        return 2
    journal = Journal(
        args.path,
        critical=args.critical,
        high=args.high,
        normal=args.normal,
        interval_ms=args.interval_ms,
        when_full=args.when_full,
        segment_mib=args.segment_mib,
    )
    # Ctrl-C, SIGTERM and a closed terminal end it; the journal is closed properly.
    signals = Signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    with signals, Bus(args.bus, journal=journal, create=False) as bus, _shown(args.json) as show:
        record = _Recording(bus, [lane for lane in _LANES if getattr(args, lane) != "memory"])
        deadline = time.monotonic() + (args.seconds or math.inf)
        while signals.wait(min(_EVERY_S, deadline - time.monotonic())) is None:
            show(record.figures())
            if time.monotonic() >= deadline:
                break
        # Closing persists what is there; what it would say is said here, while somebody listens.
        record.persist()
        last = record.figures()
    print(json.dumps(last | {"ended": True}) if args.json else f"ended: {_line(last)}", flush=True)
    return 0


@dataclass
class _Recording:
    """Figures of a recording, each time since the last time."""

    bus: Bus
    lanes: list[str]
    _events: int = 0
    _written: int = 0
    _at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        assert self.bus.journal is not None
        self._written = self.bus.journal.stats()["written"]

    def persist(self) -> str:
        """Persist what is there now; why it cannot be, when the disk is full."""
        from tickbus.errors import StorageFullError

        assert self.bus.journal is not None
        try:
            self.bus.journal.sync(disk=False)
        except StorageFullError as error:
            return str(error)
        return ""

    def figures(self) -> dict[str, Any]:
        """Events journaled, the rate since the last call, and each lane's lag."""
        journal = self.bus.journal
        assert journal is not None
        lanes, persisted = self.bus.stats()["lanes"], journal.persisted
        lag = {lane: max(0, lanes[lane]["published"] - (persisted[lane] >> 2)) for lane in self.lanes}
        problem = self.persist()
        stats, now = journal.stats(), time.monotonic()
        elapsed = max(now - self._at, 1e-9)
        figures = {
            "events": stats["events"],
            "events_per_s": (stats["events"] - self._events) / elapsed,
            "bytes_per_s": (stats["written"] - self._written) * 32 / elapsed,
            "lag": lag,
            "gaps": stats["gaps"],
            "payloads_lost": stats["payloads_lost"],
            "commits": stats["commits"],
            "syncs": stats["syncs"],
            "problem": problem,
        }
        self._events, self._written, self._at = stats["events"], stats["written"], now
        return figures


def _line(figures: dict[str, Any]) -> str:
    lag = ", ".join(f"{lane} {count:,}" for lane, count in figures["lag"].items())
    line = (
        f"{figures['events']:,} events, {figures['events_per_s']:,.0f} a second,"
        f" {figures['bytes_per_s'] / 2**20:.1f} MiB a second; not yet journaled: {lag}"
    )
    if figures["gaps"]:
        line += f"; overwritten before they were journaled: {figures['gaps']:,}"
    if figures["problem"]:
        line += f"; {figures['problem']}"
    return line


@contextmanager
def _shown(as_json: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A line a second; on a terminal one that changes, nicer with rich."""
    if as_json:
        yield lambda figures: print(json.dumps(figures), flush=True)
        return
    if not sys.stdout.isatty():
        yield lambda figures: print(_line(figures), flush=True)
        return
    try:
        from rich.console import Console
        from rich.status import Status
    except ModuleNotFoundError:
        yield lambda figures: print(f"\r{_line(figures)}", end="\x1b[K", flush=True)
        print()
        return
    status: Any = Status("recording", console=Console())
    with status:
        yield lambda figures: status.update(_line(figures))
