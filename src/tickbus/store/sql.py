"""
SQL over a source: DuckDB reads it as a table, and the source reads only what the query needs.

DuckDB asks an Arrow dataset for the columns and the conditions of each scan. `_dataset` answers from
the source: it makes those columns only, and finds out which types, symbols and sources the conditions
leave by asking Arrow which of them contradict it, so that no condition is parsed. What comes is still
filtered by the whole condition. A table can be scanned several times in one query, as joins do; each
scan reads the source from the start.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tickbus.errors import QueryError, TickbusError
from tickbus.store import _extras
from tickbus.store.columns import COLUMNS, Columns, schema
from tickbus.store.names import Names
from tickbus.store.source import Batch, EventSource

__all__ = ["SqlResult", "run"]

_VIEW = "create view {} as select ts, symbol, source, {}, lane, sequence from events where type = '{}'"
_VIEWS = (
    _VIEW.format("trades", "price, quantity, side", "price_update"),
    _VIEW.format("quotes", "bid, ask, bid_size, ask_size", "top_of_book"),
)
#: More names than this are not asked about one by one.
_MOST_NAMES = 5_000


class SqlResult:
    """The rows of a query, read once: as a stream or as a whole."""

    def __init__(self, connection: Any, relation: Any, errors: _Errors) -> None:
        self._connection = connection
        self._relation = relation
        self._errors = errors
        #: Names of the columns; empty for a statement without rows.
        self.columns: list[str] = list(relation.columns) if relation is not None else []

    def batches(self, max_rows: int = 65_536) -> Iterator[Any]:
        """The rows as `pyarrow.RecordBatch`es, as the query finds them; close the result when done."""
        with self._errors:
            yield from self._relation.to_arrow_reader(max_rows) if self.columns else ()

    def arrow(self) -> Any:
        """The rows as a `pyarrow.Table`."""
        with self._errors:
            table = self._relation.to_arrow_table() if self.columns else _extras.pyarrow().table({})
        self.close()
        return table

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows as tuples; times as datetime, which ends at microseconds."""
        with self._errors:
            rows: list[tuple[Any, ...]] = self._relation.fetchall() if self.columns else []
        self.close()
        return rows

    def polars(self) -> Any:
        """The rows as a `polars.DataFrame`."""
        polars = _extras.polars()
        return polars.from_arrow(self.arrow())

    def pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`."""
        _extras.pandas()
        return self.arrow().to_pandas()

    def close(self) -> None:
        """Let go of the query. Safe to repeat."""
        self._relation = None
        self._connection.close()

    def __enter__(self) -> SqlResult:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def run(
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None,
    source: EventSource,
    arguments: Mapping[str, Any],
) -> SqlResult:
    """Run *query* over what *arguments* select of *source*."""
    connection = _extras.duckdb().connect(":memory:")
    errors = _Errors()
    try:
        with errors:
            # Times are UTC, also where somebody casts them to a type with a zone.
            connection.execute("set timezone = 'UTC'")
            # It cannot know how many rows come, guesses few, and would compare each with each.
            connection.execute("set asof_loop_join_threshold = 0")
            connection.register("events", _dataset_class()(source, arguments, errors))
            for view in _VIEWS:
                connection.execute(view)
            return SqlResult(connection, connection.sql(query, params=parameters), errors)
    except BaseException:
        connection.close()
        raise


class _Errors:
    """Turns DuckDB's errors into ours, and gives back the source's own, which DuckDB wraps in text."""

    def __init__(self) -> None:
        self._theirs = (_extras.duckdb().Error, _extras.pyarrow().ArrowException)
        self._of_source: TickbusError | None = None

    def watch(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except TickbusError as error:
            self._of_source = error
            raise

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, (*self._theirs, RuntimeError, OSError)):
            return
        if self._of_source is not None:
            # Not kept: its traceback leads back to the connection, which Python's collector cannot see.
            of_source, self._of_source = self._of_source, None
            raise of_source from None
        if isinstance(error, self._theirs):
            # What follows the empty line shows the query again.
            raise QueryError(" ".join(str(error).split("\n\n")[0].split())) from error


@functools.cache
def _dataset_class() -> Any:
    """The class is made once pyarrow is needed, since it derives from one of its classes."""
    ds = _extras.pyarrow("dataset")

    class EventDataset(ds.Dataset):  # type: ignore[misc, name-defined]
        """What DuckDB takes for an Arrow dataset: a schema and a `scanner`."""

        def __init__(self, source: EventSource, arguments: Mapping[str, Any], errors: _Errors) -> None:
            self._source = source
            self._arguments = arguments
            self._errors = errors

        @property
        def schema(self) -> Any:
            return schema()

        def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> Any:
            wanted = COLUMNS if columns is None else columns
            names = self._source.names
            needed = {*wanted, *(_mentioned(filter) if filter is not None else ())} or {"lane"}
            arguments = dict(self._arguments)
            if filter is not None:
                _narrow(arguments, names, filter, needed)
            rows = self._source.batches(**arguments)
            return _Scan(
                Columns(lambda: self._source.names, needed),
                rows,
                [one for one in COLUMNS if one in wanted],
                filter,
                self._errors,
            )

    return EventDataset


class _Scan:
    """
    One scan of the table.

    Arrow's own scanner reads ahead in a thread that outlives a query with a limit, and the interpreter;
    this one reads when it is asked.
    """

    def __init__(
        self,
        columns: Columns,
        rows: Iterator[Batch],
        wanted: Sequence[str],
        condition: Any,
        errors: _Errors,
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._errors = errors
        self._wanted = list(wanted)
        self._condition = condition
        self.projected_schema = schema(wanted)

    def to_reader(self) -> Any:
        """The rows that fulfil the condition, as a `pyarrow.RecordBatchReader`."""
        pa = _extras.pyarrow()
        batches = self._errors.watch(self._batches())
        return pa.RecordBatchReader.from_batches(self.projected_schema, batches)

    def _batches(self) -> Iterator[Any]:
        for rows in self._rows:
            batch = self._columns.batch(rows)
            if self._condition is not None:
                batch = batch.filter(self._condition)
            yield batch.select(self._wanted)


def _mentioned(condition: Any) -> set[str]:
    """Columns that the condition may read; words of its texts among them do no harm."""
    return set(re.findall(r"\w+", str(condition))) & set(COLUMNS)


def _narrow(arguments: dict[str, Any], names: Names, condition: Any, mentioned: Collection[str]) -> None:
    """Leave out the numbers whose names contradict the condition."""
    if "#" in str(condition):
        return  # asks for numbers without a name, which stand in no table
    texts = {
        "type": {number: row.name for number, row in names.types.items()},
        "symbol": {0: "", **names.symbols},
        "source": {0: "", **names.sources},
    }
    for column, of_number in texts.items():
        if column not in mentioned or len(of_number) > _MOST_NAMES:
            continue
        possible = _possible(column, of_number, condition)
        # A number without a name is not asked about, so "all possible" has to stay "all".
        if len(possible) < len(of_number) and not _unnamed_possible(column, condition):
            asked = arguments[f"{column}s"]
            arguments[f"{column}s"] = possible if asked is None else possible & asked


def _possible(column: str, of_number: Mapping[int, str], condition: Any) -> frozenset[int]:
    """Numbers whose texts can fulfil the condition, by Arrow's own logic for files of a dataset."""
    ds, fs = _extras.pyarrow("dataset"), _extras.pyarrow("fs")
    parquet, nowhere = ds.ParquetFileFormat(), fs.LocalFileSystem()
    field = ds.field(column)
    # Files that are never opened: one a number, vouched to hold that text only.
    files = [
        parquet.make_fragment(str(number), nowhere, partition_expression=field == text)
        for number, text in of_number.items()
    ]
    dataset = ds.FileSystemDataset(files, _plain_schema(), parquet, nowhere)
    return frozenset(int(file.path) for file in dataset.get_fragments(filter=condition))


def _unnamed_possible(column: str, condition: Any) -> bool:
    """Whether a text that is no name, as of a number without one, could fulfil the condition."""
    return bool(_possible(column, {0: "#"}, condition))


@functools.cache
def _plain_schema() -> Any:
    """The table's schema with texts for dictionaries, as conditions on them are written."""
    pa = _extras.pyarrow()
    dictionaries = ("type", "source", "symbol")
    return pa.schema(
        [pa.field(one.name, pa.string() if one.name in dictionaries else one.type) for one in schema()]
    )
