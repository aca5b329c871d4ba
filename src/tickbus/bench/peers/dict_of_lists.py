"""
What everybody writes first: topic -> list of handlers.

Twice: with the event made beforehand (the bus alone), and with a slotted dataclass and a clock read
per event (what a feed handler really does, and what tickbus does inside its call).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import Loop

TOPIC = "market.price_update.binance.BTC-USDT"


class DictBus:
    def __init__(self) -> None:
        self.handlers: dict[str, list[Handler]] = {}

    def subscribe(self, topic: str, handler: Handler) -> None:
        self.handlers.setdefault(topic, []).append(handler)

    def publish(self, topic: str, event: object) -> None:
        for handler in self.handlers.get(topic, ()):
            handler(event)


def _bus(handlers: Sequence[Handler]) -> DictBus:
    bus = DictBus()
    for handler in handlers:
        bus.subscribe(TOPIC, handler)
    return bus


def _wire_prebuilt(handlers: Sequence[Handler]) -> Wired:
    bus = _bus(handlers)
    event = Record(0, 0, "BTC-USDT", 1.5, 0)
    loop = Loop("publish(topic, event)", publish=bus.publish, topic=TOPIC, event=event)
    return Wired(lambda value: bus.publish(TOPIC, Record(0, 0, "BTC-USDT", value, 0)), loop.ns)


def _wire_built(handlers: Sequence[Handler]) -> Wired:
    bus = _bus(handlers)
    loop = Loop(
        "publish(topic, Record(clock(), 0, symbol, 1.5, 0))",
        publish=bus.publish, topic=TOPIC, Record=Record, clock=time.time_ns, symbol="BTC-USDT",
    )  # fmt: skip
    return Wired(lambda value: bus.publish(TOPIC, Record(time.time_ns(), 0, "BTC-USDT", value, 0)), loop.ns)


PREBUILT = Dispatcher("dict of lists, prebuilt", None, _wire_prebuilt)
BUILT = Dispatcher("dict of lists, built", None, _wire_built)
