"""
asyncio.Queue: a task per handler awaiting its own queue; 1,000 events put per turn of the loop.

One event per turn costs nine times as much (a turn of the loop is 7 µs); 1,000 is its best case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter_ns

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import SLICES

EVENTS_PER_TURN = 1_000


class _Fan:
    def __init__(self, handlers: Sequence[Handler]) -> None:
        self.loop = asyncio.new_event_loop()
        self.queues: list[asyncio.Queue[Record]] = [asyncio.Queue() for _ in handlers]
        self.tasks = [
            self.loop.create_task(self._consume(queue, handler))
            for queue, handler in zip(self.queues, handlers, strict=True)
        ]

    @staticmethod
    async def _consume(queue: asyncio.Queue[Record], handler: Handler) -> None:
        while True:
            handler(await queue.get())
            queue.task_done()

    async def _publish(self, event: Record, count: int) -> None:
        puts = [queue.put_nowait for queue in self.queues]
        while count > 0:
            for _ in range(min(count, EVENTS_PER_TURN)):
                for put in puts:
                    put(event)
            for queue in self.queues:
                await queue.join()
            count -= EVENTS_PER_TURN

    def send(self, value: float) -> None:
        self.loop.run_until_complete(self._publish(Record(0, 0, "BTC-USDT", value, 0), 1))

    def ns(self, count: int) -> float:
        event = Record(0, 0, "BTC-USDT", 1.5, 0)
        each = max(EVENTS_PER_TURN, count // SLICES)
        times = []
        for _ in range(SLICES):
            begin = perf_counter_ns()
            self.loop.run_until_complete(self._publish(event, each))
            times.append(perf_counter_ns() - begin)
        return min(times) / each

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))
        self.loop.close()


def _wire(handlers: Sequence[Handler]) -> Wired:
    fan = _Fan(handlers)
    return Wired(fan.send, fan.ns, fan.close)


DISPATCHER = Dispatcher("asyncio.Queue", None, _wire)
