"""
Ask stored events in SQL (DuckDB's), for example

    tickbus query "select symbol, count(*), avg(price) from trades group by symbol" --store desk.journal

The table `events` has ts, event_type, type, priority, source, symbol, value, metadata, lane, sequence, and
price, quantity, side, bid, ask, bid_size, ask_size where the type has them; `trades` and `quotes` are views
of it. Times are UTC. --start, --end, --type, --symbol and --source narrow what is read at all. A store is a
journal or an exported folder; several of one log, each with its own --store, are one.

A store is only read, but this is all of DuckDB's SQL: `copy ... to` writes where it says.

Rows go to standard output, all of them with --json or --csv. Exit code: 0 done, 1 when the query is wrong
or the store cannot be read.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickbus.store import Store

HELP = "ask stored events in SQL"

_ROWS = 100
_WIDEST = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("sql", metavar="SQL", help="the query, of the tables events, trades and quotes")
    parser.add_argument(
        "--store", action="append", metavar="PATH", help="folder of the stored events (.); repeatable"
    )
    parser.add_argument("--limit", type=int, default=_ROWS, metavar="N", help=f"rows of the table ({_ROWS})")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON array of objects")
    form.add_argument("--csv", action="store_true", help="print CSV with a header")
    add_selection(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """What narrows a log; the same for every command that reads one."""
    parser.add_argument("--start", metavar="TIME", help="first time: ISO 8601 with an offset, or ns")
    parser.add_argument("--end", metavar="TIME", help="first time that is not wanted any more")
    for name in ("type", "symbol", "source"):
        parser.add_argument(
            f"--{name}", action="append", metavar="NAME", help=f"only this {name}; repeatable"
        )
    parser.add_argument("--salvage", action="store_true", help="leave out what is damaged, and say what")


def selection(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `add_selection` as `Store.query` takes them."""
    return {
        "start": args.start,
        "end": args.end,
        "types": args.type,
        "symbols": args.symbol,
        "sources": args.source,
    }


@contextmanager
def opened(folders: list[str], salvage: bool) -> Iterator[Store]:
    """The store in the folders; what it had to leave out is told at the end, on standard error."""
    from tickbus.store import Store

    store = Store(folders, salvage=salvage)
    try:
        yield store
    finally:
        for one in store.left_out:
            print(f"left out: {one}", file=sys.stderr)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    with (
        opened(args.store or ["."], args.salvage) as store,
        store.sql(args.sql, **selection(args)) as result,
    ):
        rows = _rows(result.batches())
        if args.json:
            _print_json(result.columns, rows)
        elif args.csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(result.columns)
            writer.writerows(rows)
        else:
            _print_table(result.columns, rows, args.limit)
    return 0


def _rows(batches: Iterator[Any]) -> Iterator[list[Any]]:
    """Rows as Python objects; times as text, since datetime ends at microseconds."""
    import pyarrow as pa

    for batch in batches:
        columns = [
            (column.cast(pa.string()) if pa.types.is_timestamp(column.type) else column).to_pylist()
            for column in batch.columns
        ]
        yield from (list(row) for row in zip(*columns, strict=True))


def _print_json(columns: list[str], rows: Iterator[list[Any]]) -> None:
    separator = "["
    for row in rows:
        said = dict(zip(columns, map(_plain, row), strict=True))
        print(separator, json.dumps(said, default=str), sep="", end="")
        separator = ",\n "
    print("[]" if separator == "[" else "]")


def _plain(value: Any) -> Any:
    """What JSON can say: NaN and infinities are null."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(columns: list[str], rows: Iterator[list[Any]], limit: int) -> None:
    shown: list[list[str]] = []
    more = False
    for row in rows:
        if len(shown) == limit:
            more = True
            break
        shown.append([_cell(value) for value in row])
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(columns, *shown, strict=True)]
    for row in [columns, ["─" * width for width in widths], *shown]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if more:
        print(f"the first {limit} rows; --limit shows more, --csv and --json all", file=sys.stderr)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
