"""
The journal of a bus: every event kept in a directory, persisted at a named level.

    bus = Bus("desk", journal="desk.journal")
    bus = Bus("desk", journal=Journal("desk.journal", critical="os", when_full="overwrite"))

=============  ==============================  ===============================================
level          acknowledged when               survives
=============  ==============================  ===============================================
``memory``     it is in the lane               nothing: the lane is not journaled
``os``         the write has returned          the process's death (kill -9)
``interval``   as ``os``; synced regularly     as ``os``; the machine's but for the last moment
``disk``       the sync has returned           the machine's death, if the device honours flushes
=============  ==============================  ===============================================

`verify` reads every byte of a journal and says whether it is whole, `salvage` writes what can be read of a
damaged one as a new one, and `inspect` counts what is in it; so do the commands `tickbus verify` and
`tickbus inspect`. `docs/parts/journal.md` says how a journal works and what a fault does to it.
"""

from __future__ import annotations

from tickbus._native import Compaction, compact_old
from tickbus.journal.audit import Finding, Gap, Lost, Report, Salvaged, Segment, salvage, verify
from tickbus.journal.contents import Contents, inspect
from tickbus.journal.cursors import Cursor, cursors, drop_cursor, least_cursors
from tickbus.journal.options import Journal, Level, WhenFull

__all__ = [
    "Compaction",
    "Contents",
    "Cursor",
    "Finding",
    "Gap",
    "Journal",
    "Level",
    "Lost",
    "Report",
    "Salvaged",
    "Segment",
    "WhenFull",
    "compact_old",
    "cursors",
    "drop_cursor",
    "inspect",
    "least_cursors",
    "salvage",
    "verify",
]
