"""What is left in the lanes of a named bus when its journal is killed is kept by the next journal."""

from __future__ import annotations

import os

import tickbus as tb
from tickbus.journal import Journal


def test_events_on_a_named_bus_outlive_their_publisher_and_the_journal(tmp_path, bus_name, fork):
    """Who comes next takes over what nobody had written."""
    kept = Journal(tmp_path / "journal", critical="os", segment_mib=1)

    def publish():
        bus = tb.Bus(bus_name, journal=kept)
        for number in range(20_000):
            bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", float(number))
        os.kill(os.getpid(), 9)

    fork(publish).wait()
    with tb.Bus(bus_name, journal=kept) as bus:
        reader = bus.subscribe("market.>", start="earliest")
        values = []
        while events := reader.drain(4096):
            values += [event.value for event in events]

    assert [float(n) for n in range(20_000)] == values
