"""
``kill -9`` and SIGSTOP at random instants, while several processes publish and read.

Every event carries a checksum over its producer, its counter and its value in ``metadata``, so a
torn one would be seen, as would one that is lost, repeated or out of order. Bounds on time are for
hanging, not for speed: the machine may be busy.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import tickbus as tb
from tickbus.errors import BackpressureError, StalledError

#: A type of each lane.
TYPES = {
    "normal": tb.EventType.ORDER_PLACED,
    "high": tb.EventType.PRICE_UPDATE,
    "critical": tb.EventType.DRAWDOWN_ALERT,
}
BATCH = 37


def checksums(producer: int, counters: np.ndarray) -> np.ndarray:
    """64 bits over (producer, counter, value); the value is the counter."""
    with np.errstate(over="ignore"):
        words = counters.astype("<u8") ^ (counters.astype("<f8").view("<u8") << np.uint64(1))
        words = (words ^ np.uint64(producer * 0x1000193)) * np.uint64(0x9E3779B97F4A7C15)
        return words ^ (words >> np.uint64(29))


def produce(name: str, producer: int, lane: str, batch: int) -> None:
    """Publish checksummed events for ever, one by one or in batches."""
    with tb.Bus(name, critical_timeout_s=60) as bus:
        symbol = bus.symbol_id(f"P{producer}")
        rows = np.zeros(batch, tb.EVENT_DTYPE)
        rows["event_type"], rows["symbol"] = TYPES[lane], symbol
        rows["priority"] = {"normal": 0, "high": 1, "critical": 2}[lane]
        send = bus.publisher(TYPES[lane], symbol)
        counter = 0
        while True:
            counters = np.arange(counter, counter + batch)
            sums = checksums(producer, counters)
            try:
                if batch == 1:
                    send(float(counter), int(sums[0]))
                else:
                    rows["value"], rows["metadata"] = counters, sums
                    bus.publish_batch(rows)
                counter += batch
            except (StalledError, BackpressureError) as error:
                counter += error.published


class Auditor:
    """Reads everything and checks each event against its producer's story."""

    def __init__(self, bus: tb.Bus, lane: str) -> None:
        self.bus, self.lane = bus, lane
        self.reader = bus.subscribe(f"*.{TYPES[lane].name.lower()}.>")
        self.next: dict[int, int] = {}
        self.read = 0

    def look(self) -> int:
        """Read what is there, at most a few batches; how many events it was."""
        found = 0
        for _ in range(8):
            missed = self.reader.missed
            rows = self.reader.read_batch(2048)
            if not len(rows):
                break
            found += len(rows)
            self._check(rows, gapless=self.reader.missed == missed == 0)
        self.read += found
        books = self.reader.ledger()
        for book in books.values():
            assert book["published"] == sum(
                book[part] for part in ("delivered", "filtered", "missed", "pending")
            )
        assert self.read == books[self.lane]["delivered"]
        return found

    def _check(self, rows: np.ndarray, *, gapless: bool) -> None:
        assert (rows["event_type"] == TYPES[self.lane]).all()
        for symbol in np.unique(rows["symbol"]):
            producer = int(self.bus.symbol_name(int(symbol))[1:])
            mine = rows[rows["symbol"] == symbol]
            counters = mine["value"].astype(np.int64)
            assert (checksums(producer, counters) == mine["metadata"]).all(), "a torn event"
            assert (np.diff(counters) >= 1).all(), "out of order or repeated"
            assert counters[0] >= self.next.get(producer, 0), "out of order or repeated"
            if gapless:
                expected = self.next.get(producer, 0)
                assert list(counters) == list(range(expected, expected + len(counters))), "an event is lost"
            self.next[producer] = int(counters[-1]) + 1

    def look_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()

    def sees_progress_of(self, producers: set[int], timeout_s: float = 30.0) -> None:
        """Each of these producers publishes something new within a generous time."""
        before = dict(self.next)
        end = time.monotonic() + timeout_s
        while any(self.next.get(one, 0) <= before.get(one, 0) for one in producers):
            assert time.monotonic() < end, f"stuck: {before} {self.next} {self.bus.stats()['lanes']}"
            self.look()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    seed = time.time_ns() % 2**32
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def crash_bus(bus_name):
    with tb.Bus(bus_name, critical_size=256, high_size=1024, normal_size=1024, critical_timeout_s=30) as bus:
        yield bus


