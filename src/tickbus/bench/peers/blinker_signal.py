"""blinker: a named signal, the event as its sender's keyword argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import Loop


def _wire(handlers: Sequence[Handler]) -> Wired:
    import blinker

    signal = blinker.Signal()
    # blinker passes the sender first; the event as sender is the shortest way it offers. One
    # wrapper per handler would be our cost, not blinker's.
    for handler in handlers:
        signal.connect(handler, weak=False)
    event = Record(0, 0, "BTC-USDT", 1.5, 0)

    def send(value: float) -> Any:
        return signal.send(Record(0, 0, "BTC-USDT", value, 0))

    return Wired(send, Loop("send(event)", send=signal.send, event=event).ns)


DISPATCHER = Dispatcher("blinker", "blinker", _wire)
