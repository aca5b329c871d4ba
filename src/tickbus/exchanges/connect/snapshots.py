"""
Books that start with a REST request (Binance): fetched within the budget, one request at a time per stream.

A request that fails is made again after a growing wait, until it succeeds or nobody wants it any more. The
standard library asks, in a thread: it is a request a minute, not a stream.
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable

from tickbus.exchanges.connect.clock import Clock
from tickbus.exchanges.connect.pacing import Backoff, Pacing
from tickbus.exchanges.connect.venues.base import Stream

__all__ = ["Snapshots"]

_TIMEOUT_S = 10.0
#: A book of 5000 levels is half a megabyte.
_BYTES_MAX = 16 << 20
_TOO_MANY = (418, 429)


class Snapshots:
    """
    See the module.

    Args:
        url_of: Address of a stream's snapshot, or None where it has none.
        done: Called with the stream, its address and the body.
        ban_s: Wait after a refusal that does not say how long.
    Attributes:
        counts: Requests that were made, and answers by kind.
    """

    def __init__(
        self,
        url_of: Callable[[Stream], str | None],
        pacing: Pacing,
        clock: Clock,
        make_backoff: Callable[[], Backoff],
        done: Callable[[Stream, str, bytes], None],
        ban_s: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._url_of = url_of
        self._pacing = pacing
        self._clock = clock
        self._make_backoff = make_backoff
        self._done = done
        self._ban_s = ban_s
        self._tasks: dict[Stream, asyncio.Task[None]] = {}
        self._again: set[Stream] = set()

    def want(self, stream: Stream, *, newer: bool = False) -> bool:
        """
        Have a snapshot of *stream* fetched; False where there is none, or it is being fetched.

        With *newer* one that is being fetched is fetched once more: it may be older than what was lost.
        """
        url = self._url_of(stream)
        if url is None:
            return False
        if stream in self._tasks:
            self._again |= {stream} if newer else set()
            return False
        task = asyncio.create_task(self._fetch(stream, url), name=f"snapshot of {stream.symbol}")
        self._tasks[stream] = task
        task.add_done_callback(lambda _: self._tasks.pop(stream, None))
        return True

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(self, stream: Stream, url: str) -> None:
        backoff = self._make_backoff()
        while True:
            now_s = self._clock.monotonic()
            await self._clock.sleep(self._pacing.rest.grant(now_s) - now_s)
            self.counts["requests"] += 1
            body, status, wait_s = await asyncio.to_thread(_get, url)
            if body is not None:
                self.counts["fetched"] += 1
                if stream not in self._again:
                    self._done(stream, url, body)
                    return
                self._again.discard(stream)
                continue
            self.counts[f"failed {status}"] += 1
            wait_s = wait_s or (self._ban_s if status in _TOO_MANY else 0.0)
            if status in _TOO_MANY:
                self._pacing.rest.delay_until(self._clock.monotonic() + wait_s)
            await self._clock.sleep(backoff.next_s(wait_s))


def _get(url: str) -> tuple[bytes | None, int, float]:
    """(body, status, seconds to wait); no body when there is no good one, status 0 without an answer."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            return answer.read(_BYTES_MAX), answer.status, 0.0
    except urllib.error.HTTPError as error:
        with error:
            try:
                return None, error.code, float(error.headers.get("Retry-After", "0"))
            except ValueError:
                return None, error.code, 0.0
    except (OSError, http.client.HTTPException):
        return None, 0, 0.0
