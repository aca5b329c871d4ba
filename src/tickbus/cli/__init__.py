"""
The command `tickbus`: `tickbus COMMAND --help`.

A file per command in this package, with HELP, `add_arguments(parser)` and `run(args) -> int`. All are
imported to list them, so they import what they need when they run.

Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong use, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from tickbus.errors import TickbusError

COMMANDS = (
    *("demo", "bench", "serve", "top", "tail", "record", "query", "replay", "deadletters"),
    *("inspect", "verify", "compact", "doctor", "exchanges"),
)
_INTERRUPTED = 128 + signal.SIGINT


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    import tickbus

    root = argparse.ArgumentParser(prog="tickbus", description=tickbus.__doc__)
    root.add_argument("--version", action="version", version=f"tickbus {tickbus.__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name in COMMANDS:
        module = importlib.import_module(f"tickbus.cli.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    args = parser().parse_args(arguments)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except TickbusError as error:
        print(f"tickbus: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            # A full disk below our output, a file that may not be read. Python flushes again at exit.
            print(f"tickbus: {error}", file=sys.stderr)
        # Or whoever read our output has gone, as with `| head`. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
