"""
How a hot loop is timed: `timeit` compiles it, names are locals, the empty loop is subtracted.

A loop is run in short slices, and the fastest slice counts: the others were interrupted by what
else runs on the machine (`timeit`'s own advice). Every contender of a job goes through `Loop`, so
all pay the same loop and the same name look-ups. Garbage collection is off while timing (it would
fall on whoever happens to run), on in between.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from timeit import Timer
from typing import Any

#: Slices of a loop; one is some milliseconds, shorter than a scheduler's turn.
SLICES = 20


class Loop:
    """A statement run many times. *names* become local variables of the loop."""

    def __init__(self, statement: str, **names: Any) -> None:
        bindings = "; ".join(f"{name} = _names[{name!r}]" for name in names) or "pass"
        self._timer = Timer(statement, setup=bindings, globals={"_names": names})

    def ns(self, count: int) -> float:
        """Nanoseconds per run of the statement, the empty loop subtracted."""
        each = max(1, count // SLICES)
        return max(0.0, (_fastest(self._timer, each) - _fastest(_EMPTY, each)) * 1e9 / each)


def fastest_slice(times_ns: list[int]) -> float:
    """Mean of the fastest of `SLICES` stretches of *times_ns*, for work that is timed piece by piece."""
    each = max(1, len(times_ns) // SLICES)
    slices = (times_ns[first : first + each] for first in range(0, len(times_ns) - each + 1, each))
    return min(sum(one) / each for one in slices)


_EMPTY = Timer("pass")


def _fastest(timer: Timer, count: int) -> float:
    return min(timer.repeat(SLICES, count))


@contextlib.contextmanager
def no_gc() -> Iterator[None]:
    """Garbage collection off inside, as it was afterwards."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def cores() -> tuple[int, int]:
    """The first and the last core this process may use (publisher and reader); equal if only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """The calling thread on one core inside, as it was afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
