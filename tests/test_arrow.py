"""Events as Arrow: rows lend the array's memory, columns are one copy, and any consumer may release them."""

import ctypes
import gc
import subprocess
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import polars
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus import arrow
from tickbus.errors import BusClosedError, InvalidEventError

WAYS = pytest.mark.parametrize("way", [arrow.rows, arrow.columns], ids=["rows", "columns"])

#: Any rows whose timestamps Arrow can say, which are those of this century and the next two.
any_rows = st.lists(
    st.tuples(
        st.integers(0, 2**63 - 1),
        st.integers(0, 255),
        st.integers(0, 255),
        st.integers(0, 2**16 - 1),
        st.integers(0, 2**32 - 1),
        st.floats(),
        st.integers(0, 2**64 - 1),
    ),
    max_size=50,
).map(lambda rows: np.array(rows, tb.EVENT_DTYPE))


def some_events(count: int = 10) -> np.ndarray:
    events = np.zeros(count, tb.EVENT_DTYPE)
    events["timestamp"] = 1_700_000_000_000_000_000 + np.arange(count)
    events["value"] = np.arange(count) * 1.5
    return events


def back(column: pa.Array) -> np.ndarray:
    """The column's bytes as NumPy rows, without a copy."""
    return np.frombuffer(column.buffers()[1], tb.EVENT_DTYPE)


class TestRows:
    def test_are_the_arrays_memory(self):
        """Arrow reads where NumPy wrote."""
        events = some_events()

        column = pa.record_batch(arrow.rows(events)).column("event")

        assert events.ctypes.data == column.buffers()[1].address

    def test_of_a_slice_are_the_slices_memory(self):
        """Lending starts at the slice's first row and ends at its last."""
        events = some_events()

        column = pa.record_batch(arrow.rows(events[3:7])).column("event")

        assert events[3:].ctypes.data == column.buffers()[1].address
        assert [row.tobytes() for row in events[3:7]] == column.to_pylist()

    def test_say_what_they_are(self):
        """A Parquet file of them names its content."""
        field = pa.record_batch(arrow.rows(some_events())).schema.field("event")

        assert pa.binary(32) == field.type
        assert {b"ARROW:extension:name": b"tickbus.event"} == field.metadata
        assert not field.nullable

    @given(any_rows)
    def test_come_back(self, events):
        """All 32 bytes of each, NaNs and unused numbers too."""
        batch = pa.record_batch(arrow.rows(events))
        batch.validate(full=True)

        assert events.tobytes() == back(batch.column("event")).tobytes()

    def test_come_from_a_bus(self, bus):
        """What `read_batch` returns is lent as it is."""
        reader = bus.subscribe("market.>")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 64_000.0)
        events = reader.read_batch()

        column = pa.record_batch(arrow.rows(events)).column("event")

        assert events.ctypes.data == column.buffers()[1].address
        assert 64_000.0 == back(column)["value"][0]

    def test_show_what_is_written_later(self):
        """They are the memory, so whoever writes to the array writes to them."""
        events = some_events()
        column = pa.record_batch(arrow.rows(events)).column("event")

        events["value"][0] = -1.0

        assert -1.0 == back(column)["value"][0]


class TestColumns:
    def test_have_the_fields_types(self):
        """A column a field, in the order of the 32 bytes, none with nulls."""
        fields = {
            "timestamp": pa.timestamp("ns", "UTC"),
            "event_type": pa.uint8(),
            "priority": pa.uint8(),
            "source": pa.uint16(),
            "symbol": pa.uint32(),
            "value": pa.float64(),
            "metadata": pa.uint64(),
        }

        schema = pa.record_batch(arrow.columns(some_events())).schema

        assert pa.schema([pa.field(*field, nullable=False) for field in fields.items()]) == schema

    @given(any_rows)
    def test_come_back(self, events):
        """Every field of every row, bit for bit."""
        batch = pa.record_batch(arrow.columns(events))
        batch.validate(full=True)

        for name in tb.EVENT_DTYPE.names:
            assert events[name].tobytes() == batch.column(name).to_numpy().tobytes(), name

    def test_are_a_copy(self):
        """The array may be filled again at once, as with ``read_batch(out=...)``."""
        events = some_events()
        batch = pa.record_batch(arrow.columns(events))

        events["value"] = -1.0

        assert 1.5 == batch.column("value")[1].as_py()

    def test_are_copied_once(self):
        """Consumers share the copy that was made."""
        columns = arrow.columns(some_events())

        addresses = [pa.record_batch(columns).column("value").buffers()[1].address for _ in range(2)]

        assert addresses[0] == addresses[1]

    def test_end_in_the_year_2262(self):
        """A later timestamp would come out negative, so its row is named instead."""
        events = some_events()
        events["timestamp"][3] = 2**63

        with pytest.raises(InvalidEventError, match=r"events\[3\].*9223372036854775808.*2262"):
            arrow.columns(events)


