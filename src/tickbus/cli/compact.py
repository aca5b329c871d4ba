"""
Pack the older part of a journal, for example

    tickbus compact desk.journal --older-than 1d

Sealed segments whose last event is older are replaced by packed ones: the same events in a tenth of the
space or less, read in the same way. Each is compared with what it replaces before that goes, so it may
be interrupted and done again, also while a desk writes to the journal.

Exit code: 0 done, 1 when the journal cannot be read, has damaged segments (which stay), or the disk is full.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from datetime import timedelta

from tickbus._native import is_journal
from tickbus.errors import JournalError
from tickbus.journal import Compaction, compact_old

HELP = "pack the older part of a journal"

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", metavar="PATH", help="the journal's directory")
    parser.add_argument(
        "--older-than",
        type=age,
        required=True,
        metavar="AGE",
        help="age of a segment's last event: a number and one of s, m, h, d, w, such as 12h; 0s is all",
    )
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")


def age(text: str) -> timedelta:
    """
    A length of time from text such as ``1.5d``.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age such as 90s, 30m, 12h, 1d or 2w")
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than any journal") from None


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    if not is_journal(args.path):
        raise JournalError(f"{args.path} is no journal: no file there is called as a segment")
    shown = not args.json and sys.stderr.isatty()
    done = compact_old(args.path, args.older_than, _show if shown else None)
    if shown:
        print(file=sys.stderr)
    if args.json:
        print(json.dumps({name: getattr(done, name) for name in _FIELDS}))
    else:
        _print(done)
    for what in done.failed:
        print(f"tickbus: {what}", file=sys.stderr)
    return 1 if done.failed else 0


_FIELDS = ("segments", "events", "bytes_before", "bytes_after", "younger", "failed")


def _show(done: Compaction, of: int) -> None:
    at = done.segments + len(done.failed)
    print(f"\r{at} of {of} segments, {_mib(done.bytes_before)}", end="", file=sys.stderr, flush=True)


def _print(done: Compaction) -> None:
    if not done.segments:
        print(f"nothing to pack; {done.younger} sealed segments are younger")
        return
    each = done.bytes_after / max(done.events, 1)
    print(
        f"packed {done.segments} segments, {done.events:,} events: {_mib(done.bytes_before)} are now "
        f"{_mib(done.bytes_after)}, {each:.2f} bytes an event; {done.younger} sealed segments are younger"
    )


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
