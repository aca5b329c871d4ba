"""All figures of a bus at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tickbus.bus import Bus
    from tickbus.delivery import Delivery

__all__ = ["snapshot"]


def snapshot(bus: Bus, delivery: Delivery | None = None) -> dict[str, Any]:
    """
    What ``Bus.stats`` says, the readers of all processes, and what ``Delivery.stats`` says.

    ``lanes``, ``journaled``, ``participants``, ``symbols``, ``sources`` and ``readers`` are the bus's,
    whichever process asks; ``journal`` is there in the process that keeps it.
    """
    stats = bus.stats()
    kept = ("name", "lanes", "journaled", "participants", "symbols", "sources", "journal")
    figures = {key: stats[key] for key in kept}
    figures["readers"] = bus.readers()
    figures["delivery"] = None if delivery is None else delivery.stats()
    return figures
