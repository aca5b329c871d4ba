"""A replay is the session again: same events, same order, same answers, at any pace, on its own clock."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_logs import MIDNIGHT, NAMES, logs, rows

import tickbus as tb
from tickbus.errors import BackpressureError, InvalidEventError, QueryError, TypeTakenError, UnknownNameError
from tickbus.store import (
    MemorySource,
    Names,
    Replay,
    ReplayBus,
    SimulatedClock,
    Store,
    TypeMeaning,
    WallClock,
    replay,
)
from tickbus.testing.replay import replay_check


def seen_on(bus):
    """What handlers of the bus see, with names."""
    seen = []
    bus.on(">")(lambda event: seen.append(said(event)))
    return seen


def said(event):
    return (event.timestamp, event.topic, event.priority, event.value, event.metadata)


def topic(names, event_type, priority, source, symbol):
    category = {0: "market", 4: "market", 33: "trading", 65: "risk", 200: "critical"}[event_type]
    return f"{category}.{names.type(event_type)}.{names.source(source) or '-'}.{names.symbol(symbol) or '-'}"


def expected_of(log, **selection):
    """The same from the log, one by one."""
    return [
        (
            int(row["timestamp"]),
            topic(log.names, *row.tolist()[1:5]),
            int(row["priority"]),
            float(row["value"]),
            int(row["metadata"]),
        )
        for row in Store(log).query(**selection).numpy()
    ]


def ticks(count, step_ns=1):
    events = np.zeros(count, tb.EVENT_DTYPE)
    events["timestamp"] = MIDNIGHT + step_ns * np.arange(count)
    events["priority"] = 1
    events["symbol"] = 1
    events["value"] = np.arange(count)
    return MemorySource(events, NAMES)


class TestEvents:
    def test_are_those_of_the_log(self, source):
        """Timestamps, priorities, names and order; numbers are the bus's own."""
        with tb.Bus() as bus:
            bus.symbol_id("ETH-USDT")  # so that the numbers differ
            seen = seen_on(bus)

            summary = replay(source, bus)

        assert seen == expected_of(source)
        assert (summary.events, summary.first_ns, summary.last_ns) == (7, MIDNIGHT - 300, MIDNIGHT + 60)

    @settings(max_examples=20)
    @given(logs())
    def test_are_the_same_every_time(self, log):
        """Two replays are byte-identical, whatever the batches."""
        # Private buses of a process share their types, so none is registered.
        parts = [batch.events for batch in log.batches()]
        events = np.concatenate(parts) if parts else np.empty(0, tb.EVENT_DTYPE)
        events["event_type"][events["event_type"] == 200] = (
            128  # private buses of a process share their types
        )
        known = MemorySource(events, NAMES)
        streams = []
        for _ in range(2):
            with tb.Bus() as bus:
                seen = []
                bus.on(">")(lambda event, seen=seen: seen.append(event.bytes()))
                replay(known, bus)
            streams.append(b"".join(seen))

        assert streams[0] == streams[1]
        assert len(streams[0]) == 32 * len(log)

    def test_reach_subscriptions_of_their_lane(self, source):
        """A strategy that polls reads them as it would live."""
        with tb.Bus() as bus:
            reader = bus.subscribe(">")
            replay(source, bus)

            events = reader.drain(100)

        assert events[0].type_name == "stop_loss_triggered"
        assert sorted(map(said, events)) == sorted(expected_of(source))

    def test_are_selected_as_a_query(self, source):
        """Start, end and names."""
        selection = {"start": MIDNIGHT, "types": ["price_update"], "symbols": "BTC-USDT"}
        with tb.Bus() as bus:
            seen = seen_on(bus)
            replay(source, bus, **selection)

        assert seen == expected_of(source, **selection)
        assert len(seen) == 1

    def test_bring_their_types(self, named_bus):
        """A type that the log registered is registered on the bus, with its meaning."""
        names = Names(types={24: TypeMeaning(24, "print", "price", "size", "signed_quantity")})
        log = MemorySource(rows([(MIDNIGHT, 24, 1, 0, 0, 9.5, np.float64(-2).view(np.uint64))]), names)
        found = []
        named_bus.on(">")(lambda event: found.append((event.type_name, event.price, event.side)))

        replay(log, named_bus)
        replay(log, named_bus)

        assert found == [("print", 9.5, -1)] * 2

    def test_of_a_type_that_means_something_else_are_refused(self, named_bus):
        """Rather than told under a wrong name."""
        log = MemorySource(rows([(1, 22, 1, 0, 0, 1.0, 0)]), Names(types={22: TypeMeaning(22, "theirs")}))
        named_bus.register_type(22, "ours_too")

        with pytest.raises(TypeTakenError):
            replay(log, named_bus)

    def test_of_a_type_without_a_row_are_refused(self, named_bus):
        """As the bus refuses any event of a type that nobody has registered."""
        with pytest.raises(InvalidEventError, match="event_type"):
            replay(MemorySource(rows([(1, 23, 1, 0, 0, 1.0, 0)])), named_bus)

    def test_wait_for_readers_that_are_named(self):
        """As fast as possible, but never faster than a reader that must see everything."""
        count = 5_000
        with tb.Bus(high_size=128) as bus:
            reader = bus.subscribe("market.>")
            got = []
            thread = threading.Thread(target=lambda: got.extend(event.value for event in reader))
            thread.start()
            summary = replay(ticks(count), bus, readers=[reader])
            while reader.lag:
                time.sleep(0.001)
            missed = reader.missed
            reader.close()
            thread.join(20)

        assert (missed, summary.events) == (0, count)
        assert got == list(range(count))


