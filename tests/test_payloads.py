"""Payloads: bytes that do not fit an event, kept beside the lanes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import InvalidEventError, PayloadOverwrittenError

PLACED = tb.EventType.ORDER_PLACED


class TestPayload:
    @given(st.lists(st.binary(max_size=300), max_size=8))
    def test_comes_back(self, payloads):
        """Byte for byte, empty ones too."""
        with tb.Bus(payload_bytes=1 << 14) as bus, bus.subscribe(">") as reader:
            for payload in payloads:
                bus.publish(PLACED, "BTC-USDT", 1.0, payload=payload)

            assert payloads == [bus.payload(event) for event in reader.drain(100)]

    def test_is_referenced_from_metadata(self, bus):
        """The reference is never 0, and metadata of one's own beside it is refused."""
        reader = bus.subscribe(">")

        bus.publish(PLACED, "BTC-USDT", 1.0, payload=b"client-order-1")
        event = reader.poll()

        assert 0 != event.metadata
        assert b"client-order-1" == bus.payload(event)
        with pytest.raises(InvalidEventError, match="one of them"):
            bus.publish(PLACED, "BTC-USDT", 1.0, payload=b"client-order-1", metadata=5)
        assert 0 == reader.lag

    def test_can_be_a_quarter_of_the_ring(self):
        with tb.Bus(payload_bytes=4096) as bus, bus.subscribe(">") as reader:
            bus.publish(PLACED, "BTC-USDT", 1.0, payload=b"x" * 1024)

            assert b"x" * 1024 == bus.payload(reader.poll())

    def test_too_long_is_refused(self):
        """The message names both lengths, and nothing is published."""
        with tb.Bus(payload_bytes=4096) as bus, bus.subscribe(">") as reader:
            with pytest.raises(InvalidEventError, match=r"1025.*1024"):
                bus.publish(PLACED, "BTC-USDT", 1.0, payload=b"x" * 1025)

            assert reader.poll() is None

    def test_overwritten_says_so(self):
        """Never somebody else's bytes: the newest come back, the oldest are reported gone."""
        with tb.Bus(payload_bytes=4096) as bus, bus.subscribe(">") as reader:
            for number in range(100):
                bus.publish(PLACED, "BTC-USDT", float(number), payload=str(number).encode() * 50)
            events = reader.drain(100)

            with pytest.raises(PayloadOverwrittenError):
                bus.payload(events[0])
            assert b"99" * 50 == bus.payload(events[-1])
            for event in events:
                try:
                    assert str(int(event.value)).encode() * 50 == bus.payload(event)
                except PayloadOverwrittenError:
                    assert event is not events[-1]

    @pytest.mark.parametrize("metadata", [0, 1, 2**43, 2**64 - 1])
    def test_needs_a_reference(self, bus, metadata):
        with pytest.raises(InvalidEventError, match="reference"):
            bus.payload(tb.Event(PLACED, "BTC-USDT", 1.0, metadata=metadata))

    @given(st.integers(0, 2**64 - 1))
    def test_of_any_number_at_all_is_bytes_or_an_error(self, metadata):
        with tb.Bus(payload_bytes=512) as bus, bus.subscribe(">"):
            bus.publish(PLACED, "BTC-USDT", 1.0, payload=b"x" * 100)
            try:
                found = bus.payload(tb.Event(PLACED, "X", 1.0, metadata=metadata))
            except (InvalidEventError, PayloadOverwrittenError):
                found = b"x" * 100

            assert b"x" * 100 == found, "never other bytes than those that were published"

    def test_reaches_other_processes(self, named_bus, python):
        reader = named_bus.subscribe(">")
        other = python(
            "import sys, tickbus as tb\n"
            "with tb.Bus(sys.argv[1]) as bus: bus.publish(33, 'BTC-USDT', 1.0, payload=b'over there' * 20)",
            named_bus.name,
        )

        event = reader.poll(timeout_s=20)

        assert b"over there" * 20 == named_bus.payload(event)
        assert 0 == other.wait(20)
