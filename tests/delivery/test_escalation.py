"""Escalation: at five seconds, once a step, whatever clocks, restarts and callbacks do."""

from __future__ import annotations

import itertools
import sys
import threading
import time

import pytest
from delivery_desk import Hung, publish, turn

import tickbus as tb
from tickbus import journal as journals
from tickbus.delivery import Delivery, NextRole, Notify, Policy, Publish, Retry, files
from tickbus.delivery.actions import Actions
from tickbus.errors import CursorLockedError

RISK, STOP = tb.EventType.DRAWDOWN_ALERT, tb.EventType.EMERGENCY_STOP
AGAIN_AND_AGAIN = Policy(retry=Retry(attempts=60_000))


@pytest.fixture
def delivery(make):
    return make()


class TestEscalation:
    def test_is_at_five_seconds_and_once(self, desk, loop, clocks):
        one = loop(Policy(retry=Retry(attempts=100)))
        told = desk.subscribe("system.delivery_escalated.>")
        event_id = publish(desk, clocks)
        turn(one)
        clocks.move(4.999)
        turn(one)
        assert told.poll() is None
        clocks.move(0.001)
        turn(one)
        told_of = told.poll()
        assert (told_of.metadata, told_of.value, told_of.symbol) == (event_id >> 2, 1.0, "BTC-USDT")
        clocks.move(3600)
        turn(one)
        assert told.poll() is None

    @pytest.mark.parametrize("jump", [-86_400, 86_400])
    def test_is_at_five_seconds_whatever_the_wall_clock_says(self, desk, loop, clocks, jump):
        one = loop()
        told = desk.subscribe("system.delivery_escalated.>")
        publish(desk, clocks)
        turn(one)
        clocks.jump(jump)
        clocks.move(2.5)
        publish(desk, clocks)
        turn(one)
        clocks.move(2.49)
        turn(one)
        assert told.poll() is None
        clocks.move(0.01)
        turn(one)
        assert told.poll().metadata == 0 or told.poll() is None

    def test_is_not_while_time_stands_still(self, desk, loop, clocks):
        one = loop()
        told = desk.subscribe("system.delivery_escalated.>")
        publish(desk, clocks)
        turn(one, 200)
        assert told.poll() is None

    def test_counts_the_time_nobody_ran_the_loop(self, desk, loop, clocks):
        one = loop()
        told = desk.subscribe("system.delivery_escalated.>")
        event_id = publish(desk, clocks)
        turn(one)
        one.abandon()
        clocks.move(4.9)
        again = loop()
        turn(again)
        assert told.poll() is None
        clocks.move(0.1)
        turn(again)
        assert told.poll().metadata == event_id >> 2
        again.close()
        clocks.move(60)
        turn(loop())
        assert told.poll() is None, "once across restarts"

    @pytest.mark.parametrize("jump", [-86_400, -3, 3, 86_400])
    @pytest.mark.parametrize("saved", [True, False])
    def test_counts_the_time_whatever_the_wall_clock_was_set_to_meanwhile(
        self, desk, loop, clocks, jump, saved
    ):
        """What the snapshot knows is exact; what is younger than it may be late, and is never early."""
        one = loop()
        told = desk.subscribe("system.delivery_escalated.>")
        publish(desk, clocks)
        turn(one)
        clocks.move(2.0)
        if saved:
            one.save()
        one.abandon()
        clocks.jump(jump)
        clocks.move(1.0)
        again = loop()
        turn(again)
        clocks.move(1.99)
        turn(again)
        assert told.poll() is None
        clocks.move(0.01)
        turn(again)
        if saved or jump > 0:
            assert told.poll() is not None
        clocks.move(3.0)
        turn(again)
        assert saved or jump > 0 or told.poll() is not None
        assert told.poll() is None

    def test_of_what_was_redriven_counts_from_then_also_across_a_restart(self, desk, loop, clocks):
        policy = Policy(retry=Retry(attempts=1))
        one = loop(policy)
        told = desk.subscribe("system.delivery_escalated.>")
        event_id = publish(desk, clocks)
        turn(one)
        clocks.move(5.0)
        turn(one)
        assert told.poll().value == 1
        clocks.move(60.0)
        turn(one)
        with Delivery(desk, loop=False) as delivery:
            delivery.redrive(event_id)
        turn(one)
        one.close()
        clocks.move(4.99)
        again = loop(policy)
        turn(again)
        assert told.poll() is None
        clocks.move(0.01)
        turn(again)
        assert told.poll().value == 2

    def test_goes_up_the_ladder(self, desk, delivery, loop, clocks):
        called = []
        ladder = (NextRole("boss"), called.append, Publish(STOP, value=3.0))
        policies = {RISK: Policy(ladder=ladder, retry=Retry(attempts=200)), STOP: None}
        one = loop(policies=policies)
        boss = delivery.subscribe("critical.>", role="boss", ack="manual")
        stops = desk.subscribe("critical.emergency_stop.>")
        event_id = publish(desk, clocks)
        turn(one)
        clocks.move(5)
        turn(one)
        assert boss.poll().id == event_id, "its patterns do not matter"
        clocks.move(5)
        turn(one)
        clocks.move(5)
        turn(one)
        while not called:
            time.sleep(0.001)
        (escalation,) = called
        assert (escalation.event.id, escalation.step, escalation.event_id) == (event_id, 2, event_id)
        stop = stops.poll(5)
        assert (stop.value, stop.metadata, stop.symbol) == (3.0, event_id >> 2, "BTC-USDT")

    def test_of_a_loop_that_died_before_the_step_was_done_is_carried_out(self, desk, loop, clocks):
        called = []
        policy = Policy(ladder=(called.append,))
        stuck = Actions(desk)
        stuck.run = lambda *_: None
        one = loop(policy, actions=stuck)
        publish(desk, clocks)
        turn(one)
        clocks.move(5)
        turn(one)
        one.abandon()
        assert called == []
        turn(loop(policy))
        while not called:
            time.sleep(0.001)

    def test_by_a_callback_that_raises_or_hangs_holds_nothing_up(self, desk, loop, clocks, caplog):
        never = threading.Event()

        def fail(_):
            raise ZeroDivisionError

        one = loop(Policy(ladder=(fail, lambda _: never.wait(60), Publish(STOP))), policies={STOP: None})
        stops = desk.subscribe("critical.>")
        publish(desk, clocks)
        turn(one)
        for _ in range(3):
            clocks.move(5)
            turn(one)
        assert stops.poll(5).event_type == STOP
        never.set()
        assert "ZeroDivisionError" in caplog.text

    def test_sends_a_notification(self, desk, loop, clocks):
        sent = []
        actions = Actions(desk, notify=lambda action, escalation: sent.append((action.urls, escalation.step)))
        one = loop(Policy(ladder=(Notify(("json://desk",)),)), actions=actions)
        publish(desk, clocks)
        turn(one)
        clocks.move(5)
        turn(one)
        while not sent:
            time.sleep(0.001)
        assert sent == [(("json://desk",), 1)]

    def test_of_ten_thousand_writes_each_once(self, desk, loop, clocks):
        one = loop()
        told = desk.subscribe("system.delivery_escalated.>")
        count = 10_000
        for _ in range(count):
            publish(desk, clocks)
        while one.step(0.0):
            pass
        clocks.move(5)
        while one.step(0.0):
            pass
        assert len({event.metadata for event in told.drain(count * 2)}) == count
        assert told.poll() is None


