"""
What came before, by the venue's own identities: first arrival wins.

An identity is remembered for *ttl_s* and forgotten then, so memory is bounded by the rate; *capacity* bounds
it whatever the rate, and identities that had to go early are counted.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Dedup"]


class Dedup:
    """
    See the module.

    Args:
        capacity: How many identities at most.
        ttl_s: How long one is remembered. Copies on parallel connections come up to 2 s late, and a venue
            that repeats after a reconnect goes back up to a minute.
    Attributes:
        forgotten_early: Identities that made room before their time.
    """

    def __init__(self, capacity: int = 1 << 20, *, ttl_s: float = 120.0) -> None:
        if not ttl_s > 0 or capacity < 1:
            raise ValueError(f"ttl_s={ttl_s} or capacity={capacity} would remember nothing")
        self.forgotten_early = 0
        self._ttl_ns = int(ttl_s * 1e9)
        self._capacity = capacity
        self._seen: OrderedDict[tuple[str, int | str], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def first(self, stream: str, identity: int | str, now_ns: int) -> bool:
        """Whether *identity* is new within *stream*; it is remembered from now on."""
        seen, key = self._seen, (stream, identity)
        while seen and next(iter(seen.values())) <= now_ns - self._ttl_ns:
            seen.popitem(last=False)
        if key in seen:
            return False
        if len(seen) == self._capacity:
            seen.popitem(last=False)
            self.forgotten_early += 1
        seen[key] = now_ns
        return True
