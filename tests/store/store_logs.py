"""Logs for the tests of the store: made up by hypothesis, of few names and times."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import strategies as st

import tickbus as tb
from tickbus.store import MemorySource, Names

#: The first nanosecond of a day, so that a few nanoseconds before it are another day.
MIDNIGHT = 1_786_233_600 * 10**9
NAMES = Names({1: "BTC-USDT", 2: "ETH-USDT", 3: "SOL-USDT"}, {1: "binance", 2: "kraken"})
QUOTE = tb.pack_quote(100.0, 100.5, 2.0, 3.0, 2)[1]


def rows(many: Iterable[tuple[int, ...]]) -> np.ndarray:
    return np.array(list(many), tb.EVENT_DTYPE)


@st.composite
def logs(draw: st.DrawFn, size: int = 40) -> MemorySource:
    """A log of few names and few times, so that ties, late events and empty selections are common."""
    many = draw(
        st.lists(
            st.tuples(
                st.integers(MIDNIGHT - 10, MIDNIGHT + 20),
                st.sampled_from([0, 0, 4, 4, 33, 65, 200]),
                st.integers(0, 2),
                st.integers(0, 2),
                st.integers(0, 3),
                st.integers(1, 1000).map(lambda n: n / 8),
            ),
            max_size=size,
        )
    )
    quantities = np.array([1.5, -0.25, 0.0]).view(np.uint64).tolist()
    said = [
        (*row, QUOTE if row[1] == 4 else draw(st.sampled_from(quantities)) if row[1] == 0 else 7)
        for row in many
    ]
    return MemorySource(rows(said), NAMES)


def everything(source: MemorySource, **selection: object) -> list[tuple[bytes, int, int]]:
    """All rows of a source, one by one, with lane and sequence."""
    return [
        (event.tobytes(), int(lane), int(sequence))
        for batch in source.batches(**selection)
        for event, lane, sequence in zip(*batch, strict=True)
    ]
