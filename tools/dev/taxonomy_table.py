"""
The table of event types in the docs, written from the native module's own list.

``./dev docs`` rewrites it between its two marks; ``tests/house/test_docs.py`` fails when they differ.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parts" / "events.md"
BEGIN = "<!-- event types: written by ./dev docs -->"
END = "<!-- event types: end -->"

HEADER = ("number", "name", "topic", "priority", "`value`", "`metadata`", "encoding")


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of :func:`tickbus._native.taxonomy`'s *rows*."""
    cells = [HEADER, tuple("---" for _ in HEADER), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["number"]),
        f"`{row['name'].upper()}`",
        f"`{row['category']}.{row['name']}`",
        _priority(row["priority"]),
        _meaning(row["value"], row["value_unit"]),
        _meaning(row["metadata"], row["metadata_unit"]),
        row["encoding"],
    )


def _priority(priority: int | str) -> str:
    return priority if isinstance(priority, str) else ("normal", "high", "critical")[priority]


def _meaning(name: str, unit: str) -> str:
    return f"**{name}**: {unit}" if name else "-"


def replace(page: str, table: str) -> str:
    """*page* with *table* between the marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"{PAGE.name} needs exactly one pair of marks: {BEGIN} and {END}")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table}\n\n{END}", page)


def main() -> int:
    from tickbus import _native

    page = PAGE.read_text()
    PAGE.write_text(replace(page, render(_native.taxonomy())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
