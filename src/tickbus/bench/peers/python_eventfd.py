"""
A bare eventfd between two Python threads: what waking a thread costs once both run Python.

No event is built and only one can wait per wake: a floor beside the C one, not something to use.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable, Sequence

from tickbus.bench.peers.contract import Transport


class EventfdTransport(Transport):
    name = "floor: eventfd, Python threads"
    yields = True

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._fd = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_CLOEXEC)
        self._values: deque[float] = deque()

    def sender(self) -> Callable[[float], object]:
        fd, append, write = self._fd, self._values.append, os.eventfd_write

        def send(value: float) -> None:
            append(value)
            write(fd, 1)

        return send

    def receiver(self) -> Callable[[float], Sequence[float]]:
        fd, take, read = self._fd, self._values.popleft, os.eventfd_read
        poll = select.poll()
        poll.register(fd, select.POLLIN)

        def receive(timeout_s: float) -> Sequence[float]:
            if not poll.poll(timeout_s * 1_000):
                return ()
            read(fd)
            return (take(),)

        return receive

    def close(self) -> None:
        os.close(self._fd)
