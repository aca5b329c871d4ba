"""A bus with a journal, clocks that tests move, and processes to kill."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from delivery_desk import Time

import tickbus as tb
from tickbus.journal import Journal


@pytest.fixture
def clocks() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def kept(path: Path) -> Journal:
    """The quickest journal that survives a kill."""
    return Journal(path, critical="os", segment_mib=1)


@pytest.fixture
def desk(kept: Journal) -> Iterator[tb.Bus]:
    with tb.Bus(journal=kept) as bus:
        yield bus


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
        self._ended = False

    def kill(self) -> None:
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._ended = True


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
