"""
What has been seen within a while, by the venue's own identities: first arrival wins.

A key is remembered for *ttl_s* and forgotten then, so memory is bounded by the rate; *capacity* bounds it
whatever the rate, and keys that had to go early are counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

__all__ = ["Dedup"]


class Dedup:
    """
    See the module.

    Args:
        ttl_s: How long a key is remembered. Copies on parallel connections come up to 2 s late, and a venue
            that repeats after a reconnect goes back up to a minute.
        capacity: How many keys at most.
    Attributes:
        duplicates: How often a key was seen again.
        forgotten_early: Keys that made room before their time.
    """

    def __init__(self, ttl_s: float = 120.0, capacity: int = 1_000_000) -> None:
        if not ttl_s > 0 or capacity < 1:
            raise ValueError(f"ttl_s={ttl_s} or capacity={capacity} would remember nothing")
        self.duplicates = 0
        self.forgotten_early = 0
        self._ttl_ns = int(ttl_s * 1e9)
        self._capacity = capacity
        self._seen: OrderedDict[Hashable, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_first(self, key: Hashable, now_ns: int) -> bool:
        """Whether *key* is new; it is remembered from now on."""
        seen = self._seen
        while seen and next(iter(seen.values())) <= now_ns - self._ttl_ns:
            seen.popitem(last=False)
        if key in seen:
            self.duplicates += 1
            return False
        if len(seen) == self._capacity:
            seen.popitem(last=False)
            self.forgotten_early += 1
        seen[key] = now_ns
        return True

    def forget(self, key: Hashable) -> None:
        """Take *key* back: what carried it turned out to be unreadable."""
        self._seen.pop(key, None)
