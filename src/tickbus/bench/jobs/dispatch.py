"""
dispatch.one, dispatch.ten: publish an event to 1 and to 10 Python handlers in the same thread.

tickbus and the floor build and stamp the event inside the call. Peers get theirs prebuilt, which
favours them, except the "built" dict, which does what tickbus does. Handlers do nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tickbus.bench import floor, subject
from tickbus.bench.jobs.support import dispatch_case, peer_cases, with_floor
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options
from tickbus.bench.peers import DISPATCHERS, dict_of_lists
from tickbus.bench.peers.contract import Dispatcher, Handler, Wired
from tickbus.bench.targets import FLOOR, FLOOR_STAMPED
from tickbus.bench.timing import Loop


def cases(options: Options) -> list[Case | Absent]:
    return [*_figure("dispatch.one", 1, options), *_figure("dispatch.ten", 10, options)]


def _figure(figure: str, handlers: int, options: Options) -> list[Case | Absent]:
    count = options.count(300_000 // handlers, quick=500)
    # The dict of lists needs no extra, so it is in every run: the first thing a user would write.
    always = (dict_of_lists.PREBUILT, dict_of_lists.BUILT)
    peers = DISPATCHERS if options.peers else always

    def peer_case(peer: Dispatcher) -> Case:
        # A slow peer gets fewer events: 0.1 s says as much as a second.
        events = count if peer in always else max(500, count // 5)
        return dispatch_case(figure, peer.name, Kind.PEER, peer.wire, handlers, events)

    found: list[Case | Absent] = [
        dispatch_case(figure, TICKBUS, Kind.SUBJECT, subject.wire, handlers, count),
        dispatch_case(
            figure, "tickbus, bus.publisher", Kind.SUBJECT, subject.wire_publisher, handlers, count
        ),
    ]
    for name, stamped in ((FLOOR, False), (FLOOR_STAMPED, True)):
        wire = partial(wire_floor, stamped)
        found.append(
            with_floor(figure, name, partial(dispatch_case, figure, name, Kind.FLOOR, wire, handlers, count))
        )
    return found + peer_cases(figure, peers, peer_case)


def wire_floor(stamped: bool, handlers: Sequence[Handler]) -> Wired:
    extension = floor.extension()
    mine = list(handlers)

    def connect() -> None:
        # The extension has one table of handlers, so each use says whose they are.
        extension.connect(mine, stamped)

    def send(value: float) -> None:
        connect()
        extension.dispatch(0, 1, value)

    loop = Loop("publish(0, 1, 1.5)", publish=extension.dispatch)

    def ns(count: int) -> float:
        connect()
        return loop.ns(count)

    return Wired(send, ns, lambda: extension.connect([], False))
