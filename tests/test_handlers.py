"""Inline handlers: called in the publisher's thread before ``publish`` returns."""

import gc
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus import _report
from tickbus.errors import BusClosedError

MARKET, TRADING, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED, tb.EventType.DRAWDOWN_ALERT


class TestCalling:
    def test_happens_before_publish_returns(self, bus):
        threads = []
        bus.on("market.>")(lambda event: threads.append(threading.get_ident()))

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert [threading.get_ident()] == threads

    @pytest.mark.parametrize("way", ["publish", "publish_event", "publisher"])
    def test_happens_for_every_way_to_publish(self, bus, way):
        seen = []
        bus.on("market.>")(lambda event: seen.append((event.id, event.symbol, event.value)))

        match way:
            case "publish":
                identifier = bus.publish(MARKET, "BTC-USDT", 2.0)
            case "publish_event":
                identifier = bus.publish_event(tb.Event(MARKET, "BTC-USDT", 2.0))
            case _:
                identifier = bus.publisher(MARKET, "BTC-USDT")(2.0)

        assert [(identifier, "BTC-USDT", 2.0)] == seen

    def test_is_in_order_of_registration(self, bus):
        seen = []
        for name in "abc":
            bus.on(">")(lambda event, name=name: seen.append(name))

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert ["a", "b", "c"] == seen

    def test_is_once_per_registration(self, bus):
        """Several patterns of one registration are one call; two registrations are two."""
        seen = []
        bus.on("market.>", ">")(seen.append)
        bus.on("market.>")(seen.append)

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert 2 == len(seen)

    def test_leaves_events_to_other_readers(self, bus):
        bus.on(">")(lambda event: None)
        reader = bus.subscribe(">")

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert 1.0 == reader.poll().value

    def test_gives_events_that_can_be_kept(self, bus):
        """An event object somebody holds never becomes another event."""
        kept = []
        bus.on(">")(kept.append)

        for number in range(100):
            bus.publish(MARKET, "BTC-USDT", float(number))

        assert [float(number) for number in range(100)] == [event.value for event in kept]

    def test_does_not_reach_other_bus_objects(self, named_bus):
        """Inline means this bus object; other processes, and other objects, subscribe."""
        seen = []
        with tb.Bus(named_bus.name) as other:
            other.on(">")(seen.append)
            named_bus.publish(MARKET, "BTC-USDT", 1.0)

        assert [] == seen

    def test_needs_a_callable(self, bus):
        with pytest.raises(TypeError, match="5"):
            bus.on(">")(5)

        assert () == bus.handlers

    def test_returns_the_function_unchanged(self, bus):
        def handler(event): ...

        assert handler is bus.on(">")(handler)


