"""
Two processes on one bus: a strategy that attaches by name, reacts and publishes back.
"""

import multiprocessing
import os

import tickbus as tb


def strategy(bus: tb.Bus) -> None:
    """Runs in a process of its own; the bus came by its name."""
    with bus, bus.subscribe("market.price_update.>", start="earliest") as prices:
        event = prices.poll(timeout_s=30.0)
        assert event is not None
        print("the strategy saw", event.price, flush=True)
        bus.publish(tb.EventType.STOP_LOSS_TRIGGERED, event.symbol, event.price)


def main() -> None:
    with tb.Bus(f"two-processes-{os.getpid()}", source="desk") as bus:
        stops = bus.subscribe("risk.>")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 62_900.0)
        process = multiprocessing.get_context("spawn").Process(target=strategy, args=(bus,))
        process.start()
        event = stops.poll(timeout_s=30.0)
        process.join()
        assert event is not None
        print("the desk saw", event.type_name, "at", event.price)


if __name__ == "__main__":
    main()