class TestOfAHungLoop:
    def test_is_its_successor_s(self, desk, loop, clocks):
        """What hung finds its term over, whatever it was about to do, and does nothing of it."""
        called = []
        one = loop(Policy(ladder=(called.append,)))
        told = desk.subscribe("system.delivery_escalated.>")
        publish(desk, clocks)
        turn(one)
        clocks.move(5)
        other = loop(Policy(ladder=(called.append,)), watch=Hung())
        with pytest.raises(CursorLockedError):
            one.step(0.0)
        with pytest.raises(CursorLockedError):
            one.save()
        one.abandon()
        turn(other)
        while not called:
            time.sleep(0.001)
        turn(other)
        assert len(told.drain()) == len(called) == 1

    def test_leaves_neither_snapshot_nor_cursor(self, desk, kept, loop, clocks):
        one = loop()
        turn(one)
        other = loop(watch=Hung())
        turn(other)
        assert {cursor.name for cursor in journals.cursors(kept.path)} == {
            "delivery.loop.1",
            "delivery.loop.2",
        }
        one.abandon()
        publish(desk, clocks)
        clocks.move(1)
        turn(other)
        assert {cursor.name for cursor in journals.cursors(kept.path)} == {"delivery.loop.2"}
        assert sorted(path.name for path in kept.path.glob("delivery/*")) == ["loop.2", "snapshot.2.json"]


