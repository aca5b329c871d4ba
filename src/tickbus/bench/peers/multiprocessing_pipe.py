"""multiprocessing.Pipe: 32 bytes a message."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence

from tickbus.bench.peers.contract import LAYOUT, Transport


class PipeTransport(Transport):
    name = "multiprocessing.Pipe"

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._reader, self._writer = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def sender(self) -> Callable[[float], object]:
        send, pack, clock = self._writer.send_bytes, LAYOUT.pack, time.time_ns
        return lambda value: send(pack(clock(), 0, 0, 1, 7, value, 0))

    def receiver(self) -> Callable[[float], Sequence[float]]:
        poll, receive_bytes, unpack = self._reader.poll, self._reader.recv_bytes, LAYOUT.unpack

        def receive(timeout_s: float) -> Sequence[float]:
            # The first event is waited for with a limit; the ones behind it are not polled for one
            # by one: `poll` builds a selector each time and would be half the cost.
            return (unpack(receive_bytes())[5],) if poll(timeout_s) else ()

        return receive

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
