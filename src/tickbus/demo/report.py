"""
The figures of a moment as one document, and whether they add up: what `--json` prints.

Every subscription must account for every event, published = delivered + filtered + missed + pending on
each lane; what the processes say they published must be what the lanes hold; and at the end every
frame that was sent or recorded must have been decoded. A sum that is wrong is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tickbus.demo.cast import NEEDS

Document = dict[str, Any]
_PARTS = ("delivered", "filtered", "missed", "pending")


def adds_up(ledger: Mapping[str, Mapping[str, int]]) -> bool:
    """Whether each lane of a subscription's ledger accounts for every event."""
    return all(lane["published"] == sum(lane[part] for part in _PARTS) for lane in ledger.values())


def totals(ledger: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """A ledger summed over its lanes."""
    return {key: sum(lane[key] for lane in ledger.values()) for key in ("published", *_PARTS)}


def check(what: str, expected: int, found: int) -> dict[str, Any]:
    return {"what": what, "expected": expected, "found": found, "ok": expected == found}


def ledger_checks(readers: Iterable[Mapping[str, Any]], lanes: Mapping[str, Any], at_end: bool) -> list[Any]:
    """One check a reader: its parts against its total, and at the end its total against the lanes."""
    published = sum(lane["published"] for lane in lanes.values())
    checks = []
    for reader in readers:
        total = totals(reader["ledger"])
        parts = " + ".join(f"{total[part]} {part}" for part in _PARTS)
        found = sum(total[part] for part in _PARTS) if adds_up(reader["ledger"]) else -1
        expected = published if at_end else total["published"]
        checks.append(check(f"{reader['name']}: published = {parts}", expected, found))
    return checks


def needs(reactions: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """How often each of the five needs was met."""
    by_type: dict[str, int] = {}
    for (_, type_name), count in reactions.items():
        by_type[type_name] = by_type.get(type_name, 0) + count
    return {need: sum(by_type.get(name, 0) for name in types) for need, types in NEEDS.items()}


def reactions_by_source(reactions: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    by_source: dict[str, dict[str, int]] = {}
    for (source, type_name), count in sorted(reactions.items()):
        by_source.setdefault(source, {})[type_name] = count
    return by_source
