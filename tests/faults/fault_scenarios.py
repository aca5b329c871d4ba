"""What a journal does, in small: to be stopped or refused at each of its system calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fault_writers import Writer, opened

from tickbus.journal import compact_old


def begin(path: Path, pipe: int) -> None:
    """Make a journal and close it."""
    opened(path, "disk").close()


def append(path: Path, pipe: int) -> None:
    """Ones and batches of all lanes into one segment."""
    bus = opened(path, "disk")
    writer = Writer(1, bus, pipe, sync=True)
    for count in (1, 1, 70, 1):
        for thread in (0, 2, 3):
            writer.publish(thread, count)
    bus.close()


def append_unsynced(path: Path, pipe: int) -> None:
    """The same at level `os`."""
    bus = opened(path, "os")
    writer = Writer(1, bus, pipe, sync=False)
    for count in (1, 1, 70, 1):
        for thread in (0, 2, 3):
            writer.publish(thread, count)
    bus.close()


def rotate(path: Path, pipe: int) -> None:
    """Through segments of two blocks, which are sealed behind the writer's back."""
    bus = opened(path, "disk", kib=8)
    writer = Writer(1, bus, pipe, sync=True)
    for _ in range(3):
        writer.publish(0, 1)
        writer.publish(2, 300)
    bus.close()


def seal(path: Path, pipe: int) -> None:
    """Wait until every full segment is sealed."""
    bus = opened(path, "os", kib=16)
    writer = Writer(1, bus, pipe, sync=False)
    for _ in range(3):
        writer.publish(2, 600)
    end = time.monotonic() + 1
    while bus.stats()["journal"]["segments"]["log"] > 1 and time.monotonic() < end:
        time.sleep(0.001)
    bus.close()


def compact(path: Path, pipe: int) -> None:
    """Pack sealed segments."""
    compact_old(path, 0)


def go_on(path: Path, pipe: int) -> None:
    """Recover, and go on."""
    bus = opened(path, "os", kib=16)
    Writer(2, bus, pipe, sync=False).publish(2, 10)
    bus.close()


@dataclass(frozen=True)
class Scenario:
    """Some work on a journal, and what has been done with it before."""

    work: Callable[[Path, int], None]
    before: Callable[[Path, int], None] | None = None
    kib: int = 64


SCENARIOS = {
    "begin": Scenario(begin),
    "append": Scenario(append),
    "append unsynced": Scenario(append_unsynced),
    "rotate": Scenario(rotate, kib=8),
    "seal": Scenario(seal, kib=16),
    "compact": Scenario(compact, before=seal, kib=16),
    "go on": Scenario(go_on, before=seal, kib=16),
}