class TestNames:
    def test_replace_the_numbers(self, bus):
        """Types, sources and symbols as this bus spells them; no source is an empty text."""
        reader = bus.subscribe(">")
        bus.register_type(5, "basis")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0, source="binance")
        bus.publish(5, "ETH-USDT", 2.0)

        batch = pa.record_batch(arrow.columns(reader.read_batch(), names=bus))
        batch.validate(full=True)

        assert ["price_update", "basis"] == batch.column("event_type").to_pylist()
        assert ["binance", ""] == batch.column("source").to_pylist()
        assert ["BTC-USDT", "ETH-USDT"] == batch.column("symbol").to_pylist()

    def test_keep_the_numbers_as_indices(self, bus):
        """A number is its text's place in the dictionary."""
        number = bus.symbol_id("BTC-USDT")
        events = some_events()
        events["symbol"] = number

        column = pa.record_batch(arrow.columns(events, names=bus)).column("symbol")

        assert {number} == set(column.indices.to_pylist())

    def test_of_free_types_are_their_numbers(self, bus):
        """As `Event.type_name` has it: nothing is lost, and no text stands twice."""
        events = some_events()
        number = next(free for free in range(40, 256) if free not in bus.types().values())
        events["event_type"] = number

        column = pa.record_batch(arrow.columns(events, names=bus)).column("event_type")

        assert {str(number)} == set(column.to_pylist())
        assert len(set(column.dictionary.to_pylist())) == len(column.dictionary)

    @pytest.mark.parametrize(("field", "number"), [("symbol", 2**32 - 1), ("source", 65_535)])
    def test_must_be_known(self, bus, field, number):
        """Events of another bus are refused, not given the names of this one's last number."""
        events = some_events()
        events[field][2] = number

        with pytest.raises(InvalidEventError, match=rf"events\[2\]: {field} {number}"):
            arrow.columns(events, names=bus)

    def test_need_an_open_bus(self):
        bus = tb.Bus()
        bus.close()

        with pytest.raises(BusClosedError):
            arrow.columns(some_events(), names=bus)


class TestRefused:
    """By the exception `publish_batch` raises for the same array."""

    @WAYS
    @pytest.mark.parametrize(
        ("events", "found"),
        [
            ([1, 2], "list"),
            (np.zeros(4), "float64"),
            (some_events()[["timestamp", "value"]], "dtype"),
            (some_events().astype(tb.EVENT_DTYPE.newbyteorder(">")), ">u8"),
            (some_events().reshape(5, 2), r"\[5, 2\]"),
            (np.frombuffer(bytes(65), np.uint8)[1:].view(tb.EVENT_DTYPE), "aligned"),
        ],
        ids=["list", "floats", "fewer fields", "big-endian", "two dimensions", "unaligned"],
    )
    def test_is_what_is_no_array_of_events(self, way, events, found):
        with pytest.raises(InvalidEventError, match=found):
            way(events)

    @WAYS
    @pytest.mark.parametrize("step", [2, -1])
    def test_is_a_strided_array(self, way, step):
        """Lending it is impossible and copying it is the caller's to say; the message says how."""
        with pytest.raises(InvalidEventError, match=rf"strides \[{32 * step}\].*copy\(\)"):
            way(some_events()[::step])


class TestConsumers:
    @WAYS
    def test_get_no_rows_of_no_events(self, way):
        """An empty batch has its schema."""
        empty = pa.table(way(some_events(0)))

        assert 0 == len(way(some_events(0))) == empty.num_rows
        assert pa.table(way(some_events())).schema == empty.schema

    @WAYS
    def test_may_be_polars(self, way, bus):
        """A data frame takes it as it is."""
        events = some_events()

        frame = polars.DataFrame(way(events))

        assert pa.record_batch(way(events)).schema.names == frame.columns
        assert 10 == frame.height == len(way(events))

    def test_find_every_field_in_polars(self, bus):
        reader = bus.subscribe(">")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 64_000.0, source="binance", timestamp=17)

        frame = polars.DataFrame(arrow.columns(reader.read_batch(), names=bus))

        assert 17 == frame["timestamp"].dt.timestamp("ns").item()
        assert {
            "event_type": "price_update",
            "priority": tb.Priority.HIGH,
            "source": "binance",
            "symbol": "BTC-USDT",
            "value": 64_000.0,
            "metadata": 0,
        } == frame.drop("timestamp").row(0, named=True)

    @WAYS
    def test_may_ask_for_another_schema(self, way):
        """They get ours, which the interface allows and they have to look at."""
        batch = way(some_events())
        wanted = pa.schema([pa.field("event", pa.binary())])

        schema, _ = batch.__arrow_c_array__(wanted.__arrow_c_schema__())

        assert pa.schema(SimpleNamespace(__arrow_c_schema__=lambda: schema)) == pa.schema(batch)


