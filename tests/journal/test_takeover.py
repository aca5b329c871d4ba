"""What is left in the lanes of a named bus when its journal is killed is kept by the next journal."""

from __future__ import annotations

import os
import threading

import pytest

import tickbus as tb
from tickbus.errors import JournalLateError
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


def test_nobody_is_taken_for_a_journal_that_was_killed(tmp_path, bus_name, fork, wait_until):
    """Whoever subscribes next does not stand in the place of the dead, so the journal can begin again."""
    kept = Journal(tmp_path / "journal", critical="os", segment_mib=1)

    def keep():
        bus = tb.Bus(bus_name, journal=kept)
        wait_until(lambda: not bus, 3600)

    host = fork(keep)
    with tb.Bus(bus_name, critical_timeout_s=0.01) as bus:
        wait_until(lambda: bus._journal_path is not None)
        host.kill()
        # It notices the dead, and gives their places away.
        with pytest.raises(JournalLateError) as late, bus.subscribe(">"):
            bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 1.0)
        with (
            tb.Bus(bus_name) as other,
            bus.subscribe(">"),
            other.subscribe(">"),
            tb.Bus(bus_name, journal=kept),
            bus.subscribe(">", start=late.value.event_id) as reader,
        ):
            assert reader.poll(5).value == 1.0


def test_critical_events_wait_for_the_next_journal(tmp_path, bus_name, fork, wait_until):
    """What was refused by id is on the lane and stays there; what finds no place any more waits."""
    kept = Journal(tmp_path / "journal", critical="os", segment_mib=1)

    def keep():
        bus = tb.Bus(bus_name, journal=kept, critical_size=64)
        wait_until(lambda: not bus, 3600)

    host = fork(keep)
    with tb.Bus(bus_name, critical_timeout_s=0.001, critical_size=64) as bus:
        wait_until(lambda: bus._journal_path is not None)
        host.kill()
        values = {}
        for number in range(64):
            with pytest.raises(JournalLateError) as late:
                bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", float(number))
            values[late.value.event_id] = float(number)

        def one_more():
            values[bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 64.0)] = 64.0

        waiting = threading.Thread(target=one_more)
        waiting.start()
        waiting.join(0.1)
        assert len(values) == 64
        with tb.Bus(bus_name, journal=kept), bus.subscribe(">", start="earliest") as reader:
            waiting.join(20)
            assert len(values) == 65
            assert {event.id: event.value for event in iter(reader.poll, None)} == values
