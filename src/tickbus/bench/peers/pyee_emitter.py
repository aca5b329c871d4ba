"""pyee: an EventEmitter, event name and event."""

from __future__ import annotations

from collections.abc import Sequence

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import Loop


def _wire(handlers: Sequence[Handler]) -> Wired:
    from pyee.base import EventEmitter

    emitter = EventEmitter()
    for handler in handlers:
        emitter.on("price", handler)
    loop = Loop("emit(name, event)", emit=emitter.emit, name="price", event=Record(0, 0, "BTC-USDT", 1.5, 0))
    return Wired(lambda value: emitter.emit("price", Record(0, 0, "BTC-USDT", value, 0)), loop.ns)


DISPATCHER = Dispatcher("pyee", "pyee", _wire)
