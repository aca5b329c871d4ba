"""Publishing: what goes in, what comes out, and that a refused event changes nothing."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import BusClosedError, InvalidEventError, InvalidNameError, InvalidSizeError

LANES = {tb.Priority.NORMAL: "normal", tb.Priority.HIGH: "high", tb.Priority.CRITICAL: "critical"}


def published(bus) -> dict[str, int]:
    return {name: lane["published"] for name, lane in bus.stats()["lanes"].items()}


def rows(bus, *events) -> np.ndarray:
    """Rows of (type, symbol, value) with their default priorities and no timestamp."""
    array = np.zeros(len(events), tb.EVENT_DTYPE)
    for row, (event_type, symbol, value) in zip(array, events, strict=True):
        row["event_type"] = event_type
        row["symbol"] = bus.symbol_id(symbol)
        row["value"] = value
        row["priority"] = tb.Event(event_type, symbol, value).priority
    return array


class TestPublish:
    def test_delivers_what_was_given(self, bus):
        reader = bus.subscribe(">")

        identifier = bus.publish(
            tb.EventType.ORDER_FILLED,
            "BTC-USDT",
            61_837.5,
            metadata=9,
            source="arb",
            timestamp=1_700_000_000_000_000_001,
        )
        event = reader.poll()

        assert (identifier, 34, "BTC-USDT", 61_837.5) == (
            event.id, event.event_type, event.symbol, event.value,
        )  # fmt: skip
        assert (9, "arb", 1_700_000_000_000_000_001) == (event.metadata, event.source, event.timestamp)

    def test_stamps_the_time(self, bus):
        reader = bus.subscribe(">")

        before = time.time_ns()
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
        after = time.time_ns()

        assert before <= reader.poll().timestamp <= after

    @pytest.mark.parametrize("event_type", list(tb.EventType), ids=lambda member: member.name.lower())
    def test_takes_the_lane_of_its_category(self, bus, event_type):
        """Market high, trading and system normal, risk and critical critical."""
        lane = {0: "high", 1: "normal", 2: "critical", 3: "normal"}.get(event_type // 32, "critical")
        before = published(bus)

        bus.publish(event_type, "BTC-USDT", 1.0)

        assert before | {lane: before[lane] + 1} == published(bus)

    @pytest.mark.parametrize("priority", list(tb.Priority), ids=lambda member: member.name.lower())
    def test_takes_the_lane_it_is_given(self, bus, priority):
        reader = bus.subscribe("market.>")

        identifier = bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0, priority=priority)
        event = reader.poll()

        assert priority == event.priority == identifier & 3
        assert 1 == published(bus)[LANES[priority]]

    def test_numbers_a_lane_without_gaps(self, bus):
        """An id is ``sequence << 2 | priority``; sequences count from 0."""
        ids = [bus.publish(tb.EventType.ORDER_PLACED, "BTC-USDT", float(i)) for i in range(300)]

        assert [i << 2 for i in range(300)] == ids

    def test_uses_the_source_of_the_bus(self):
        with tb.Bus(source="momentum") as bus, bus.subscribe(">") as reader:
            bus.publish(tb.EventType.ORDER_PLACED, "BTC-USDT", 1.0)
            bus.publish(tb.EventType.ORDER_PLACED, "BTC-USDT", 1.0, source="other")

            assert ["momentum", "other"] == [event.source for event in reader.drain(10)]

    @given(
        event_type=st.sampled_from(list(tb.EventType)),
        value=st.floats(allow_nan=False),
        metadata=st.integers(0, 2**64 - 1),
        timestamp=st.integers(1, 2**64 - 1),
        priority=st.sampled_from(tb.Priority),
    )
    def test_keeps_every_bit(self, event_type, value, metadata, timestamp, priority):
        """Whatever is published is read with the same 32 bytes."""
        fields = {"metadata": metadata, "timestamp": timestamp, "priority": priority}
        with tb.Bus(critical_size=64, high_size=64, normal_size=64) as bus, bus.subscribe(">") as reader:
            bus.publish(event_type, "BTC-USDT", value, **fields)

            assert tb.Event(event_type, "BTC-USDT", value, **fields).bytes() == reader.poll().bytes()


BAD_EVENTS = [
    ({"event_type": 254}, InvalidEventError, "254"),
    ({"event_type": 256}, InvalidEventError, "256"),
    ({"event_type": "trade"}, InvalidEventError, "trade"),
    ({"event_type": None}, InvalidEventError, "None"),
    ({"symbol": "x" * 57}, InvalidNameError, "x" * 57),
    ({"symbol": ""}, InvalidNameError, '""'),
    ({"symbol": "BTC.USDT"}, InvalidNameError, "BTC.USDT"),
    ({"symbol": 4_000_000_000}, InvalidEventError, "4000000000"),
    ({"symbol": None}, InvalidEventError, "None"),
    ({"source": "a b"}, InvalidNameError, "a b"),
    ({"source": 65_535}, InvalidEventError, "65535"),
    ({"priority": 3}, InvalidEventError, "3"),
    ({"value": math.nan}, InvalidEventError, "nan"),
    ({"value": "1"}, TypeError, "value"),
    ({"metadata": -1}, InvalidEventError, "-1"),
    ({"metadata": 2**64}, InvalidEventError, str(2**64)),
    ({"timestamp": -1}, InvalidEventError, "-1"),
    ({"timestamp": 2**64}, InvalidEventError, str(2**64)),
    ({"payload": "text"}, TypeError, "payload"),
    ({"payload": bytes(2**20)}, InvalidEventError, str(2**20)),
]


class TestBadEvent:
    @pytest.mark.parametrize(("change", "error", "found"), BAD_EVENTS)
    def test_changes_nothing(self, named_bus, change, error, found):
        """It is refused with an exception that names the value; nobody sees an event or a new name."""
        reader = named_bus.subscribe(">")
        before = named_bus.stats()
        event = {"event_type": 0, "symbol": "NEW-SYMBOL", "value": 1.0, "source": "new-source"} | change

        with pytest.raises(error, match=found):
            named_bus.publish(**event)

        assert before == named_bus.stats()
        assert reader.poll() is None

    def test_nan_may_be_allowed(self):
        with tb.Bus(allow_nan=True) as bus, bus.subscribe(">") as reader:
            bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", math.nan)

            assert math.isnan(reader.poll().value)

    @pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324])
    def test_is_no_unusual_number(self, bus, value):
        reader = bus.subscribe(">")

        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", value)

        assert value == reader.poll().value


class TestPublisher:
    def test_publishes_its_type_and_symbol(self, bus):
        reader = bus.subscribe(">")
        publish = bus.publisher(tb.EventType.PRICE_UPDATE, "BTC-USDT", source="binance", priority=0)

        identifier = publish(1.5, tb.pack_quantity(-2.0), 17)
        event = reader.poll()

        assert ("market.price_update.binance.BTC-USDT", 1.5, 2.0, -1, 17) == (
            event.topic, event.price, event.quantity, event.side, event.timestamp,
        )  # fmt: skip
        assert identifier == event.id
        assert tb.Priority.NORMAL == event.priority

    def test_stamps_the_time(self, bus):
        reader = bus.subscribe(">")
        publish = bus.publisher(tb.EventType.PRICE_UPDATE, "BTC-USDT")

        before = time.time_ns()
        publish(1.0)

        assert before <= reader.poll().timestamp <= time.time_ns()

    def test_refuses_nan(self, bus):
        publish = bus.publisher(tb.EventType.PRICE_UPDATE, "BTC-USDT")

        with pytest.raises(InvalidEventError, match="nan"):
            publish(math.nan)

        assert 0 == published(bus)["high"]

    @pytest.mark.parametrize(
        "wrong", [{"event_type": 254}, {"symbol": "a.b"}, {"source": "a b"}, {"priority": 3}], ids=str
    )
    def test_is_not_made_for_a_bad_event(self, bus, wrong):
        with pytest.raises((InvalidEventError, InvalidNameError)):
            bus.publisher(**{"event_type": 0, "symbol": "BTC-USDT"} | wrong)

    def test_ends_with_its_bus(self, bus):
        publish = bus.publisher(tb.EventType.PRICE_UPDATE, "BTC-USDT")
        bus.close()

        with pytest.raises(BusClosedError):
            publish(1.0)


class TestPublishEvent:
    def test_publishes_a_made_event(self, bus):
        reader = bus.subscribe(">")
        event = tb.Event(tb.EventType.ORDER_PLACED, "BTC-USDT", 1.0, source="arb", timestamp=5)

        identifier = bus.publish_event(event)

        assert event == reader.poll()
        assert event.id is None, "the event given is not changed"
        assert identifier == 0

    def test_translates_names_between_buses(self, bus, named_bus):
        """Numbers are a bus's own; names are what is meant."""
        named_bus.symbol_id("SHIFTS-THE-NUMBERS")
        named_bus.source_id("shifts-the-numbers")
        there, here = named_bus.subscribe(">"), bus.subscribe(">")
        bus.publish(tb.EventType.ORDER_PLACED, "ONLY-HERE", 1.0, source="only-here")

        named_bus.publish_event(here.poll())
        event = there.poll()

        assert ("ONLY-HERE", "only-here") == (event.symbol, event.source)

    def test_refuses_what_the_bus_does_not_know(self, bus):
        with pytest.raises(InvalidEventError, match="254"):
            bus.publish_event(tb.Event(254, "BTC-USDT", 1.0))
        with pytest.raises(InvalidEventError, match="nan"):
            bus.publish_event(tb.Event(0, "BTC-USDT", math.nan))
        with pytest.raises(TypeError):
            bus.publish_event(b"no event")

        assert {"critical": 0, "high": 0, "normal": 0} == published(bus)


