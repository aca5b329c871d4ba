"""Several processes on one bus: any may be killed, the loop moves, and nothing that was persisted is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from delivery_desk import Hung

import tickbus as tb
from tickbus.delivery import Delivery, Outcome, Policy, Retry, wire
from tickbus.delivery.lease import HUNG_LOOKS, HUNG_S, Lease, Watch
from tickbus.delivery.loop import Loop
from tickbus.delivery.state import Kind
from tickbus.errors import CursorLockedError, JournalError

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


def test_the_loop_moves_when_its_process_hangs(bus_name, kept, fork, wait_until):
    """The one that hung goes on as one of those that stand by."""
    with tb.Bus(bus_name, journal=kept) as bus:
        wire.register(bus)
        loops = bus.subscribe("system.delivery_loop.>")
        children = {child.pid: child for child in (fork(lambda: run_loop(bus_name)) for _ in range(2))}
        first = int(loops.poll(30).value)
        os.kill(first, signal.SIGSTOP)
        taken = loops.poll(30)
        assert taken is not None, "nobody took the loop over"
        assert int(taken.value) != first
        os.kill(first, signal.SIGCONT)
        children[int(taken.value)].kill()
        assert int(loops.poll(30).value) == first


def test_a_loop_that_was_stopped_in_the_middle_of_an_escalation_does_nothing_more(bus_name, kept, fork):
    """
    It is stopped where it has made sure of its term and not yet written its record: the worst place. Its
    record then stands behind the other loop's, says nothing new, and its step is not carried out.
    """
    steps, says = os.pipe()
    policy = Policy(
        retry=Retry(attempts=60_000), escalate_after_s=0.2, ladder=(lambda _: os.write(says, b"s"),)
    )

    def run(*, stops):
        def publish(loop, kind, *rest):
            hold = loop._lease.hold

            def hold_and_stop():
                hold()
                if kind is Kind.ESCALATED:
                    loop._lease.hold = hold
                    # This thread's own signal, so that it is stopped here and not a moment later.
                    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

            loop._lease.hold = hold_and_stop
            return written(loop, kind, *rest)

        written = Loop._publish
        if stops:
            Loop._publish = publish
        with tb.Bus(bus_name) as bus, Delivery(bus, default=policy):
            time.sleep(600)

    with tb.Bus(bus_name, journal=kept) as bus:
        wire.register(bus)
        told = bus.subscribe("system.delivery_loop.>", "system.delivery_escalated.>")
        done = bus.subscribe("system.delivery_step_done.>")
        first = fork(lambda: run(stops=True))
        assert told.poll(30).value == first.pid
        event_id = bus.publish(RISK, "BTC-USDT", 0.2)
        os.waitpid(first.pid, os.WUNTRACED)
        second = fork(lambda: run(stops=False))
        assert told.poll(30).value == second.pid
        escalated = told.poll(30)
        assert (escalated.type_name, escalated.metadata) == ("delivery_escalated", event_id >> 2)
        assert os.read(steps, 9) == b"s"
        # Else the next loop does it once more.
        assert done.poll(30).metadata == event_id >> 2

        os.kill(first.pid, signal.SIGCONT)
        late = told.poll(30)
        assert late.bytes()[8:] == escalated.bytes()[8:], "the same record once more"
        second.kill()
        # What it was about to write it writes; it leads again only after it has begun anew.
        assert told.poll(30).value == first.pid
        with Delivery(bus, default=policy, loop=False) as delivery:
            assert delivery.wait_ack(event_id, 0.3).steps == 1
        os.set_blocking(steps, False)
        with pytest.raises(BlockingIOError):
            os.read(steps, 9)
        assert told.poll() is None


class TestWatch:
    """When somebody who runs the loop is taken for hung."""

    def test_after_half_a_second_without_a_beat(self):
        now = [0.0]
        watch = Watch(lambda: now[0])
        assert not watch.hangs(1, 7)
        looks = 0
        while not watch.hangs(1, 7):
            looks += 1
            now[0] += 0.15
        assert HUNG_S <= now[0] < 1.0 - 0.15, "within a second, whenever it began"
        assert looks >= HUNG_LOOKS

    def test_never_while_it_counts_or_another_has_taken_over(self):
        now = [0.0]
        watch = Watch(lambda: now[0])
        for beat in range(50):
            now[0] += 10
            assert not watch.hangs(1, beat)
        now[0] += 10
        assert not watch.hangs(2, 49)

    def test_never_at_first_sight_by_one_who_hung_as_well(self):
        now = [0.0]
        watch = Watch(lambda: now[0])
        watch.hangs(1, 7)
        now[0] += 3600
        assert not watch.hangs(1, 7)


class TestLease:
    def test_is_one_process_s_until_that_has_left(self, tmp_path):
        first = Lease(tmp_path)
        with pytest.raises(CursorLockedError) as refused:
            Lease(tmp_path)
        assert refused.value.pid == os.getpid()
        first.hold()
        first.close()
        assert Lease(tmp_path).term == 2

    def test_is_over_when_another_was_given(self, tmp_path):
        first, watch = Lease(tmp_path), Hung()
        second = Lease(tmp_path, watch)
        assert first.lost
        with pytest.raises(CursorLockedError, match="term 1"):
            first.hold()
        second.hold()
        first.close()
        second.hold()
        assert [path.name for path in tmp_path.iterdir()] == ["loop.2"]

    def test_cannot_be_one_of_the_past(self, tmp_path, monkeypatch):
        """Somebody has looked which term is next, and was stopped while two others came and went."""
        make = Lease._make

        def make_late(lease, folder):
            monkeypatch.setattr(Lease, "_make", make)
            Lease(folder)
            Lease(folder, Hung()).close()
            assert (folder / "loop.2").exists()
            return make(lease, folder)

        monkeypatch.setattr(Lease, "_make", make_late)
        with pytest.raises(CursorLockedError, match="meanwhile"):
            Lease(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["loop.2"]

    def test_follows_one_whose_file_lost_its_content_with_the_machine(self, tmp_path):
        (tmp_path / "loop.3").touch()
        assert Lease(tmp_path).term == 4

    def test_takes_away_what_killed_ones_left(self, tmp_path):
        (tmp_path / "loop.0.abc.new").touch()
        Lease(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["loop.1"]


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
