"""Durable subscriptions: a reader goes on where it acknowledged, whatever happened in between."""

import asyncio
import itertools
import os
import random
import shutil
import struct
import textwrap
import threading
import time

import pytest

import tickbus as tb
from tickbus import journal as journals
from tickbus.errors import (
    BusClosedError,
    BusForkedError,
    CursorError,
    CursorLockedError,
    InvalidEventError,
    InvalidNameError,
    JournalError,
    UnknownNameError,
)
from tickbus.journal import Journal

MARKET, TRADING, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED, tb.EventType.DRAWDOWN_ALERT
SMALL = {"critical_size": 64, "high_size": 128, "normal_size": 256}
KILLS = 60


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def kept(path, **options):
    return Journal(path, critical="os", segment_mib=1, **options)


def publish(bus, count, first=0, kinds=(MARKET, TRADING, RISK)):
    """Events of every lane in turn, numbered; their ids."""
    turns = itertools.islice(itertools.cycle(kinds), count)
    return [bus.publish(kind, "BTC-USDT", float(first + n)) for n, kind in enumerate(turns)]


def values(events):
    return sorted(int(event.value) for event in events)


def drained(subscription, size=100):
    return [event for part in iter(lambda: subscription.drain(size), []) for event in part]


def output(process):
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out.strip()