class TestKilledProducers:
    @pytest.mark.parametrize("lane", ["normal", "high", "critical"])
    def test_leave_whole_events_and_no_hole(self, crash_bus, fork, rng, stress, lane):
        """No torn event, each producer in order, exact books; the others go on and places are freed."""
        auditor, alive, born = Auditor(crash_bus, lane), {}, 0
        for _ in range(12 * stress):
            while len(alive) < 3:
                number, batch = born, (1, BATCH)[born % 2]
                born += 1
                alive[number] = fork(
                    lambda number=number, batch=batch: produce(crash_bus.name, number, lane, batch)
                )
            auditor.sees_progress_of(set(alive))
            auditor.look_for(rng.uniform(0.0, 0.03))
            victim = rng.choice(list(alive))
            assert -signal.SIGKILL == alive.pop(victim).kill()
            auditor.sees_progress_of(set(alive))
        for child in alive.values():
            assert -signal.SIGKILL == child.kill()

        while auditor.look():
            pass

        stats = crash_bus.stats()
        book = auditor.reader.ledger()[lane]
        assert 0 == book["pending"]
        assert stats["lanes"][lane]["published"] == book["delivered"] + book["missed"]
        assert (1, 1) == (stats["participants"], stats["readers"])
        if lane == "critical":
            assert 0 == book["missed"]

    def test_in_the_middle_of_naming(self, crash_bus, fork, rng, stress):
        """A name is there or it is not, and the lock is free at once."""

        def name(number):
            with tb.Bus(crash_bus.name) as bus:
                # As many as fit into the table over all rounds of the long run.
                for counter in range(150):
                    bus.symbol_id(f"N{number}-{counter}-{'x' * (counter % 30)}")
                time.sleep(1000)

        for number in range(10 * stress):
            before = crash_bus.stats()["symbols"]
            children = [fork(lambda number=number, half=half: name(2 * number + half)) for half in range(2)]
            end = time.monotonic() + 30
            while crash_bus.stats()["symbols"] < before + 20:
                assert time.monotonic() < end
            time.sleep(rng.uniform(0, 0.01))
            for child in children:
                child.kill()
            crash_bus.symbol_id(f"mine-{number}")

        stats = crash_bus.stats()
        names = [crash_bus.symbol_name(number) for number in range(1, stats["symbols"] + 1)]
        assert len(set(names)) == len(names)
        for one in names:
            if not one.startswith("mine"):
                _, counter, padding = one.split("-")
                assert len(padding) == int(counter) % 30
        assert 1 == stats["participants"]


