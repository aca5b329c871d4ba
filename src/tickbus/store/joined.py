"""
Folders that have parts of one log, as one source: `Store(["exported/", "desk.journal"])`.

    exported days   │ 08-07 │ 08-08 │ 08-09 │
    journal                     │ sealed │ log ...
    joined          │ 08-07 │ 08-08 │ from the sequences behind on

As few exported days are read as the journal needs in front of it; the journal gives every sequence
behind them. So no row comes twice, by lane and sequence. Days are cut by the log's clock, so the days
and then the rest are the replay order.

One thing may differ: an event that was not in the log yet when its day was exported comes behind that
day's others, where the whole log has it among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tickbus.errors import QueryError, StoreError
from tickbus.store.journal import JournalSource, LeftOut
from tickbus.store.names import Names
from tickbus.store.parquet import DayFile, ParquetSource
from tickbus.store.source import LANES, MAX_ROWS, Batch

__all__ = ["JoinedSource"]


class JoinedSource:
    """
    Exported folders of one log, and its journal.

    Args:
        exported: Folders in any order. Of a day that several have, the longest file is read.
        journal: What goes on behind them, if there is something.
    Raises:
        StoreError: They are of several logs.
        QueryError: Nothing is given.
    """

    def __init__(self, exported: Sequence[ParquetSource], journal: JournalSource | None = None) -> None:
        ids = {source.id for source in exported} | ({journal.id} if journal else set())
        if not ids:
            raise QueryError("no folder is given")
        if len(ids) > 1:
            raise StoreError("folders of several logs: " + ", ".join(sorted(one.hex() for one in ids)))
        self._id = ids.pop()
        longest: dict[str, DayFile] = {}
        for file in (file for source in exported for file in source.files):
            known = longest.get(file.path.name)
            if known is None or file.rows > known.rows:
                longest[file.path.name] = file
        self._days = [longest[name] for name in sorted(longest)]
        self._exported_names = [source.names for source in exported]
        self._journal = journal

    @property
    def id(self) -> bytes:
        """The log's id."""
        return self._id

    @property
    def names(self) -> Names:
        """Texts for the numbers in the rows."""
        every = [*self._exported_names, *([self._journal.names] if self._journal else [])]
        return Names(
            {number: text for names in every for number, text in names.symbols.items()},
            {number: text for names in every for number, text in names.sources.items()},
            {number: row for names in every for number, row in names.types.items()},
        )

    @property
    def left_out(self) -> list[LeftOut]:
        """What the journal could not give, when it salvages."""
        return self._journal.left_out if self._journal else []

    def batches(
        self,
        start_ns: int | None = None,
        end_ns: int | None = None,
        *,
        types: Collection[int] | None = None,
        symbols: Collection[int] | None = None,
        sources: Collection[int] | None = None,
        max_rows: int = MAX_ROWS,
    ) -> Iterator[Batch]:
        """
        See `EventSource`.

        Raises:
            StoreError: Events between the last exported day and the journal are in neither.
        """
        if max_rows < 1:
            raise QueryError(f"max_rows={max_rows} is not at least 1")
        days, behind = self._in_front()
        if days:
            yield from ParquetSource.of_files(days).batches(
                start_ns, end_ns, types=types, symbols=symbols, sources=sources, max_rows=max_rows
            )
        if self._journal:
            yield from self._journal.batches(
                start_ns,
                end_ns,
                types=types,
                symbols=symbols,
                sources=sources,
                max_rows=max_rows,
                from_sequences=behind,
            )

    def _in_front(self) -> tuple[list[DayFile], list[int]]:
        """The days to read, and for each lane the first sequence behind them."""
        behind = [0] * len(LANES)
        if self._journal is None:
            return self._days, behind
        first = {lane: held[0] for lane, held in self._journal.lanes().items()}
        for count, file in enumerate(self._days):
            if all(first[lane] <= behind[lane] for lane in first):
                return self._days[:count], behind
            for lane, (_, last, _) in file.footer.lanes.items():
                behind[lane] = max(behind[lane], last + 1)
        for lane, sequence in first.items():
            if 0 < behind[lane] < sequence:
                raise StoreError(
                    f"neither the exported days nor the journal have the {LANES[lane]} events "
                    f"{behind[lane]} to {sequence - 1}"
                )
        return self._days, behind
