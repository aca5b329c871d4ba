"""`tickbus replay --raw`: recorded frames into a bus."""

from __future__ import annotations

import argparse
import json
import sys
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what belongs to --raw."""
    raw = parser.add_argument_group("recorded frames (--raw)")
    raw.add_argument("--raw", action="store_true", help="PATHs are recordings of frames, played side by side")
    raw.add_argument(
        "--merge", action="store_true", help="tell once what connections of any recorder tell twice"
    )


def run(args: argparse.Namespace) -> int:
    """Play them; exit code 0 also where a file was cut off, which is said."""
    from tickbus import Bus
    from tickbus.exchanges import open_capture
    from tickbus.exchanges.replay import Replay
    from tickbus.store.times import to_text

    captures = [open_capture(path, accept_cut=True) for path in args.store]

    def show(now_ns: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{to_text(now_ns)[:23]}", end="\x1b[K", file=sys.stderr, flush=True)

    with Bus(args.bus) as bus:
        replay = Replay(captures, bus, speed=args.speed, merge=args.merge, progress=show)
        time.sleep(args.wait)
        begin_s = time.monotonic()
        try:
            replay.run()
        finally:
            summary = replay.summary() | {"elapsed_s": round(time.monotonic() - begin_s, 3)}
            if args.json:
                print(json.dumps(summary))
            else:
                print(
                    f"{summary['events']:,} events of {summary['frames']:,} frames over"
                    f" {summary['recorded_s']:,.3f} s, in {summary['elapsed_s']:.3f} s"
                )
            for text in summary["cut_off"].values():
                print(f"tickbus: {text}; what came before was played", file=sys.stderr)
    return 0
