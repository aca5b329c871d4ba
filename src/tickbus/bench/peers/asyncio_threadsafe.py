"""asyncio's loop.call_soon_threadsafe: a publisher's thread hands events to a loop in another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

from tickbus.bench.peers.contract import Record, Transport


class ThreadsafeTransport(Transport):
    name = "asyncio call_soon_threadsafe"
    yields = True

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()

    def sender(self) -> Callable[[float], object]:
        self._ready.wait(10)
        loop = self._loop
        if loop is None:
            raise RuntimeError("the receiver has not been opened")
        call, arrived, clock = loop.call_soon_threadsafe, self._arrived, time.time_ns
        return lambda value: call(arrived, Record(clock(), 0, "BTC-USDT", value, 0))

    def _arrived(self, event: Record) -> None:
        self._values.append(event.value)
        self._awake.set()

    def receiver(self) -> Callable[[float], Sequence[float]]:
        self._values: list[float] = []
        self._awake = asyncio.Event()
        self._loop = loop = asyncio.new_event_loop()
        self._ready.set()

        async def next_values(timeout_s: float) -> Sequence[float]:
            if not self._values:
                # A timer per wait costs less than wait_for's task.
                timer = loop.call_later(timeout_s, self._awake.set)
                await self._awake.wait()
                timer.cancel()
            self._awake.clear()
            values, self._values = self._values, []
            return values

        return lambda timeout_s: loop.run_until_complete(next_values(timeout_s))