class TestOnTheRealClock:
    def test_it_is_never_early_and_once_also_across_a_restart(self, kept):
        """How late it may be is for a machine that has nothing else to do: the logic is above."""
        begun = time.monotonic()
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=AGAIN_AND_AGAIN) as delivery:
            event_id = delivery.publish_critical(RISK, "BTC-USDT", 0.2).event_id
            first = time.monotonic()
            time.sleep(1.0)
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=AGAIN_AND_AGAIN):
            told = bus.subscribe("system.delivery_escalated.>", start="earliest")
            event = told.poll(60)
            assert event.metadata == event_id >> 2
            assert time.monotonic() - begun >= 5.0
            assert time.monotonic() - first >= 5.0 - 0.001, "the wall clock may have been slewed meanwhile"
            assert told.poll(1.0) is None
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=AGAIN_AND_AGAIN):
            told = bus.subscribe("system.delivery_escalated.>", start="earliest")
            assert told.poll(5) is not None
            assert told.poll(1.0) is None


def calls(work):
    """How many functions of Python and C are called, in whatever time."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


class TestCost:
    """In operations, which a busy machine does not change."""

    def cost(self, desk, loop, clocks, pending):
        one = loop(Policy(retry=Retry(attempts=2, first_s=3600, most_s=3600, jitter=0)))
        for _ in range(pending):
            publish(desk, clocks)
        while one.step(0.0):
            pass
        idle = calls(lambda: one.step(0.0))
        publish(desk, clocks)
        follow = calls(lambda: one.step(0.0))
        clocks.move(0.5)
        publish(desk, clocks)
        turn(one, 1)
        # All but the last one are due, then that one alone.
        clocks.move(4.5)
        while one.step(0.0):
            pass
        clocks.move(0.5)
        escalate = calls(lambda: one._write_due(clocks.now))
        one.abandon()
        return idle, follow, escalate

    def test_of_an_event_is_the_same_beside_ten_as_beside_ten_thousand(self, desk, loop, clocks):
        """An idle look, following one more, and an escalation; of a heap, no more than its height."""
        few = self.cost(desk, loop, clocks, 10)
        many = self.cost(desk, loop, clocks, 10_000)
        assert few[0] > 5, "nothing was counted"
        for one, other in zip(few, many, strict=True):
            assert other <= one * 1.2 + 20, (few, many)

    def test_of_snapshots_is_a_small_share_of_the_time(self, desk, loop, clocks, monkeypatch):
        """What is pending is written at most once a second, and much less often when that takes long."""
        one = loop()
        publish(desk, clocks)
        turn(one)
        writes = []
        write = files.write_snapshot

        def slow(*arguments):
            write(*arguments)
            clocks.move(0.5)
            writes.append(clocks.now)

        monkeypatch.setattr(files, "write_snapshot", slow)
        for _ in range(300):
            publish(desk, clocks)
            clocks.move(0.1)
            one.step(0.0)
        assert all(later - before >= 10 for before, later in itertools.pairwise(writes))
        assert len(writes) >= 3
