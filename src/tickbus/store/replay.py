"""
A log played into a bus, so that a strategy cannot tell it from live.

    replay(source, bus)                          as fast as it goes
    player = Replay(source, bus, speed=10.0)     ten times the recorded pace
    player.seek("2026-08-09T12:00Z"); player.step(100); player.run()

Events keep their timestamps, priorities and order; symbols, sources and types get the bus's numbers by
name. They are published as batches: inline handlers still see one event after the other. With a speed,
batches end where an event is not due yet, on the monotonic clock, and how late each one was is
measured. A pause, and the time in which publishing was refused, does not count: nothing is skipped to
catch up.

The clock of a `ReplayBus` is the event's own in every handler. A clock given beside another bus is only
as fine as the batches, so events then go one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE
from tickbus.bus import Bus
from tickbus.errors import QueryError, TickbusError
from tickbus.store.clock import ReplayBus, SimulatedClock
from tickbus.store.query import Selection, Store
from tickbus.store.source import EventSource
from tickbus.store.times import Time, to_ns
from tickbus.store.translate import Translator
from tickbus.subscription import Subscription

__all__ = ["Progress", "Replay", "Summary", "replay"]

#: Events in one publish at most: a pause, a stop or a seek waits for no more.
_BATCH = 8_192
#: A sleep overshoots by some 60 us on Linux; the last stretch is spun instead.
_SPIN_NS = 200_000
_LONGEST_SLEEP_S = 0.05
_PROGRESS_EVERY_S = 0.1
#: Readers that are waited for may be a quarter of a lane behind, a batch is another; the rest is for
#: what handlers publish meanwhile.
_LAG_SHARE = 4


class Progress(NamedTuple):
    """How far a replay is."""

    events: int
    #: The log's time, nanoseconds since the epoch.
    now_ns: int
    elapsed_s: float


@dataclass
class Summary:
    """What a replay did."""

    events: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    elapsed_s: float = 0.0
    #: How late batches were published, when paced: how many, the worst, and counts by 1/8 octave.
    batches: int = 0
    late_ns_max: int = 0
    late: NDArray[np.int64] = field(default_factory=lambda: np.zeros(512, np.int64), repr=False)

    def was_late(self, late_ns: int) -> None:
        """Count a batch that was *late_ns* behind its time."""
        self.batches += 1
        self.late_ns_max = max(self.late_ns_max, late_ns)
        self.late[min(511, int(8 * np.log2(max(1, late_ns))))] += 1

    def late_ns(self, percent: float) -> int:
        """The lateness that *percent* of the batches did not exceed, within 9 %; 0 when unpaced."""
        if not self.batches:
            return 0
        bucket = int(np.searchsorted(np.cumsum(self.late), self.batches * percent / 100))
        return min(self.late_ns_max, int(2 ** ((bucket + 1) / 8)))

    def as_dict(self) -> dict[str, int | float | None]:
        """For JSON."""
        return {
            "events": self.events,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
            "elapsed_s": self.elapsed_s,
            "events_per_s": self.events / self.elapsed_s if self.elapsed_s else 0.0,
            "paced_batches": self.batches,
            "late_ns_p50": self.late_ns(50),
            "late_ns_p99": self.late_ns(99),
            "late_ns_max": self.late_ns_max,
        }


class Replay:
    """
    A replay that can be paused, stepped and moved.

    Args:
        source: The log, or a `Store`.
        bus: Where the events go.
        start, end, types, symbols, sources: As `Store.query`.
        speed: 1.0 is the recorded pace; None is as fast as possible.
        clock: Moved to each event before its handlers run. A `ReplayBus` has its own.
        readers: Subscriptions the replay never runs away from: it waits while one is more than a
            quarter of a lane behind. Others are lapped as they would be live.
        progress: Called some ten times a second, in the thread that runs.
    Raises:
        QueryError, UnknownNameError: As `Store.query`; a speed that is not above 0.
    """

    def __init__(
        self,
        source: EventSource | Store,
        bus: Bus,
        *,
        start: Time | None = None,
        end: Time | None = None,
        types: Selection = None,
        symbols: Selection = None,
        sources: Selection = None,
        speed: float | None = None,
        clock: SimulatedClock | None = None,
        readers: Sequence[Subscription] = (),
        progress: Callable[[Progress], object] | None = None,
    ) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise QueryError(f"speed={speed} is not above 0")
        self.summary = Summary()
        self._store = source if isinstance(source, Store) else Store(source)
        self._bus = bus
        self._selection = {"types": types, "symbols": symbols, "sources": sources}
        self._start, self._end = to_ns(start, "start"), to_ns(end, "end")
        self._speed = speed
        self._clock = bus.clock if isinstance(bus, ReplayBus) else clock
        self._one_by_one = clock is not None and self._clock is not getattr(bus, "clock", None)
        self._readers = list(readers)
        capacity = min(lane["capacity"] for lane in bus.stats()["lanes"].values())
        self._lag_limit = capacity // _LAG_SHARE
        self._most = min(_BATCH, capacity // _LAG_SHARE) if readers else _BATCH
        self._progress = progress
        self._translate = Translator(lambda: self._store.names, bus)
        self._going = threading.Event()
        self._going.set()
        self._stopped = False
        self._pace = _Pace(speed)
        self._lock = threading.Lock()
        self._mover = 0
        self._rows = _Rows(self._batches(self._start))

    def _batches(self, start: int | None) -> Iterator[NDArray[np.void]]:
        query = self._store.query(start, self._end, **self._selection)
        return (batch.events for batch in query.batches())

    @property
    def now_ns(self) -> int:
        """The log's time: the greatest timestamp published since the start or the last seek."""
        return self._rows.now_ns

    @property
    def paused(self) -> bool:
        """Whether `pause` was called last."""
        return not self._going.is_set()

    def pause(self) -> None:
        """Let `run` wait, after the batch at hand. From any thread."""
        self._going.clear()

    def resume(self) -> None:
        """Let `run` go on; the pause does not count as time."""
        self._going.set()

    def stop(self) -> None:
        """Let `run` return. From any thread; running again goes on from there."""
        self._stopped = True
        self._going.set()

    def seek(self, time: Time) -> None:
        """
        Go on from the first event at *time*, backwards or forwards; also while another thread runs it.

        Raises:
            QueryError: The time is none, or after the end.
            RuntimeError: Called by a handler of the replay's own event.
        """
        start = to_ns(time, "time")
        with self._exclusive():
            self._rows = _Rows(self._batches(start))
            self._pace.restart()
            if self._clock is not None:
                self._clock.reset(start or 0)

    def step(self, events: int = 1) -> int:
        """
        Publish the next *events* at once, paused or not; how many there were.

        Raises:
            RuntimeError: Called by a handler of the replay's own event.
            BackpressureError, StalledError: As `run`.
        """
        with self._exclusive():
            done = 0
            self._pace.restart()
            while done < events and len(rows := self._rows.peek(min(self._most, events - done))):
                self._publish(rows)
                done += len(rows)
            return done

    def run(self) -> Summary:
        """
        Publish until the end or `stop`; the summary so far, of all runs and steps.

        Raises:
            BackpressureError, StalledError: The bus refused an event. Those before it are published;
                running again goes on with it.
        """
        self._stopped = False
        self._pace.restart()
        began = reported = time.monotonic()
        before_s = self.summary.elapsed_s
        try:
            while not self._stopped:
                if not self._going.is_set():
                    self._going.wait()
                    self._pace.restart()
                    continue
                with self._exclusive():
                    if not self._go_on():
                        break
                if self._progress and time.monotonic() - reported >= _PROGRESS_EVERY_S:
                    reported = time.monotonic()
                    self.summary.elapsed_s = before_s + reported - began
                    self._report()
        finally:
            self.summary.elapsed_s = before_s + time.monotonic() - began
        self._report()
        return self.summary

    def _go_on(self) -> bool:
        """Publish what is due of the batch at hand, or sleep a little; False at the end of the log."""
        rows = self._rows.peek(self._most)
        if not len(rows):
            return False
        due = self._pace.due(rows, self._rows.now_ns)
        if due and self._readers_follow():
            if self._speed is not None:
                self.summary.was_late(self._pace.late_ns)
            self._publish(rows[:due])
        return True

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One thread at a time moves the replay, and no handler of its own events."""
        if self._mover == threading.get_ident():
            raise RuntimeError("a handler of a replay cannot move it; it may pause or stop it")
        with self._lock:
            self._mover = threading.get_ident()
            try:
                yield
            finally:
                self._mover = 0

    def _report(self) -> None:
        if self._progress:
            self._progress(Progress(self.summary.events, self.now_ns, self.summary.elapsed_s))

    def _readers_follow(self) -> bool:
        if all(reader.closed or reader.lag < self._lag_limit for reader in self._readers):
            return True
        time.sleep(0.0002)
        return False

    def _publish(self, rows: NDArray[np.void]) -> None:
        events = self._translate.events(rows)
        done = 0
        try:
            if self._one_by_one and self._clock is not None:
                for at, timestamp in enumerate(events["timestamp"].tolist()):
                    self._clock.advance_to(timestamp)
                    self._bus.publish_batch(events[at : at + 1])
                    done = at + 1
            else:
                done = self._bus.publish_batch(events)
        except TickbusError as error:
            done += getattr(error, "published", 0)
            raise
        finally:
            if done:
                self.summary.events += done
                self.summary.first_ns = self.summary.first_ns or int(rows["timestamp"][0])
                self.summary.last_ns = self._rows.advance(done)


class _Rows:
    """The rows that are still to come, with the log's clock at each."""

    def __init__(self, batches: Iterator[NDArray[np.void]]) -> None:
        self._batches = batches
        self._batch: NDArray[np.void] | None = None
        self._at = 0
        self.now_ns = 0

    def peek(self, most: int) -> NDArray[np.void]:
        """The next rows of the batch at hand; none at the end."""
        while self._batch is None or self._at == len(self._batch):
            batch = next(self._batches, None)
            if batch is None:
                return np.empty(0, EVENT_DTYPE)
            self._batch, self._at = batch, 0
        return self._batch[self._at : self._at + most]

    def advance(self, count: int) -> int:
        """Have published the first *count* of them; the log's clock."""
        assert self._batch is not None
        self.now_ns = max(self.now_ns, int(self._batch["timestamp"][self._at : self._at + count].max()))
        self._at += count
        return self.now_ns


