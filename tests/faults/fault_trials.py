"""Some work on a journal that something happens to, and the judgement afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import syscalls
from fault_writers import Books, everything_in, opened

from tickbus.journal import verify

Work = Callable[[Path, int], object]


class Trial:
    """
    Some work on a journal that something happens to.

    Args:
        work: Takes the journal's path and a pipe to say in what was acknowledged.
        template: A journal to begin with, and the books of it.
    """

    def __init__(
        self, work: Work, path: Path, *, kib: int = 64, template: tuple[Path, Books] | None = None
    ) -> None:
        self.work, self.path, self.kib, self.books = work, path, kib, Books()
        if template is not None:
            shutil.copytree(template[0], path)
            self.books.acknowledged.update(template[1].acknowledged)

    def run(self, **what_happens: Any) -> syscalls.Trace:
        """Do the work in a traced process: see :func:`syscalls.trace`."""
        receive, send = os.pipe()
        trace = syscalls.trace(lambda: self.work(self.path, send), **what_happens)
        os.close(send)
        self.books.listen_to_the_end(receive)
        return trace

    def judge(self) -> None:
        """Everything is there, the journal goes on, and every byte of it is whole then."""
        self.books.judge(everything_in(self.path, kib=self.kib))
        with opened(self.path, "os", self.kib) as bus:
            bus.publish(0, 0, 1.0)
        report = verify(self.path)
        assert report.whole, report
        shutil.rmtree(self.path)


def begun_with(work: Work, path: Path) -> tuple[Path, Books]:
    """A journal that *work* has left, to begin trials with."""
    books = Books()
    receive, send = os.pipe()
    work(path, send)
    os.close(send)
    books.listen_to_the_end(receive)
    return path, books
