"""
Stored events: queries, SQL, bars, Parquet files, replay. See docs/parts/store.md.

    from tickbus.store import MemorySource, Store, replay

    store = Store("desk.journal")
    store.query("2026-08-09T12:00Z", symbols="BTC-USDT").polars()
    replay(store.source, bus, speed=10.0)
"""

from tickbus.store.clock import Clock, ReplayBus, SimulatedClock, WallClock
from tickbus.store.export import Exported, export_parquet
from tickbus.store.joined import JoinedSource
from tickbus.store.journal import JournalSource, LeftOut
from tickbus.store.names import Names, TypeMeaning
from tickbus.store.parquet import ParquetSource
from tickbus.store.query import Query, Store, open_source
from tickbus.store.replay import Replay, Summary, replay
from tickbus.store.source import Batch, EventSource, MemorySource

__all__ = [
    "Batch",
    "Clock",
    "EventSource",
    "Exported",
    "JoinedSource",
    "JournalSource",
    "LeftOut",
    "MemorySource",
    "Names",
    "ParquetSource",
    "Query",
    "Replay",
    "ReplayBus",
    "SimulatedClock",
    "Store",
    "Summary",
    "TypeMeaning",
    "WallClock",
    "export_parquet",
    "open_source",
    "replay",
]
