"""The critical lane: bounded, gated by its readers, and no event is ever dropped."""

import gc
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import BackpressureError

RISK, STOP, MARKET = tb.EventType.DRAWDOWN_ALERT, tb.EventType.EMERGENCY_STOP, tb.EventType.PRICE_UPDATE
#: Events of the lane of the fixture ``bus``, and how many of them only a publisher out of patience uses.
SIZE, RESERVE = 64, 16


def fill(bus, count=SIZE):
    return [bus.publish(RISK, "BTC-USDT", float(number)) for number in range(count)]


def lane(bus):
    return bus.stats()["lanes"]["critical"]


class TestFullLane:
    def test_refuses_and_says_so(self, bus):
        """The publisher gets an error that names the reader in the way; the event is not published."""
        reader = bus.subscribe("risk.>")
        fill(bus)

        with pytest.raises(BackpressureError) as caught:
            bus.publish(RISK, "BTC-USDT", 64.0)

        assert (os.getpid(), SIZE) == (caught.value.pid, caught.value.behind)
        assert str(SIZE) in str(caught.value)
        assert (SIZE, 1) == (lane(bus)["published"], lane(bus)["refused"])
        assert [float(number) for number in range(SIZE)] == [event.value for event in reader.drain(100)]
        assert 0 == reader.missed

    def test_opens_its_reserve_after_the_deadline(self, bus):
        """The last quarter takes the events of publishers that have waited; they are counted."""
        bus.subscribe("risk.>")
        reader = bus.subscribe("risk.>")

        fill(bus, SIZE - RESERVE)
        assert (0, 0) == (lane(bus)["spilled"], lane(bus)["waited"])
        bus.publish(RISK, "BTC-USDT", 48.0)

        assert (1, 1, 0) == (lane(bus)["spilled"], lane(bus)["waited"], lane(bus)["refused"])
        assert SIZE - RESERVE + 1 == reader.lag

    def test_waits_once_for_a_reader_that_does_not_move(self, bus):
        """Not for each event of the reserve: a quarter of a lane would take minutes."""
        reader = bus.subscribe("risk.>")
        for _ in range(64):
            bus.publish(RISK, "BTC-USDT", 1.0)

        stats = bus.stats()["lanes"]["critical"]

        assert 16 == stats["spilled"]
        assert 64 == len(reader.drain(100))

    def test_goes_on_when_its_reader_does(self, bus):
        reader = bus.subscribe("risk.>")
        fill(bus)
        with pytest.raises(BackpressureError):
            bus.publish(RISK, "BTC-USDT", 64.0)

        seen = [event.value for event in reader.drain(SIZE)]
        bus.publish(RISK, "BTC-USDT", 64.0)
        seen.append(reader.poll().value)

        assert [float(number) for number in range(SIZE + 1)] == seen

    def test_holds_up_nobody_else(self, bus):
        """The other lanes overwrite as ever."""
        bus.subscribe("risk.>", ">")
        reader = bus.subscribe("risk.>", ">")
        fill(bus)

        for number in range(1000):
            bus.publish(MARKET, "BTC-USDT", float(number))

        assert 1000 == bus.stats()["lanes"]["high"]["published"]
        assert SIZE + 1000 == reader.lag

    def test_tells_how_much_of_a_batch_went_in(self, bus):
        reader = bus.subscribe("risk.>")
        batch = np.zeros(100, tb.EVENT_DTYPE)
        batch["event_type"], batch["priority"], batch["value"] = RISK, 2, range(100)

        with pytest.raises(BackpressureError) as caught:
            bus.publish_batch(batch)

        assert SIZE == caught.value.published
        assert [float(number) for number in range(SIZE)] == [event.value for event in reader.drain(100)]

    def test_tells_how_much_of_a_batch_with_handlers_went_in(self, bus):
        bus.on("market.>")(print)
        reader = bus.subscribe("risk.>")
        batch = np.zeros(100, tb.EVENT_DTYPE)
        batch["event_type"], batch["priority"], batch["value"] = RISK, 2, range(100)

        with pytest.raises(BackpressureError) as caught:
            bus.publish_batch(batch)

        assert SIZE == caught.value.published == reader.lag

    @pytest.mark.parametrize(
        "publish",
        [
            lambda bus: bus.publisher(RISK, "BTC-USDT")(1.0),
            lambda bus: bus.publish_event(tb.Event(RISK, "BTC-USDT", 1.0)),
            lambda bus: bus.publish(MARKET, "BTC-USDT", 1.0, priority=tb.Priority.CRITICAL),
        ],
        ids=["publisher", "publish_event", "publish"],
    )
    def test_refuses_whatever_the_way(self, bus, publish):
        reader = bus.subscribe("risk.>")
        fill(bus)

        with pytest.raises(BackpressureError):
            publish(bus)

        assert SIZE == reader.lag

    def test_waits_without_the_gil(self, wait_until):
        """The reader that a publisher waits for can be another thread of the same process."""
        with tb.Bus(critical_size=64, critical_timeout_s=20) as bus:
            reader, seen = bus.subscribe("risk.>"), []

            def read():
                wait_until(lambda: lane(bus)["waited"] > 0)
                while len(seen) < 200:
                    seen.extend(event.value for event in reader.drain(10))

            thread = threading.Thread(target=read)
            thread.start()
            fill(bus, 200)
            thread.join(20)

            assert [float(number) for number in range(200)] == seen
            assert (0, 0) == (reader.missed, lane(bus)["refused"])


