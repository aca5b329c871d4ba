"""queue.SimpleQueue between two threads: the fastest of the standard library."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence

from tickbus.bench.peers.contract import Record, Transport


class SimpleQueueTransport(Transport):
    name = "queue.SimpleQueue"
    yields = True

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.queue: queue.SimpleQueue[Record] = queue.SimpleQueue()

    def sender(self) -> Callable[[float], object]:
        put, clock = self.queue.put, time.time_ns
        return lambda value: put(Record(clock(), 0, "BTC-USDT", value, 0))

    def receiver(self) -> Callable[[float], Sequence[float]]:
        get = self.queue.get

        def receive(timeout_s: float) -> Sequence[float]:
            try:
                return (get(True, timeout_s).value,)
            except queue.Empty:
                return ()

        return receive
