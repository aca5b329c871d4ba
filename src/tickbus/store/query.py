"""
A log that can be asked: `Store(source).query(start, end, symbols=["BTC-USDT"])`.

    store = Store("desk.journal")                  # a folder, several of one log, or any EventSource
    for batch in store.query("2026-08-09T12:00Z", types=["price_update"]).batches(): ...
    store.query(symbols="BTC-USDT").polars()
    store.sql("select symbol, avg(price) from trades group by symbol").polars()

A query is a description: each way to read it reads the source anew, `batches` and `reader` in bounded
memory. Rows come in replay order (source.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE
from tickbus.errors import QueryError, StoreError
from tickbus.store import _extras
from tickbus.store.columns import COLUMNS, Columns
from tickbus.store.joined import JoinedSource
from tickbus.store.journal import JournalSource, LeftOut, is_journal
from tickbus.store.names import Names
from tickbus.store.parquet import ParquetSource
from tickbus.store.source import MAX_ROWS, Batch, EventSource
from tickbus.store.times import Time, check_range, to_ns
from tickbus.taxonomy import EventType

if TYPE_CHECKING:
    from tickbus.store.export import Exported
    from tickbus.store.sql import SqlResult

__all__ = ["Query", "Selection", "Store", "open_source"]

#: Names or numbers; one alone needs no list, None is all.
Selection = Iterable[str | int] | str | int | None


Place = str | os.PathLike[str]


def open_source(path: Place | Sequence[Place], *, salvage: bool = False) -> EventSource:
    """
    The log in a folder: a journal, or one that `export_parquet` wrote. Several folders of one log, at
    most one of them a journal, are one source.

    Args:
        salvage: Read around damage of a journal; see `JournalSource`.
    Raises:
        StoreError: There is none, it is damaged, or the folders are of several logs.
        JournalError: A journal cannot be read.
    """
    if isinstance(path, (str, os.PathLike)):
        return JournalSource(path, salvage=salvage) if is_journal(os.fspath(path)) else ParquetSource(path)
    sources = [open_source(one, salvage=salvage) for one in path]
    journals = [source for source in sources if isinstance(source, JournalSource)]
    exported = [source for source in sources if isinstance(source, ParquetSource)]
    if len(journals) > 1:
        raise StoreError("more than one journal: " + ", ".join(str(source.path) for source in journals))
    return sources[0] if len(sources) == 1 else JoinedSource(exported, *journals)


class Query:
    """The rows a store was asked for; read by its methods, as often as wanted."""

    def __init__(self, source: EventSource, arguments: Mapping[str, Any]) -> None:
        self._source = source
        self._arguments = dict(arguments)

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""
        return self._source.names

    def batches(self, max_rows: int = MAX_ROWS) -> Iterator[Batch]:
        """The rows with their lanes and sequences, batch by batch."""
        return self._source.batches(**self._arguments, max_rows=max_rows)

    def numpy(self) -> NDArray[np.void]:
        """All rows as one array of `EVENT_DTYPE`, 32 bytes a row."""
        parts = [batch.events for batch in self.batches()]
        return np.concatenate(parts) if parts else np.empty(0, EVENT_DTYPE)

    def count(self) -> int:
        """How many rows there are."""
        return sum(len(batch.events) for batch in self.batches())

    def reader(self, columns: Sequence[str] = COLUMNS) -> Any:
        """The table `events` (columns.py) as a `pyarrow.RecordBatchReader`, made as it is read."""
        return Columns(lambda: self._source.names, columns).batches(self.batches())

    def arrow(self, columns: Sequence[str] = COLUMNS) -> Any:
        """The table `events` as a `pyarrow.Table`."""
        return self.reader(columns).read_all()

    def polars(self, columns: Sequence[str] = COLUMNS) -> Any:
        """The table `events` as a `polars.DataFrame`."""
        polars = _extras.polars()
        return polars.from_arrow(self.arrow(columns))

    def pandas(self, columns: Sequence[str] = COLUMNS) -> Any:
        """The table `events` as a `pandas.DataFrame`."""
        _extras.pandas()
        return self.arrow(columns).to_pandas()


class Store:
    """
    A log of events, to be queried, exported and replayed.

    Args:
        source: Any `EventSource`, the path of a folder with one (a journal, or an export), or the
            paths of several folders of one log.
        salvage: Read around damage of a journal; see `JournalSource`.
    Raises:
        StoreError: The folder holds none.
    """

    def __init__(self, source: EventSource | Place | Sequence[Place], *, salvage: bool = False) -> None:
        is_source = hasattr(source, "batches")
        self.source: EventSource = source if is_source else open_source(source, salvage=salvage)  # type: ignore[assignment, arg-type]

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""
        return self.source.names

    @property
    def left_out(self) -> list[LeftOut]:
        """What queries that salvage could not read so far."""
        left_out: list[LeftOut] = getattr(self.source, "left_out", [])
        return left_out

    def query(
        self,
        start: Time | None = None,
        end: Time | None = None,
        *,
        types: Selection = None,
        symbols: Selection = None,
        sources: Selection = None,
    ) -> Query:
        """
        The rows with start <= timestamp < end that match all that is given; nothing is read yet.

        Args:
            start, end: Nanoseconds since the epoch, an aware datetime, or ISO 8601 text with an offset.
            types, symbols, sources: Names or numbers, one or several.
        Raises:
            QueryError: A time without a zone, or an end before the start.
            UnknownNameError: A name the log has never had.
        """
        start_ns, end_ns = to_ns(start, "start"), to_ns(end, "end")
        check_range(start_ns, end_ns)
        names = self.names
        arguments = {
            "start_ns": start_ns,
            "end_ns": end_ns,
            "types": names.type_numbers(types),
            "symbols": names.symbol_numbers(symbols),
            "sources": names.source_numbers(sources),
        }
        return Query(self.source, arguments)

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        start: Time | None = None,
        end: Time | None = None,
        types: Selection = None,
        symbols: Selection = None,
        sources: Selection = None,
    ) -> SqlResult:
        """
        Run SQL (DuckDB's) over the table `events` and its views `trades` and `quotes`.

        Only the columns that the query needs are made; conditions on type, symbol and source reach the
        source. Conditions on `ts` do not (DuckDB keeps them): give *start* and *end* to read less.

        Args:
            query: One or more statements; the last one's rows are the result.
            parameters: Values for `?` or `$name`.
            start, end, types, symbols, sources: As `query`: the table has no other rows.
        Raises:
            QueryError: The SQL is wrong, or as `query`; MissingExtraError, UnknownNameError.
        """
        from tickbus.store import sql

        selection = self.query(start, end, types=types, symbols=symbols, sources=sources)
        return sql.run(query, parameters, self.source, selection._arguments)

    def bars(
        self,
        *,
        interval_ns: int | None = None,
        trades: int | None = None,
        volume: float | None = None,
        fill: bool = False,
        **selection: Any,
    ) -> NDArray[np.void]:
        """
        Bars of the trades that `query(**selection)` finds; see `tickbus.store.bars`.

        Args:
            interval_ns, trades, volume: One of them: what fills a bar.
            fill: With *interval_ns*: flat bars where nothing traded.
        Raises:
            QueryError: None or several of the three, or as `query`.
        """
        from tickbus.store import bars

        given = [kind for kind in (interval_ns, trades, volume) if kind is not None]
        if len(given) != 1 or (fill and interval_ns is None):
            raise QueryError("give one of interval_ns, trades and volume; fill goes with interval_ns")
        events = self.query(types=EventType.PRICE_UPDATE, **selection).numpy()
        if interval_ns is not None:
            return bars.by_time(events, interval_ns, fill=fill)
        if trades is not None:
            return bars.by_trades(events, trades)
        return bars.by_volume(events, float(given[0]))

    def quotes_at_trades(self, *, across_sources: bool = False, **selection: Any) -> NDArray[np.void]:
        """
        The trades that `query(**selection)` finds, each with the quote before it; see `tickbus.store.asof`.

        Quotes before the start are not looked for: start earlier, and leave out what comes first.
        """
        from tickbus.store import asof

        wanted = [EventType.PRICE_UPDATE, EventType.TOP_OF_BOOK]
        events = self.query(types=wanted, **selection).numpy()
        return asof.quotes_at_trades(events, across_sources=across_sources)

    def export_parquet(
        self,
        directory: str | os.PathLike[str],
        *,
        start: Time | None = None,
        end: Time | None = None,
        **how: Any,
    ) -> Exported:
        """Write the log as Parquet, one file a day; see `tickbus.store.export.export_parquet`."""
        from tickbus.store import export

        return export.export_parquet(self.source, directory, start=start, end=end, **how)
