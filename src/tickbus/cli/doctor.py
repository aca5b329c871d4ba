"""
Ask this machine whether it can keep what a journal promises:

    tickbus doctor /var/lib/desk

Device, file system, what a sync costs, space, clocks, shared memory, limits, CPUs, Python and extras. Each is
a line: ok, a warning or a problem, with an advice. It needs no root, leaves nothing behind and takes some
seconds. PATH is where the journal is or will be; the current folder by default.

Exit code: 0 all ok, 1 warnings, 2 problems.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

HELP = "ask this machine whether it can keep a journal"

_CODES = {"ok": 0, "warning": 1, "problem": 2}
_COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "problem": "\x1b[31m"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("path", nargs="?", default=".", metavar="PATH", help="where a journal is kept (.)")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.doctor import examine

    checks = examine(args.path)
    worst = max((check.state for check in checks), key=_CODES.__getitem__)
    if args.json:
        print(json.dumps({"state": worst, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{_state(check.state)}  {check.name:<{width}}  {check.says}")
            if check.advice:
                print(f"{'':7}  {'':{width}}  -> {check.advice}")
    return _CODES[worst]


def _state(state: str) -> str:
    text = f"{state:<7}"
    return f"{_COLOURS[state]}{text}\x1b[0m" if sys.stdout.isatty() else text
