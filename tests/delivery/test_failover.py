"""Several processes on one bus: any may be killed, the loop moves, and nothing that was persisted is lost."""

from __future__ import annotations

import os
import random
import time

import pytest

import tickbus as tb
from tickbus.delivery import Delivery, Outcome, Policy, Retry, wire
from tickbus.delivery.state import Kind
from tickbus.errors import JournalError

RISK = tb.EventType.DRAWDOWN_ALERT
PATIENT = Policy(retry=Retry(attempts=60_000, first_s=0.05, most_s=0.2), escalate_after_s=0.3)
TRIALS = 30


def run_loop(name):
    bus = tb.Bus(name)
    Delivery(bus, default=PATIENT)
    time.sleep(600)


def work(name, seed):
    """Acknowledge what comes, now and then refuse it or leave it in hand."""
    choose = random.Random(seed)
    with Delivery(tb.Bus(name), default=PATIENT, loop=False) as delivery:
        oms = delivery.subscribe("risk.>", role="oms", ack="manual", start="earliest")
        while True:
            event = oms.poll(1.0)
            if event is None:
                continue
            chance = choose.random()
            if chance < 0.8:
                oms.ack(event)
            elif chance < 0.9:
                oms.nak(event, 0.01)


def test_the_loop_moves_when_its_process_is_killed(bus_name, kept, fork, wait_until):
    with tb.Bus(bus_name, journal=kept) as bus:
        wire.register(bus)
        loops = bus.subscribe("system.delivery_loop.>")
        children = {}
        for _ in range(3):
            child = fork(lambda: run_loop(bus_name))
            children[child.pid] = child
        for _ in range(3):
            taken = loops.poll(30)
            assert taken is not None, "nobody took the loop over"
            children.pop(int(taken.value)).kill()
        assert children == {}


def test_a_standing_by_process_escalates_in_place_of_the_killed_one(bus_name, kept, fork):
    with tb.Bus(bus_name, journal=kept) as bus:
        wire.register(bus)
        loops = bus.subscribe("system.delivery_loop.>", "system.delivery_escalated.>")
        first = fork(lambda: run_loop(bus_name))
        assert loops.poll(30).type_name == "delivery_loop"
        fork(lambda: run_loop(bus_name))
        event_id = bus.publish(RISK, "BTC-USDT", 0.2)
        first.kill()
        told = [loops.poll(30) for _ in range(2)]
        kinds = sorted(event.type_name for event in told)
        if kinds == ["delivery_escalated", "delivery_loop"]:
            assert event_id >> 2 in {event.metadata for event in told}
        else:
            assert told[0].type_name == "delivery_loop"
            assert told[1] is None, "escalated by the first one already"


@pytest.mark.parametrize("victim", ["consumer", "loop", "publisher", "host"])
def test_killed_at_any_instant_every_persisted_event_is_acknowledged(
    bus_name, kept, fork, stress, wait_until, victim
):
    choose = random.Random(victim)
    published, acked, again, escalated = set(), {}, 0, {}

    def publish(name, send):
        delivery = Delivery(tb.Bus(name), default=PATIENT, loop=False)
        while True:
            try:
                receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2, timeout_s=30)
            except JournalError:
                # The host is gone, and whether the event is persisted will be known when it is back.
                time.sleep(0.01)
                continue
            os.write(send, receipt.event_id.to_bytes(8, "little"))
            time.sleep(0.0005)

    def host(name):
        bus = tb.Bus(name, journal=kept)
        time.sleep(600 if bus else 0)

    with tb.Bus(bus_name, critical_timeout_s=30) as bus:
        starts = {"host": lambda: host(bus_name)}
        children = {"host": fork(starts["host"])}
        wait_until(lambda: bus._journal_path is not None)
        wire.register(bus)
        log = bus.subscribe(">", lossy=True)
        starts |= {
            "consumer": lambda: work(bus_name, choose.random()),
            "loop": lambda: run_loop(bus_name),
            "publisher": lambda: publish(bus_name, send),
        }
        receive, send = os.pipe()
        children["consumer"] = fork(starts["consumer"])
        with Delivery(bus, default=PATIENT, loop=False) as delivery:
            # An event that no role wants is nobody's to acknowledge.
            wait_until(delivery.roles)
        children |= {who: fork(start) for who, start in starts.items() if who not in children}
        for _ in range(TRIALS * stress // 3):
            time.sleep(0.05 + choose.random() * 0.1)
            children[victim].kill()
            children[victim] = fork(starts[victim])
        children["publisher"].kill()
        # Other children have the writing end as well, so that it never ends by itself.
        os.set_blocking(receive, False)
        said = os.read(receive, 1 << 20)
        os.close(receive)
        os.close(send)
        published |= {int.from_bytes(said[at : at + 8], "little") for at in range(0, len(said) - 7, 8)}

        with Delivery(bus, default=PATIENT, loop=False) as delivery:
            assert delivery.roles() == {"oms": ("risk.>",)}
            wait_until(lambda: not delivery.stats()["pending"], 60)
            outcomes = {delivery.wait_ack(event_id, 0).outcome for event_id in published}
        children["consumer"].kill()
        children["loop"].kill()
        children["host"].kill()
        while (event := log.poll()) is not None:
            if event.event_type == wire.NUMBERS[Kind.ACK]:
                again += event.metadata in acked
                acked[event.metadata] = event.id
            elif event.event_type == wire.NUMBERS[Kind.ESCALATED]:
                key = event.metadata, event.value
                escalated[key] = escalated.get(key, 0) + 1

    assert published, "no publisher lived long enough"
    assert outcomes == {Outcome.ACKED}
    assert {event_id >> 2 for event_id in published} <= set(acked)
    assert set(escalated.values()) <= {1}
    # An acknowledgement that was on its way when its member was killed, or passed a redelivery.
    assert again <= len(acked) // 10
