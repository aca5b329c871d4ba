"""Processes to kill: forks of the test that open the bus themselves."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

import pytest


class Child:
    """A forked process that runs some work until it is killed."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                work()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(99)
        self._code: int | None = None

    def send(self, number: int) -> None:
        if self._code is None:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """Kill it, unless it has ended; its exit code, -9 when it was killed."""
        self.send(signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], object]], Child]]:
    """Run work in a child; whoever is left at the end is killed."""
    children: list[Child] = []

    def start(work: Callable[[], object]) -> Child:
        children.append(Child(work))
        return children[-1]

    yield start
    for child in children:
        child.kill()
