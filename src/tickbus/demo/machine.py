"""
How many cores are idle right now: a reader that spins on a busy machine is only in the others' way.

The scheduler takes the core from whoever burns most, so the spinner would be the slowest of all. The
load average lags by a minute (after a build it would still see the compiler), hence a short sample.
"""

from __future__ import annotations

import os
import time

_SAMPLE_S = 0.15


def idle_cores() -> float:
    """Idle cores among all, over the next 0.15 s; as many as we may use where it cannot be known."""
    before = _idle_ticks()
    began_s = time.monotonic()
    time.sleep(_SAMPLE_S)
    passed_s = time.monotonic() - began_s
    after = _idle_ticks()
    if before is None or after is None:
        return float(len(os.sched_getaffinity(0)))
    return (after - before) / (os.sysconf("SC_CLK_TCK") * passed_s)


def _idle_ticks() -> int | None:
    try:
        with open("/proc/stat") as file:
            # cpu user nice system idle iowait ...
            fields = file.readline().split()
    except OSError:
        return None
    return int(fields[4]) + int(fields[5])
