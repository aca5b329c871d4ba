"""Records that cannot be, by a wrong program or a log that was restored: clamped, reported, redelivered."""

from __future__ import annotations

import os
import shutil

import pytest

import tickbus as tb
from tickbus import journal as journals
from tickbus.delivery import Delivery, Outcome, Policy, Retry, wire
from tickbus.delivery.state import Kind
from tickbus.errors import CursorLockedError

RISK = tb.EventType.DRAWDOWN_ALERT
PATIENT = Policy(retry=Retry(attempts=1000))


@pytest.fixture
def delivery(desk):
    with Delivery(desk, default=PATIENT, loop=False) as delivery:
        yield delivery


def write(bus, kind, sequence, role="oms", value=1.0):
    """A record that nobody but delivery should write."""
    bus.publish(wire.NUMBERS[kind], 0, value, metadata=sequence, source=role)


class TestAnAcknowledgement:
    def test_of_an_event_that_is_yet_to_come_does_not_hide_it(self, desk, delivery, caplog):
        """It is counted and reported, and the event that gets its sequence is handed out and asked for."""
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        coming = desk.stats()["lanes"]["critical"]["published"]
        for kind in (Kind.ACK, Kind.NAK, Kind.REDELIVER, Kind.STEP_DONE):
            write(desk, kind, coming)
        assert delivery.stats()["unknown"] == 4
        assert oms.poll() is None
        assert "events that nobody follows" in caplog.text

        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)

        assert receipt.event_id >> 2 == coming
        assert receipt.wait(0.01).missing == ("oms",)
        oms.ack(oms.poll(5))
        assert receipt.wait(5).outcome is Outcome.ACKED

    def test_of_what_is_no_event_is_counted(self, desk, delivery):
        """Also where the sequence is one of another record on the critical lane."""
        delivery.subscribe("risk.>", role="oms")
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        write(desk, Kind.ACK, receipt.event_id >> 2, role="oms")
        assert receipt.wait(5).outcome is Outcome.ACKED
        role_record = 0
        write(desk, Kind.ACK, role_record)
        assert delivery.stats()["unknown"] == 1

    @pytest.mark.parametrize("required", ["all", "any"])
    def test_of_a_role_that_was_not_asked_settles_nothing(self, desk, make, required):
        delivery = make(default=Policy(required=required))
        delivery.subscribe("risk.>", role="oms")
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        write(desk, Kind.ACK, receipt.event_id >> 2, role="stranger")
        assert receipt.wait(0.01).outcome is Outcome.TIMEOUT


class TestALogThatEndsEarlier:
    def test_than_what_delivery_remembers_is_believed(self, kept, path, tmp_path, caplog):
        """
        Events and acknowledgements behind its end never were: what is published now gets their sequences
        and is handed out, and asked for.
        """
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=PATIENT) as delivery:
            delivery.subscribe("risk.>", role="oms", ack="manual").close()
            kept_one = delivery.publish_critical(RISK, "BTC-USDT", 1.0).event_id
        shutil.copytree(path, tmp_path / "copy")
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=PATIENT) as delivery:
            oms = delivery.subscribe("risk.>", role="oms", ack="manual")
            ids = [delivery.publish_critical(RISK, "BTC-USDT", 2.0).event_id for _ in range(100)]
            assert oms.poll(5).id == kept_one
            for _ in range(60):
                oms.ack(oms.poll(5))
            assert delivery.wait_ack(ids[50], 5).outcome is Outcome.ACKED
        for name in os.listdir(tmp_path / "copy"):
            if (tmp_path / "copy" / name).is_file():
                shutil.copy(tmp_path / "copy" / name, path / name)
        for name in {*os.listdir(path)} - {*os.listdir(tmp_path / "copy")}:
            (path / name).unlink()

        with tb.Bus(journal=kept) as bus, Delivery(bus, default=PATIENT) as delivery:
            assert "beyond the log's end" in caplog.text
            oms = delivery.subscribe("risk.>", role="oms", ack="manual")
            receipts = [delivery.publish_critical(RISK, "BTC-USDT", 3.0) for _ in range(100)]
            assert {receipt.event_id for receipt in receipts} & set(ids)
            assert receipts[0].wait(0).outcome is Outcome.TIMEOUT
            handed = set()
            while handed < {kept_one, *(receipt.event_id for receipt in receipts)}:
                event = oms.poll(20)
                assert event is not None, "it was not handed out"
                handed.add(event.id)
                assert event.value in (1.0, 3.0)
                oms.ack(event)
            assert {receipt.wait(20).outcome for receipt in receipts} == {Outcome.ACKED}


def test_two_processes_cannot_have_one_exclusive_role(bus_name, kept, fork, wait_until):
    """The second hears who the first is, and gets the role when that is dead."""
    with tb.Bus(bus_name, journal=kept) as bus, Delivery(bus, default=PATIENT, loop=False) as delivery:

        def hold():
            with (
                tb.Bus(bus_name) as bus,
                Delivery(bus, default=PATIENT, loop=False) as delivery,
                delivery.subscribe("risk.>", role="oms", exclusive=True) as oms,
            ):
                oms.poll(600)

        first = fork(hold)
        wait_until(delivery.roles)
        wait_until(lambda: any(cursor.holder for cursor in journals.cursors(kept.path)))
        with pytest.raises(CursorLockedError) as refused:
            delivery.subscribe("risk.>", role="oms", exclusive=True)
        assert refused.value.pid == first.pid
        first.kill()
        assert delivery.subscribe("risk.>", role="oms", exclusive=True).active
