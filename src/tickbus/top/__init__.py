"""What ``tickbus top`` shows: the figures of a bus that runs, with rates, as tables."""

from __future__ import annotations

from tickbus.top.tables import Table, Tables, attach

__all__ = ["Table", "Tables", "attach"]
