"""`tickbus record --raw`: what a venue sends, into a file."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickbus.exchanges.connect import Change, Feed
    from tickbus.exchanges.recorder import Recorder

_EVERY_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to --raw."""
    raw = parser.add_argument_group("frames of a venue (--raw)")
    raw.add_argument("--raw", metavar="FILE", help="record what a venue sends into a new file")
    raw.add_argument("--venue", help="`tickbus exchanges list` has them")
    raw.add_argument("--market", default="spot", help="market of the venue (spot)")
    raw.add_argument("--symbols", metavar="A,B", help="instruments, BTC-USDT or the venue's own names")
    raw.add_argument(
        "--channels",
        metavar="C,D",
        default="trades,quotes",
        help="trades, quotes, books, or the venue's own names (trades,quotes)",
    )
    raw.add_argument("--connections", type=int, default=1, help="redundant connections (1)")
    raw.add_argument("--compression", choices=("zstd", "gzip", "none"), default="zstd")
    raw.add_argument("--url", help="other address than the venue's, such as a local venue's")


def run(args: argparse.Namespace) -> int:
    """Record until told to end."""
    if not args.venue or not args.symbols or args.path:
        print("tickbus record: --raw needs --venue and --symbols, and takes no PATH", file=sys.stderr)
        return 2
    return asyncio.run(_record(args))


async def _record(args: argparse.Namespace) -> int:
    from tickbus import Bus
    from tickbus.exchanges.connect import Feed, adapter
    from tickbus.exchanges.recorder import Recorder

    symbols, channels = args.symbols.split(","), args.channels.split(",")
    try:
        market = adapter(args.venue, args.market)
        market.streams(symbols, channels)
    except ValueError as error:
        print(f"tickbus record: {error}", file=sys.stderr)
        return 2
    more = {"symbols": symbols, "channels": channels}
    with contextlib.ExitStack() as stack:
        bus = stack.enter_context(Bus(args.bus)) if args.bus else None
        recorder = stack.enter_context(
            Recorder(args.raw, args.venue, market.decoder_market, compression=args.compression, more=more)
        )
        feed = Feed(
            args.venue,
            symbols,
            channels=channels,
            market=args.market,
            bus=bus,
            connections=args.connections,
            recorder=recorder,
            on_change=_told,
            url=args.url,
        )
        feeding = asyncio.create_task(feed.run())
        try:
            await _until_told_to_end(feed, feeding, args, recorder)
        finally:
            feed.stop()
            await asyncio.wait([feeding])
        feeding.result()
    last = _figures(feed, recorder)
    print(json.dumps(last | {"ended": True}) if args.json else f"ended: {_line(last)}", flush=True)
    return 1 if recorder.lost_frames else 0


async def _until_told_to_end(
    feed: Feed, feeding: asyncio.Task[None], args: argparse.Namespace, recorder: Recorder
) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, ended.set)
    deadline_s = time.monotonic() + (args.seconds or math.inf)
    ending = asyncio.create_task(ended.wait())
    try:
        while (left_s := deadline_s - time.monotonic()) > 0:
            done, _ = await asyncio.wait(
                [ending, feeding], timeout=min(_EVERY_S, left_s), return_when=asyncio.FIRST_COMPLETED
            )
            figures = _figures(feed, recorder)
            print(json.dumps(figures) if args.json else _line(figures), flush=True)
            if done:
                return
    finally:
        ending.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)


def _told(change: Change) -> None:
    """Every change of a connection, on standard error."""
    words = (change.connection, change.state, change.reason, change.detail)
    print(" ".join(filter(None, words)), file=sys.stderr, flush=True)


def _figures(feed: Feed, recorder: Recorder) -> dict[str, Any]:
    stats = feed.stats()
    return {
        "frames": recorder.frames,
        "bytes": recorder.written_bytes,
        "lost_frames": recorder.lost_frames,
        "problem": recorder.problem,
        **{name: stats[name] for name in ("connections", "events", "duplicates", "missing", "lives")},
        "gaps": stats["counts"].get("gap", 0),
        "refused": stats["refused"],
        "quiet": sorted({f"{stream.channel} {stream.symbol}" for _, stream in feed.quiet(30.0)}),
    }


def _line(figures: dict[str, Any]) -> str:
    states = ", ".join(f"{name} {state}" for name, state in figures["connections"].items())
    line = f"{figures['frames']:,} frames, {figures['bytes'] / 2**20:.1f} MiB; {states or 'no connection'}"
    for name in ("gaps", "missing", "lost_frames"):
        if figures[name]:
            line += f"; {name.replace('_', ' ')}: {figures[name]:,}"
    for name in ("refused", "quiet"):
        if figures[name]:
            line += f"; {name}: {', '.join(figures[name])}"
    return line + (f"; {figures['problem']}" if figures["problem"] else "")
