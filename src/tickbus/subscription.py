"""
Reading a bus: one at a time, in batches, or from an event loop.

The cursor, the filter and the ledger are native; here stands how asyncio waits. No thread is started:
the loop watches one file descriptor per bus, and publishers write to it only while the loop sleeps.
"""

from __future__ import annotations

import asyncio
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tickbus import _native
from tickbus.errors import BusClosedError

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = ["Subscription"]

#: Events an ``async for`` takes before it lets the loop's other tasks run.
_BURST = 256
#: A publisher killed between publishing and waking must not make a loop sleep for ever.
_LONGEST_SLEEP_S = 0.05


class Subscription(_native.Subscription):
    """
    A reader of a bus; made by ``Bus.subscribe``.

    Critical events come first, always; normal ones are guaranteed one event in eight. A subscription
    belongs to one thread at a time. Iterating waits and releases the GIL; ``async for`` waits in any
    event loop; ``poll``, ``drain`` and ``read_batch`` take what is there. It ends with ``close``, the
    end of a ``with`` block, or its bus.
    """

    _bus: Bus
    _burst: int

    def __init__(self, bus: Bus, patterns: list[str], start: str | int, wait: str, gating: bool | None) -> None:
        self._bus = bus
        self._burst = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _native.Event:
        while True:
            try:
                event = self.poll()
            except BusClosedError:
                if self.closed or self._bus.closed:
                    raise StopAsyncIteration from None
                raise
            if event is not None:
                self._burst += 1
                if self._burst >= _BURST:
                    # A stream that never runs dry must not starve the other tasks.
                    self._burst = 0
                    await asyncio.sleep(0)
                return event
            self._burst = 0
            await _LoopWaiter.of(self._bus).wait(self)

    def close(self) -> None:
        """End the subscription; whoever waits on it is woken. Safe to repeat."""
        super().close()
        _LoopWaiter.notify(self._bus)


class _LoopWaiter:
    """What the subscriptions of one bus in one event loop sleep on together."""

    _all: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _LoopWaiter]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, bus: Bus, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bus = weakref.ref(bus)
        self._sleeper = _native.LoopSleeper(bus)
        self._waiting: dict[asyncio.Future[None], Subscription] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._armed = False

    @classmethod
    def of(cls, bus: Bus) -> _LoopWaiter:
        loop = asyncio.get_running_loop()
        waiters = cls._all.setdefault(loop, {})
        waiter = waiters.get(id(bus))
        if waiter is None or waiter._bus() is not bus:
            waiter = waiters[id(bus)] = cls(bus, loop)
        return waiter

    @classmethod
    def notify(cls, bus: Bus) -> None:
        """Make every waiting task look again: something of *bus* was closed."""
        for loop, waiters in list(cls._all.items()):
            waiter = waiters.get(id(bus))
            if waiter is not None and not loop.is_closed():
                loop.call_soon_threadsafe(waiter._wake)

    async def wait(self, subscription: Subscription) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting[future] = subscription
        try:
            if self._arm():
                await future
        finally:
            self._waiting.pop(future, None)
            if not self._waiting:
                self._disarm()

    def _arm(self) -> bool:
        """Go to sleep for all who wait; False when one of them has news."""
        self._disarm()
        if not self._sleeper.arm(list(self._waiting.values())):
            self._wake()
            return False
        self._armed = True
        self._loop.add_reader(self._sleeper.fileno(), self._wake)
        self._timer = self._loop.call_later(_LONGEST_SLEEP_S, self._wake)
        return True

    def _disarm(self) -> None:
        if self._armed:
            self._armed = False
            self._loop.remove_reader(self._sleeper.fileno())
            self._sleeper.disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._disarm()
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