class TestPublishBatch:
    def test_keeps_the_order_of_each_lane(self, bus):
        reader = bus.subscribe(">")
        batch = rows(bus, *((0 if i % 3 else 33, "BTC-USDT", float(i)) for i in range(90)))

        assert 90 == bus.publish_batch(batch)
        events = reader.drain(100)

        assert [i for i in range(90) if i % 3] == [event.value for event in events if event.priority == 1]
        assert list(range(0, 90, 3)) == [event.value for event in events if event.priority == 0]

    def test_stamps_rows_without_a_time(self, bus):
        reader = bus.subscribe(">")
        batch = rows(bus, (0, "BTC-USDT", 1.0), (0, "BTC-USDT", 2.0))
        batch["timestamp"][1] = 17

        before = time.time_ns()
        bus.publish_batch(batch)
        first, second = reader.drain(2)

        assert before <= first.timestamp <= time.time_ns()
        assert 17 == second.timestamp
        assert 0 == batch["timestamp"][0], "the array is only read"

    def test_larger_than_a_lane_keeps_the_newest(self, bus):
        reader = bus.subscribe(">")

        bus.publish_batch(rows(bus, *((0, "BTC-USDT", float(i)) for i in range(1000))))

        assert 872 == next(iter(reader.drain(1))).value
        assert 872 == reader.missed

    def test_of_nothing_is_fine(self, bus):
        assert 0 == bus.publish_batch(np.zeros(0, tb.EVENT_DTYPE))

    def test_takes_read_only_arrays(self, bus):
        batch = rows(bus, (0, "BTC-USDT", 1.0))
        batch.flags.writeable = False

        assert 1 == bus.publish_batch(batch)

    def test_calls_inline_handlers(self, bus):
        seen = []
        bus.on("market.>")(lambda event: seen.append(event.value))

        bus.publish_batch(rows(bus, (0, "A", 1.0), (33, "A", 2.0), (0, "A", 3.0)))

        assert [1.0, 3.0] == seen

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("event_type", 254),
            ("priority", 3),
            ("priority", 255),
            ("symbol", 4_000_000_000),
            ("source", 65_535),
            ("value", math.nan),
        ],
    )
    def test_with_a_bad_row_changes_nothing(self, bus, field, value):
        """The message names row and field; no row is published, not even those before it."""
        batch = rows(bus, *((0, "BTC-USDT", float(i)) for i in range(10)))
        batch[field][7] = value
        before = published(bus)

        with pytest.raises(InvalidEventError, match=rf"events\[7\].*{field}"):
            bus.publish_batch(batch)

        assert before == published(bus)

    @pytest.mark.parametrize(
        "wrong",
        [
            np.zeros(4),
            np.zeros(4, np.uint8),
            np.zeros(4, tb.EVENT_DTYPE.newbyteorder(">")),
            np.zeros(4, np.dtype([("timestamp", "<u8"), ("value", "<f8")])),
            np.zeros((2, 2), tb.EVENT_DTYPE),
            np.zeros((), tb.EVENT_DTYPE),
            np.zeros(8, tb.EVENT_DTYPE)[::2],
            np.zeros(8, tb.EVENT_DTYPE)[::-1],
            np.frombuffer(bytes(65), tb.EVENT_DTYPE, count=2, offset=1),
            [tb.Event(0, "BTC-USDT", 1.0)],
            b"bytes",
            None,
        ],
        ids=[
            "floats", "bytes", "big-endian", "other fields", "two dimensions", "no dimension", "strided",
            "reversed", "unaligned", "list", "bytes object", "None",
        ],
    )  # fmt: skip
    def test_of_another_kind_changes_nothing(self, bus, wrong):
        before = published(bus)

        with pytest.raises(InvalidEventError, match="events"):
            bus.publish_batch(wrong)

        assert before == published(bus)


