"""Journals whose segments are so small that a test goes through many, and waits for their forms."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tickbus as tb
from tickbus.journal import Journal

MARKET, TRADING, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED, tb.EventType.DRAWDOWN_ALERT
SMALL = {"critical_size": 64, "high_size": 128, "normal_size": 256}
#: Slots of 32 bytes in a segment of 1/32 MiB.
SLOTS = 1024


def kept(path: Path, **options: Any) -> Journal:
    """A journal with segments of 32 KiB: some thousand events."""
    return Journal(path, segment_mib=1 / 32, critical="os", **options)


def publish(bus: tb.Bus, count: int, first: int = 0, kind: int = MARKET) -> list[int]:
    """Events that count up, a microsecond apart, of seven symbols in turn."""
    return [
        bus.publish(kind, f"S{n % 7}", float(n), timestamp=1_000_000 + n * 1000)
        for n in range(first, first + count)
    ]


def read_all(reader: tb.Subscription) -> list[tuple[int, str, float]]:
    """What there is, as id, symbol and value."""
    events = []
    while batch := reader.drain(1000):
        events += [(event.id, event.symbol, event.value) for event in batch]
    return events


def numbered(ids: list[int], first: int = 0) -> list[tuple[int, str, float]]:
    """What `read_all` says of the events that `publish` gave these ids."""
    return [(one, f"S{n % 7}", float(n)) for n, one in enumerate(ids, first)]


def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait for the background; what it waits for has no bound but that it comes."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def segments(bus: tb.Bus) -> dict[str, int]:
    """Parts of the bus's journal by form."""
    found: dict[str, int] = bus.stats()["journal"]["segments"]
    return found


def until_sealed(bus: tb.Bus) -> None:
    """Wait until all full segments are sealed and given up: only the one that is written is log."""
    bus.journal.sync(disk=True)

    def is_sealed() -> bool:
        files = {file.name for file in bus.journal.path.iterdir()}
        both = [name for name in files if name.endswith(".seg") and f"{name[:-4]}.log" in files]
        return segments(bus)["log"] <= 1 and not both

    until(is_sealed)


def missed(reader: tb.Subscription) -> int:
    """Over all lanes."""
    return sum(lane["missed"] for lane in reader.ledger().values())
