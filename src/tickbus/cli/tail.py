"""
Print the events of a bus that runs, as they pass:

    tickbus tail desk
    tickbus tail desk 'risk.>' 'market.*.binance.BTC-*' --json
    tickbus tail desk 'critical.>' --start earliest --max 20

A line has the time, the topic and the fields by name; with --json it is one object. Nobody waits for it: what
passes faster than it can be printed is missed, and counted on standard error.

Exit code: 0; 1 when no bus runs under the name or a pattern is none.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tickbus.cli._numbers import whole_from

if TYPE_CHECKING:
    from tickbus import Event

HELP = "print events as they pass"

_LOOK_S = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bus", metavar="NAME", help="name of the bus")
    parser.add_argument("patterns", metavar="PATTERN", nargs="*", help="topics; all without one")
    parser.add_argument("--start", choices=("latest", "earliest"), default="latest", help="where to begin")
    parser.add_argument(
        "--max", type=whole_from(1), dest="most", metavar="COUNT", help="end after so many events"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus import Bus
    from tickbus.errors import BusClosedError

    left = math.inf if args.most is None else args.most
    with (
        Bus(args.bus, create=False) as bus,
        bus.subscribe(*(args.patterns or [">"]), start=args.start, lossy=True) as events,
    ):
        missed = 0
        while left > 0:
            try:
                event = events.poll(_LOOK_S)
            except BusClosedError:
                break
            if event is not None:
                print(_json(event) if args.json else _line(event))
                left -= 1
            if event is None or not left:
                sys.stdout.flush()
            if events.missed > missed:
                print(f"missed {events.missed - missed:,} events", file=sys.stderr)
                missed = events.missed
    return 0


def _line(event: Event) -> str:
    fields = "  ".join(f"{name}={value}" for name, value in event.fields().items())
    return f"{_time(event)}  {event.topic}  {fields}"


def _json(event: Event) -> str:
    row = {
        "id": event.id,
        "time": _time(event),
        "topic": event.topic,
        "type": event.type_name,
        "source": event.source,
        "symbol": event.symbol,
        "priority": event.priority,
        "fields": {name: _plain(value) for name, value in event.fields().items()},
    }
    return json.dumps(row, allow_nan=False)


def _plain(value: float) -> float | str:
    """JSON has no number for what is none."""
    return value if math.isfinite(value) else str(value)


def _time(event: Event) -> str:
    seconds, nanoseconds = divmod(event.timestamp, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
