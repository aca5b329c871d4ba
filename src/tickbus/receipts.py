"""
What a publisher hears of its critical events.

The bus knows receipts, and delivery (a part of its own) makes them: it tells the bus who it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

__all__ = ["DeadLetter", "Deliverer", "Outcome", "Receipt", "Result"]

#: Between two looks of an event loop at a receipt.
_NAP_S = 0.001


class Outcome(StrEnum):
    """What became of an event, as far as one waited."""

    ACKED = "acked"
    #: Nobody has acknowledged it in the time one waited; it is still followed.
    TIMEOUT = "timeout"
    #: As TIMEOUT, and it has been escalated.
    ESCALATED = "escalated"
    DEAD_LETTERED = "dead_lettered"
    #: It is on the bus and not persisted, so nobody can see it.
    STORAGE_ERROR = "storage_error"


class Result(NamedTuple):
    """
    An outcome and what led to it.

    Attributes:
        by: Who has acknowledged the event, and when, in ns since the epoch.
        missing: Registered roles that have not.
        attempts: By role, how often it was handed out, as far as that was more than once.
        steps: How often it was escalated.
    """

    outcome: Outcome
    event_id: int
    by: Mapping[str, int] = MappingProxyType({})
    missing: tuple[str, ...] = ()
    attempts: Mapping[str, int] = MappingProxyType({})
    steps: int = 0

    def __bool__(self) -> bool:
        """Whether it was acknowledged."""
        return self.outcome is Outcome.ACKED


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that was handed out and escalated as often as its policy says, and not acknowledged."""

    event_id: int
    event_type: str
    symbol: str
    source: str
    time: int
    missing: tuple[str, ...]
    by: dict[str, int]
    attempts: dict[str, int]
    steps: int
    redrives: int


class Deliverer(Protocol):
    """Who follows critical events of a bus: ``tickbus.delivery.Delivery``."""

    def publish_critical(
        self,
        event_type: int,
        symbol: str | int,
        value: float,
        *,
        metadata: int | None = None,
        source: str | int | None = None,
        timestamp: int | None = None,
        payload: bytes | None = None,
        timeout_s: float = 1.0,
    ) -> Receipt: ...
    def wait_ack(self, event_id: int, timeout_s: float | None = None) -> Result: ...
    def result(self, event_id: int) -> Result: ...


class Receipt:
    """A critical event that was published: ``wait`` for its outcome, or ``await`` the receipt."""

    __slots__ = ("_asked", "event_id")

    def __init__(self, event_id: int, asked: Deliverer) -> None:
        self.event_id = event_id
        self._asked = asked

    @property
    def persisted(self) -> bool:
        """True: a receipt exists when its event is persisted at the level of the critical lane."""
        return True

    def wait(self, timeout_s: float | None = None) -> Result:
        """Wait until it is acknowledged or dead-lettered, at most *timeout_s* seconds."""
        return self._asked.wait_ack(self.event_id, timeout_s)

    def __await__(self) -> Generator[Any, None, Result]:
        return self._settled().__await__()

    async def _settled(self) -> Result:
        while True:
            result = self._asked.result(self.event_id)
            if result.outcome in (Outcome.ACKED, Outcome.DEAD_LETTERED):
                return result
            await asyncio.sleep(_NAP_S)

    def __repr__(self) -> str:
        return f"<Receipt of event {self.event_id}>"