class TestClock:
    @pytest.mark.parametrize("own_bus", [True, False], ids=["replay bus", "beside a bus"])
    def test_shows_the_event_being_delivered(self, source, own_bus):
        """In every handler, whenever it was registered; never a later time."""
        clock = SimulatedClock()
        with ReplayBus(clock=clock) if own_bus else tb.Bus() as bus:
            times = []
            bus.on("market.>")(lambda event: times.append((event.timestamp, clock.now_ns())))
            replay(source, bus, clock=clock)

        assert len(times) == 5
        assert all(event == now for event, now in times)

    def test_stays_when_an_event_comes_late(self):
        """Time does not run backwards."""
        log = MemorySource(
            rows([(100, 0, 1, 0, 0, 1.0, 0), (90, 0, 1, 0, 0, 1.0, 0), (110, 0, 1, 0, 0, 1.0, 0)])
        )
        with ReplayBus() as bus:
            times = []
            bus.on(">")(lambda event: times.append(bus.clock.now_ns()))
            replay(log, bus)

        assert times == [100, 100, 110]

    def test_stamps_what_a_strategy_publishes(self, source):
        """Each way to publish without a timestamp takes the replay's time; a given one is kept."""
        with ReplayBus(source="strategy") as bus:
            fast = bus.publisher(32, "X")
            stamps = []

            @bus.on("market.top_of_book.>")
            def react(event):
                bus.publish(32, "X", 1.0)
                bus.publish(32, "X", 1.0, timestamp=5)
                fast(1.0)
                bus.publish_batch(np.array([(0, 32, 0, 0, 0, 1.0, 0)], tb.EVENT_DTYPE))

            bus.on("trading.signal_generated.>")(lambda event: stamps.append(event.timestamp))
            replay(source, bus, types="top_of_book")

        now = [MIDNIGHT - 300, MIDNIGHT + 50]
        assert stamps == [now[0], 5, now[0], now[0], now[1], 5, now[1], now[1]]

    def test_of_the_wall_is_now(self):
        """The same method, for live trading."""
        before = time.time_ns()

        assert before <= WallClock().now_ns() <= time.time_ns()