class TestContinuing:
    def test_in_the_next_run_where_it_acknowledged(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual")
            publish(bus, 3000)
            first = [desk.poll() for _ in range(500)]
            desk.ack()
            again = [desk.poll() for _ in range(300)]

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual")
            assert desk.resumed
            publish(bus, 300, first=3000)
            rest = drained(desk)

        assert values(first + rest) == list(range(3300)), "no gap, and nothing acknowledged comes again"
        assert set(values(again)) <= set(values(rest)), "what was not acknowledged comes again"
        assert desk.missed == 0

    def test_begins_at_start_only_the_first_time(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 30)
            bus.subscribe(">", durable="latest").close()
            bus.subscribe(">", durable="earliest", start="earliest").close()
            publish(bus, 30, first=30)

            latest = bus.subscribe(">", durable="latest", start="earliest")
            earliest = bus.subscribe(">", durable="earliest", start="latest")

            assert values(drained(latest)) == list(range(30, 60)), "it began before its first crash"
            assert values(drained(earliest)) == list(range(60))

    @pytest.mark.parametrize("kind", [MARKET, TRADING, RISK])
    def test_a_reader_a_hundred_times_too_slow_misses_nothing(self, path, kind):
        """One event is read for each hundred published, in lanes of 64 to 256."""
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            slow = bus.subscribe(">", durable="slow")
            read = []
            for first in range(0, 20_000, 100):
                publish(bus, 100, first=first, kinds=[kind])
                read.append(slow.poll())
            bus.journal.sync(disk=False)

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            # The last one read was not acknowledged: its reader has not come back for another.
            rest = drained(bus.subscribe(">", durable="slow"))

        assert values(read[:-1] + rest) == list(range(20_000))

    def test_on_a_named_bus_that_another_process_journals(self, path, bus_name, python):
        with tb.Bus(bus_name, journal=kept(path), **SMALL) as bus:
            code = f"""
                import tickbus as tb
                with tb.Bus({bus_name!r}) as bus:
                    desk = bus.subscribe(">", durable="desk", start="earliest", ack="manual")
                    events = []
                    while part := desk.drain(50):
                        events += [int(event.value) for event in part][: 700 - len(events)]
                        if len(events) < 700:
                            desk.ack()
                    print(desk.resumed, len(events), desk.missed)
            """
            publish(bus, 500)
            assert output(python(textwrap.dedent(code))) == "False 500 0"
            publish(bus, 500, first=500)
            assert output(python(textwrap.dedent(code))) == "True 500 0"

    def test_skips_in_each_lane_what_it_did_not_want(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            desk = bus.subscribe("risk.>", durable="desk", ack="manual")
            publish(bus, 900)
            *_, last = drained(desk)
            desk.ack(last)

            assert desk.unacknowledged == {"normal": 0, "high": 0, "critical": 0}
            assert journals.cursors(path)[0].next == {"normal": 300, "high": 300, "critical": 300}


class TestAcknowledging:
    def test_automatically_is_what_the_next_read_does(self, path):
        """A loop body that raised has not handled its event, so it comes again."""
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 10, kinds=[RISK])
            seen = []

            def handle(event):
                seen.append(int(event.value))
                if event.value == 4:
                    raise ZeroDivisionError

            def run():
                with bus.subscribe(">", durable="desk", start="earliest") as desk:
                    for event in desk:
                        handle(event)

            with pytest.raises(ZeroDivisionError):
                run()
            assert seen == [0, 1, 2, 3, 4]
            assert values(drained(bus.subscribe(">", durable="desk"))) == [4, 5, 6, 7, 8, 9]

    @pytest.mark.parametrize("way", ["drain", "read_batch", "async"])
    def test_automatically_in_every_way_of_reading(self, path, way):
        async def take(desk, count):
            async for _ in desk:
                count -= 1
                if count == 0:
                    return

        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 10, kinds=[RISK])
            desk = bus.subscribe(">", durable="desk", start="earliest")
            if way == "async":
                asyncio.run(take(desk, 6))
            else:
                getattr(desk, way)(5)
                getattr(desk, way)(1)
            desk.close()

            assert values(drained(bus.subscribe(">", durable="desk"))) == [5, 6, 7, 8, 9]

    def test_one_event_acknowledges_those_before_it_in_its_lane(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 30)
            desk = bus.subscribe(">", durable="desk", start="earliest", ack="manual")
            events = drained(desk)
            risk = [event for event in events if event.event_type == RISK]
            desk.ack(risk[5])
            desk.ack(risk[2])
            desk.close()

            again = drained(bus.subscribe(">", durable="desk"))

        assert values(again) == sorted(set(values(events)) - set(values(risk[:6])))

    def test_of_what_was_not_handed_out_is_refused(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual")
            publish(bus, 3, kinds=[RISK])
            unread = bus.subscribe(">", start="earliest").drain()[-1]
            desk.poll()
            with pytest.raises(InvalidEventError, match="handed out"):
                desk.ack(unread)
            with pytest.raises(InvalidEventError, match="published"):
                desk.ack(tb.Event(RISK, "BTC-USDT", 1.0))
            desk.close()
            with pytest.raises(BusClosedError):
                desk.ack()

    def test_while_another_thread_waits_takes_only_what_was_handed_out(self, path):
        """A worker acknowledges while the reader takes the next event: none is lost by that."""
        with tb.Bus(journal=kept(path)) as bus:
            desk = bus.subscribe(">", durable="desk", start="earliest", ack="manual")
            taken = []

            def read():
                taken.extend(int(event.value) for event in desk)

            reader = threading.Thread(target=read)
            reader.start()
            for first in range(0, 3000, 3):
                publish(bus, 3, first=first)
                desk.ack()
                least = sum(journals.cursors(path)[0].next.values())
                assert least <= sum(desk._handed)
            while len(taken) < 3000:
                time.sleep(0.001)
            desk.ack()
            desk.close()
            reader.join()

            assert sorted(taken) == list(range(3000))
            assert drained(bus.subscribe(">", durable="desk")) == []

    @pytest.mark.parametrize("level", ["os", "disk"])
    def test_at_either_level_is_there_at_once(self, path, level):
        with tb.Bus(journal=kept(path)) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual", cursor=level)
            publish(bus, 3, kinds=[RISK])
            desk.drain()
            desk.ack()
            assert journals.cursors(path)[0].next["critical"] == 3


class TestOneReader:
    def test_has_a_name(self, path, bus_name, python):
        with tb.Bus(bus_name, journal=kept(path)) as bus, bus.subscribe(">", durable="desk"):
            code = f"""
                import tickbus as tb
                from tickbus.errors import CursorLockedError
                try:
                    tb.Bus({bus_name!r}).subscribe(">", durable="desk")
                except CursorLockedError as error:
                    print(error.pid)
            """
            assert output(python(textwrap.dedent(code))) == str(os.getpid())
            with pytest.raises(CursorLockedError, match="desk"):
                bus.subscribe(">", durable="desk")
            bus.subscribe(">", durable="other")

    def test_gives_its_name_back_when_it_is_killed(self, path, bus_name, fork):
        with tb.Bus(bus_name, journal=kept(path)) as bus:
            ready, tell = os.pipe()

            def hold():
                # Kept alive, or its end would give the name back.
                desk = tb.Bus(bus_name).subscribe(">", durable="desk")
                os.write(tell, b"x")
                time.sleep(60 if desk else 0)

            child = fork(hold)
            os.read(ready, 1)
            with pytest.raises(CursorLockedError):
                bus.subscribe(">", durable="desk")
            child.kill()
            bus.subscribe(">", durable="desk")

    def test_is_not_its_fork(self, path, fork):
        with tb.Bus(journal=kept(path)) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual")
            publish(bus, 3, kinds=[RISK])
            desk.poll()

            def child():
                with pytest.raises(BusForkedError):
                    desk.ack()
                desk.close()

            assert fork(child).wait() == 0
            with pytest.raises(CursorLockedError):
                bus.subscribe(">", durable="desk")


class TestTheLogChanged:
    def test_restored_from_a_copy_it_continues_where_the_bus_began(self, path, tmp_path, caplog):
        copy = tmp_path / "copy"
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 300)
        shutil.copytree(path, copy)
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 300, first=300)
            desk = bus.subscribe(">", durable="desk", start="earliest", ack="manual")
            drained(desk)
            desk.ack()
        shutil.copytree(path / "cursors", copy / "cursors")

        with tb.Bus(journal=kept(copy)) as bus:
            publish(bus, 30, first=1000)
            desk = bus.subscribe(">", durable="desk")

            assert desk.unlogged == {"normal": 100, "high": 100, "critical": 100}
            assert values(drained(desk)) == list(range(1000, 1030)), "new events under old sequences"
        assert "acknowledged more events than the log has" in caplog.text

    def test_replaced_by_another_it_is_refused(self, path, tmp_path):
        with tb.Bus(journal=kept(path)) as bus:
            bus.subscribe(">", durable="desk")
        other = tmp_path / "other"
        with tb.Bus(journal=kept(other)) as bus:
            publish(bus, 3)
        shutil.copytree(path / "cursors", other / "cursors")

        with tb.Bus(journal=kept(other)) as bus:
            with pytest.raises(CursorError, match="another journal"):
                bus.subscribe(">", durable="desk")
            assert journals.least_cursors(other) == {}, "it keeps nothing of this one"
            journals.drop_cursor(other, "desk")
            assert not bus.subscribe(">", durable="desk").resumed

    def test_a_damaged_cursor_is_refused_and_holds_everything(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            bus.subscribe(">", durable="desk").close()
            (path / "cursors" / "desk.cursor").write_bytes(b"x" * 12288)
            with pytest.raises(CursorError, match=r"desk\.cursor"):
                bus.subscribe(">", durable="desk")
            with pytest.raises(CursorError):
                journals.least_cursors(path)
            assert "whole" in journals.cursors(path)[0].trouble


class TestLooking:
    def test_lists_who_is_where(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            publish(bus, 30)
            one = bus.subscribe("risk.>", "market.>", durable="one", start="earliest", ack="manual")
            drained(one)
            one.ack()
            bus.subscribe(">", durable="two", start="earliest").close()
            bus.journal.sync(disk=False)
            first, second = journals.cursors(path)

            assert (first.name, first.patterns, first.holder) == ("one", ("risk.>", "market.>"), os.getpid())
            assert (second.name, second.holder, second.trouble) == ("two", None, "")
            assert first.lag(bus.journal.persisted) == {"normal": 0, "high": 0, "critical": 0}
            assert second.lag(bus.journal.persisted) == {"normal": 10, "high": 10, "critical": 10}
            assert first.age_s is not None
            assert journals.least_cursors(path) == {"normal": 0, "high": 0, "critical": 0}
            journals.drop_cursor(path, "two")
            assert journals.least_cursors(path) == {"normal": 10, "high": 10, "critical": 10}

    def test_drops_what_nobody_uses_and_nothing_else(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            with bus.subscribe(">", durable="desk"), pytest.raises(CursorLockedError):
                journals.drop_cursor(path, "desk")
            journals.drop_cursor(path, "desk")
            with pytest.raises(UnknownNameError, match="desk"):
                journals.drop_cursor(path, "desk")


class TestRefusals:
    @pytest.mark.parametrize("name", ["", "..", "a/b", "../../etc/passwd", "a b", "ümlaut", "x" * 101])
    def test_a_name_that_is_no_file_name(self, path, name):
        with tb.Bus(journal=kept(path)) as bus, pytest.raises(InvalidNameError, match="durable name"):
            bus.subscribe(">", durable=name)
        assert journals.cursors(path) == []

    def test_a_bus_without_a_journal(self, bus):
        with pytest.raises(JournalError, match="needs a journal"):
            bus.subscribe(">", durable="desk")

    def test_an_unknown_way_to_acknowledge(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            with pytest.raises(InvalidEventError, match="never"):
                bus.subscribe(">", durable="desk", ack="never")
            with pytest.raises(InvalidEventError, match="paper"):
                bus.subscribe(">", durable="desk", cursor="paper")
            with pytest.raises(tb.errors.PatternError):
                bus.subscribe("nonsense.>", durable="desk")
            bus.subscribe(">", durable="desk")


def read_until_killed(bus_name, said, mode, seed):
    """Read and acknowledge in random portions; write down what is handed out and what is acknowledged."""
    choose = random.Random(seed)
    desk = tb.Bus(bus_name).subscribe(">", durable="desk", start="earliest", ack=mode)
    while True:
        events = desk.drain(choose.randint(1, 40)) if choose.random() < 0.5 else [desk.poll(0.01)]
        if mode == "auto":
            os.write(said, struct.pack("<cQ", b"a", 0))
        ids = [event.id for event in events if event is not None]
        # One write of less than a pipe's block: whole or not at all.
        os.write(said, b"".join(struct.pack("<cQ", b"h", number) for number in ids))
        if mode == "manual" and choose.random() < 0.5:
            desk.ack()
            os.write(said, struct.pack("<cQ", b"a", 0))


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_a_reader_killed_at_any_instant_gets_everything_and_no_acknowledged_event_again(
    path, bus_name, fork, stress, mode
):
    choose, published, handed, acknowledged = random.Random(11), [], set(), set()
    with tb.Bus(bus_name, journal=kept(path), **SMALL) as bus:
        for trial in range(KILLS * stress // 2):
            receive, send = os.pipe()
            child = fork(lambda send=send, trial=trial: read_until_killed(bus_name, send, mode, trial))
            os.close(send)
            published += publish(bus, choose.randint(50, 400), first=len(published))
            time.sleep(choose.random() * 0.02)
            published += publish(bus, choose.randint(0, 50), first=len(published))
            child.kill()
            with os.fdopen(receive, "rb") as stream:
                said = [struct.unpack_from("<cQ", part) for part in iter(lambda: stream.read(9), b"")]
            in_hand = set()
            for what, number in said:
                if what == b"h":
                    assert number not in acknowledged, "an acknowledged event came again"
                    in_hand.add(number)
                else:
                    acknowledged |= in_hand
            handed |= in_hand

        with bus.subscribe(">", durable="desk", ack=mode) as desk:
            rest = {event.id for event in drained(desk)}

    assert desk.missed == 0
    assert not rest & acknowledged
    assert handed | rest == set(published)
    assert handed, "no reader lived long enough"
