"""
A sink into ClickHouse that runs inside this process (chdb), in a folder: `open_sink("clickhouse", "ticks/")`.

The table `tickbus.events` has the columns of `events` and `log`. Its engine is ReplacingMergeTree over (log,
lane, sequence): what is written twice is one row once parts are merged, and at once for a query with
`final`. chdb allows one folder a process.
"""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

from tickbus.errors import MissingExtraError, StoreError

__all__ = ["ClickHouseSink"]

_TABLE = """
create table if not exists tickbus.events (
    log LowCardinality(String),
    ts DateTime64(9, 'UTC'),
    event_type UInt8,
    type LowCardinality(String),
    priority UInt8,
    source LowCardinality(String),
    symbol LowCardinality(String),
    value Float64,
    metadata UInt64,
    lane UInt8,
    sequence UInt64,
    price Nullable(Float64),
    quantity Nullable(Float64),
    side Nullable(Int8),
    bid Nullable(Float64),
    ask Nullable(Float64),
    bid_size Nullable(Float64),
    ask_size Nullable(Float64)
) engine = ReplacingMergeTree order by (log, lane, sequence)
"""


class ClickHouseSink:
    """
    The sink.

    Args:
        target: A folder; made if need be.
    Raises:
        MissingExtraError: chdb is not installed.
        StoreError: The folder cannot be opened, or this process has another one open.
    """

    def __init__(self, target: str) -> None:
        self._errors, session = _chdb()
        try:
            self._session: Any = session.Session(target)
            self._session.query("create database if not exists tickbus")
            self._session.query(_TABLE)
        except (self._errors, OSError, RuntimeError) as error:
            raise StoreError(f"ClickHouse cannot open {target}: {error}") from error

    def last(self, log_id: bytes) -> dict[int, int]:
        """See `Sink`."""
        of_log = f"from tickbus.events where log = '{log_id.hex()}' group by lane"
        said = self.query(f"select lane, toString(max(sequence)) {of_log}")
        return {int(lane): int(sequence) for lane, sequence in said}

    def write(self, batch: Any) -> None:
        """See `Sink`. An insert of one block: all of it or nothing."""
        import pyarrow as pa

        # chdb finds the table by the name of this variable.
        rows = pa.Table.from_batches([batch])
        columns = ", ".join(batch.schema.names)
        self._run(f"insert into tickbus.events ({columns}) select {columns} from Python(rows)", rows)

    def query(self, sql: str) -> list[list[Any]]:
        """Rows of a query, for looking at what is stored."""
        return list(json.loads(self._run(sql, None, "JSONCompact"))["data"])

    def close(self) -> None:
        """See `Sink`."""
        self._session.close()

    def _run(self, sql: str, rows: Any, form: str = "CSV") -> str:
        try:
            return str(self._session.query(sql, form))
        except (self._errors, RuntimeError) as error:
            raise StoreError(f"ClickHouse: {str(error).splitlines()[0]}") from error


def _chdb() -> tuple[type[Exception], ModuleType]:
    try:
        import chdb
        from chdb import session
    except ModuleNotFoundError as error:
        raise MissingExtraError("the sink clickhouse (chdb)", "clickhouse") from error
    return chdb.ChdbError, session
