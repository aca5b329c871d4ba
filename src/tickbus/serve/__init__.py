"""
The host of a named bus: its journal, its delivery loop and its metrics, in a process of their own.

    tickbus serve desk --config desk.toml

``docs/parts/serve.md`` says what it promises.
"""

from __future__ import annotations

from tickbus.serve.host import Host
from tickbus.serve.settings import SETTINGS, Setting, Settings, read

__all__ = ["SETTINGS", "Host", "Setting", "Settings", "read"]