class TestOpening:
    @pytest.mark.parametrize("lane", ["critical_size", "high_size", "normal_size"])
    @pytest.mark.parametrize("size", [0, 1, 63, 65, 100, 2**27, -64])
    def test_needs_powers_of_two(self, lane, size):
        with pytest.raises(InvalidSizeError, match=str(size)):
            tb.Bus(**{lane: size})

    @pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 101, "é"])
    def test_needs_a_plain_name(self, name):
        with pytest.raises(InvalidNameError):
            tb.Bus(name)

    @pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
    def test_needs_a_time_to_wait(self, seconds):
        with pytest.raises(InvalidEventError, match="critical_timeout_s"):
            tb.Bus(critical_timeout_s=seconds)

    def test_needs_a_good_source(self):
        with pytest.raises(InvalidNameError):
            tb.Bus(source="a b")

    def test_refuses_options_it_does_not_know(self):
        with pytest.raises(TypeError, match="crtical_size"):
            tb.Bus(crtical_size=64)


class TestClosing:
    def test_is_repeatable(self, bus):
        bus.close()
        bus.close()

        assert bus.closed
        assert "closed" in repr(bus)

    @pytest.mark.parametrize(
        "use",
        [
            lambda bus: bus.publish(0, "BTC-USDT", 1.0),
            lambda bus: bus.publish_event(tb.Event(0, "BTC-USDT", 1.0)),
            lambda bus: bus.publish_batch(np.zeros(1, tb.EVENT_DTYPE)),
            lambda bus: bus.publisher(0, "BTC-USDT"),
            lambda bus: bus.subscribe(">"),
            lambda bus: bus.on(">")(print),
            lambda bus: bus.stats(),
            lambda bus: bus.symbol_id("BTC-USDT"),
        ],
    )
    def test_ends_its_use(self, bus, use):
        bus.close()

        with pytest.raises(BusClosedError):
            use(bus)

    def test_ends_its_subscriptions(self, bus):
        reader = bus.subscribe(">")
        bus.publish(0, "BTC-USDT", 1.0)
        bus.close()

        assert reader.closed
        assert [] == list(reader)
        with pytest.raises(BusClosedError):
            reader.poll()

    def test_leaves_events_readable(self, named_bus):
        """An event that outlives its bus still knows its names."""
        named_bus.register_type(40, "hedge_done")
        reader = named_bus.subscribe(">")
        named_bus.publish(40, "BTC-USDT", 1.0, source="arb")
        event = reader.poll()

        named_bus.close()

        assert "trading.hedge_done.arb.BTC-USDT" == event.topic

    def test_happens_at_the_end_of_a_with_block(self):
        with tb.Bus() as bus:
            pass

        assert bus.closed


