"""What has to be so before anything is followed, and what processes have to agree on."""

from __future__ import annotations

import http.server
import json
import logging
import threading

import pytest

import tickbus as tb
from tickbus.delivery import Delivery, NextRole, Notify, Policy, Publish, Retry
from tickbus.errors import InvalidEventError, JournalError
from tickbus.journal import Journal

RISK, STOP = tb.EventType.DRAWDOWN_ALERT, tb.EventType.EMERGENCY_STOP


@pytest.fixture
def kept(tmp_path):
    return Journal(tmp_path / "j", critical="os", segment_mib=1)


def test_events_that_are_not_persisted_are_not_followed(tmp_path):
    """A receipt says that its event is persisted, so there has to be a level at which it is."""
    with tb.Bus(journal=Journal(tmp_path / "j", critical="memory", segment_mib=1)) as bus:
        with pytest.raises(JournalError, match='critical lane is "memory"'):
            Delivery(bus)
        assert not bus.stats()["journaled"]["persisted_first"]


def test_a_receipt_is_of_a_persisted_event(kept):
    with tb.Bus(journal=kept) as bus, Delivery(bus, loop=False):
        assert bus.publish_critical(RISK, "BTC-USDT", 0.1).persisted
        assert bus.stats()["journaled"]["critical"] == 0


def test_other_policies_than_the_last_loops_are_told_of(kept, caplog):
    first = {int(RISK): Policy(required="any"), 200: None}
    with tb.Bus(journal=kept) as bus:
        with Delivery(bus, first) as delivery:
            while not delivery.stats()["loop"]:
                pass
            assert delivery.stats()["policies_differ"] == []
        with Delivery(bus, first, loop=False) as same:
            assert same.stats()["policies_differ"] == []
        with caplog.at_level(logging.WARNING), Delivery(bus, {int(RISK): Policy()}, loop=False) as other:
            # Number 200 has a name where another test has given it one.
            names = {200: "200"} | {number: name for name, number in bus.types().items()}
            assert other.stats()["policies_differ"] == ["drawdown_alert", names[200]]
        assert "drawdown_alert" in caplog.text
        # Only who has to acknowledge is what processes disagree about; when is the loop's alone.
        with Delivery(bus, first, default=Policy(escalate_after_s=1.0), loop=False) as later:
            assert later.stats()["policies_differ"] == []
        with Delivery(bus, first, default=Policy(ladder=(NextRole("boss"),)), loop=False) as ladder:
            assert len(ladder.stats()["policies_differ"]) > 100


def test_without_policies_those_of_the_last_loop_count(kept):
    """A host has them in its file; who publishes and who acknowledges need not know."""
    named = {int(RISK): Policy(required=("oms",)), 200: None}
    with tb.Bus(journal=kept) as bus:
        with Delivery(bus, named) as host:
            while not host.stats()["loop"]:
                pass
        with Delivery(bus) as guest:
            oms, other = (guest.subscribe("risk.>", role=role) for role in ("oms", "other"))
            receipt = bus.publish_critical(RISK, "BTC-USDT", 0.1)
            other.ack(other.poll(5))
            assert not receipt.wait(0.05)
            oms.ack(oms.poll(5))
            assert receipt.wait(5)
            with pytest.raises(InvalidEventError, match="event_type=200 is not followed"):
                bus.publish_critical(200, "BTC-USDT", 1.0)
            # Its steps and retries this process does not know.
            assert not guest.stats()["loop"]
        with Delivery(bus, named) as again:
            while not again.stats()["loop"]:
                pass


def test_what_a_step_publishes_does_not_publish_the_next(kept, wait_until):
    """The ladder of all types has a stop in it, and the stop is one of all types."""
    stop = Policy(
        retry=Retry(attempts=1), escalate_after_s=0.01, step_s=0.01, ladder=(Publish(STOP, "DESK"),) * 3
    )
    with (
        tb.Bus(journal=kept) as bus,
        Delivery(bus, default=stop) as delivery,
        bus.subscribe("critical.emergency_stop.delivery.DESK") as stops,
    ):
        bus.publish_critical(RISK, "BTC-USDT", 0.1)
        wait_until(lambda: len(delivery.dead_letters()) == 4)
        assert delivery.stats()["pending"] == 0
        assert [stops.poll(5).metadata for _ in range(3)] == [0, 0, 0]
        assert stops.poll(0.2) is None


class Channel(http.server.BaseHTTPRequestHandler):
    """Where notifications arrive; `stuck` never answers."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))
        if self.server.stuck is not None:
            self.server.stuck.wait(30)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        """Not to standard error."""


@pytest.fixture
def channel():
    pytest.importorskip("apprise", reason="the extra notify is not installed")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Channel)
    server.got, server.stuck = [], None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    if server.stuck is not None:
        server.stuck.set()
    server.shutdown()
    thread.join()
    server.server_close()


class TestNotification:
    """Through apprise itself, to a server of our own."""

    def notify(self, channel, timeout_s=10.0):
        url = f"json://127.0.0.1:{channel.server_address[1]}/pager"
        return Policy(escalate_after_s=0.01, step_s=0.01, ladder=(Notify((url,), timeout_s),))

    def test_an_escalation_arrives_and_says_what_it_is_about(self, kept, channel, wait_until):
        with (
            tb.Bus(journal=kept) as bus,
            Delivery(bus, default=self.notify(channel)) as delivery,
            bus.subscribe("system.delivery_step_done.>") as done,
        ):
            delivery.subscribe("risk.>", role="oms")
            bus.publish_critical(RISK, "BTC-USDT", 0.1)
            wait_until(lambda: channel.got)
            assert "drawdown_alert" in channel.got[0]["message"]
            assert "not acknowledged by oms" in channel.got[0]["message"]
            assert done.poll(20) is not None
            assert delivery.stats()["concluded"]["failed"] == 0

    def test_one_that_is_stuck_does_not_hold_up_the_loop(self, kept, channel, wait_until):
        channel.stuck = threading.Event()
        policy = self.notify(channel, timeout_s=0.2)
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=policy) as delivery:
            oms = delivery.subscribe("risk.>", role="oms", ack="manual")
            bus.publish_critical(RISK, "BTC-USDT", 0.1)
            wait_until(lambda: channel.got)
            second = bus.publish_critical(RISK, "BTC-USDT", 0.2)
            for event in iter(lambda: oms.poll(5), None):
                oms.ack(event)
                if event.id == second.event_id:
                    break
            assert second.wait(10)
            wait_until(lambda: delivery.stats()["concluded"]["failed"])
