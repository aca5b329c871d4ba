"""
Other databases: a sink takes the table `events` batch by batch and knows how far it has got.

    copy_to(store.source, open_sink("clickhouse", "ticks/"))

A sink is found by the name under which a package registers it in the entry points `tickbus.sinks`; the
entry is called with the target, a text that the sink understands. Copying again goes on behind the
last sequence of each lane that the sink has, so that a copy that was killed is finished by the next, and
a sink that stores what it already has only once (`log`, `lane`, `sequence` are the key) has each event
once, whatever happened in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, NamedTuple, Protocol

import numpy as np

from tickbus.errors import QueryError
from tickbus.store import _extras
from tickbus.store.columns import Columns
from tickbus.store.source import LANES, EventSource

__all__ = ["GROUP", "Copied", "Sink", "copy_to", "open_sink", "sinks"]

GROUP = "tickbus.sinks"
#: Databases of columns like large inserts.
_ROWS = 262_144


class Sink(Protocol):
    """What stores events elsewhere."""

    def last(self, log_id: bytes) -> Mapping[int, int]:
        """The greatest sequence of each lane of that log that is stored for good."""

    def write(self, batch: Any) -> None:
        """
        Store a `pyarrow.RecordBatch`: `log` (hex text of the log's id) and the table `events`.

        Batches come in replay order. When it returns they are stored as safely as the database does.
        """

    def close(self) -> None:
        """Let go of the database. Safe to repeat."""


class Copied(NamedTuple):
    """What a copy did."""

    written: int
    #: Events that the sink had already.
    skipped: int


def sinks() -> list[str]:
    """Names that `open_sink` knows here."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def open_sink(name: str, target: str) -> Sink:
    """
    The sink registered as *name*, at *target*.

    Raises:
        QueryError: No installed package registers it.
        MissingExtraError: Its library is missing.
    """
    for entry in entry_points(group=GROUP, name=name):
        sink: Sink = entry.load()(target)
        return sink
    raise QueryError(f"no sink {name!r}; installed are {', '.join(sinks()) or 'none'}")


def copy_to(
    source: EventSource,
    sink: Sink,
    *,
    max_rows: int = _ROWS,
    progress: Callable[[int], object] | None = None,
) -> Copied:
    """
    Write all events of *source* that *sink* has not.

    Args:
        max_rows: Rows of a write at most.
        progress: Called after each write with the events written so far.
    """
    pa = _extras.pyarrow()
    have = sink.last(source.id)
    after = np.array([have.get(lane, -1) for lane in range(len(LANES))], np.int64)
    log = source.id.hex()
    columns = Columns(lambda: source.names)
    written = skipped = 0
    for batch in source.batches(max_rows=max_rows):
        rows = batch.take(batch.sequences.astype(np.int64) > after[batch.lanes])
        skipped += len(batch.events) - len(rows.events)
        if not len(rows.events):
            continue
        table = columns.batch(rows)
        logs = pa.DictionaryArray.from_arrays(pa.array(np.zeros(table.num_rows, np.int8)), pa.array([log]))
        sink.write(pa.record_batch([logs, *table.columns], ["log", *table.schema.names]))
        written += table.num_rows
        if progress:
            progress(written)
    return Copied(written, skipped)
