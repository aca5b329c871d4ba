"""psygnal: a SignalInstance carrying one object; its signature check off, as its docs advise for speed."""

from __future__ import annotations

from collections.abc import Sequence

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import Loop


def _wire(handlers: Sequence[Handler]) -> Wired:
    from psygnal import SignalInstance

    signal = SignalInstance((object,))
    for handler in handlers:
        signal.connect(handler, check_nargs=False)
    loop = Loop("emit(event)", emit=signal.emit, event=Record(0, 0, "BTC-USDT", 1.5, 0))
    return Wired(lambda value: signal.emit(Record(0, 0, "BTC-USDT", value, 0)), loop.ns)


DISPATCHER = Dispatcher("psygnal", "psygnal", _wire)
