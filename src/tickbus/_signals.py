"""
Signals for a program that waits for them in its main thread.

A handler runs in the middle of whatever the main thread does. If that holds a lock, of an Event or of
the logging module, a handler that wants it waits for ever; so this one does nothing but put the number
into a queue that is made for it.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["Signals"]


class Signals:
    """
    Collects signals while it is entered, in the main thread; elsewhere it only waits.

    Args:
        ending: Signals that end the program. The second of them does so at once.
        others: Signals that are only told of.
    """

    def __init__(self, ending: tuple[int, ...], others: tuple[int, ...] = ()) -> None:
        self._ending = ending
        self._numbers = (*ending, *others)
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ends = False
        self._before: dict[int, object] = {}

    def wait(self, timeout_s: float | None) -> int | None:
        """The next signal's number; ``None`` when none comes in time."""
        try:
            return self._came.get(timeout=None if timeout_s is None else max(timeout_s, 0.0))
        except queue.Empty:
            return None

    def put(self, number: int) -> None:
        """As if the signal had come; from any thread."""
        self._came.put(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        if number in self._ending:
            if self._ends:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            self._ends = True
        self._came.put(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in self._numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
