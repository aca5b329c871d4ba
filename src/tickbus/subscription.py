"""
Reading a bus: one at a time, in batches, or from an event loop.

The cursor, the filter and the ledger are native; here stands how asyncio waits. No thread is started:
the loop watches one file descriptor per bus, and publishers write to it only while the loop sleeps.
"""

from __future__ import annotations

import asyncio
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Self

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

    def __init__(
        self,
        bus: Bus,
        patterns: list[str],
        start: str | int | tuple[int] | tuple[int, int, int],
        wait: str,
        gating: bool | None,
    ) -> None:
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
            if self._burst >= _BURST:
                # A stream that never runs dry must not starve the other tasks. Before an event is
                # taken, not after: a task cancelled here would lose it.
                self._burst = 0
                await asyncio.sleep(0)
            try:
                event = self.poll()
            except BusClosedError:
                if self.closed or self._bus.closed:
                    raise StopAsyncIteration from None
                raise
            if event is not None:
                self._burst += 1
                return event
            self._burst = 0
            await _LoopWaiter.of(self._bus).wait(self)

    def close(self) -> None:
        """End the subscription; whoever waits on it is woken. Safe to repeat."""
        super().close()
        _LoopWaiter.notify(self._bus)


class _LoopWaiter:
    """
    What the subscriptions of one bus in one event loop sleep on together.

    Whoever waits is asked once, after the loop's other callbacks have run, whether it has news after
    all; only when nobody has, the loop sleeps. It keeps neither the loop nor the bus alive.
    """

    _all: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _LoopWaiter]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, bus: Bus) -> None:
        sleeper = _native.LoopSleeper(bus)
        self._sleeper = sleeper
        self._bus = weakref.ref(bus, lambda _: sleeper.close())
        self._waiting: dict[asyncio.Future[None], Subscription] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False
        self._armed: asyncio.AbstractEventLoop | None = None

    @classmethod
    def of(cls, bus: Bus) -> _LoopWaiter:
        loop = asyncio.get_running_loop()
        waiters = cls._all.setdefault(loop, {})
        waiter = waiters.get(id(bus))
        if waiter is None or waiter._bus() is not bus:
            cls._forget_ended_loops()
            waiter = waiters[id(bus)] = cls(bus)
        return waiter

    @classmethod
    def _forget_ended_loops(cls) -> None:
        """Places to sleep are few: those of loops that have ended are given back."""
        for loop in [loop for loop in cls._all if loop.is_closed()]:
            for waiter in cls._all.pop(loop).values():
                waiter._sleeper.close()

    @classmethod
    def notify(cls, bus: Bus) -> None:
        """Make every waiting task look again: something of *bus* was closed."""
        for loop, waiters in list(cls._all.items()):
            waiter = waiters.get(id(bus))
            if waiter is not None and not loop.is_closed():
                loop.call_soon_threadsafe(waiter._wake)

    async def wait(self, subscription: Subscription) -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting[future] = subscription
        if not self._asked:
            self._asked = True
            loop.call_soon(self._sleep, loop)
        try:
            await future
        finally:
            del self._waiting[future]
            if not self._waiting:
                self._disarm()

    def _sleep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go to sleep for all who wait, unless one of them has news."""
        self._asked = False
        if not self._waiting:
            return
        self._disarm()
        try:
            quiet = self._sleeper.arm(list(self._waiting.values()))
        except BusClosedError:
            # One of them was closed meanwhile: its task is told so by looking again.
            quiet = False
        if not quiet:
            self._wake()
            return
        self._armed = loop
        loop.add_reader(self._sleeper.fileno(), self._wake)
        self._timer = loop.call_later(_LONGEST_SLEEP_S, self._wake)

    def _disarm(self) -> None:
        if self._armed is not None:
            self._armed.remove_reader(self._sleeper.fileno())
            self._sleeper.disarm()
            self._armed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._disarm()
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