class TestRunToCompletion:
    def test_comes_before_what_handlers_publish(self, bus):
        """All handlers of an event run before those of the events that they publish."""
        seen = []

        @bus.on("market.>")
        def first(event):
            bus.publish(TRADING, "BTC-USDT", 1.0)
            seen.append("first")

        bus.on("market.>")(lambda event: seen.append("second"))
        bus.on("trading.>")(lambda event: seen.append("trading"))

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert ["first", "second", "trading"] == seen

    def test_takes_critical_events_first(self, bus):
        seen = []

        @bus.on("market.>")
        def react(event):
            bus.publish(TRADING, "A", 1.0)
            bus.publish(tb.EventType.VOLUME_SPIKE, "B", 1.0)
            bus.publish(RISK, "C", 1.0)
            bus.off(react)

        bus.on(">")(lambda event: seen.append(event.symbol))

        bus.publish(MARKET, "M", 1.0)

        assert ["M", "C", "B", "A"] == seen

    def test_has_events_on_the_bus_at_once(self, bus):
        """What a handler publishes can be read before the handler returns."""
        reader = bus.subscribe("trading.>")
        found = []

        @bus.on("market.>")
        def react(event):
            bus.publish(TRADING, "BTC-USDT", 1.0)
            found.append(reader.poll())

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert 1.0 == found[0].value

    def test_needs_no_stack(self, bus):
        """A chain of reactions far deeper than Python's recursion limit."""

        @bus.on("market.>")
        def again(event):
            if event.value:
                bus.publish(MARKET, "BTC-USDT", event.value - 1)

        bus.publish(MARKET, "BTC-USDT", 20_000.0)

        assert 20_001 == bus.handlers[0].delivered

    @given(st.lists(st.tuples(st.sampled_from([MARKET, TRADING, RISK]), st.integers(0, 2)), max_size=12))
    def test_follows_a_simple_model(self, plan):
        """Any tree of reactions runs as a queue per lane, the most urgent first."""
        children = {}
        for number, (kind, parents) in enumerate(plan, 1):
            children.setdefault(max(0, number - 1 - parents), []).append((kind, number))
        waiting, expected, seen = [[], [], []], [], []
        current = 0
        while current is not None:
            expected.append(current)
            for kind, number in children.get(current, ()):
                waiting[tb.Event(kind, "X", 0.0).priority].append(number)
            current = next((lane.pop(0) for lane in reversed(waiting) if lane), None)

        with tb.Bus(critical_size=64, high_size=64, normal_size=64) as bus:

            @bus.on(">")
            def react(event):
                seen.append(int(event.value))
                for kind, number in children.get(int(event.value), ()):
                    bus.publish(kind, "X", float(number))

            bus.publish(MARKET, "X", 0.0)

        assert expected == seen


class TestRaising:
    def test_is_logged_with_its_event_and_counted(self, bus, caplog):
        """The bus goes on: other handlers run, and the publisher does not notice."""
        seen = []

        @bus.on("market.>")
        def broken(event):
            raise ZeroDivisionError("as planned")

        bus.on("market.>")(seen.append)

        with caplog.at_level(logging.ERROR, "tickbus"):
            bus.publish(MARKET, "BTC-USDT", 61_837.5)

        assert 1 == len(seen)
        (record,) = caplog.records
        assert "broken" in record.getMessage()
        assert "61837.5" in record.getMessage()
        assert record.exc_info[0] is ZeroDivisionError
        assert [1, 0] == [one["errors"] for one in bus.stats()["handlers"]]

    def test_again_and_again_is_logged_ten_times_a_second_and_counted_always(self, bus, caplog, monkeypatch):
        """The log says how many it left out; one handler's errors use up no other's lines."""
        seconds = iter([100.0] * 25 + [100.5] + [101.0])
        monkeypatch.setattr(_report.time, "monotonic", lambda: next(seconds))

        @bus.on("market.>")
        def broken(event):
            raise ZeroDivisionError

        @bus.on("risk.>")
        def broken_too(event):
            raise ZeroDivisionError

        for _ in range(25):
            bus.publish(MARKET, "BTC-USDT", 1.0)
        bus.publish(RISK, "BTC-USDT", 1.0)
        bus.publish(MARKET, "BTC-USDT", 1.0)

        lines = [record.getMessage() for record in caplog.records]
        assert 10 + 1 + 1 == len(lines)
        assert "broken_too" in lines[10]
        assert "15 errors before this one were not logged" in lines[11]
        assert [26, 1] == [one["errors"] for one in bus.stats()["handlers"]]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
    def test_what_ends_the_program_propagates(self, bus, error):
        """After the event's other handlers; the event is published."""
        seen, reader = [], bus.subscribe(">")

        @bus.on(">")
        def stop(event):
            raise error

        bus.on(">")(seen.append)

        with pytest.raises(error):
            bus.publish(MARKET, "BTC-USDT", 1.0)

        assert 1 == len(seen)
        assert reader.poll() is not None
        bus.off(stop)
        bus.publish(MARKET, "BTC-USDT", 2.0)
        assert 2 == len(seen), "the bus goes on"


