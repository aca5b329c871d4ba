"""NautilusTrader's Cython MessageBus: publish on a topic. (Its Rust bus needs Python 3.12.)"""

from __future__ import annotations

from collections.abc import Sequence

from tickbus.bench.peers.contract import Dispatcher, Handler, Record, Wired
from tickbus.bench.timing import Loop

TOPIC = "data.trades.BINANCE.BTCUSDT"


def _wire(handlers: Sequence[Handler]) -> Wired:
    from nautilus_trader.common.component import MessageBus, TestClock
    from nautilus_trader.model.identifiers import TraderId

    bus = MessageBus(TraderId("BENCH-001"), TestClock())
    for handler in handlers:
        bus.subscribe(TOPIC, handler)
    event = Record(0, 0, "BTC-USDT", 1.5, 0)
    loop = Loop("publish(topic, event)", publish=bus.publish, topic=TOPIC, event=event)
    return Wired(lambda value: bus.publish(TOPIC, Record(0, 0, "BTC-USDT", value, 0)), loop.ns)


DISPATCHER = Dispatcher("NautilusTrader (Cython)", "nautilus_trader", _wire)