class _Pace:
    """When events are due: the first at once, the others as far behind it as they were, over the speed."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._origin: tuple[int, int] | None = None
        self.late_ns = 0

    def restart(self) -> None:
        """The next event is due at once."""
        self._origin = None

    def due(self, rows: NDArray[np.void], now_ns: int) -> int:
        """How many of the first rows are due; sleeps up to 50 ms while none is."""
        if self._speed is None:
            return len(rows)
        clocks = np.maximum(np.maximum.accumulate(rows["timestamp"]), np.uint64(now_ns))
        wall = time.monotonic_ns()
        if self._origin is None:
            self._origin = (wall, int(clocks[0]))
        began, first = self._origin
        at = began + int((int(clocks[0]) - first) / self._speed)
        if at > wall:
            if at - wall > _SPIN_NS:
                time.sleep(min(_LONGEST_SLEEP_S, (at - wall - _SPIN_NS) / 1e9))
            return 0
        self.late_ns = wall - at
        reached = first + int((wall - began) * self._speed)
        return max(1, int(np.searchsorted(clocks, np.uint64(reached), side="right")))


def replay(
    source: EventSource | Store,
    bus: Bus,
    *,
    start: Time | None = None,
    end: Time | None = None,
    types: Selection = None,
    symbols: Selection = None,
    sources: Selection = None,
    speed: float | None = None,
    clock: SimulatedClock | None = None,
    readers: Sequence[Subscription] = (),
    progress: Callable[[Progress], object] | None = None,
) -> Summary:
    """Play a log into *bus* from start to end; arguments and errors as `Replay`."""
    return Replay(
        source,
        bus,
        start=start,
        end=end,
        types=types,
        symbols=symbols,
        sources=sources,
        speed=speed,
        clock=clock,
        readers=readers,
        progress=progress,
    ).run()
