"""
Events as Arrow, for pyarrow, Polars, DuckDB, pandas and whatever else speaks its PyCapsule interface.

    events = subscription.read_batch(4096)
    pyarrow.record_batch(arrow.rows(events))      # one column of 32 bytes a row: the array's own memory
    polars.DataFrame(arrow.columns(events))       # a column a field: one copy

Both return an :class:`ArrowBatch`, which is a record batch to whoever takes one: ``pyarrow.table``,
``polars.DataFrame``, a query of DuckDB 2. tickbus needs none of these libraries for it, only NumPy.

An array that has been lent must not be written to while a consumer has it: Arrow data is taken to be
constant. ``read_batch`` returns a new array each time; with ``out=`` it writes into yours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tickbus import _native
from tickbus._native import ArrowBatch

__all__ = ["ArrowBatch", "columns", "rows"]


def rows(events: NDArray[np.void]) -> ArrowBatch:
    """
    Lend the array's memory as one Arrow column, ``event: fixed_size_binary(32)``. Nothing is copied.

    The column has the extension name ``tickbus.event`` in its metadata, so that a file says what
    the bytes are. Back to NumPy, without a copy as well:
    ``numpy.frombuffer(column.buffers()[1], tickbus.EVENT_DTYPE)``.

    Args:
        events: One-dimensional, contiguous, dtype ``EVENT_DTYPE``; a slice is fine. It is kept alive
            until the last consumer has released it.
    Returns:
        A record batch with one column.
    Raises:
        InvalidEventError: Wrong dtype, shape or layout. A strided array would have to be copied,
            which is left to the caller.
    """
    return _native.arrow_rows(events)


def columns(events: NDArray[np.void], *, names: _native.Bus | None = None) -> ArrowBatch:
    """
    Copy the events into an Arrow column a field.

    ``timestamp`` is timestamp[ns, UTC], ``event_type`` and ``priority`` are uint8, ``source`` is
    uint16, ``symbol`` uint32, ``value`` float64 and ``metadata`` uint64, none with nulls. A column
    has to be contiguous and a field of 32-byte rows is not: this is the one copy, and consumers
    share it.

    Args:
        events: One-dimensional, contiguous, dtype ``EVENT_DTYPE``. It may be written to afterwards.
        names: The bus the events come from: ``event_type``, ``source`` and ``symbol`` become
            dictionary columns of its names, with the numbers as indices. No source or symbol is
            an empty text; a type without a name is its number.
    Returns:
        A record batch of seven columns.
    Raises:
        InvalidEventError: Wrong dtype, shape or layout; a timestamp after the year 2262, where
            timestamp[ns] ends; a source or symbol that *names* does not know.
        BusClosedError: *names* is closed.
    """
    return _native.arrow_columns(events, names=names)
