"""
Say what is in a journal: segments, events by type and symbol, gaps, who opened it:

    tickbus inspect desk.journal
    tickbus inspect desk.journal --events 20
    tickbus inspect desk.journal --events 20 --first

All of it is read and checked, also while a process writes it; nothing is changed. Levels are not in a
journal: they are how its writer acknowledges. Progress goes to standard error.

Exit code: 0, 1 when the journal is damaged (what is counted is what is whole), 2 when it cannot be read or
is no journal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tickbus.cli._numbers import whole_from

if TYPE_CHECKING:
    from tickbus.journal.audit import Segment
    from tickbus.journal.contents import Contents
    from tickbus.journal.cursors import Cursor

HELP = "say what is in a journal"

_TOP = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", metavar="PATH", help="directory of the journal")
    parser.add_argument(
        "--events", type=whole_from(0), default=0, metavar="N", help="print the last N events"
    )
    parser.add_argument("--first", action="store_true", help="with --events: the first ones instead")
    parser.add_argument(
        "--top", type=whole_from(0), default=_TOP, metavar="N", help=f"symbols and sources listed ({_TOP})"
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.cli._progress import shown
    from tickbus.cli.verify import exit_code
    from tickbus.errors import JournalError
    from tickbus.journal import inspect

    try:
        with shown("reading", quiet=args.quiet) as progress:
            contents = inspect(args.path, events=args.events, progress=progress)
    except JournalError as error:
        print(f"tickbus: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(contents.as_dict(), indent=1))
    else:
        print("\n".join(_lines(contents, args.top)))
        if args.events:
            print(f"\n{'first' if args.first else 'last'} events:")
            for event in contents.first if args.first else contents.last:
                print(f"  {_time(event.timestamp)}  {event}")
    return exit_code(contents.report)


def _time(ns: int) -> str:
    from tickbus.store.times import to_text

    return to_text(ns)


def _lines(contents: Contents, top: int) -> list[str]:
    report = contents.report
    events = ", ".join(f"{count:,} {lane}" for lane, count in report.events.items())
    state = "closed" if report.closed else "not closed"
    if report.writer is not None:
        state = f"being written by process {report.writer}"
    lines = [
        f"journal {report.id or '(no id)'} in {report.path}",
        f"  {state}; {'whole' if report.whole else 'NOT WHOLE: see tickbus verify'}",
        f"  bus {', then '.join(contents.buses) or '(none yet)'}",
        f"  events: {events}; next sequences: {_by_lane(report.next)}",
    ]
    if contents.bytes_an_event is not None:
        lines.append(f"  {contents.bytes_an_event:.1f} bytes an event, everything included")
    lines += ["", "segments:", *(f"  {_segment(segment)}" for segment in report.segments)]
    for what, counts in (
        ("types", contents.types),
        ("symbols", contents.symbols),
        ("sources", contents.sources),
    ):
        lines += _table(what, counts, top)
    if contents.records:
        records = ", ".join(f"{count:,} {kind}" for kind, (count, _) in contents.records.items())
        lines += ["", f"records: {records}"]
    if contents.openings:
        lines += ["", "opened and closed:", *_openings(contents)]
    if report.gaps:
        lines += ["", "gaps:", *(f"  {gap}" for gap in report.gaps)]
    if contents.durable:
        lines += ["", "durable subscriptions:"]
        lines += [f"  {_durable(one, report.next)}" for one in contents.durable]
    return lines


def _durable(one: Cursor, ends: Mapping[str, int]) -> str:
    if one.trouble:
        return f"{one.name}  {one.trouble}"
    behind = {lane: max(ends.get(lane, 0) - following, 0) for lane, following in one.next.items()}
    holder = "nobody has it open" if one.holder is None else f"process {one.holder} has it open"
    said = "" if one.age_s is None else f", acknowledged {one.age_s:,.0f} s ago"
    return f"{one.name}  {', '.join(one.patterns)}: events behind: {_by_lane(behind)}; {holder}{said}"


def _by_lane(figures: Mapping[str, int]) -> str:
    return ", ".join(f"{lane} {figures[lane]}" for lane in sorted(figures))


def _segment(segment: Segment) -> str:
    if segment.prepared:
        return f"{segment.file}  prepared, {segment.bytes:,} bytes"
    count = sum(segment.events.values())
    figures = f"{segment.bytes:,} bytes, {count:,} events"
    if count:
        figures += f", {segment.bytes / count:.1f} bytes an event"
    lanes = [
        f"{lane} {segment.first_sequence[lane]} to {segment.next_sequence[lane] - 1}"
        for lane in sorted(segment.events)
        if segment.next_sequence[lane] > segment.first_sequence[lane]
    ]
    times = f"; {_time(segment.times[0])} to {_time(segment.times[1])}" if segment.times else ""
    where = f"positions {segment.first} to {segment.end - 1}"
    return f"{segment.file}  {segment.form}, {where}, {figures}; {', '.join(lanes) or 'no events'}{times}"


def _table(what: str, counts: Mapping[str, int], top: int) -> list[str]:
    if not counts:
        return []
    lines = ["", f"{what}:"]
    width = max(len(name) for name in [*list(counts)[:top], "(none)"])
    lines += [f"  {name or '(none)':<{width}}  {count:>12,}" for name, count in list(counts.items())[:top]]
    if len(counts) > top:
        rest = sum(list(counts.values())[top:])
        lines.append(f"  and {len(counts) - top} more, {rest:,} events")
    return lines


def _openings(contents: Contents) -> list[str]:
    lines = []
    for opening in contents.openings:
        what = "closed"
        if opening.pid is not None:
            boot = {True: "", False: ", before the last restart", None: ""}[opening.this_boot]
            bus = f" for the bus {opening.bus!r}" if opening.bus else ""
            what = f"opened by process {opening.pid}{bus}{boot}"
        when = f", after an event of {_time(opening.after_ns)}" if opening.after_ns else ""
        lines.append(f"  position {opening.position}: {what}{when}")
    return lines
