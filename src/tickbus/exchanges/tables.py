"""An aggregated book as an Arrow table: a row a level, a column a venue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tickbus.errors import MissingExtraError

if TYPE_CHECKING:
    import pyarrow

    from tickbus._native import AggregatedBook

__all__ = ["depth_table"]


def depth_table(book: AggregatedBook, side: Literal["bid", "ask"]) -> pyarrow.Table:
    """
    Levels of *side* as last built, best first.

    Returns:
        ``price`` (quote currency), ``size`` (base units, over all venues), ``venues`` (how many), and a
        column of sizes for each venue under its name.
    Raises:
        MissingExtraError: pyarrow is not installed.
        ValueError: No such side, or a venue is called like one of the first three columns.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("Arrow tables (pyarrow)", "store") from None
    rows = book.depth(side)
    columns = {name: pyarrow.array(rows[name].copy()) for name in ("price", "size", "venues")}
    for number, venue in enumerate(book.venues):
        if venue in columns:
            raise ValueError(f"venue {venue!r} is called like a column of the table")
        columns[venue] = pyarrow.array(rows["by_venue"][:, number].copy())
    return pyarrow.table(columns)
