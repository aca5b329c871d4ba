"""
Keep every event: a journal, a restart, and a reader that comes late.
"""

import tempfile
from pathlib import Path

import tickbus as tb


def monday(journal: Path) -> None:
    with tb.Bus(source="desk", journal=journal) as bus:
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 64_000.0, source="binance")
        bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 0.04)  # on the disk when this returns


def tuesday(journal: Path) -> None:
    with tb.Bus(source="desk", journal=journal) as bus:
        everything = bus.subscribe(">", start="earliest")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 61_500.0, source="binance")

        for event in everything.drain():
            print(event.topic, event.value)
        print("missed:", everything.missed)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "desk.journal"
        monday(journal)
        tuesday(journal)


if __name__ == "__main__":
    main()
