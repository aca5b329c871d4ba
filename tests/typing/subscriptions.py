"""What an editor must infer about publishing and reading. mypy reads this file; nothing runs it."""

from collections.abc import Callable
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import tickbus as tb


def publishing_returns_the_id(bus: tb.Bus) -> None:
    assert_type(bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0), int)
    assert_type(bus.publisher(tb.EventType.PRICE_UPDATE, "BTC-USDT"), Callable[..., int])
    bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT")  # type: ignore[call-arg]


def every_way_of_reading_gives_events(bus: tb.Bus) -> None:
    with bus.subscribe("market.>") as subscription:
        assert_type(subscription.poll(), tb.Event | None)
        assert_type(subscription.drain(10), list[tb.Event])
        assert_type(subscription.read_batch(10), NDArray[np.void])
        assert_type(subscription.missed, int)
        for event in subscription:
            assert_type(event, tb.Event)


async def so_does_the_asynchronous_one(bus: tb.Bus) -> None:
    async for event in bus.subscribe("market.>"):
        assert_type(event, tb.Event)


def a_handler_stays_what_it_was(bus: tb.Bus, event: tb.Event) -> None:
    @bus.on("risk.>")
    def stop(event: tb.Event) -> str:
        return event.symbol

    assert_type(stop(event), str)


def a_bus_closes_itself() -> None:
    with tb.Bus("desk") as bus:
        assert_type(bus, tb.Bus)
