"""What an editor must infer about events. mypy reads this file; nothing runs it."""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import tickbus as tb


def fields_have_their_types(event: tb.Event) -> None:
    assert_type(event.timestamp, int)
    assert_type(event.symbol, str)
    assert_type(event.symbol_id, int)
    assert_type(event.source, str)
    assert_type(event.value, float)
    assert_type(event.price, float)
    assert_type(event.side, int)
    assert_type(event.id, int | None)
    assert_type(event.bytes(), bytes)


def an_event_is_made_and_read_back() -> None:
    event = tb.Event(tb.EventType.PRICE_UPDATE, "BTC-USDT", 64_000.0, metadata=tb.pack_quantity(0.5))
    assert_type(event, tb.Event)
    assert_type(tb.Event.from_bytes(event.bytes()), tb.Event)
    tb.Event(tb.EventType.PRICE_UPDATE, "BTC-USDT", "64000")  # type: ignore[arg-type]
    event.value = 1.0  # type: ignore[misc]


def a_quote_packs_into_value_and_metadata() -> None:
    assert_type(tb.pack_quote(1.0, 2.0, 3.0, 4.0, 2), tuple[float, int])


def a_dtype_describes_the_same_bytes(data: bytes) -> None:
    assert_type(tb.EVENT_DTYPE, np.dtype[np.void])
    assert_type(np.frombuffer(data, dtype=tb.EVENT_DTYPE), NDArray[np.void])
