"""
First steps: publish, react at once, read later.
"""

import tickbus as tb


def main() -> None:
    with tb.Bus() as bus:

        @bus.on("market.price_update.*.BTC-*")
        def at_once(event: tb.Event) -> None:
            print("inline:", event.topic, event.price)

        prices = bus.subscribe("market.>")
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 64_000.0, source="binance")

        for event in prices.drain():
            print("later:", event.topic, event.price)
        print("ledger:", prices.ledger()["high"])


if __name__ == "__main__":
    main()
