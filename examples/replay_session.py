"""
Replay a session: record what a strategy did, play it again, and get the same again.

The strategy asks `bus.clock` for the time, so that a replay gives it the recorded one.
"""

import tickbus as tb
from tickbus.store import MemorySource, Names, ReplayBus, Store, replay
from tickbus.testing.replay import replay_check

OPENED_NS = 1_786_233_600 * 10**9  # 2026-08-09, midnight UTC


def breakout(bus: ReplayBus) -> None:
    """Buys when a price is above all before it."""
    highest = 64_000.0

    @bus.on("market.price_update.*.BTC-USDT")
    def react(event: tb.Event) -> None:
        nonlocal highest
        if event.price > highest:
            highest = event.price
            bus.publish(tb.EventType.ORDER_PLACED, event.symbol, event.price, metadata=tb.pack_quantity(0.1))
            print(f"{(bus.clock.now_ns() - OPENED_NS) / 1e9:.0f} s: buy at {event.price}")


def record() -> MemorySource:
    """A session as a log; a journal or a folder of Parquet is one as well."""
    with ReplayBus(source="breakout") as bus:
        reader = bus.subscribe(">")
        breakout(bus)
        for second, price in enumerate((63_990.0, 64_010.0, 64_005.0, 64_020.0)):
            bus.publish(
                tb.EventType.PRICE_UPDATE,
                "BTC-USDT",
                price,
                source="binance",
                timestamp=OPENED_NS + second * 10**9,
            )
        events = reader.read_batch()
        return MemorySource(events, Names.of_bus(bus, events))


def main() -> None:
    session = record()
    print("orders:", Store(session).query(types="order_placed").numpy()["value"].tolist())

    print("again, from 3 s on:")
    with ReplayBus(source="breakout") as bus:
        breakout(bus)
        replay(session, bus, start="2026-08-09T00:00:03Z", sources="binance")

    checked = replay_check(session, breakout, recorded="breakout")
    print(f"{checked.inputs} prices, {len(checked.outputs)} orders, the same as recorded")


if __name__ == "__main__":
    main()
