"""
Watch five strategies react to live events.

Simulated venues send frames over sockets, a feed decodes them into a named bus, and the strategies of
examples/, each in a process of its own, react and publish back. Ends by itself, with a summary that
accounts for every event. With --capture the frames are recorded ones, at the pace they were recorded
in, times --speed; by default so fast that they take --seconds.

Exit code: 0 when every event is accounted for, 1 when not, or when a process or a file failed.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from tickbus.cli._numbers import above_0

if TYPE_CHECKING:
    from tickbus.demo.stage import Plan

HELP = "watch five strategies react to live events"

_SECONDS = 20.0
#: What a venue's simulator sends in time on a core of its own; more would be late, and the end later still.
_MOST_FRAMES = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--seconds", type=above_0, help=f"how long to run (default {_SECONDS:.0f})")
    parser.add_argument(
        "--rate",
        type=_rate,
        default=5_000.0,
        help=f"frames per second of each venue, at most {_MOST_FRAMES:,} (5000)",
    )
    parser.add_argument("--seed", type=int, default=7, help="same seed, same simulated market (7)")
    parser.add_argument("--capture", nargs="+", metavar="FILE", help="play these recorded files instead")
    parser.add_argument("--speed", type=above_0, help="times the recorded pace; --seconds still ends it")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def _rate(text: str) -> float:
    value = above_0(text)
    if value > _MOST_FRAMES:
        raise argparse.ArgumentTypeError(f"{text} is over {_MOST_FRAMES:,}: a simulator cannot send so many")
    return value


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus.demo import summary, view
    from tickbus.demo.stage import Plan, Stage

    plan = _plan_of_captures(args) if args.capture else Plan(args.seconds or _SECONDS, args.rate, args.seed)
    # Told to end, or the terminal is closed: leave as after Ctrl-C, with everything put away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    if sys.stdout.isatty() and not args.json:
        print("starting ...", end="\r", flush=True)
    with Stage(plan) as stage:
        shown = view.best(quiet=args.json)
        try:
            for document in stage.play(shown.every_s):
                shown.show(document)
        finally:
            shown.close()
    print(json.dumps(document) if args.json else summary.text(document))
    return 0 if document["ok"] else 1


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _plan_of_captures(args: argparse.Namespace) -> Plan:
    from tickbus.demo.recording import survey
    from tickbus.demo.stage import Plan
    from tickbus.exchanges import open_capture

    captures = [open_capture(path) for path in args.capture]
    found = survey(captures, _progress())
    seconds = args.seconds or _SECONDS
    speed, limit_s = args.speed, args.seconds or math.inf
    if speed is None:
        # Never slower than it was: a short recording ends early.
        speed, limit_s = max(1.0, found.duration_s / seconds), math.inf
    return Plan(limit_s, args.rate, args.seed, tuple(args.capture), speed, found)


def _progress() -> Callable[[float], None]:
    """A bar on standard error, if somebody sits there."""
    if not sys.stderr.isatty():
        return lambda share: None

    def show(share: float) -> None:
        bar = "█" * round(share * 30)
        end = "\r\x1b[K" if share >= 1 else ""
        print(f"\rreading {bar:░<30} {share:4.0%}{end}", end="", file=sys.stderr, flush=True)

    return show
