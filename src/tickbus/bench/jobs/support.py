"""What several jobs share: floors that may be missing, peers that may not be installed, checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tickbus.bench.floor import NoFloorError
from tickbus.bench.model import Absent, BehaviourError, Case, Kind, Sample, Unit
from tickbus.bench.peers.contract import Dispatcher, Wired, installed
from tickbus.bench.timing import no_gc


def with_floor(figure: str, contender: str, make: Callable[[], Case]) -> Case | Absent:
    """*make*'s case, or why there is no floor on this machine."""
    try:
        return make()
    except NoFloorError as error:
        return Absent(figure, contender, str(error))


def ns_case(
    figure: str,
    contender: str,
    kind: Kind,
    ns: Callable[[], float],
    check: Callable[[], None],
    close: Callable[[], object] = lambda: None,
) -> Case:
    """A case whose sample is a plain number of nanoseconds."""

    def sample() -> Sample:
        with no_gc():
            return Sample(ns())

    return Case(figure, contender, kind, Unit.NS, sample, check, lambda: (close(), None)[1])


def expect(what: str, expected: object, found: object) -> None:
    """Raise BehaviourError unless both are equal."""
    if expected != found:
        raise BehaviourError(f"{what}: expected {_short(expected)}, found {_short(found)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def check_dispatch(wire: Callable[[Sequence[Callable[[Any], Any]]], Wired], handlers: int) -> None:
    """Every handler gets every event, in order, with its value."""
    received: list[list[float]] = [[] for _ in range(handlers)]

    def recorder(values: list[float]) -> Callable[[Any], None]:
        return lambda event: values.append(event.value)

    wired = wire([recorder(values) for values in received])
    try:
        sent = [1.0, 2.0, math.pi, 4.0]
        for value in sent:
            wired.send(value)
        for values in received:
            expect("values each handler received", sent, values)
    finally:
        wired.close()


def dispatch_case(
    figure: str, name: str, kind: Kind, wire: Callable[[Any], Wired], handlers: int, count: int
) -> Case:
    """Publish to *handlers* different handlers that do nothing."""
    wired = wire([make_handler() for _ in range(handlers)])
    return ns_case(
        figure, name, kind, lambda: wired.ns(count), lambda: check_dispatch(wire, handlers), wired.close
    )


def make_handler() -> Callable[[Any], None]:
    """A handler that does nothing: the figure is the bus, not the strategy. A new one each time."""

    def handler(event: Any) -> None:
        pass

    return handler


def peer_cases(
    figure: str, peers: Iterable[Dispatcher], make: Callable[[Dispatcher], Case]
) -> list[Case | Absent]:
    """A case per peer that is installed."""
    return [
        make(peer)
        if installed(peer.requires)
        else Absent(figure, peer.name, f"{peer.requires} is not installed")
        for peer in peers
    ]