class CArray(ctypes.Structure):
    """``struct ArrowArray`` of the C data interface."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
        *((name, ctypes.c_void_p) for name in ("buffers", "children", "dictionary", "release", "private")),
    ]


def c_array(capsule: object) -> CArray:
    """The struct that an ``arrow_array`` capsule holds."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return CArray.from_address(get_pointer(capsule, b"arrow_array"))


def watched() -> tuple[np.ndarray, weakref.ref]:
    """Events, and what says whether they are still there."""
    events = some_events()
    return events, weakref.ref(events)


class TestLifetime:
    def test_ends_with_the_last_consumer(self):
        """The array outlives its own name and the batch, as long as somebody has the data."""
        events, alive = watched()
        batch = pa.record_batch(arrow.rows(events))
        column = batch.column("event")

        del events, batch
        gc.collect()

        assert alive() is not None
        assert 13.5 == back(column)["value"][9]
        del column
        assert alive() is None

    def test_of_what_was_copied_ends_at_once(self):
        """Columns keep nothing of the array."""
        events, alive = watched()
        columns = arrow.columns(events)

        del events

        assert alive() is None
        assert 10 == len(columns)

    def test_of_what_nobody_consumed_ends_with_the_capsules(self):
        """An export that was not taken is released by its capsule."""
        events, alive = watched()
        references = sys.getrefcount(events)
        capsules = arrow.rows(events).__arrow_c_array__()
        assert references < sys.getrefcount(events)

        del capsules

        assert references == sys.getrefcount(events)
        del events
        assert alive() is None

    def test_may_end_in_another_thread(self):
        events, alive = watched()
        taken = [pa.record_batch(arrow.rows(events))]
        del events

        thread = threading.Thread(target=taken.clear)
        thread.start()
        thread.join(20)

        assert alive() is None

    def test_may_end_in_many_threads_at_once(self, stress):
        """Every reference is given back, whoever gives it back and when."""
        events, alive = watched()
        lent = [arrow.rows(events)]

        def take_and_release() -> None:
            for _ in range(200 * stress):
                capsules = lent[0].__arrow_c_array__()
                array = c_array(capsules[1])
                # A CFUNCTYPE lets go of the GIL for the call.
                ctypes.CFUNCTYPE(None, ctypes.c_void_p)(array.release)(ctypes.addressof(array))

        threads = [threading.Thread(target=take_and_release) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        del events
        lent.clear()

        assert alive() is None

    def test_without_the_gil_ends_with_the_next_call(self):
        """A thread that has no GIL does not wait for it: the next call into tickbus frees the array."""
        events, alive = watched()
        capsules = arrow.rows(events).__arrow_c_array__()
        array = c_array(capsules[1])
        del events

        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(array.release)(ctypes.addressof(array))
        assert array.release is None, "it was released"
        tb.pack_quantity(1.0)

        assert alive() is None


#: A lent array whose struct was moved out of its capsule, as a consumer does; for programs of their own.
MOVED = """
import ctypes, sys
import numpy as np
import tickbus as tb
from tickbus import arrow

libc = ctypes.PyDLL(None)  # calls keep the GIL
libc.malloc.restype = ctypes.c_void_p
capsules = arrow.rows(np.zeros(1000, tb.EVENT_DTYPE)).__arrow_c_array__()
get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
get_pointer.restype = ctypes.c_void_p
get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
place = get_pointer(capsules[1], b"arrow_array")
RELEASE = 64  # its offset in struct ArrowArray, which has ten words
moved = ctypes.c_void_p(libc.malloc(80))
ctypes.memmove(moved, place, 80)
release = ctypes.c_void_p.from_address(moved.value + RELEASE)
ctypes.c_void_p.from_address(place + RELEASE).value = None
"""


class TestRelease:
    """From where no Python code can follow."""

    def run(self, program: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", MOVED + program], capture_output=True, text=True, check=False, timeout=60
        )
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    def test_does_not_wait_for_the_gil(self):
        """Who holds the GIL may be waiting for the consumer's thread that releases."""
        out = self.run("""
thread = ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, release, moved)
libc.pthread_join(thread, None)
print("joined", ctypes.c_void_p.from_address(moved.value + RELEASE).value)
""")

        assert "joined None\n" == out

    def test_may_come_after_the_interpreter(self):
        """A consumer in C++ may keep the data until its own end: it leaks, and nothing crashes."""
        out = self.run("""
getattr(libc, "__cxa_atexit")(release, moved, None)
print("finalizing")
""")

        assert "finalizing\n" == out