class TestControl:
    def test_steps(self, source):
        """So many events, and no more; less at the end."""
        with tb.Bus() as bus:
            seen = seen_on(bus)
            player = Replay(source, bus)

            assert player.step() == 1
            assert player.step(3) == 3
            assert seen == expected_of(source)[:4]
            assert player.step(10) == 3
            assert player.step() == 0
            assert player.now_ns == MIDNIGHT + 60

    @given(st.integers(-310, 70))
    def test_seeks(self, offset):
        """To any time, forwards and backwards: the next event is the first at or after it."""
        log = MemorySource(rows((MIDNIGHT + t, 0, 1, 1, 1, 1.0, 0) for t in (-300, -100, 0, 0, 50)), NAMES)
        with ReplayBus() as bus:
            seen = seen_on(bus)
            player = Replay(log, bus)
            player.step(2)
            seen.clear()

            player.seek(MIDNIGHT + offset)

            assert bus.clock.now_ns() == MIDNIGHT + offset
            player.run()
            assert seen == expected_of(log, start=MIDNIGHT + offset)

    def test_pauses_and_resumes(self):
        """From another thread; nothing is lost, repeated or hurried through."""
        log = ticks(100_000)
        with tb.Bus() as bus:
            values = []
            player = Replay(log, bus)

            @bus.on(">")
            def count(event):
                values.append(event.value)
                if event.value == 500:
                    player.pause()

            thread = threading.Thread(target=player.run)
            thread.start()
            deadline = time.monotonic() + 20
            while not (player.paused and player.summary.events) and time.monotonic() < deadline:
                time.sleep(0.001)
            held = len(values)
            time.sleep(0.02)
            assert len(values) == held < 100_000
            assert player.step(5) == 5
            assert len(values) == held + 5
            player.resume()
            thread.join(20)

        assert values == list(range(100_000))

    def test_is_not_moved_by_its_own_handlers(self, source):
        """An event's handler that seeks would pull the batch away from under itself."""
        with tb.Bus() as bus:
            player = Replay(source, bus)
            refused = []

            @bus.on("critical.>", "risk.>")
            def move(event):
                for move in (player.step, lambda: player.seek(MIDNIGHT)):
                    with pytest.raises(RuntimeError, match="cannot move it"):
                        move()
                    refused.append(event.value)

            assert player.run().events == 7

        assert refused == [19.0, 19.0]

    def test_stops_and_goes_on(self):
        """`stop` ends `run` after the batch at hand; running again starts there."""
        log = ticks(50_000)
        with tb.Bus() as bus:
            values = []
            player = Replay(log, bus)

            @bus.on(">")
            def count(event):
                values.append(event.value)
                if event.value == 10:
                    player.stop()

            assert player.run().events < 50_000
            assert player.run().events == 50_000

        assert values == list(range(50_000))

    def test_goes_on_after_a_refusal(self):
        """A bus that refuses a critical event raises, and nothing is lost or doubled when run again."""
        many = np.zeros(200, tb.EVENT_DTYPE)
        many["timestamp"] = np.arange(1, 201)
        many["event_type"], many["priority"], many["value"] = 65, 2, np.arange(200)
        with tb.Bus(critical_size=64, critical_timeout_s=0.01) as bus:
            reader = bus.subscribe("risk.>")
            player = Replay(MemorySource(many), bus)
            values = []
            for _ in range(200):
                try:
                    player.run()
                    break
                except BackpressureError:
                    values += [event.value for event in reader.drain(100)]
            values += [event.value for event in reader.drain(1000)]

        assert values == list(range(200))
        assert player.summary.events == 200

    def test_reports_progress(self, source):
        """At the end at the latest, with what has been done."""
        reports = []
        with tb.Bus() as bus:
            replay(source, bus, progress=reports.append)

        assert (reports[-1].events, reports[-1].now_ns) == (7, MIDNIGHT + 60)

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"speed": 0}, QueryError),
            ({"speed": float("nan")}, QueryError),
            ({"speed": float("inf")}, QueryError),
            ({"start": "2026-08-09"}, QueryError),
            ({"start": 5, "end": 4}, QueryError),
            ({"types": "nothing"}, UnknownNameError),
        ],
        ids=repr,
    )
    def test_refuses_what_it_cannot_do(self, source, arguments, error):
        """Before the first event."""
        with tb.Bus() as bus, pytest.raises(error):
            replay(source, bus, **arguments)