class TestEnding:
    def test_off_stops_the_calls(self, bus):
        seen = []
        bus.on("market.>")(seen.append)
        bus.on("risk.>")(seen.append)

        bus.off(seen.append)
        bus.publish(MARKET, "BTC-USDT", 1.0)
        bus.publish(RISK, "BTC-USDT", 1.0)

        assert [] == seen
        assert () == bus.handlers

    def test_off_of_a_stranger_is_an_error(self, bus):
        with pytest.raises(LookupError, match="print"):
            bus.off(print)

    def test_off_inside_a_handler(self, bus):
        """A handler removed while its event is being handled is not called any more."""
        seen = []

        @bus.on(">")
        def first(event):
            seen.append("first")
            bus.off(first)
            bus.off(second)

        @bus.on(">")
        def second(event):
            seen.append("second")

        bus.publish(MARKET, "BTC-USDT", 1.0)
        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert ["first"] == seen

    def test_on_inside_a_handler(self, bus):
        """A handler added while an event is being handled sees the next one."""
        seen = []

        @bus.on(">")
        def first(event):
            if not seen:
                bus.on(">")(lambda event: seen.append(event.value))

        bus.publish(MARKET, "BTC-USDT", 1.0)
        bus.publish(MARKET, "BTC-USDT", 2.0)

        assert 2.0 in seen
        assert 1.0 not in seen

    def test_close_inside_a_handler(self, bus, caplog):
        """The publish under way ends; what handlers publish afterwards is refused and logged."""
        seen = []

        @bus.on(">")
        def closing(event):
            seen.append(event.value)
            bus.publish(TRADING, "BTC-USDT", 2.0)
            bus.close()
            bus.publish(TRADING, "BTC-USDT", 3.0)

        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert [1.0] == seen
        assert bus.closed
        assert caplog.records[0].exc_info[0] is BusClosedError

    def test_a_bus_that_its_handler_refers_to_can_be_collected(self, named_bus):
        """A handler that publishes holds its bus, and the bus the handler: garbage nevertheless."""

        def forget():
            other = tb.Bus(named_bus.name)
            other.on(">")(lambda event: other.publish(TRADING, "BTC-USDT", 1.0))

        forget()
        gc.collect()

        assert 1 == named_bus.stats()["participants"]


class TestCounts:
    def test_add_up(self, bus):
        bus.on("market.>")(lambda event: None)
        bus.publish(MARKET, "BTC-USDT", 1.0)
        bus.on("risk.>")(lambda event: None)
        bus.publish(RISK, "BTC-USDT", 1.0)
        bus.publish(MARKET, "BTC-USDT", 1.0)

        assert [(3, 2, 1), (2, 1, 1)] == [
            (one["published"], one["delivered"], one["filtered"]) for one in bus.stats()["handlers"]
        ]


class TestThreads:
    def test_publish_at_the_same_time(self, bus, stress):
        """Each thread runs the handlers of its own events; none is lost or run elsewhere."""
        count = 2000 * stress
        wrong, seen = [], {}
        barrier = threading.Barrier(4)

        @bus.on("market.>")
        def react(event):
            thread = threading.get_ident()
            seen.setdefault(thread, []).append(event.value)
            bus.publish(TRADING, event.symbol, event.value)

        @bus.on("trading.>")
        def follow(event):
            if event.symbol != threading.current_thread().name:
                wrong.append(event)

        def run():
            barrier.wait()
            for number in range(count):
                bus.publish(MARKET, threading.current_thread().name, float(number))

        threads = [threading.Thread(target=run, name=f"T{number}") for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [] == wrong
        assert [[float(number) for number in range(count)]] * 4 == list(seen.values())
        assert {"high": 4 * count, "normal": 4 * count, "critical": 0} == {
            name: lane["published"] for name, lane in bus.stats()["lanes"].items()
        }


class TestRegistering:
    def test_needs_a_pattern(self, bus):
        """`@bus.on` without brackets would otherwise register nothing, and say nothing."""
        with pytest.raises(TypeError, match="takes patterns"):
            bus.on(lambda event: None)

    def test_needs_a_function_that_can_be_called_at_once(self, bus):
        async def handler(event):
            pass

        with pytest.raises(TypeError, match="coroutine"):
            bus.on("market.>")(handler)
        assert () == bus.handlers
