"""
Watch a bus that runs: lanes with rates, subscriptions of all processes with lag and missed events, the
journal, and critical events that wait for an acknowledgement, by role:

    tickbus top desk
    tickbus top desk --once
    tickbus top desk --json

Looking changes nothing and slows nobody. --once prints the tables after one second, and --json all figures as
one JSON object. Keys: q ends it, p holds the tables.

Exit code: 0; 1 when no bus runs under the name.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tickbus.top import Table

HELP = "watch a bus that runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bus", metavar="NAME", help="name of the bus")
    parser.add_argument("--once", action="store_true", help="print the tables once, with rates of one second")
    parser.add_argument("--json", action="store_true", help="print all figures once, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.top import Tables, attach
    from tickbus.top.app import make

    with attach(args.bus) as (bus, delivery):
        tables = Tables(bus, delivery)
        if args.json or args.once:
            tables.look()
            if args.json:
                print(json.dumps(tables.figures, default=str))
                return 0
            time.sleep(1.0)
            _print(tables.look())
            return 0
        make(args.bus, tables).run()
    return 0


def _print(tables: list[Table]) -> None:
    for table in tables:
        rows = [table.headings, *table.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(table.title)
        for row in rows:
            print(
                "  " + "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            )
