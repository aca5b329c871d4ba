"""What happens to an exception that an inline handler raised: it is logged, with its event."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tickbus._native import Event

_log = logging.getLogger("tickbus")


def handler_failed(handler: Callable[[Event], object], event: Event, error: Exception) -> None:
    """Log *error* with the handler and the event it was given; the bus goes on."""
    name = getattr(handler, "__qualname__", repr(handler))
    _log.error("handler %s raised on %r", name, event, exc_info=error)
