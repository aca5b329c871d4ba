"""multiprocessing.Queue: bytes through its feeder thread, pickled."""

from __future__ import annotations

import multiprocessing
import queue
import time
from collections.abc import Callable, Sequence

from tickbus.bench.peers.contract import LAYOUT, Transport


class QueueTransport(Transport):
    name = "multiprocessing.Queue"
    yields = True  # its feeder thread

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._queue = multiprocessing.get_context("spawn").Queue()

    def sender(self) -> Callable[[float], object]:
        put, pack, clock = self._queue.put, LAYOUT.pack, time.time_ns
        return lambda value: put(pack(clock(), 0, 0, 1, 7, value, 0))

    def receiver(self) -> Callable[[float], Sequence[float]]:
        get, unpack = self._queue.get, LAYOUT.unpack

        def receive(timeout_s: float) -> Sequence[float]:
            try:
                return (unpack(get(True, timeout_s))[5],)
            except queue.Empty:
                return ()

        return receive

    def close(self) -> None:
        self._queue.close()
        self._queue.cancel_join_thread()
