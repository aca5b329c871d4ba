"""
What happens to an exception that an inline handler raised: it is logged, with its event.

Every one is counted (`bus.stats()`), but a handler that fails on each event of a busy feed must not fill
the disk: of each handler at most ten a second are logged, and the next line says how many were not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tickbus._native import Event

LOGGED_PER_SECOND = 10
#: Of so many handlers that have failed, we know how often; then we begin anew.
MAX_HANDLERS = 1_000

_log = logging.getLogger("tickbus")


class Quota:
    """How many more errors of one handler may be logged in this second."""

    def __init__(self) -> None:
        self._second = -1
        self._logged = 0
        self._withheld = 0

    def take(self, now_s: float) -> int | None:
        """None: do not log this one. Otherwise how many were withheld since the last that was logged."""
        if int(now_s) != self._second:
            self._second, self._logged = int(now_s), 0
        if self._logged == LOGGED_PER_SECOND:
            self._withheld += 1
            return None
        self._logged += 1
        withheld, self._withheld = self._withheld, 0
        return withheld


#: By `id` of the handler: a handler that is called is registered, so nobody else has its address.
_quotas: dict[int, Quota] = {}


def handler_failed(handler: Callable[[Event], object], event: Event, error: Exception) -> None:
    """Log *error* with the handler and the event it was given; the bus goes on."""
    if len(_quotas) >= MAX_HANDLERS:
        _quotas.clear()
    withheld = _quotas.setdefault(id(handler), Quota()).take(time.monotonic())
    if withheld is None:
        return
    name = getattr(handler, "__qualname__", repr(handler))
    before = f" ({withheld} errors before this one were not logged)" if withheld else ""
    _log.error("handler %s raised on %r%s", name, event, before, exc_info=error)
