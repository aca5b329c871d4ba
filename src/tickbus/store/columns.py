"""
Events as the table `events`: the one schema of SQL, data frames and Parquet files.

    ts          timestamp[ns], UTC     event_type  number      type    its name
    priority    0, 1, 2                source      text        symbol  text
    value       float64                metadata    64 bits     lane    0, 1, 2     sequence  in its lane
    price  quantity  side  bid  ask  bid_size  ask_size       null where the event's type has none

Types, sources and symbols are dictionaries: a number a row, each text once a batch. `ts` has no time
zone, since DuckDB cuts times with one down to microseconds; it is UTC all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbus import arrow
from tickbus.store import _extras
from tickbus.store.decode import FIELDS, Decoder
from tickbus.store.names import Names
from tickbus.store.source import Batch

__all__ = ["COLUMNS", "LOGGED", "Columns", "schema"]

#: What is in the log, and what is decoded from it.
LOGGED = (
    "ts", "event_type", "type", "priority", "source", "symbol", "value", "metadata", "lane", "sequence",
)  # fmt: skip
COLUMNS = (*LOGGED, *FIELDS)
#: Fields of an event that are numbers of names.
_NAMED = ("event_type", "source", "symbol")


def schema(columns: Collection[str] = COLUMNS) -> Any:
    """The Arrow schema of *columns*, in the table's order."""
    pa = _extras.pyarrow()
    kinds = {
        "ts": pa.timestamp("ns"),
        "event_type": pa.uint8(),
        "type": pa.dictionary(pa.uint8(), pa.string()),
        "priority": pa.uint8(),
        "source": pa.dictionary(pa.uint16(), pa.string()),
        "symbol": pa.dictionary(pa.uint32(), pa.string()),
        "value": pa.float64(),
        "metadata": pa.uint64(),
        "lane": pa.uint8(),
        "sequence": pa.uint64(),
        **{name: pa.int8() if name == "side" else pa.float64() for name in FIELDS},
    }
    return pa.schema(
        [pa.field(name, kinds[name], nullable=name in FIELDS) for name in COLUMNS if name in columns]
    )


class Columns:
    """
    Turns batches of one log into record batches of *columns*.

    Args:
        names: Asked again when a number turns up that had no name before: a log may be growing.
    """

    def __init__(self, names: Callable[[], Names], columns: Collection[str] = COLUMNS) -> None:
        self._pa = _extras.pyarrow()
        self._ask = names
        self._names = names()
        self._decoder = Decoder(self._names.types)
        self.schema = schema(columns)

    def batch(self, rows: Batch) -> Any:
        """
        A `pyarrow.RecordBatch` of the rows.

        Raises:
            InvalidEventError: A timestamp after the year 2262, where timestamp[ns] ends.
        """
        self._learn(rows)
        # The native copy: a field a column, in one walk over the rows.
        raw = self._pa.record_batch(arrow.columns(np.ascontiguousarray(rows.events)))
        return self._pa.record_batch(
            [self._column(name, rows, raw) for name in self.schema.names], schema=self.schema
        )

    def batches(self, rows: Iterable[Batch]) -> Any:
        """A `pyarrow.RecordBatchReader` over the batches, made as they are read."""
        return self._pa.RecordBatchReader.from_batches(self.schema, map(self.batch, rows))

    def _column(self, name: str, rows: Batch, raw: Any) -> Any:
        if name in FIELDS:
            values, valid = self._decoder.column(rows.events, name)
            return self._where(values, valid)
        if name == "ts":
            return raw.column("timestamp").cast(self._pa.timestamp("ns"))
        if name == "lane":
            return self._pa.array(rows.lanes)
        if name == "sequence":
            return self._pa.array(rows.sequences)
        if name == "type":
            return self._named(raw.column("event_type"), self._names.type)
        if name in ("source", "symbol"):
            return self._named(raw.column(name), getattr(self._names, name))
        return raw.column(name)

    def _learn(self, rows: Batch) -> None:
        """Ask for the names again if a number of these rows has none."""
        if not all(self._names.knows(column, rows.events[column]) for column in _NAMED):
            self._names = self._ask()
            self._decoder = Decoder(self._names.types)

    def _where(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> Any:
        """The values, null where not valid; the memory as it is, which `pyarrow.array` would copy."""
        kind = self._pa.int8() if values.dtype == np.int8 else self._pa.float64()
        if not valid.any():
            return self._pa.nulls(len(values), kind)
        bits = self._pa.py_buffer(np.packbits(valid, bitorder="little"))
        return self._pa.Array.from_buffers(kind, len(values), [bits, self._pa.py_buffer(values)])

    def _named(self, numbers: Any, text: Any) -> Any:
        values = np.asarray(numbers)
        used, indices = _compact(values)
        texts = self._pa.array([text(number) for number in used.tolist()], self._pa.string())
        return self._pa.DictionaryArray.from_arrays(self._pa.array(indices, numbers.type), texts)


def _compact(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The numbers that occur, and for each row its place among them."""
    most = int(values.max(initial=0))
    if most > 4 * len(values) + 1024:
        used, indices = np.unique(values, return_inverse=True)
        return used, indices.astype(values.dtype)
    # A table instead of a sort: numbers are interned, so they are small.
    seen = np.zeros(most + 1, bool)
    seen[values] = True
    places = np.cumsum(seen) - 1
    return np.flatnonzero(seen), places.astype(values.dtype)[values]
