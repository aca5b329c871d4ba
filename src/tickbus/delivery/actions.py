"""What a step of the ladder does. Slow ones run beside the loop, with a limit on their time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from tickbus.delivery.policy import Action, Escalation, NextRole, Notify, Publish
from tickbus.errors import MissingExtraError
from tickbus.taxonomy import Priority

if TYPE_CHECKING:
    from tickbus.bus import Bus

__all__ = ["CALLBACK_S", "SOURCE", "Actions"]

#: Source of the events that steps publish.
SOURCE = "delivery"
#: After so many seconds a callback is given up on: its thread goes on, and the loop does without it.
CALLBACK_S = 30.0

_log = logging.getLogger("tickbus")


class Actions:
    """Runs steps; ``done`` says which have ended, by sequence and step."""

    def __init__(
        self,
        bus: Bus,
        concluded: Counter[str] | None = None,
        notify: Callable[[Notify, Escalation], None] | None = None,
    ) -> None:
        self._bus = bus
        #: Steps that failed are counted here, under "failed".
        self._concluded: Counter[str] = Counter() if concluded is None else concluded
        self._notify = notify or _through_apprise
        self._ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._running: dict[tuple[int, int], float] = {}

    def run(self, action: Action, escalation: Escalation, symbol: int) -> None:
        """Begin a step. Raises what publishing raises; everything else is logged and counted."""
        key = (escalation.event_id >> 2, escalation.step)
        if isinstance(action, NextRole):
            self._ended.put(key)
        elif isinstance(action, Publish):
            # What a step has published is followed as well, and would publish the next one for ever.
            if escalation.event is None or escalation.event.source != SOURCE:
                self._bus.publish(
                    action.event_type,
                    symbol if action.symbol is None else action.symbol,
                    action.value,
                    metadata=escalation.event_id >> 2,
                    source=SOURCE,
                    priority=Priority.CRITICAL,
                )
            self._ended.put(key)
        elif isinstance(action, Notify):
            self._start(key, lambda: self._notify(action, escalation), action.timeout_s)
        else:
            self._start(key, lambda: action(escalation), CALLBACK_S)

    def done(self) -> list[tuple[int, int]]:
        """Steps that have ended since this was last asked, or have had their time."""
        found = []
        while not self._ended.empty():
            key = self._ended.get()
            self._running.pop(key, None)
            found.append(key)
        now = time.monotonic()
        for key in [key for key, limit in self._running.items() if limit <= now]:
            del self._running[key]
            self._concluded["failed"] += 1
            _log.error("delivery: step %d for event %d took too long", key[1], key[0] << 2 | 2)
            found.append(key)
        return found

    @property
    def busy(self) -> bool:
        """Whether a step is under way."""
        return bool(self._running) or not self._ended.empty()

    def _start(self, key: tuple[int, int], work: Callable[[], object], limit_s: float) -> None:
        self._running[key] = time.monotonic() + limit_s

        def run() -> None:
            try:
                work()
            except Exception:
                self._concluded["failed"] += 1
                _log.exception("delivery: step %d for event %d failed", key[1], key[0] << 2 | 2)
            finally:
                self._ended.put(key)

        threading.Thread(target=run, name="tickbus-escalation", daemon=True).start()


def _through_apprise(action: Notify, escalation: Escalation) -> None:
    try:
        import apprise
    except ImportError as error:
        raise MissingExtraError("a notification through apprise", "notify") from error
    sender = apprise.Apprise()
    for url in action.urls:
        if not sender.add(url):
            raise ValueError("apprise does not know a URL's scheme")
    missing = ", ".join(escalation.missing) or "any role"
    body = f"{escalation.event!r} was not acknowledged by {missing} (step {escalation.step})"
    if not sender.notify(title="tickbus: critical event not acknowledged", body=body):
        raise OSError("apprise could not deliver to every URL")