class TestKilledReaders:
    def test_hold_back_no_critical_event(self, crash_bus, fork, wait_until):
        """A gating reader that is dead does not gate: publishers go on, without an error."""

        def read():
            bus = tb.Bus(crash_bus.name)
            kept = [bus.subscribe("risk.>") for _ in range(3)]
            kept[0].poll()
            time.sleep(1000)

        children = [fork(read) for _ in range(3)]
        wait_until(lambda: crash_bus.stats()["readers"] == 9)
        for number in range(192):
            crash_bus.publish(TYPES["critical"], "BTC-USDT", float(number))
        for child in children:
            child.kill()

        for number in range(2000):
            crash_bus.publish(TYPES["critical"], "BTC-USDT", float(number))

        stats = crash_bus.stats()
        assert (1, 0) == (stats["participants"], stats["readers"])
        assert (2192, 0) == (stats["lanes"]["critical"]["published"], stats["lanes"]["critical"]["refused"])

    @pytest.mark.parametrize("wait", ["sleep", "spin", "adaptive"])
    def test_while_reading_or_asleep(self, crash_bus, fork, rng, stress, wait):
        """Publishers and the other readers go on; the dead readers' places and pipes are freed."""

        def read():
            with tb.Bus(crash_bus.name) as bus:
                for _ in bus.subscribe(">", wait=wait):
                    pass

        auditor = Auditor(crash_bus, "critical")
        producer = fork(lambda: produce(crash_bus.name, 0, "critical", BATCH))
        for _ in range(8 * stress):
            reader = fork(read)
            auditor.sees_progress_of({0})
            auditor.look_for(rng.uniform(0, 0.03))
            reader.kill()
            auditor.sees_progress_of({0})
        producer.kill()
        while auditor.look():
            pass

        stats = crash_bus.stats()
        assert (1, 1) == (stats["participants"], stats["readers"])
        assert 0 == auditor.reader.missed
        assert [f"tickbus.{crash_bus.name}"] == [
            path.name for path in Path("/dev/shm").glob(f"tickbus.{crash_bus.name}*")
        ]

    def test_leave_room_for_as_many_again(self, crash_bus, fork, wait_until):
        """More dead participants than there are places: each new one finds one."""

        def attach():
            bus = tb.Bus(crash_bus.name)
            bus.subscribe("risk.>").poll(timeout_s=0.001)
            os.kill(os.getpid(), signal.SIGKILL)

        children = [fork(attach) for _ in range(260)]

        assert {-signal.SIGKILL} == {child.wait() for child in children}
        assert (1, 0) == (crash_bus.stats()["participants"], crash_bus.stats()["readers"])


class TestStoppedProducers:
    @pytest.mark.parametrize("lane", ["normal", "high", "critical"])
    def test_are_survived_and_come_back(self, crash_bus, fork, rng, stress, lane):
        """
        While one is stopped, the others go on, or are told StalledError, which is counted; when it
        continues, so does everybody.
        """
        auditor = Auditor(crash_bus, lane)
        producers = {
            number: fork(lambda number=number: produce(crash_bus.name, number, lane, (1, BATCH)[number % 2]))
            for number in range(3)
        }
        auditor.sees_progress_of(set(producers))

        for _ in range(10 * stress):
            victim = rng.choice(list(producers))
            auditor.look_for(rng.uniform(0, 0.02))
            producers[victim].send(signal.SIGSTOP)
            others, end = set(producers) - {victim}, time.monotonic() + 30
            before, stalled = dict(auditor.next), crash_bus.stats()["lanes"][lane]["stalled"]
            while any(auditor.next[one] <= before[one] for one in others):
                if crash_bus.stats()["lanes"][lane]["stalled"] > stalled:
                    break
                assert time.monotonic() < end, "neither progress nor StalledError"
                auditor.look()
            producers[victim].send(signal.SIGCONT)
            auditor.sees_progress_of(set(producers))

        assert [-signal.SIGKILL] * 3 == [child.kill() for child in producers.values()]
        while auditor.look():
            pass
        assert 0 == auditor.reader.lag

    def test_are_not_taken_for_dead(self, crash_bus, fork, wait_until):
        """A stopped process keeps its places: only proof of death frees them."""

        def attach():
            bus = tb.Bus(crash_bus.name)
            kept = bus.subscribe("risk.>")
            kept.poll(timeout_s=1000)

        child = fork(attach)
        wait_until(lambda: crash_bus.stats()["readers"] == 1)
        child.send(signal.SIGSTOP)
        time.sleep(0.1)

        assert (2, 1) == (crash_bus.stats()["participants"], crash_bus.stats()["readers"])
        child.kill()
        assert (1, 0) == (crash_bus.stats()["participants"], crash_bus.stats()["readers"])