class TestNames:
    def test_have_numbers_both_ways(self, named_bus):
        symbol, source = named_bus.symbol_id("BTC-USDT"), named_bus.source_id("binance")

        assert ("BTC-USDT", "binance") == (named_bus.symbol_name(symbol), named_bus.source_name(source))
        assert (symbol, source) == (named_bus.symbol_id("BTC-USDT"), named_bus.source_id("binance"))

    def test_without_a_number_are_a_key_error(self, named_bus):
        with pytest.raises(KeyError):
            named_bus.symbol_name(12_345)
        with pytest.raises(KeyError):
            named_bus.source_name(1234)

    def test_equal_strings_are_one_symbol(self, bus):
        """Whatever string object carries the name."""
        reader = bus.subscribe(">")

        for _ in range(3000):
            bus.publish(0, "".join(["BTC", "-USDT"]), 1.0)
        bus.publish(0, type("Text", (str,), {})("BTC-USDT"), 1.0)

        assert {"BTC-USDT"} == {event.symbol for event in reader.drain(4096)}


class TestStats:
    def test_of_a_new_bus(self, bus):
        stats = bus.stats()

        assert {"critical": 64, "high": 128, "normal": 256} == {
            name: lane["capacity"] for name, lane in stats["lanes"].items()
        }
        assert (1, 0, []) == (stats["participants"], stats["readers"], stats["subscriptions"])
        for lane in stats["lanes"].values():
            assert {"stalled", "repaired", "spilled", "refused", "waited"} < lane.keys()

    def test_lists_the_readers(self, bus):
        with bus.subscribe("market.>", "risk.>") as reader:
            bus.publish(0, "BTC-USDT", 1.0)
            stats = bus.stats()

            assert 1 == stats["readers"]
            assert [{"patterns": ["market.>", "risk.>"], "ledger": reader.ledger()}] == stats["subscriptions"]
        assert 0 == bus.stats()["readers"]


def test_a_missing_numpy_is_said_so(tmp_path):
    """The only dependency: without it the import fails as an import, not as a panic."""
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('there is no numpy')")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tickbus"

    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)

    assert done.returncode == 1
    assert "ModuleNotFoundError: there is no numpy" in done.stderr
    assert "panic" not in done.stderr