class TestPace:
    def test_takes_as_long_as_it_took_over_the_speed(self):
        """Never less; how late each batch was is measured and told."""
        log = ticks(40, step_ns=5_000_000)
        with tb.Bus() as bus:
            summary = replay(log, bus, speed=4.0)

        assert summary.elapsed_s >= 39 * 0.005 / 4
        assert summary.batches >= 1
        assert 0 <= summary.late_ns(50) <= summary.late_ns(99) <= summary.late_ns_max
        assert summary.as_dict()["late_ns_max"] == summary.late_ns_max

    def test_never_publishes_before_the_time(self):
        """An event comes when it is due or later."""
        log = ticks(30, step_ns=2_000_000)
        with tb.Bus() as bus:
            walls = []
            bus.on(">")(lambda event: walls.append((time.monotonic_ns(), event.timestamp)))
            began = time.monotonic_ns()
            replay(log, bus, speed=1.0)

        assert all(wall - began >= at - MIDNIGHT for wall, at in walls)
        assert [at for _, at in walls] == [MIDNIGHT + 2_000_000 * n for n in range(30)]

    def test_gives_the_same_events_at_any_speed(self, source):
        """Only when they come differs."""
        with tb.Bus() as bus:
            seen = seen_on(bus)
            replay(source, bus, speed=1e6)

        assert seen == expected_of(source)


SELL_ONE = tb.pack_quantity(-1.0)


def stop_loss(bus):
    """Sells when the price falls below 100.9, and remembers nothing but what it saw."""

    @bus.on("market.price_update.*.BTC-USDT")
    def react(event):
        if event.price < 100.9:
            bus.publish(
                tb.EventType.STOP_LOSS_TRIGGERED, event.symbol, event.price, metadata=tb.pack_quantity(-1)
            )
            bus.publish(tb.EventType.SIGNAL_GENERATED, event.symbol, bus.clock.now_ns() % 1000)


class TestReplayCheck:
    def test_passes_a_strategy_that_does_the_same_again(self, source):
        """Time by the clock: the outputs are byte-identical, and handed back."""
        checked = replay_check(source, stop_loss)

        assert checked.inputs == 7
        assert sorted(checked.outputs["event_type"].tolist()) == [32, 65]
        assert set(checked.outputs["timestamp"].tolist()) == {MIDNIGHT - 200}

    @pytest.mark.parametrize("random", [time.perf_counter_ns, time.time_ns], ids=["counter", "wall"])
    def test_finds_one_that_does_not(self, source, random):
        """A strategy that asks another clock is shown the first event that differs."""

        def guess(bus):
            bus.on("market.>")(lambda event: bus.publish(32, "X", float(random())))

        with pytest.raises(AssertionError, match=r"event 1 differs: the first replay has .*signal_generated"):
            replay_check(source, guess)

    def test_finds_one_that_does_less(self, source):
        """Also when it only stops earlier."""
        runs = []

        def tired(bus):
            runs.append(bus)
            if len(runs) == 1:
                bus.on("market.price_update.*.BTC-USDT")(
                    lambda event: bus.publish(32, "X", 1.0) if event.price > 101 else None
                )

        with pytest.raises(AssertionError, match="the first replay has 8 events, the second 7"):
            replay_check(source, tired)

    def test_compares_with_what_was_recorded(self):
        """Record a live session, replay it without the strategy's own events, and get those again."""
        recording = record(stop_loss, prices=(101.0, 100.5, 102.0, 99.0))

        checked = replay_check(recording, stop_loss, recorded="live")

        assert checked.inputs == 4
        assert len(checked.outputs) == 4

    def test_finds_what_was_recorded_and_is_not_done_again(self):
        """A strategy that was changed since."""
        recording = record(stop_loss, prices=(101.0, 100.5))

        with pytest.raises(AssertionError, match="the recording has 1 events, the replay 0"):
            replay_check(recording, lambda bus: None, recorded="live")


def record(strategy, prices):
    """A session of the strategy on a bus, as a log; its signals say the same whatever the time."""
    with ReplayBus(source="live") as bus:
        reader = bus.subscribe(">")
        strategy(bus)
        for at, price in enumerate(prices):
            trade = (MIDNIGHT + at, 0, 1, bus.source_id("binance"), bus.symbol_id("BTC-USDT"), price, 0)
            bus.publish_batch(rows([trade]))
        events = reader.read_batch(100)
        return MemorySource(events, Names.of_bus(bus, events))
