"""
Figures of a bus for operators: one snapshot, and the same for Prometheus.

    tickbus.metrics.snapshot(bus, delivery)         a dictionary
    with Exporter("127.0.0.1:9464", bus, delivery): text at http://127.0.0.1:9464/metrics
"""

from __future__ import annotations

from tickbus.metrics.exporter import Exporter
from tickbus.metrics.figures import snapshot

__all__ = ["Exporter", "snapshot"]
