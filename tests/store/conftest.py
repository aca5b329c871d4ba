"""What the tests of the store share: a small log with every kind of event."""

import numpy as np
import pytest
from store_logs import MIDNIGHT, NAMES, QUOTE, rows

from tickbus.store import MemorySource


@pytest.fixture
def source() -> MemorySource:
    """Two symbols over two days, all three lanes, trades, quotes, an order and a stop loss."""
    bought, sold = np.array([1.5, -0.25]).view(np.uint64).tolist()
    t = MIDNIGHT
    return MemorySource(
        rows(
            [
                (t - 300, 4, 1, 1, 1, 100.0, QUOTE),
                (t - 200, 0, 1, 1, 1, 100.5, bought),
                (t - 100, 33, 0, 2, 1, 100.5, bought),
                (t, 0, 1, 2, 2, 20.0, sold),
                (t, 65, 2, 2, 2, 19.0, sold),
                (t + 50, 4, 1, 1, 1, 101.0, QUOTE),
                (t + 60, 0, 1, 1, 1, 101.25, sold),
            ]
        ),
        NAMES,
    )
