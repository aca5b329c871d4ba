"""The command line of ``./dev``: list the tasks, or run one."""

import fcntl
import os
import signal
import sys
from types import FrameType

from dev.machine import ROOT, SetupError
from dev.steps import say
from dev.tasks import TASKS


def main(arguments: list[str]) -> int:
    """Run the task that *arguments* name and return its exit status."""
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        print(_usage())
        return 0
    task = TASKS.get(arguments[0])
    if task is None:
        print(f"dev: no task {arguments[0]!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _take_turns()
        return task(arguments[1:])
    except SetupError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev: interrupted", file=sys.stderr)
        return 130


def _usage() -> str:
    lines = ["usage: ./dev TASK [arguments]", ""]
    lines += ["It sets up all it needs in .venv and target, here in the checkout.", ""]
    for name, task in TASKS.items():
        description = (task.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<9} {description}")
    return "\n".join(lines)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    # As an exception it passes through `run`, which ends the running command on the way out.
    raise SystemExit(143)


def _take_turns() -> None:
    """
    Wait until no other ``./dev`` of this checkout sets up or builds.

    The lock is this process's: `demo` and `bench` give it back as they hand over, because the
    descriptor is closed on exec.
    """
    descriptor = os.open(ROOT / "dev", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("waiting for another ./dev of this checkout")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
