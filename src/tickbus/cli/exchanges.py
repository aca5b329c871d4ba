"""
What venues can be connected to, and what recordings of them hold:

    tickbus exchanges list
    tickbus exchanges check monday.rec.jsonl.zst tuesday.rec.jsonl.zst

`check` reads recordings of any supported shape, compressed or not, and says per venue, channel and
instrument how many frames and events there are, what is unknown, malformed, told twice or missing, and
when the first and the last came.

Both print JSON with --json. Exit code: 0 when everything is explained, 1 when something is not, or a file
cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickbus.exchanges.check import Report

HELP = "venues to connect to, and recordings explained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    listing = commands.add_parser("list", help="venues, their channels and rules")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    checking = commands.add_parser("check", help="explain recordings", description=__doc__)
    checking.formatter_class = argparse.RawDescriptionHelpFormatter
    checking.add_argument("files", metavar="FILE", nargs="+", help="recordings of frames")
    checking.add_argument("--venue", help="whose frames they are, where they do not say")
    checking.add_argument("--market", help="market of that venue (spot)")
    checking.add_argument("--json", action="store_true", help="print one JSON object a file")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    return _list(args) if args.command == "list" else _check(args)


def _list(args: argparse.Namespace) -> int:
    from tickbus.exchanges import venues
    from tickbus.exchanges.connect import ADAPTERS, adapter

    decoders = venues()
    rows: list[dict[str, Any]] = []
    for venue, markets in ADAPTERS.items():
        for market in markets:
            made = adapter(venue, market)
            rules = made.rules
            rows.append(
                {
                    "venue": venue,
                    "market": market,
                    "url": made.url + made.path,
                    "channels": made.channels,
                    "decoder": decoders.get(venue),
                    "attempts": rules.attempts,
                    "requests": rules.requests,
                    "dead_after_s": rules.dead_after_s,
                    "lifetime_s": rules.lifetime_s,
                }
            )
    rows += [
        {"venue": venue, "market": "", "url": None, "channels": {}, "decoder": by}
        for venue, by in decoders.items()
        if venue not in ADAPTERS
    ]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        channels = ", ".join(row["channels"].values()) or "recordings only"
        print(f"{row['venue']:<10}{row['market']:<10}{channels:<40}{row['url'] or ''}")
        if "attempts" in row:
            (count, per_s), (messages, window_s) = row["attempts"], row["requests"]
            closes = f", closes after {row['lifetime_s'] / 3600:.0f} h" if row["lifetime_s"] else ""
            print(
                f"{'':<20}{count} attempts in {per_s:g} s, {messages} messages in {window_s:g} s,"
                f" dead after {row['dead_after_s']:g} s{closes}"
            )
    return 0


def _check(args: argparse.Namespace) -> int:
    from tickbus.cli._progress import shown
    from tickbus.errors import CaptureError
    from tickbus.exchanges import open_capture
    from tickbus.exchanges.check import check

    code = 0
    for path in args.files:
        try:
            capture = open_capture(path, venue=args.venue, market=args.market, accept_cut=True)
            with shown(f"reading {path}", quiet=args.json) as show:
                report = check(capture, show)
        except CaptureError as error:
            print(f"tickbus: {error}", file=sys.stderr)
            code = 1
            continue
        print(json.dumps(report.as_dict()) if args.json else _text(report))
        code = code or (1 if report.unexplained else 0)
    return code


def _text(report: Report) -> str:
    from tickbus.store.times import to_text

    counts = report.frames
    of = f"{report.venue or 'unknown venue'} {report.market}".strip()
    kinds = f"{counts['data']:,} data, {counts['other']:,} other"
    connections = f"{report.connections} connection{'s' if report.connections != 1 else ''}"
    lines = [f"{report.path}: {of}, {connections}, {counts['frames']:,} frames ({kinds})"]
    if report.first_ns is not None and report.last_ns is not None:
        lines.append(f"  {to_text(report.first_ns)[:23]} to {to_text(report.last_ns)[:23]}")
    names = ("frames", "events", "malformed", "duplicates", "gaps", "missing")
    head = f"  {'market':<9}{'channel':<18}{'instrument':<24}"
    lines.append(head + "".join(f"{name:>11}" for name in names))
    for (market, channel, symbol), row in sorted(report.rows.items()):
        figures = "".join(f"{getattr(row, name):>11,}" for name in names)
        lines.append(f"  {market:<9}{channel:<18}{symbol:<24}{figures}")
    lines += [f"  NOT EXPLAINED: {text}" for text in report.unexplained]
    return "\n".join(lines)
