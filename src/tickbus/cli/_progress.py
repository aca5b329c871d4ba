"""How far a long command has come, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["shown"]

_LINE_EVERY_S = 5.0


@contextmanager
def shown(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A callable that takes bytes done and bytes in all; nicer with rich."""
    if quiet:
        yield lambda done, total: None
        return
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        try:
            yield lambda done, total: _overwrite(f"{what}: {_share(done, total)}")
        finally:
            _overwrite("")
        return
    columns: list[Any] = [TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines:
    """Prints a line when some seconds have passed; short work says nothing."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            print(f"{self._what}: {_share(done, total)}", file=sys.stderr, flush=True)


def _share(done: int, total: int) -> str:
    return f"{done / 2**20:,.0f} of {total / 2**20:,.0f} MiB ({done / max(total, 1):.0%})"


def _overwrite(text: str) -> None:
    print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)
