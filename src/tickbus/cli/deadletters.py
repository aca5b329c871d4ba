"""
Critical events that nobody has acknowledged, after the last attempt and the last escalation:

    tickbus deadletters list desk
    tickbus deadletters list --journal desk.journal --json
    tickbus deadletters redrive desk 4711 4715
    tickbus deadletters redrive desk --all

A redriven event is handed out again, as often as its policy says; it goes when it is acknowledged. With
--journal no process has the bus open: the events are handed out when one has.

Exit code: 0 when it was done, also when there are no dead letters; 1 when the bus or journal cannot be
opened, or an event is no dead letter.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickbus.delivery import DeadLetter, Delivery

HELP = "list or redrive critical events that nobody acknowledged"

_COLUMNS = ("event", "published", "type", "symbol", "missing", "attempts", "steps", "redrives")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="print them, oldest first")
    listing.add_argument("--json", action="store_true", help="one object a line")
    redriving = actions.add_parser("redrive", help="hand them out again")
    redriving.add_argument("--all", action="store_true", help="every dead letter")
    for one in (listing, redriving):
        one.add_argument("bus", metavar="BUS", nargs="?", help="name of the bus, open in some process")
        one.add_argument("--journal", metavar="PATH", help="the journal, when no process has the bus open")
    redriving.add_argument("events", metavar="EVENT", nargs="*", type=int, help="ids that `list` prints")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus import Bus
    from tickbus.delivery import Delivery

    if args.action == "redrive" and args.journal and args.bus:
        # With --journal the first number stands where the bus would.
        args.events.insert(0, int(args.bus))
        args.bus = None
    if (args.bus is None) == (args.journal is None):
        print("tickbus deadletters: name the bus, or give --journal", file=sys.stderr)
        return 2
    with Bus(args.bus, journal=args.journal) as bus, Delivery(bus, loop=False) as delivery:
        letters = delivery.dead_letters()
        return _list(letters, args.json) if args.action == "list" else _redrive(delivery, letters, args)


def _list(letters: list[DeadLetter], as_json: bool) -> int:
    if as_json:
        for letter in letters:
            print(json.dumps(dataclasses.asdict(letter)))
        return 0
    rows = [_COLUMNS, *map(_row, letters)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if letters else ():
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"{len(letters)} dead letters", file=sys.stderr)
    return 0


def _row(letter: DeadLetter) -> tuple[str, ...]:
    when = datetime.fromtimestamp(letter.time / 1e9, UTC).isoformat(sep=" ", timespec="milliseconds")
    attempts = ", ".join(f"{role} {count}" for role, count in letter.attempts.items())
    return (
        str(letter.event_id),
        when,
        letter.event_type,
        letter.symbol or "-",
        ", ".join(letter.missing) or "-",
        attempts or "-",
        str(letter.steps),
        str(letter.redrives),
    )


def _redrive(delivery: Delivery, letters: list[DeadLetter], args: argparse.Namespace) -> int:
    events = [letter.event_id for letter in letters] if args.all else args.events
    for event in events:
        delivery.redrive(event)
    print(f"{len(events)} events are handed out again", file=sys.stderr)
    return 0
