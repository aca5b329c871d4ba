"""Critical events from publish to acknowledgement, escalation or dead letter, as a desk sees them."""

import asyncio
import json
import os
import threading
import time

import pytest
from delivery_desk import crash, publish, turn

import tickbus as tb
from tickbus import journal as journals
from tickbus.delivery import Delivery, Outcome, Policy, Retry, files, wire
from tickbus.delivery.state import Fate, Kind
from tickbus.errors import (
    CursorLockedError,
    InFlightFullError,
    InvalidEventError,
    InvalidNameError,
    JournalError,
    PatternError,
    TypeTakenError,
    UnknownNameError,
)

RISK, STOP, TRADING = tb.EventType.DRAWDOWN_ALERT, tb.EventType.EMERGENCY_STOP, tb.EventType.ORDER_PLACED
QUICK = Policy(retry=Retry(attempts=3, first_s=0.01, most_s=0.02), escalate_after_s=0.05, step_s=0.02)


@pytest.fixture
def delivery(make):
    return make()


class TestReceipts:
    def test_say_who_acknowledged_and_when(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        before = time.time_ns()
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        assert receipt.persisted
        assert receipt.wait(0.01).outcome is Outcome.TIMEOUT

        oms.ack(oms.poll(5))
        result = receipt.wait(5)

        assert (result.outcome, result.missing) == (Outcome.ACKED, ())
        assert bool(result)
        assert before <= result.by["oms"] <= time.time_ns()

    def test_wait_for_all_roles_that_match(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")
        engine = delivery.subscribe("risk.>", role="risk-engine")
        delivery.subscribe("critical.>", role="other")
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        oms.poll(5)
        oms.poll()
        assert receipt.wait(0.01).missing == ("risk-engine",)
        engine.poll(5)
        engine.poll()
        assert receipt.wait(5).outcome is Outcome.ACKED

    def test_can_be_awaited(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")

        async def run():
            receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)

            async def work():
                async for _ in oms:
                    pass

            working = asyncio.create_task(work())
            result = await asyncio.wait_for(receipt, 20)
            working.cancel()
            return result

        assert asyncio.run(run()).outcome is Outcome.ACKED

    def test_come_from_the_bus_as_well(self, desk, delivery):
        delivery.subscribe("risk.>", role="oms")
        receipt = desk.publish_critical(RISK, "BTC-USDT", 0.2, source="desk", metadata=7)
        assert desk.wait_ack(receipt.event_id, 0).missing == ("oms",)
        delivery.close()
        with pytest.raises(JournalError, match="Delivery"):
            desk.publish_critical(RISK, "BTC-USDT", 0.2)

    def test_answer_many_threads(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")
        results = []

        def run():
            results.extend(delivery.publish_critical(RISK, "BTC-USDT", 0.2).wait(20) for _ in range(20))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            oms.poll(0.01)
        assert [result.outcome for result in results] == [Outcome.ACKED] * 80

    def test_by_id_in_another_run(self, kept):
        with tb.Bus(journal=kept) as bus, Delivery(bus) as delivery:
            delivery.subscribe("risk.>", role="oms")
            event_id = delivery.publish_critical(RISK, "BTC-USDT", 0.2).event_id
        with tb.Bus(journal=kept) as bus, Delivery(bus) as delivery:
            assert delivery.wait_ack(event_id, 0.01).outcome is Outcome.TIMEOUT
            oms = delivery.subscribe("risk.>", role="oms", ack="manual")
            event = oms.poll(5)
            assert (event.id, oms.redelivered) == (event_id, True)
            oms.ack(event)
            assert list(delivery.wait_ack(event_id, 5).by) == ["oms"]


class TestRoles:
    def test_get_events_in_order_and_again_after_a_crash(self, desk, delivery, make):
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        ids = [delivery.publish_critical(RISK, "BTC-USDT", float(n)).event_id for n in range(200)]
        events = [oms.poll(5) for _ in range(150)]
        assert [event.id for event in events] == ids[:150]
        for event in events[::2]:
            oms.ack(event)
        crash(oms)

        again = make().subscribe("risk.>", role="oms", ack="manual")
        found = []
        while (event := again.poll(0.0)) is not None:
            found.append(event.id)
            assert again.redelivered
        assert found == [one for at, one in enumerate(ids) if at >= 150 or at % 2]

    def test_a_loop_body_that_raises_has_acknowledged_nothing(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")
        first = delivery.publish_critical(RISK, "BTC-USDT", 1.0)
        second = delivery.publish_critical(RISK, "BTC-USDT", 2.0)

        def work():
            for event in oms:
                if event.value == 2.0:
                    raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            work()
        assert first.wait(5).outcome is Outcome.ACKED
        assert second.wait(0.01).outcome is Outcome.TIMEOUT

    def test_one_member_is_active_and_the_next_follows_it(self, delivery):
        first = delivery.subscribe("risk.>", role="oms", ack="manual")
        second = delivery.subscribe("risk.>", role="oms", ack="manual")
        assert (first.active, second.active) == (True, False)
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        assert second.poll(0.0) is None
        first.close()

        event = second.poll(20)

        assert (event.id, second.active) == (receipt.event_id, True)

    def test_an_exclusive_one_is_refused_with_the_pid(self, delivery):
        delivery.subscribe("risk.>", role="oms")
        with pytest.raises(CursorLockedError) as refused:
            delivery.subscribe("risk.>", role="oms", exclusive=True)
        assert refused.value.pid == os.getpid()
        assert len(files.live_members(delivery._folder, "oms")) == 1, "it took a place and gave it back"

    def test_are_known_when_nobody_is_attached(self, delivery, make):
        delivery.subscribe("risk.>", role="oms").close()
        other = make()
        assert other.roles() == {"oms": ("risk.>",)}
        assert other.publish_critical(RISK, "BTC-USDT", 0.2).wait(0.01).missing == ("oms",)

    def test_can_be_dropped(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")
        delivery.subscribe("risk.>", role="risk-engine").close()
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        oms.poll(5)
        oms.poll()
        with pytest.raises(CursorLockedError):
            delivery.drop_role("oms")
        delivery.drop_role("risk-engine")
        assert receipt.wait(5).outcome is Outcome.ACKED
        with pytest.raises(UnknownNameError):
            delivery.drop_role("risk-engine")


class TestRetries:
    def test_come_with_their_attempt_and_back_off(self, desk, delivery, loop, clocks):
        one = loop(Policy(retry=Retry(attempts=4, first_s=0.125, factor=2, jitter=0)))
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        turn(one)
        publish(desk, clocks)
        oms.poll(5)
        turn(one)
        seen = []
        for _ in range(100):
            clocks.move(1 / 64)
            turn(one, 2)
            if oms.poll() is not None:
                seen.append((clocks.now - 1000, oms.attempt, oms.redelivered))
        assert seen == [(0.125, 2, True), (0.375, 3, True), (0.875, 4, True)]

    def test_reach_another_member_when_one_is_stuck(self, desk, delivery, loop, clocks):
        one = loop(Policy(retry=Retry(first_s=0.1, jitter=0)))
        stuck = delivery.subscribe("risk.>", role="oms", ack="manual")
        other = delivery.subscribe("risk.>", role="oms", ack="manual")
        turn(one)
        event_id = publish(desk, clocks)
        stuck.poll(5)
        turn(one)
        clocks.move(0.1)
        turn(one)
        event = other.poll(0.0)
        assert (event.id, other.attempt) == (event_id, 2)
        other.ack(event)
        turn(one)
        assert one.fate(event_id >> 2) is Fate.ACKED

    def test_of_what_was_refused_wait_as_long_as_asked(self, desk, delivery, loop, clocks):
        one = loop()
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        turn(one)
        publish(desk, clocks)
        oms.nak(oms.poll(5), 2.0)
        turn(one)
        clocks.move(1.9)
        turn(one)
        assert oms.poll() is None
        clocks.move(0.2)
        turn(one)
        assert oms.poll() is not None
        assert oms.attempt == 2

    def test_of_what_was_acknowledged_before_a_member_came_are_passed_over(self, desk, delivery, make):
        """The loop had not read the acknowledgement when it wrote who gets the event again."""
        first = delivery.subscribe("risk.>", role="oms", ack="manual")
        event_id = desk.publish(RISK, "BTC-USDT", 0.2)
        first.ack(first.poll(5))
        second = make().subscribe("risk.>", role="oms", ack="manual")
        again = wire.pack_attempt(2, second.number)
        desk.publish(wire.NUMBERS[Kind.REDELIVER], 0, again, metadata=event_id >> 2, source="oms")
        assert second.poll() is None
        other_id = desk.publish(RISK, "BTC-USDT", 0.2)
        desk.publish(wire.NUMBERS[Kind.REDELIVER], 0, again, metadata=other_id >> 2, source="oms")
        assert second.poll(5).id == other_id

    def test_are_at_once_after_a_restart(self, desk, delivery, loop, clocks):
        one = loop()
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        publish(desk, clocks)
        oms.poll(5)
        turn(one)
        one.abandon()
        turn(loop())
        assert oms.poll() is not None


class TestDeadLetters:
    def test_come_after_the_last_attempt_and_can_be_redriven(self, desk, delivery, make):
        with Delivery(desk, default=QUICK) as running:
            oms = running.subscribe("risk.>", role="oms", ack="manual")
            receipt = running.publish_critical(RISK, "BTC-USDT", 0.2)
            result = receipt.wait(20)
            assert (result.outcome, result.attempts, result.steps) == (Outcome.DEAD_LETTERED, {"oms": 3}, 1)
            (letter,) = running.dead_letters()
            assert (letter.event_id, letter.event_type, letter.symbol, letter.missing) == (
                receipt.event_id,
                "drawdown_alert",
                "BTC-USDT",
                ("oms",),
            )
            while oms.poll(0.0) is not None:
                pass
            running.redrive(receipt.event_id)
            event = oms.poll(20)
            assert (event.id, oms.redelivered) == (receipt.event_id, True)
            oms.ack(event)
            assert receipt.wait(20).outcome is Outcome.ACKED
            assert running.dead_letters() == []

    def test_are_kept(self, kept):
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=QUICK) as delivery:
            event_id = delivery.publish_critical(RISK, "BTC-USDT", 0.2).event_id
            assert delivery.wait_ack(event_id, 20).outcome is Outcome.DEAD_LETTERED
        with tb.Bus(journal=kept) as bus, Delivery(bus, default=QUICK) as delivery:
            assert [letter.event_id for letter in delivery.dead_letters()] == [event_id]
            assert delivery.wait_ack(event_id, 0).outcome is Outcome.DEAD_LETTERED

    def test_redriving_another_event_is_refused(self, delivery):
        receipt = delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        with pytest.raises(UnknownNameError):
            delivery.redrive(receipt.event_id)


class TestClosing:
    def test_in_any_order_leaves_nothing_behind(self, kept):
        """A desk that closes its bus first, or nothing at all, is not punished for it."""
        for first in ("bus", "delivery", "member"):
            bus = tb.Bus(journal=kept)
            delivery = Delivery(bus)
            member = delivery.subscribe("risk.>", role="oms")
            for one in sorted((bus, delivery, member), key=lambda one: first not in repr(type(one)).lower()):
                one.close()
            assert member.closed
            delivery.close()
            member.close()
        assert {cursor.holder for cursor in journals.cursors(kept.path)} == {None}

    def test_a_member_that_is_closed_stops_its_loop(self, delivery):
        oms = delivery.subscribe("risk.>", role="oms")
        oms.close()
        assert list(oms) == []


class TestInFlight:
    def test_full_it_refuses_and_publishes_nothing(self, desk, make):
        delivery = make(max_in_flight=3)
        oms = delivery.subscribe("risk.>", role="oms")
        for _ in range(3):
            delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        before = desk.stats()["lanes"]["critical"]["published"]
        with pytest.raises(InFlightFullError, match="max_in_flight=3"):
            delivery.publish_critical(RISK, "BTC-USDT", 0.2, timeout_s=0.01)
        assert desk.stats()["lanes"]["critical"]["published"] == before
        oms.poll(5)
        oms.poll(0)
        delivery.publish_critical(RISK, "BTC-USDT", 0.2, timeout_s=0.0)

    def test_full_it_waits_for_an_outcome(self, make):
        """Acknowledged or dead: either makes room."""
        delivery = make(max_in_flight=1)
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        delivery.publish_critical(RISK, "BTC-USDT", 1.0)
        receipts = []

        def publish():
            receipts.append(delivery.publish_critical(RISK, "BTC-USDT", 2.0, timeout_s=60))

        waiting = threading.Thread(target=publish)
        waiting.start()
        waiting.join(0.1)
        assert receipts == []
        oms.ack(oms.poll(5))
        waiting.join(20)
        (receipt,) = receipts
        assert oms.poll(5).id == receipt.event_id


class TestBadInput:
    def test_an_event_of_somebody_else(self, desk, delivery):
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        reader = desk.subscribe(">")
        desk.publish(TRADING, "BTC-USDT", 1.0)
        delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        foreign, trading = reader.drain()
        acks = desk.subscribe("system.delivery_ack.>")
        with pytest.raises(InvalidEventError, match="not handed"):
            oms.ack(foreign)
        with pytest.raises(InvalidEventError, match="critical lane"):
            oms.ack(trading)
        with pytest.raises(InvalidEventError, match="critical lane"):
            oms.nak(tb.Event(RISK, "BTC-USDT", 0.2, priority=0))
        assert acks.poll() is None

    def test_a_second_ack_is_nothing(self, desk, delivery):
        oms = delivery.subscribe("risk.>", role="oms", ack="manual")
        delivery.publish_critical(RISK, "BTC-USDT", 0.2)
        event = oms.poll(5)
        acks = desk.subscribe("system.delivery_ack.>")
        oms.ack(event)
        oms.ack(event)
        oms.nak(event)
        assert (len(acks.drain()), oms.repeated) == (1, 2)

    @pytest.mark.parametrize("patterns", [("market.>",), ("risk.>", ">"), ("*.drawdown_alert.>",)])
    def test_a_role_for_other_events(self, delivery, patterns):
        with pytest.raises(PatternError, match="risk and critical"):
            delivery.subscribe(*patterns, role="oms")
        assert delivery.roles() == {}

    @pytest.mark.parametrize("name", ["", "a b", "a/b", "a.b", "x" * 61])
    def test_a_role_without_a_name(self, delivery, name):
        with pytest.raises(InvalidNameError, match="role"):
            delivery.subscribe("risk.>", role=name)

    def test_a_type_that_is_not_followed(self, desk, make):
        delivery = make(policies={STOP: None})
        for kind in (TRADING, STOP):
            with pytest.raises(InvalidEventError, match="not followed"):
                delivery.publish_critical(kind, "BTC-USDT", 1.0)
        with pytest.raises(InvalidEventError, match="not followed"):
            delivery.wait_ack(desk.publish(TRADING, "BTC-USDT", 1.0), 0)
        with pytest.raises(InvalidEventError, match="not followed"):
            delivery.wait_ack(desk.publish(STOP, "BTC-USDT", 1.0), 0)
        with pytest.raises(InvalidEventError, match="not been published"):
            delivery.wait_ack(999 << 2 | 2, 0)

    def test_a_bus_without_a_journal(self, bus):
        with pytest.raises(JournalError, match="needs a journal"):
            Delivery(bus)

    def test_a_bus_that_uses_its_numbers(self, bus_name, kept):
        with tb.Bus(bus_name, journal=kept) as bus:
            bus.register_type(112, "heartbeat")
            with pytest.raises(TypeTakenError, match="112"):
                Delivery(bus)

    def test_a_forged_role_record_is_passed_over(self, desk, delivery, caplog):
        number = wire.NUMBERS[Kind.ROLE]
        for payload in (b"nonsense", b"[]", json.dumps({"patterns": 3}).encode()):
            desk.publish(number, 0, 1.0, source="evil", payload=payload, priority=tb.Priority.CRITICAL)
        assert delivery.roles() == {}
        assert "evil" in caplog.text

    @pytest.mark.parametrize(
        "options",
        [
            {"required": "most"},
            {"required": ()},
            {"escalate_after_s": 0},
        ],
    )
    def test_a_policy_that_is_none(self, options):
        with pytest.raises(InvalidEventError):
            Policy(**options)

    @pytest.mark.parametrize("options", [{"attempts": 0}, {"first_s": 0}, {"factor": 0.5}, {"jitter": 1}])
    def test_a_retry_that_is_none(self, options):
        with pytest.raises(InvalidEventError):
            Retry(**options)
