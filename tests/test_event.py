"""The event: 32 bytes, one layout everywhere."""

import math
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.errors import InvalidEventError, InvalidNameError

# What the 32 bytes are, written down independently of the code.
LAYOUT = struct.Struct("<QBBHIdQ")
FIELDS = ("timestamp", "event_type", "priority", "source_id", "symbol_id", "value", "metadata")

#: Any event at all, as its fields in the order of the layout.
any_fields = st.tuples(
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
    st.integers(0, 2),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.floats(),
    st.integers(0, 2**64 - 1),
)


def trade(symbol="BTC-USDT", value=61_837.5, **fields) -> tb.Event:
    return tb.Event(tb.EventType.PRICE_UPDATE, symbol, value, **fields)


class TestBytes:
    @given(any_fields)
    def test_come_back(self, fields):
        """Every event is its 32 bytes, in the documented layout."""
        data = LAYOUT.pack(*fields)

        event = tb.Event.from_bytes(data)

        assert data == event.bytes()
        for name, expected in zip(FIELDS, fields, strict=True):
            found = getattr(event, name)
            assert expected == found or (math.isnan(expected) and math.isnan(found)), name

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_are_exactly_32(self, length):
        """Another length is refused, and the message says which."""
        with pytest.raises(InvalidEventError, match=str(length)):
            tb.Event.from_bytes(bytes(length))

    def test_have_a_priority_that_exists(self):
        """Byte 9 is 0, 1 or 2."""
        with pytest.raises(InvalidEventError, match="priority 3"):
            tb.Event.from_bytes(LAYOUT.pack(0, 0, 3, 0, 0, 0.0, 0))

    def test_are_the_numpy_row(self):
        """``EVENT_DTYPE`` has the same fields at the same offsets."""
        offsets = {name: tb.EVENT_DTYPE.fields[name][1] for name in tb.EVENT_DTYPE.names}

        assert 32 == tb.EVENT_DTYPE.itemsize
        assert {
            "timestamp": 0, "event_type": 8, "priority": 9, "source": 10, "symbol": 12, "value": 16,
            "metadata": 24,
        } == offsets  # fmt: skip


class TestFields:
    def test_are_what_was_given(self):
        event = trade(metadata=7, source="binance", priority=tb.Priority.NORMAL, timestamp=2**63 + 1)

        assert tb.EventType.PRICE_UPDATE == event.event_type
        assert "BTC-USDT" == event.symbol
        assert 61_837.5 == event.value
        assert 7 == event.metadata
        assert "binance" == event.source
        assert tb.Priority.NORMAL == event.priority
        assert 2**63 + 1 == event.timestamp, "nanoseconds are exact integers"

    def test_have_defaults(self):
        event = trade()

        assert (0, "", 0, 0) == (event.metadata, event.source, event.source_id, event.timestamp)
        assert tb.Priority.HIGH == event.priority

    def test_may_be_given_as_numbers(self):
        """A symbol's number means the same as its name."""
        named = trade("ETH-USDT")

        assert named == trade(named.symbol_id)

    def test_know_no_id_before_they_are_published(self):
        assert trade().id is None
        assert trade().sequence is None

    def test_have_a_topic(self):
        assert "market.price_update.binance.BTC-USDT" == trade(source="binance").topic
        assert "market.price_update.-.BTC-USDT" == trade().topic

    @pytest.mark.parametrize("name", ["value", "symbol", "timestamp", "priority", "metadata"])
    def test_cannot_be_changed(self, name):
        with pytest.raises(AttributeError):
            setattr(trade(), name, 1)

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"event_type": 256}, "256"),
            ({"event_type": -1}, "-1"),
            ({"event_type": "trade"}, "trade"),
            ({"priority": 3}, "3"),
            ({"priority": "high"}, "high"),
            ({"symbol": 4_000_000_000}, "4000000000"),
            ({"symbol": None}, "None"),
            ({"source": 65_535}, "65535"),
            ({"metadata": -1}, "-1"),
            ({"metadata": 2**64}, str(2**64)),
            ({"timestamp": -1}, "-1"),
        ],
    )
    def test_out_of_range_are_refused(self, change, found):
        """The exception names the value."""
        with pytest.raises(InvalidEventError, match=found):
            tb.Event(**{"event_type": 0, "symbol": "BTC-USDT", "value": 1.0} | change)

    @pytest.mark.parametrize("name", ["", "x" * 57, "a.b", "a b", "a*", "a?", "a>", "a\n"])
    def test_names_must_fit_a_topic(self, name):
        with pytest.raises(InvalidNameError):
            trade(name)
        with pytest.raises(InvalidNameError):
            trade(source=name)

    @pytest.mark.parametrize("name", ["x" * 56, "BTC/USDT:USDT", "ÅÄÖ-€", "日経225"])
    def test_names_may_be_any_other_text(self, name):
        assert name == trade(name).symbol


