"""A source gives rows in replay order, selected as asked, and says what is wrong with what it is given."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_logs import NAMES, everything, logs, rows

import tickbus as tb
from tickbus.errors import InvalidEventError, QueryError
from tickbus.store import MemorySource

times = st.none() | st.integers(1_786_233_600 * 10**9 - 15, 1_786_233_600 * 10**9 + 25)
numbers = st.none() | st.sets(st.integers(0, 3))


def merged_one_by_one(events: np.ndarray) -> list[bytes]:
    """Replay order by its definition: again and again the lane whose clock is earliest."""
    lanes = {lane: [row for row in events if row["priority"] == lane] for lane in (2, 1, 0)}
    clocks = dict.fromkeys(lanes, 0)
    merged = []
    while any(lanes.values()):
        heads = {
            lane: max(clocks[lane], int(waiting[0]["timestamp"]))
            for lane, waiting in lanes.items()
            if waiting
        }
        lane = min(heads, key=lambda one: (heads[one], -one))
        clocks[lane] = heads[lane]
        merged.append(lanes[lane].pop(0).tobytes())
    return merged


class TestReplayOrder:
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 99)), max_size=40))
    def test_is_the_earliest_lane_first(self, many):
        """Lanes merged by their clocks, ties critical first, no lane reordered."""
        events = rows((time, 0, lane, 0, 0, 1.0, mark) for time, lane, mark in many)

        batches = MemorySource(events).batches(max_rows=7)

        assert [row.tobytes() for batch in batches for row in batch.events] == merged_one_by_one(events)

    @given(logs(), times, times, numbers, numbers, numbers)
    def test_of_a_selection_is_that_of_the_whole(self, log, start, end, types, symbols, sources):
        """A query gives what a filter of all rows gives, in that order, whatever the batches' length."""
        wanted = [
            (row.tobytes(), int(lane), int(sequence))
            for batch in log.batches()
            for row, lane, sequence in zip(*batch, strict=True)
            if (start is None or row["timestamp"] >= start)
            and (end is None or row["timestamp"] < end)
            and (types is None or row["event_type"] in types)
            and (symbols is None or row["symbol"] in symbols)
            and (sources is None or row["source"] in sources)
        ]

        selection = {"types": types, "symbols": symbols, "sources": sources}
        assert everything(log, start_ns=start, end_ns=end, max_rows=5, **selection) == wanted

    @given(logs())
    def test_keeps_each_lanes_sequences(self, log):
        """Sequences of a lane come 0, 1, 2 ... without a gap."""
        told = everything(log)

        for lane in range(3):
            own = [sequence for _, of, sequence in told if of == lane]
            assert own == list(range(len(own)))


class TestMemorySource:
    def test_has_the_id_of_its_content(self, source):
        """Equal rows are one log, others are another."""
        events = np.concatenate([batch.events for batch in source.batches()])

        assert MemorySource(events, NAMES).id == source.id
        assert MemorySource(events[1:], NAMES).id != source.id
        assert len(source.id) == 16

    def test_cannot_be_written_through_a_batch(self, source):
        """A batch is a view of the rows, so it is read-only."""
        batch = next(source.batches())

        with pytest.raises(ValueError, match="read-only"):
            batch.events["value"] = 0

    def test_does_not_follow_the_array_it_was_given(self):
        """The rows are copied: whoever fills the array again changes nothing."""
        events = rows([(1, 0, 1, 0, 0, 1.0, 0)])
        source = MemorySource(events)
        events["value"] = 2.0

        assert next(source.batches()).events["value"][0] == 1.0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"events": np.zeros(3)}, "EVENT_DTYPE"),
            ({"events": np.zeros((2, 2), tb.EVENT_DTYPE)}, "one-dimensional"),
            ({"lanes": np.array([0, 3], np.uint8)}, "lane"),
            ({"lanes": np.array([0], np.uint8)}, "lane"),
            ({"sequences": np.array([5, 5], np.uint64)}, "do not rise"),
            ({"sequences": np.array([5], np.uint64)}, "sequences"),
            ({"id": b"short"}, "16"),
        ],
        ids=lambda value: value if isinstance(value, str) else ",".join(value),
    )
    def test_refuses_what_is_no_log(self, arguments, message):
        """The message says which argument."""
        with pytest.raises(InvalidEventError, match=message):
            MemorySource(**{"events": np.zeros(2, tb.EVENT_DTYPE), **arguments})

    def test_refuses_batches_of_nothing(self, source):
        """A length of 0 would go on for ever."""
        with pytest.raises(QueryError, match="max_rows=0"):
            next(source.batches(max_rows=0))
