"""A bus with a journal, clocks that tests move, and processes to kill."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from delivery_desk import Time

import tickbus as tb
from tickbus.delivery import Delivery, Policy, files, wire
from tickbus.delivery.loop import Loop
from tickbus.delivery.policy import Policies
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


@pytest.fixture
def make(desk: tb.Bus) -> Iterator[Callable[..., Delivery]]:
    """Deliveries without a loop of their own, closed at the end."""
    made: list[Delivery] = []

    def delivery(**options: Any) -> Delivery:
        made.append(Delivery(desk, **{"loop": False, **options}))
        return made[-1]

    yield delivery
    for one in made:
        one.close()


@pytest.fixture
def loop(desk: tb.Bus, path: Path, clocks: Time) -> Iterator[Callable[..., Loop]]:
    """Make a loop on clocks that the test moves."""
    made: list[Loop] = []

    def start(default: Policy | None = None, **options: Any) -> Loop:
        wire.register(desk)
        policies = Policies(options.pop("policies", None), default)
        made.append(Loop(desk, policies, files.folder_of(path), clock=clocks.clock(), **options))
        return made[-1]

    yield start
    for one in made:
        one.abandon()


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