class TestIdentity:
    @given(any_fields, any_fields)
    def test_is_the_bytes(self, one, other):
        """Equal bytes are equal events with equal hashes; NaN equals itself."""
        left, right = LAYOUT.pack(*one), LAYOUT.pack(*other)
        same, again = tb.Event.from_bytes(left), tb.Event.from_bytes(left)

        assert same == again
        assert hash(same) == hash(again)
        assert (left == right) == (same == tb.Event.from_bytes(right))

    def test_zero_has_a_sign(self):
        assert trade(value=0.0) != trade(value=-0.0)

    def test_is_no_other_types(self):
        assert trade() != trade().bytes()
        assert trade() != None  # noqa: E711

    def test_survives_pickling(self):
        event = trade(source="kraken", metadata=tb.pack_quantity(-2.5), timestamp=17)

        copy = pickle.loads(pickle.dumps(event))

        assert event == copy
        assert ("BTC-USDT", "kraken") == (copy.symbol, copy.source)

    def test_pickled_keeps_its_id(self, bus):
        reader = bus.subscribe(">")
        identifier = bus.publish(tb.EventType.ORDER_PLACED, "BTC-USDT", 1.0)

        copy = pickle.loads(pickle.dumps(reader.poll()))

        assert identifier == copy.id

    def test_repr_says_what_happened(self):
        text = repr(trade(source="binance", metadata=tb.pack_quantity(-2.5)))

        assert "market.price_update.binance.BTC-USDT" in text
        assert "61837.5" in text


class TestMatch:
    def test_by_position(self):
        """``match`` takes type, symbol, value and metadata apart."""
        match trade(metadata=3):
            case tb.Event(tb.EventType.PRICE_UPDATE, symbol, value, metadata):
                found = (symbol, value, metadata)

        assert ("BTC-USDT", 61_837.5, 3) == found

    def test_by_name(self):
        match trade(source="kraken"):
            case tb.Event(source="binance"):
                found = "binance"
            case tb.Event(source="kraken", price=price) if price > 0:
                found = "kraken"

        assert "kraken" == found


class TestTypedFields:
    @pytest.mark.parametrize(
        ("quantity", "side"), [(2.5, 1), (-2.5, -1), (0.0, 0)], ids=["bought", "sold", "unknown"]
    )
    def test_of_a_trade(self, quantity, side):
        event = trade(metadata=tb.pack_quantity(quantity))

        assert (61_837.5, 2.5 if side else 0.0, side) == (event.price, event.quantity, event.side)

    def test_of_a_quote(self):
        value, metadata = tb.pack_quote(61_837.12, 61_837.13, 0.5, 2.0, 2)

        quote = tb.Event(tb.EventType.TOP_OF_BOOK, "BTC-USDT", value, metadata=metadata)

        assert (61_837.12, 61_837.13, 0.5, 2.0) == (quote.bid, quote.ask, quote.bid_size, quote.ask_size)

    @given(
        st.integers(1, 2**46),
        st.integers(-(2**23), 2**23 - 1),
        st.integers(0, 15),
        st.floats(1e-9, 1.6e10),
    )
    def test_of_a_quote_are_exact_in_price(self, bid, spread, decimals, size):
        """Prices come back as their text parses; sizes within one part in 8,192."""
        ask = max(bid + spread, 0)
        prices = float(f"{bid}e-{decimals}"), float(f"{ask}e-{decimals}")

        value, metadata = tb.pack_quote(*prices, size, 0.0, decimals)
        quote = tb.Event(tb.EventType.TOP_OF_BOOK, "BTC-USDT", value, metadata=metadata)

        assert prices == (quote.bid, quote.ask)
        assert abs(quote.bid_size - size) <= size / 8192
        assert 0.0 == quote.ask_size

    @pytest.mark.parametrize(
        "quote",
        [
            (math.nan, 1.0, 1.0, 1.0, 2),
            (-1.0, 1.0, 1.0, 1.0, 2),
            (1.0, math.inf, 1.0, 1.0, 2),
            (1.0, 2.0, -1.0, 1.0, 2),
            (1.0, 2.0, 1.0, 1e11, 2),
            (1.0, 9e6, 1.0, 1.0, 0),
            (1.0, 2.0, 1.0, 1.0, 16),
        ],
    )
    def test_of_a_quote_without_an_exact_form_are_refused(self, quote):
        with pytest.raises(InvalidEventError):
            tb.pack_quote(*quote)

    @pytest.mark.parametrize("field", ["bid", "drawdown", "nonsense"])
    def test_of_other_types_are_missing(self, field):
        """An event without the field has no such attribute, as anywhere in Python."""
        with pytest.raises(AttributeError, match=field):
            getattr(trade(), field)


class TestPacking:
    def test_refuses_a_price_with_more_decimals_than_said(self):
        """Packed all the same, 1.002 would come back as 1.0."""
        with pytest.raises(InvalidEventError, match="decimals"):
            tb.pack_quote(1.001, 1.002, 1.0, 1.0, 2)

    def test_refuses_a_quantity_that_is_none(self):
        with pytest.raises(InvalidEventError, match="nan"):
            tb.pack_quantity(float("nan"))
