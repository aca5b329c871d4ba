"""
A log's numbers as a bus's: symbols and sources by text, event types by number and name.

Numbers are looked up when they first occur, so that a long log with many names costs what it uses.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tickbus._native import Bus
from tickbus.store.names import Names

__all__ = ["Translator"]


class Translator:
    """Rewrites rows of a log for *bus*, and registers the log's own types there."""

    def __init__(self, names: Callable[[], Names], bus: Bus) -> None:
        self._names = names
        self._bus = bus
        self._numbers = {"symbol": np.zeros(1, np.int64), "source": np.zeros(1, np.int64)}
        # Built-in types mean the same on every bus; the others are asked about.
        self._registered = np.zeros(256, bool)
        self._registered[list(Names().types)] = True

    def events(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """
        A copy of the rows with the bus's numbers; the rows themselves when nothing changes.

        Raises:
            TypeTakenError: A type of the log stands for something else on the bus.
            CapacityError: The bus has no room for its names.
        """
        self._register(rows["event_type"])
        changed = rows
        for column in ("symbol", "source"):
            numbers = np.ascontiguousarray(rows[column])
            known = self._known(column, numbers)
            mapped = known[numbers]
            if not np.array_equal(mapped, numbers):
                changed = rows.copy() if changed is rows else changed
                changed[column] = mapped
        return changed

    def _register(self, types: NDArray[np.uint8]) -> None:
        if self._registered[types].all():
            return
        rows = self._names().types
        for number in np.unique(types).tolist():
            if not self._registered[number]:
                row = rows.get(number)
                # A type the log has no row of: the bus says that it knows none either.
                if row is not None and self._bus.types().get(row.name) != number:
                    self._bus.register_type(
                        number, row.name, value=row.value, metadata=row.metadata, encoding=row.encoding
                    )
                self._registered[number] = True

    def _known(self, column: str, numbers: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
        """The table of the column, grown to *numbers*; -1 in it is not looked up yet."""
        table = self._numbers[column]
        most = int(numbers.max(initial=0))
        if most >= len(table):
            table = np.concatenate([table, np.full(most + 1 - len(table), -1, np.int64)])
            self._numbers[column] = table
        if (table[numbers] < 0).any():
            names = self._names()
            for number in np.unique(numbers).tolist():
                if table[number] < 0:
                    if column == "symbol":
                        table[number] = self._bus.symbol_id(names.symbol(number))
                    else:
                        table[number] = self._bus.source_id(names.source(number))
        return table
