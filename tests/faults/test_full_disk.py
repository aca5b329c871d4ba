"""A full disk: publishers hear where it is, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import os
import resource
import time

import pytest
from fault_mounts import Ext4, skipping, small_tmpfs
from fault_writers import Books, Writer, everything_in, journal, run_and_exit

import tickbus as tb
from tickbus.errors import StorageFullError

KIB = 64
#: Enough events for several segments.
MANY = 10_000


class LimitedSize:
    """A limit of this process instead of a full disk: needs no root. Segments are made in full length."""

    def __init__(self, place):
        self.place = place
        place.mkdir()

    def fill(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (KIB << 9, resource.RLIM_INFINITY))

    def free(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def unmount(self):
        self.free()


@pytest.fixture(params=["tmpfs", "ext4", "limit"])
def space(request, tmp_path):
    """A place with an end."""
    if request.param == "limit":
        space = LimitedSize(tmp_path / "space")
    elif request.param == "tmpfs":
        space = skipping(small_tmpfs, tmp_path / "space")
    else:
        space = skipping(Ext4, tmp_path / "space", tmp_path / "image", 16)
    yield space
    space.unmount()


class InAFork:
    """Runs work in a fork: what is limited or open there is gone with it."""

    def __init__(self):
        self.books = Books()

    def __call__(self, work):
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            run_and_exit(lambda: work(send))
        os.close(send)
        self.books.listen_to_the_end(receive)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.fixture
def in_a_fork():
    return InAFork()


def small_bus(path, level, **options):
    """A bus whose lanes are full soon after its journal is."""
    sizes = {"critical_size": 64, "high_size": 256, "normal_size": 256}
    return tb.Bus(journal=journal(path, level, KIB, **options), critical_timeout_s=0.2, **sizes)


def publish_until_full(publish):
    """How many were published, and the error."""
    for number in range(MANY):
        try:
            publish(number)
        except StorageFullError as error:
            return number, error
    raise AssertionError("it was never full")


def wait_for(bus):
    """The journal goes on by itself: nobody opens it again."""
    end = time.monotonic() + 60
    while True:
        try:
            return bus.journal.sync()
        except StorageFullError:
            assert time.monotonic() < end, "it never went on"
            time.sleep(0.01)


@pytest.mark.parametrize("level", ["disk", "os"])
def test_critical_events_wait_for_space(space, in_a_fork, level):
    """Refused with the id under which it comes later; acknowledged when there is space, without a restart."""
    path = space.place / "journal"

    def work(pipe):
        with small_bus(path, level) as bus:
            reader = bus.subscribe("risk.>")
            seen = 0
            writer = Writer(1, bus, pipe, sync=True)
            writer.publish(0, 1)
            for _ in range(3):
                space.fill()
                _, refused = publish_until_full(lambda _: writer.publish(0, 1))
                assert str(path) in str(refused)
                seen += sum(1 for _ in iter(reader.poll, None))
                assert refused.event_id == seen << 2 | tb.Priority.CRITICAL, "not seen before it is persisted"
                space.free()
                wait_for(bus)
                writer.acknowledge(0)
                writer.publish(0, 1)
                events = list(iter(reader.poll, None))
                seen += len(events)
                assert [event.id for event in events] == [
                    refused.event_id,
                    refused.event_id + 4,
                ], "the one that was refused, and the next"

    in_a_fork(work)
    in_a_fork.books.judge(everything_in(path))
    assert in_a_fork.books.total() > 6


def test_others_feel_it_when_the_lane_is_full(space, in_a_fork):
    """`when_full="wait"`: refused, and nothing of it is on the bus; all that was taken comes later."""
    path = space.place / "journal"

    def work(pipe):
        with small_bus(path, "os", when_full="wait") as bus:
            space.fill()
            publish = bus.publisher(tb.EventType.PRICE_UPDATE, 0)
            taken, refused = publish_until_full(publish)
            assert str(path) in str(refused)
            assert refused.event_id == 0, "it is not on the bus"
            space.free()
            wait_for(bus)
            publish(taken)
            reader = bus.subscribe("market.>", start="earliest")
            values = [event.value for event in iter(reader.poll, None)]
            assert values == [float(number) for number in range(taken + 1)]

    in_a_fork(work)


def test_others_are_overwritten_and_counted(space, in_a_fork):
    """`when_full="overwrite"`: no publisher waits, and the journal says what it has missed."""
    path = space.place / "journal"

    def work(pipe):
        with small_bus(path, "os", when_full="overwrite") as bus:
            space.fill()
            for number in range(MANY):
                bus.publish(tb.EventType.PRICE_UPDATE, 0, float(number))
            space.free()
            wait_for(bus)
            bus.publish(tb.EventType.PRICE_UPDATE, 0, float(MANY))
            wait_for(bus)
            reader = bus.subscribe("market.>", start="earliest")
            events = [event.value for event in iter(reader.poll, None)]
            assert events == sorted(set(events))
            assert events[-1] == MANY
            assert len(events) + reader.missed == MANY + 1
            assert reader.missed > 0

    in_a_fork(work)


def test_opening_says_where_there_is_no_space(space, in_a_fork):
    """Nothing is begun, and the next try has a whole journal."""
    path = space.place / "journal"

    def work(pipe):
        path.mkdir()
        space.fill()
        with pytest.raises(StorageFullError, match=str(path)):
            small_bus(path, "disk")
        space.free()
        with small_bus(path, "disk") as bus:
            Writer(1, bus, pipe, sync=True).publish(0, 1)

    in_a_fork(work)
    in_a_fork.books.judge(everything_in(path))
    assert in_a_fork.books.total() == 1
