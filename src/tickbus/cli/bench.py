"""
`tickbus bench [JOB ...]`: measure tickbus on this machine, with ``--peers`` beside what else is installed.

The table goes to stdout, progress to stderr. Exit code: 0 when everything asked for was measured,
1 when a contender failed its behaviour check or raised, 2 for a wrong use or a debug build, 130
after Ctrl-C. A missed target is reported, not an error: the figures of a busy machine are still its figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tickbus.cli._numbers import whole_from

HELP = "measure tickbus on this machine, beside floors and peers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="jobs to run (default: all; see --list)")
    parser.add_argument("--list", action="store_true", help="list the jobs and what they measure")
    parser.add_argument("--peers", action="store_true", help="also measure the peers that are installed")
    parser.add_argument(
        "--quick", action="store_true", help="tiny counts, to see that it runs; the figures mean nothing"
    )
    parser.add_argument(
        "--repeat", type=whole_from(1), metavar="N", help="rounds (default 5; 2 with --quick)"
    )
    parser.add_argument("--recordings", metavar="DIR", help="decode recorded frames, not simulated ones")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON to FILE, '-' for stdout")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw latencies and throughput")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    from tickbus import _native
    from tickbus.bench import histogram, machine_record, plot, report, runner
    from tickbus.bench.jobs import JOBS
    from tickbus.bench.model import Options
    from tickbus.errors import MissingExtraError

    if args.list:
        width = max(len(job.name) for job in JOBS)
        print("\n".join(f"{job.name:<{width}}  {job.title}" for job in JOBS))
        return 0
    unknown = sorted(set(args.jobs) - {job.name for job in JOBS})
    if unknown:
        return _refuse(f"no such job: {', '.join(unknown)}; there are {', '.join(job.name for job in JOBS)}")
    if _native.DEBUG_BUILD:
        return _refuse("this is a debug build of tickbus; build it with --release to measure it")
    if args.recordings is not None and not Path(args.recordings).is_dir():
        return _refuse(f"no such folder: {args.recordings}")
    for path in (args.json, args.plot):
        # Asked before minutes are spent, not after.
        if path not in (None, "-") and not Path(path).parent.is_dir():
            return _refuse(f"no such folder: {Path(path).parent}")
    try:
        histogram.require()
        if args.plot is not None:
            plot.require()
    except MissingExtraError as error:
        return _refuse(str(error))

    repeats = args.repeat or (2 if args.quick else 5)
    options = Options(quick=args.quick, peers=args.peers, repeats=repeats, recordings=args.recordings)
    wanted = [job for job in JOBS if not args.jobs or job.name in args.jobs]
    machine = machine_record.describe()
    try:
        outcome = runner.run(wanted, options, _progress)
    except KeyboardInterrupt:
        _clear_progress()
        print("tickbus bench: interrupted, nothing is reported", file=sys.stderr)
        return 130
    _clear_progress()

    document = report.to_json(outcome, machine, vars(options))
    if args.json == "-":
        print(json.dumps(document, indent=1))
    else:
        print(report.to_text(outcome, machine, quick=args.quick), end="")
        if args.json is not None:
            Path(args.json).write_text(json.dumps(document, indent=1) + "\n")
    if args.plot is not None:
        plot.draw(outcome, machine, args.plot)
    return 1 if outcome.failures else 0


def _refuse(message: str) -> int:
    print(f"tickbus bench: {message}", file=sys.stderr)
    return 2


def _progress(job: str, what: str, done: int, total: int) -> None:
    """One line that overwrites itself on a terminal, a line per job elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{job}: {done}/{total} {what}", end="", file=sys.stderr, flush=True)
    elif what == "setting up":
        print(f"{job} ...", file=sys.stderr, flush=True)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command alone, without the `tickbus` dispatcher."""
    parser = argparse.ArgumentParser(prog="tickbus bench", description=HELP)
    add_arguments(parser)
    args: Any = parser.parse_args(arguments)
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
