"""
A shared-memory ring in pure Python: one publisher, one reader, both counting in shared words.

The bar a native ring has to clear: no safety, no types, no second reader, a core burnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from multiprocessing import shared_memory

from tickbus.bench.peers.contract import LAYOUT, Transport

SLOTS = 1 << 16
_HEADER = 128
_WRITTEN, _TAKEN = 0, 8  # indices of 8-byte words, a cache line apart


class RingTransport(Transport):
    name = "shared-memory ring in Python"
    polls = True

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self._words: list[memoryview] = []
        self._memory = shared_memory.SharedMemory(create=True, size=_HEADER + SLOTS * LAYOUT.size)

    def __getstate__(self) -> dict[str, object]:
        return {"capacity": self.capacity, "_name": self._memory.name}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.capacity = int(str(state["capacity"]))
        self._words = []
        self._memory = shared_memory.SharedMemory(name=str(state["_name"]))

    def _views(self) -> tuple[memoryview, memoryview]:
        """The whole memory as bytes, and its header as 8-byte words."""
        buffer = self._memory.buf
        if buffer is None:
            raise ValueError("the ring is closed")
        words = buffer[:_HEADER].cast("Q")
        self._words.append(words)
        return buffer, words

    def _release(self) -> None:
        # Shared memory cannot be unmapped while a view of it is open.
        while self._words:
            self._words.pop().release()

    def sender(self) -> Callable[[float], object]:
        buffer, words = self._views()
        pack_into, clock = LAYOUT.pack_into, time.time_ns
        written = taken = 0

        def send(value: float) -> None:
            nonlocal written, taken
            while written - taken >= SLOTS:
                taken = words[_TAKEN]
            pack_into(buffer, _HEADER + (written & SLOTS - 1) * 32, clock(), 0, 0, 1, 7, value, 0)
            written += 1
            words[_WRITTEN] = written

        return send

    def receiver(self) -> Callable[[float], Sequence[float]]:
        buffer, words = self._views()
        unpack_from = LAYOUT.unpack_from
        taken = 0

        def receive(timeout_s: float) -> Sequence[float]:
            nonlocal taken
            spins = 0
            while (written := words[_WRITTEN]) == taken:
                spins += 1
                if spins > timeout_s * 5e6:  # a spin is about 0.1 µs; a clock read would be half of it
                    return ()
            values = []
            for index in range(taken, min(written, taken + 1_000)):
                values.append(unpack_from(buffer, _HEADER + (index & SLOTS - 1) * 32)[5])
            taken += len(values)
            words[_TAKEN] = taken
            return values

        return receive

    def reader_notes(self) -> dict[str, float]:
        self._release()
        return {}

    def close(self) -> None:
        self._release()
        self._memory.close()
        self._memory.unlink()
