"""
Does a strategy do the same again? `replay_check(source, strategy)` says so, or where it does not.

    def momentum(bus):                          # registers handlers; asks bus.clock for the time
        @bus.on("market.price_update.>")
        def react(event): ...

    replay_check(recorded, momentum)                        two replays, byte for byte
    replay_check(recorded, momentum, recorded="momentum")   and what it did when it was live
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickbus._native import EVENT_DTYPE, Event
from tickbus.store import EventSource, ReplayBus, Store, replay
from tickbus.store.query import Selection
from tickbus.store.source import LANES
from tickbus.store.times import Time
from tickbus.store.translate import Translator

__all__ = ["Checked", "replay_check"]

#: Places in an event's bytes.
_TIME_BYTES = 8
_PRIORITY = 9


@dataclass(frozen=True)
class Checked:
    """What two equal replays did."""

    #: Events replayed.
    inputs: int
    #: What the strategy published, rows of `EVENT_DTYPE` with the bus's numbers.
    outputs: NDArray[np.void]


def replay_check(
    source: EventSource | Store,
    strategy: Callable[[ReplayBus], object],
    *,
    start: Time | None = None,
    end: Time | None = None,
    types: Selection = None,
    symbols: Selection = None,
    recorded: str | None = None,
) -> Checked:
    """
    Run *strategy* over the log twice, each time on a new bus, and compare all that went over the bus.

    Args:
        source: The log, or a `Store`.
        strategy: Called with the bus before the replay; what it returns is kept until the end.
        start, end, types, symbols: As `Store.query`.
        recorded: The source under which the strategy published in the log. Its events are then not
            replayed, and what it publishes is compared with them: all but the time, lane by lane.
    Returns:
        What it did.
    Raises:
        AssertionError: Two runs, or run and recording, differ; the message shows the first difference.
    """
    store = source if isinstance(source, Store) else Store(source)
    selection: dict[str, Any] = {"start": start, "end": end, "types": types, "symbols": symbols}
    played = dict(selection)
    if recorded is not None:
        own = store.names.source_numbers(recorded) or frozenset()
        played["sources"] = sorted({0, *store.names.sources} - own)
    seen = _run(store, strategy, recorded, played)
    _compare("the first replay", seen, "the second", _run(store, strategy, recorded, played))
    with ReplayBus() as bus:
        inputs = _rows(store, bus, played)
        outputs = _others(seen, inputs)
        if recorded is not None:
            expected = _rows(store, bus, {**selection, "sources": recorded})
            for lane in range(len(LANES)):
                _compare("the recording", _said(expected, lane), "the replay", _said(outputs, lane))
    return Checked(len(inputs), np.frombuffer(b"".join(outputs), EVENT_DTYPE))


def _run(
    store: Store, strategy: Callable[[ReplayBus], object], name: str | None, played: dict[str, Any]
) -> list[bytes]:
    """Everything that went over the bus, in the order handlers saw it."""
    seen: list[bytes] = []
    with ReplayBus(source=name) as bus:
        bus.on(">")(lambda event: seen.append(event.bytes()))
        kept = strategy(bus)
        replay(store, bus, **played)
        del kept
    return seen


def _rows(store: Store, bus: ReplayBus, selection: dict[str, Any]) -> list[bytes]:
    """Events of the log with the bus's numbers; all private buses of a process have the same."""
    translate = Translator(lambda: store.names, bus)
    data = b"".join(translate.events(batch.events).tobytes() for batch in store.query(**selection).batches())
    return [data[at : at + EVENT_DTYPE.itemsize] for at in range(0, len(data), EVENT_DTYPE.itemsize)]


def _others(seen: list[bytes], inputs: list[bytes]) -> list[bytes]:
    """
    What was seen beside the inputs, which come in their order.

    An output equal to the next input is taken for it, and the input for the output: the same bytes.
    """
    others, at = [], 0
    for event in seen:
        if at < len(inputs) and event == inputs[at]:
            at += 1
        else:
            others.append(event)
    assert at == len(inputs), f"{len(inputs) - at} events of the log did not reach the bus"
    return others


def _said(events: list[bytes], lane: int) -> list[bytes]:
    """The events of a lane without their times: what a recording and a replay have in common."""
    said = []
    for event in events:
        if event[_PRIORITY] == lane:
            said.append(bytes(_TIME_BYTES) + event[_TIME_BYTES:])
    return said


def _compare(first_name: str, first: list[bytes], second_name: str, second: list[bytes]) -> None:
    for at, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            raise AssertionError(
                f"event {at} differs: {first_name} has {Event.from_bytes(one)!r}, "
                f"{second_name} {Event.from_bytes(other)!r}"
            )
    if len(first) != len(second):
        more, name = max((first, first_name), (second, second_name), key=lambda pair: len(pair[0]))
        at = min(len(first), len(second))
        raise AssertionError(
            f"{first_name} has {len(first)} events, {second_name} {len(second)}; "
            f"the first more in {name} is {Event.from_bytes(more[at])!r}"
        )
