"""
Play stored events into a named bus, where strategies take them for live:

    tickbus replay exported/ desk --speed 10 --start 2026-08-09T12:00Z

Events keep their timestamps and order. Without --speed they go as fast as the bus takes them, and readers
that do not keep up are lapped, as they would be live. --wait lets strategies attach first.

With --raw the paths are recordings of frames, as `tickbus record --raw` and other recorders make them:

    tickbus replay --raw monday.rec.jsonl.zst desk --speed 1

Progress goes to standard error. Exit code: 0 when all was published, 1 when the store cannot be read or the
bus refused an event, 130 after Ctrl-C, which prints the summary too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tickbus.cli import _replay_raw
from tickbus.cli._numbers import above_0, from_0
from tickbus.cli.query import add_selection, opened, selection

if TYPE_CHECKING:
    from tickbus.store import Summary
    from tickbus.store.replay import Progress

HELP = "play stored events into a bus"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("store", metavar="PATH", nargs="+", help="folder of the stored events")
    parser.add_argument("bus", metavar="BUS", help="name of the bus, opened if need be")
    parser.add_argument("--speed", type=above_0, help="times the recorded pace (as fast as possible)")
    parser.add_argument("--wait", type=from_0, default=0.0, metavar="S", help="wait before the first event")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_selection(parser)
    _replay_raw.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus import Bus
    from tickbus.store import Replay

    if args.raw:
        return _replay_raw.run(args)
    if len(args.store) > 1:
        print("tickbus replay: several PATHs go with --raw only", file=sys.stderr)
        return 2
    with opened(args.store, args.salvage) as store, Bus(args.bus) as bus, ExitStack() as shown:
        show = shown.enter_context(_shown())
        player = Replay(store, bus, speed=args.speed, progress=show, **selection(args))
        time.sleep(args.wait)
        try:
            player.run()
        finally:
            shown.close()
            # Also after Ctrl-C or a refusal: what has been published has been published.
            print(json.dumps(player.summary.as_dict()) if args.json else _text(player.summary))
    return 0


def _text(summary: Summary) -> str:
    from tickbus.store.times import to_text

    if summary.first_ns is None or summary.last_ns is None:
        return "no events"
    figures = summary.as_dict()
    text = (
        f"{summary.events:,} events of {to_text(summary.first_ns)} to {to_text(summary.last_ns)}"
        f" in {summary.elapsed_s:.3f} s, {figures['events_per_s']:,.0f} a second"
    )
    if summary.batches:
        late = [f"{summary.late_ns(percent) / 1e3:,.0f} us ({percent} %)" for percent in (50, 99)]
        text += f"; late by at most {', '.join(late)}"
    return text


@contextmanager
def _shown() -> Iterator[Callable[[Progress], object]]:
    """Show progress on standard error, if somebody sits there; nicer with rich."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    try:
        from rich.console import Console
        from rich.status import Status
    except ModuleNotFoundError:
        yield lambda progress: print(f"\r{_line(progress)}", end="\x1b[K", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return
    status: Any = Status("replaying", console=Console(stderr=True))
    with status:
        yield lambda progress: status.update(_line(progress))


def _line(progress: Progress) -> str:
    from tickbus.store.times import to_text

    return f"{to_text(progress.now_ns)[:23]}  {progress.events:,} events  {progress.elapsed_s:.0f} s"
