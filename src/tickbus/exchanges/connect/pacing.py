"""
How often, and when again: sliding windows for what venues limit, and waits that grow with jitter.

Neither looks at a clock: the time comes in, seconds to wait or the moment of a grant go out.
"""

from __future__ import annotations

import random
from collections import deque

__all__ = ["Backoff", "Pacing", "Window", "shared_pacing"]


class Window:
    """
    At most *count* in any *per_s* seconds.

    Grants are given in the order they are asked for, each for a moment now or later; whoever gets one waits
    until then. The window slides, so no border between two periods lets twice as many through.
    """

    def __init__(self, count: int, per_s: float) -> None:
        if count < 1 or not per_s > 0:
            raise ValueError(f"a window of {count} in {per_s} s lets nothing through")
        self.count = count
        self.per_s = per_s
        self._grants: deque[float] = deque(maxlen=count)

    def grant(self, now_s: float) -> float:
        """The moment at which the next one may go, taken by whoever asks."""
        at_s = now_s
        if self._grants:
            at_s = max(at_s, self._grants[-1])
        if len(self._grants) == self.count:
            at_s = max(at_s, self._grants[0] + self.per_s)
        self._grants.append(at_s)
        return at_s

    def delay_until(self, at_s: float) -> None:
        """Let nothing through before *at_s*: the venue said so."""
        self._grants.append(max(at_s, self._grants[-1] if self._grants else at_s))


class Backoff:
    """
    Waits between attempts: doubled each time up to *max_s*, a random share of the upper half taken off.

    Args:
        first_s, max_s: The longest first wait, and the longest of all.
        random: Source of the jitter.
    """

    def __init__(self, first_s: float, max_s: float, random: random.Random | None = None) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._random = random or _RANDOM
        self.failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """How long to wait after one more failure."""
        # Beyond 2**30 the cap has long been reached, and a float power would overflow some day.
        longest = min(self._max_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        wait_s = longest * (0.5 + 0.5 * self._random.random())
        # Even an ordered wait gets jitter, so that not all who were refused come back at once.
        return max(wait_s, at_least_s * (1.0 + 0.1 * self._random.random()))

    def reset(self) -> None:
        """It worked."""
        self.failures = 0


_RANDOM = random.Random()


class Pacing:
    """
    What all connections of one process to one address share.

    Attributes:
        attempts: Connection attempts.
        requests: Messages, where the venue counts them by address and not by connection.
        rest: REST requests.
    """

    def __init__(
        self, attempts: tuple[int, float], requests: tuple[int, float], rest: tuple[int, float]
    ) -> None:
        self.attempts = Window(*attempts)
        self.requests = Window(*requests)
        self.rest = Window(*rest)


_shared: dict[str, Pacing] = {}


def shared_pacing(
    url: str, attempts: tuple[int, float], requests: tuple[int, float], rest: tuple[int, float]
) -> Pacing:
    """The pacing of this process for *url*, made by the first who asks."""
    pacing = _shared.get(url)
    if pacing is None:
        pacing = _shared[url] = Pacing(attempts, requests, rest)
    return pacing