class TestPromise:
    @given(st.lists(st.one_of(st.integers(1, 40), st.integers(-40, -1)), max_size=20))
    def test_never_drops_an_event(self, schedule):
        """Publish some, read some, in any order: what publish accepted is read, in order, once."""
        with tb.Bus(critical_size=64, critical_timeout_s=0) as bus:
            reader, accepted, seen, number = bus.subscribe("risk.>"), [], [], 0
            for step in schedule:
                for _ in range(step):
                    number += 1
                    try:
                        bus.publish(RISK, "BTC-USDT", float(number))
                        accepted.append(float(number))
                    except BackpressureError:
                        assert SIZE == reader.lag
                seen += [event.value for event in reader.drain(max(-step, 0))]
            seen += [event.value for event in reader.drain(100)]

            assert accepted == seen
            assert 0 == reader.missed
            assert len(accepted) + lane(bus)["refused"] == number

    def test_holds_for_several_publishers_and_readers(self, stress):
        """Each reader gets every accepted event, each publisher's in order."""
        count = 2000 * stress
        with tb.Bus(critical_size=64, critical_timeout_s=30) as bus:
            readers = [bus.subscribe("risk.>"), bus.subscribe("risk.*.*.T0"), bus.subscribe(">")]
            seen, missed = [[], [], []], []
            expected = [3 * count, count, 3 * count]

            def write():
                send = bus.publisher(RISK, threading.current_thread().name)
                for number in range(count):
                    send(float(number))

            def read(reader, into, enough):
                while len(into) < enough:
                    event = reader.poll(timeout_s=30)
                    assert event is not None
                    into.append((event.symbol, event.value))
                missed.append(reader.missed)
                # Done before the others, it must not hold their publishers back.
                reader.close()

            threads = [threading.Thread(target=write, name=f"T{number}") for number in range(3)]
            threads += [
                threading.Thread(target=read, args=three)
                for three in zip(readers, seen, expected, strict=True)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(100)

            assert expected == [len(events) for events in seen]
            for events in seen:
                for name in {symbol for symbol, _ in events}:
                    assert [float(n) for n in range(count)] == [
                        value for symbol, value in events if symbol == name
                    ]
            assert [0, 0, 0] == missed


class TestWhoGates:
    @pytest.mark.parametrize(
        "pattern", ["risk.>", "critical.>", ">", "*.*.*.BTC-*", "critical.emergency_stop.>"]
    )
    def test_readers_of_risk_and_critical_events(self, bus, pattern):
        reader = bus.subscribe(pattern)
        fill(bus)

        with pytest.raises(BackpressureError):
            bus.publish(STOP, "ALL", 1.0)

        assert SIZE == reader.lag

    @pytest.mark.parametrize("pattern", ["market.>", "trading.>", "system.>"])
    def test_not_readers_of_other_events(self, bus, pattern):
        reader = bus.subscribe(pattern)

        fill(bus, 10 * SIZE)

        assert 10 * SIZE == reader.ledger()["critical"]["published"]

    def test_not_lossy_readers(self, bus):
        """They count what they missed instead."""
        reader = bus.subscribe("risk.>", lossy=True)

        fill(bus, 10 * SIZE)

        assert SIZE == len(reader.drain(1000))
        assert 9 * SIZE == reader.missed

    def test_any_reader_that_asks_to(self, bus):
        """With ``lossy=False`` a reader of market events loses none that was published as critical."""
        reader = bus.subscribe("market.>", lossy=False)
        for number in range(SIZE):
            bus.publish(MARKET, "BTC-USDT", float(number), priority=tb.Priority.CRITICAL)

        with pytest.raises(BackpressureError):
            bus.publish(MARKET, "BTC-USDT", 1.0, priority=tb.Priority.CRITICAL)

        assert SIZE == reader.lag

    def test_nobody_when_there_is_no_reader(self, bus):
        fill(bus, 10 * SIZE)

        assert (10 * SIZE, 0) == (lane(bus)["published"], lane(bus)["refused"])

    def test_not_who_has_closed(self, bus):
        reader = bus.subscribe("risk.>")
        fill(bus)
        reader.close()

        fill(bus, 10 * SIZE)

        assert 0 == lane(bus)["refused"]

    def test_not_who_is_garbage(self, bus):
        reader = bus.subscribe("risk.>")
        fill(bus)
        del reader
        gc.collect()

        fill(bus, 10 * SIZE)

        assert 0 == lane(bus)["refused"]

    def test_not_an_object_of_a_closed_bus(self, named_bus):
        other = tb.Bus(named_bus.name)
        reader = other.subscribe("risk.>")
        fill(named_bus)
        other.close()

        fill(named_bus, 10 * SIZE)

        assert reader.closed
        assert 0 == lane(named_bus)["refused"]

    def test_who_closes_while_a_publisher_waits(self, wait_until):
        """The publisher goes on at once, not at its deadline."""
        with tb.Bus(critical_size=64, critical_timeout_s=60) as bus:
            reader = bus.subscribe("risk.>")
            publisher = threading.Thread(target=fill, args=(bus,))
            publisher.start()
            wait_until(lambda: lane(bus)["waited"] == 1)

            reader.close()
            publisher.join(20)

            assert not publisher.is_alive()
            assert 0 == lane(bus)["spilled"]

    def test_the_slowest(self, bus):
        fast, slow = bus.subscribe("risk.>"), bus.subscribe("risk.>")
        for _ in range(4):
            fill(bus, 10)
            fast.drain(100)

        fill(bus, 8)
        slow.drain(8)
        fill(bus, 8)

        assert (16, 48, 0) == (fast.lag, slow.lag, lane(bus)["spilled"])

    def test_a_reader_from_where_it_starts(self, bus):
        """Joining late gives no claim on what was published before, and none on it is lost after."""
        fill(bus, 200)
        reader = bus.subscribe("risk.>", start="earliest")

        values = [event.value for event in reader.drain(1000)]

        assert [float(number) for number in range(200 - SIZE, 200)] == values
        assert 0 == reader.missed
