"""Optional libraries, imported where they are used; a missing one is told with the extra that brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from tickbus.errors import MissingExtraError

__all__ = ["duckdb", "pandas", "polars", "pyarrow"]


def pyarrow(submodule: str = "") -> ModuleType:
    """pyarrow, or one of its modules."""
    try:
        return importlib.import_module(f"pyarrow{submodule and '.' + submodule}")
    except ModuleNotFoundError as error:
        raise MissingExtraError("Arrow tables, SQL and Parquet (pyarrow)", "store") from error


def duckdb() -> ModuleType:
    """duckdb."""
    try:
        return importlib.import_module("duckdb")
    except ModuleNotFoundError as error:
        raise MissingExtraError("SQL over events (duckdb)", "store") from error


def polars() -> ModuleType:
    """Polars."""
    try:
        return importlib.import_module("polars")
    except ModuleNotFoundError as error:
        raise MissingExtraError("a Polars frame (polars)", "frames") from error


def pandas() -> ModuleType:
    """pandas."""
    try:
        return importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise MissingExtraError("a pandas frame (pandas)", "frames") from error
