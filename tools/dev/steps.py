"""
Run commands one after the other, say what runs, and sum up.

Commands write to our own output as they go; nothing is held back. A failing step does not hide the
next one's findings: only steps that need its result are skipped. The summary names each step, how it
ended, how long it took and, for a failure, the command to repeat.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, NoReturn

from dev.machine import ROOT, SetupError, environment

#: A step that runs longer is ended: a hang must not hold CI for ever.
STEP_LIMIT_S = 1200.0


def _colourful() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"


def say(message: str) -> None:
    """A progress line, apart from what commands print."""
    arrow = "\x1b[1;36m==>\x1b[0m" if _colourful() else "==>"
    print(f"{arrow} {message}", file=sys.stderr, flush=True)


#: What was started and has not ended: whoever gives up ends it.
_running: set[subprocess.Popen[bytes]] = set()
#: Held from the start of a command until it is in that set.
_starting = threading.Lock()


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    limit_s: float = STEP_LIMIT_S,
    output: IO[bytes] | None = None,
) -> None:
    """
    Run *command* in the checkout.

    Args:
        env: Variables on top of :func:`dev.machine.environment`.
        limit_s: Seconds after which it is killed.
        output: Where it writes to; None: to our own output.
    Raises:
        SetupError: It failed; the message is the command and its exit status.
    """
    full_env = {**environment(), **(env or {})}
    try:
        # A group of its own is what `killpg` needs to reach a test's children too.
        with _starting:
            process = subprocess.Popen(
                command, cwd=ROOT, env=full_env, process_group=0, stdout=output, stderr=output
            )
            _running.add(process)
    except FileNotFoundError as error:
        raise SetupError(f"cannot run {command[0]}: {error.strerror}") from error
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        raise SetupError(f"ended after {limit_s:.0f} s: {spell(command, env)}") from None
    except BaseException:
        _end(process)
        raise
    finally:
        _running.discard(process)
    if status != 0:
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        raise SetupError(f"{how}: {spell(command, env)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and everything it started: asked twice, five seconds apart, then killed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            os.killpg(process.pid, number)
            process.wait(5)
            break
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    try:
        # What a shell puts into the background ignores SIGINT and outlives the command.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def spell(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """*command* as one would type it in the checkout."""
    words = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    inside = f"{ROOT}{os.sep}"
    words += [shlex.quote(word.removeprefix(inside)) for word in command]
    return " ".join(words)


@dataclass(frozen=True)
class Step:
    """One command of a task, or one Python function."""

    name: str
    command: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    action: Callable[[], None] | None = None
    needs: str | None = None  # name of the step without which this one means nothing
    beside: str | None = None  # name of the step during which this command runs already
    limit_s: float = STEP_LIMIT_S

    def perform(self, output: IO[bytes] | None = None) -> None:
        if self.action is not None:
            self.action()
        else:
            run(self.command, env=self.env, limit_s=self.limit_s, output=output)


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    step: Step
    result: str  # "ok", "FAILED" or "skipped"
    seconds: float = 0.0
    reason: str = ""


class _Beside:
    """Commands that run one after the other while another step does; told of when their turn comes."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._files = {step.name: tempfile.TemporaryFile() for step in steps}  # noqa: SIM115
        self._ends = {step.name: self._pool.submit(_timed, step, self._files[step.name]) for step in steps}

    def stop(self) -> None:
        """End what runs, and begin no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with _starting:
            running = list(_running)
        for process in running:
            _end(process)

    def outcome(self, step: Step) -> Outcome:
        """What it printed, and how it ended."""
        outcome = self._ends[step.name].result()
        with self._files[step.name] as printed:
            printed.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(printed, sys.stdout.buffer)
            sys.stdout.flush()
        return outcome


def run_all(steps: Sequence[Step]) -> int:
    """Run *steps*, print the summary, and return the exit status of the whole."""
    begun = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    beside: dict[str, _Beside] = {}
    try:
        for number, step in enumerate(steps, 1):
            if step.needs is not None and step.needs in outcomes and outcomes[step.needs].result != "ok":
                outcomes[step.name] = Outcome(step, "skipped", reason=f"needs {step.needs}")
                continue
            shown = f": {spell(step.command, step.env)}" if step.command else ""
            say(f"[{number}/{len(steps)}] {step.name}{shown}")
            if companions := [other for other in steps if other.beside == step.name]:
                beside |= dict.fromkeys([other.name for other in companions], _Beside(companions))
            companion = beside.get(step.name)
            outcomes[step.name] = companion.outcome(step) if companion else _timed(step)
    except BaseException:
        for companion in set(beside.values()):
            companion.stop()
        raise
    _sum_up(list(outcomes.values()), time.monotonic() - begun)
    return 0 if all(outcome.result == "ok" for outcome in outcomes.values()) else 1


def _timed(step: Step, output: IO[bytes] | None = None) -> Outcome:
    start = time.monotonic()
    try:
        step.perform(output)
    except SetupError as error:
        say(f"{step.name} failed: {error}")
        return Outcome(step, "FAILED", time.monotonic() - start, str(error))
    return Outcome(step, "ok", time.monotonic() - start)


def _sum_up(outcomes: Sequence[Outcome], total_s: float) -> None:
    width = max(len(outcome.step.name) for outcome in outcomes)
    sys.stdout.flush()
    say("summary")
    for outcome in outcomes:
        line = f"    {outcome.step.name:<{width}}  {outcome.result:<7}  {outcome.seconds:6.1f} s"
        print(f"{line}  {outcome.reason}".rstrip(), file=sys.stderr, flush=True)
    failed = sum(outcome.result == "FAILED" for outcome in outcomes)
    say(f"{f'{failed} failed' if failed else 'all passed'} in {total_s:.0f} s")


def hand_over(command: Sequence[str]) -> NoReturn:
    """Become *command*: its signals, terminal and exit status are the caller's from here on."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], list(command), environment())
