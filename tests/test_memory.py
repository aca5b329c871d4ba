"""Objects are used again: publishing and delivering allocate no net Python memory."""

import gc
import sys

import numpy as np
import pytest

import tickbus as tb

MARKET, TRADING = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED
ROUNDS, EVENTS = 30, 500
#: Blocks that the interpreter itself comes and goes with, over all rounds. A leak of one block an
#: event would be 15,000.
SLACK = 40


def blocks_left_by(work, *, collect=False) -> int:
    """Net Python blocks over many rounds of *work*, after some to warm up; without garbage if asked."""
    for _ in range(5):
        work()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for _ in range(ROUNDS):
            work()
        if collect:
            gc.collect()
        return sys.getallocatedblocks() - before
    finally:
        gc.enable()


@pytest.fixture
def bus():
    with tb.Bus() as bus:
        yield bus


class TestNoNetBlocks:
    def test_publish(self, bus):
        def work():
            for _ in range(EVENTS):
                bus.publish(MARKET, "BTC-USDT", 61_837.5)

        assert blocks_left_by(work) <= SLACK

    def test_publisher(self, bus):
        send = bus.publisher(MARKET, "BTC-USDT")

        def work():
            for _ in range(EVENTS):
                send(61_837.5)

        assert blocks_left_by(work) <= SLACK

    def test_publish_and_dispatch(self, bus):
        """To several handlers, one of which publishes again."""
        for _ in range(3):
            bus.on("market.>")(lambda event: event.value)
        bus.on("market.>")(lambda event: bus.publish(TRADING, "BTC-USDT", event.value))
        bus.on("trading.>")(lambda event: event.symbol)

        def work():
            for _ in range(EVENTS):
                bus.publish(MARKET, "BTC-USDT", 61_837.5)

        assert blocks_left_by(work) <= SLACK

    @pytest.mark.parametrize("way", ["poll", "iterate", "drain", "batch", "batch out"])
    def test_reading(self, bus, way):
        reader = bus.subscribe("market.>")
        send, out = bus.publisher(MARKET, "BTC-USDT"), np.zeros(EVENTS, tb.EVENT_DTYPE)

        def work():
            for _ in range(EVENTS):
                send(61_837.5)
            left = EVENTS
            match way:
                case "poll":
                    while reader.poll() is not None:
                        left -= 1
                case "iterate":
                    for event in reader:
                        left -= event.priority
                        if not left:
                            break
                case "drain":
                    for event in reader.drain(EVENTS):
                        left -= event.priority
                case "batch":
                    left -= len(reader.read_batch(EVENTS))
                case _:
                    left -= len(reader.read_batch(EVENTS, out=out))
            assert 0 == left

        assert blocks_left_by(work) <= SLACK

    def test_subscribing(self, bus):
        """A subscription that is gone leaves nothing."""

        def work():
            for _ in range(20):
                with bus.subscribe("market.*.*.BTC-*") as reader:
                    bus.publish(MARKET, "BTC-USDT", 1.0)
                    reader.poll()

        assert blocks_left_by(work, collect=True) <= SLACK


class TestReuse:
    def test_is_of_objects_nobody_holds(self, bus):
        """A loop that lets go of each event sees only a few objects."""
        reader = bus.subscribe(">")
        for number in range(1000):
            bus.publish(MARKET, "BTC-USDT", float(number))

        objects, values = set(), []
        for event in iter(reader.poll, None):
            objects.add(id(event))
            values.append(event.value)

        assert [float(number) for number in range(1000)] == values
        assert len(objects) <= 4

    def test_is_of_a_whole_drain(self, bus):
        reader = bus.subscribe(">")
        objects = set()
        for _ in range(20):
            for number in range(100):
                bus.publish(MARKET, "BTC-USDT", float(number))
            events = reader.drain(100)
            objects.update(map(id, events))

        assert [float(number) for number in range(100)] == [event.value for event in events]
        assert len(objects) <= 300

    def test_never_changes_what_somebody_holds(self, bus):
        """Every third event is kept, by whatever way it came; each stays what it was."""
        reader, kept, expected = bus.subscribe(">"), [], []
        bus.on(">")(lambda event: kept.append(event) if event.value % 3 == 0 else None)
        for number in range(900):
            bus.publish(MARKET, "BTC-USDT", float(number))
            expected += [float(number)] * (number % 3 == 0)
        for _ in range(4):
            for event in reader.drain(100):
                if event.value % 3 == 0:
                    kept.append(event)
                    expected.append(event.value)
            for _ in range(50):
                event = reader.poll()
                if event.value % 3 == 0:
                    kept.append(event)
                    expected.append(event.value)

        assert expected == [event.value for event in kept]
        assert len(kept) == len({id(event) for event in kept})
