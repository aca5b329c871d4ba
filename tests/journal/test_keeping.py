"""A bus with a journal: what was published is there again, in any later run and for any late reader."""

import os
import textwrap
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import tickbus as tb
from tickbus.errors import InvalidEventError, JournalLockedError, StartError
from tickbus.journal import Journal

MARKET, TRADING, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.ORDER_PLACED, tb.EventType.DRAWDOWN_ALERT
SMALL = {"critical_size": 64, "high_size": 128, "normal_size": 256}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def kept(path, **options):
    """A journal with small segments, so that tests go through several and make none of 64 MiB."""
    return Journal(path, segment_mib=1, **options)


def publish(bus, kind, count, first=0, symbol="BTC-USDT"):
    return [bus.publish(kind, symbol, float(n), timestamp=1000 + n) for n in range(first, first + count)]


def read_all(reader):
    events = []
    while batch := reader.drain(1000):
        events.extend((event.id, event.symbol, event.source, event.value) for event in batch)
    return events


def output(process):
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out.strip()


def missed(reader):
    return sum(lane["missed"] for lane in reader.ledger().values())


class TestReopening:
    def test_gives_every_event_again_with_its_id_and_names(self, path):
        with tb.Bus(journal=kept(path), source="desk") as bus:
            ids = publish(bus, MARKET, 1000) + publish(bus, RISK, 10, symbol="ETH-USDT")

        with tb.Bus(journal=kept(path)) as bus:
            events = read_all(bus.subscribe(">", start="earliest"))

        assert sorted(ids) == sorted(event[0] for event in events)
        assert {("BTC-USDT", "desk"), ("ETH-USDT", "desk")} == {event[1:3] for event in events}

    def test_goes_on_where_it_ended(self, path):
        runs = []
        for run in range(5):
            with tb.Bus(journal=kept(path), **SMALL) as bus:
                runs += publish(bus, MARKET, 77, first=run * 77)

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            events = read_all(bus.subscribe(">", start="earliest"))

        assert sorted(set(runs)) == runs, "ids grow over all runs"
        assert [(event_id, float(n)) for n, event_id in enumerate(runs)] == [(e[0], e[3]) for e in events]

    def test_keeps_names_whatever_numbers_a_bus_gives_them(self, path, bus_name):
        with tb.Bus(f"{bus_name}-1", journal=kept(path)) as bus:
            publish(bus, MARKET, 1, symbol="ONE")
            publish(bus, MARKET, 1, symbol="TWO")

        with tb.Bus() as other:
            other.symbol_id("TWO")
            with tb.Bus(journal=kept(path)) as bus:
                publish(bus, MARKET, 1, symbol="THREE")
                events = read_all(bus.subscribe(">", start="earliest"))

        assert ["ONE", "TWO", "THREE"] == [event[1] for event in events]

    def test_keeps_types_of_ones_own(self, path, bus_name):
        with tb.Bus(f"{bus_name}-1", journal=kept(path)) as bus:
            bus.register_type(200, "kill_switch", value="level")
            bus.publish(200, "BTC-USDT", 3.0)

        with tb.Bus(f"{bus_name}-2", journal=kept(path)) as bus:
            event = bus.subscribe(">", start="earliest").poll()

        assert ("kill_switch", 3.0) == (event.type_name, event.field("level"))


class TestLateReaders:
    @pytest.mark.parametrize("way", ["poll", "drain", "read_batch"])
    def test_miss_nothing(self, path, way):
        """A lane of 128 slots, 10,000 events, and a reader that looks when all are published."""
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            reader = bus.subscribe("market.>")
            ids = publish(bus, MARKET, 10_000)
            if way == "poll":
                found = [event.id for event in iter(reader.poll, None)]
            elif way == "drain":
                found = [event[0] for event in read_all(reader)]
            else:
                values = []
                while len(batch := reader.read_batch(777)):
                    values.extend(batch["value"].tolist())
                found = [ids[int(value)] for value in values]

            assert ids == found
            assert 0 == missed(reader)

    def test_join_the_lane_without_gap_or_duplicate(self, path):
        """History and live at once: a reader reads as fast as it can while events are published."""
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            reader = bus.subscribe(">", start="earliest")
            published, found = [], []
            for burst in (1, 127, 128, 129, 1000, 3, 500, 128, 64):
                published += publish(bus, MARKET, burst, first=len(published))
                found += [event.id for event in reader.drain(burst // 2)]
            found += [event[0] for event in read_all(reader)]

            assert published == found

    def test_start_at_an_event_or_a_time(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            ids = publish(bus, MARKET, 2000)
            bus.journal.sync()
            when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=2)

            at_event = bus.subscribe(">", start=ids[300])
            at_time = bus.subscribe(">", start=when)

            assert ids[300:] == [event[0] for event in read_all(at_event)]
            assert ids[1000:] == [event[0] for event in read_all(at_time)]

    def test_in_another_process_read_the_same(self, path, bus_name, python):
        with tb.Bus(bus_name, journal=kept(path), **SMALL) as bus:
            ids = publish(bus, MARKET, 5000)
            bus.journal.sync(disk=False)
            code = f"""
                import tickbus as tb
                bus = tb.Bus({bus_name!r})
                reader = bus.subscribe("market.>", start="earliest")
                ids = []
                while events := reader.drain(1000):
                    ids += [event.id for event in events]
                print(len(ids), sum(ids), reader.missed)
            """

            assert f"{len(ids)} {sum(ids)} 0" == output(python(textwrap.dedent(code)))


class TestCriticalEvents:
    def test_are_persisted_before_publish_returns(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            event_id = bus.publish(RISK, "BTC-USDT", 0.2)

            assert bus.journal.persisted["critical"] > event_id
            assert bus.journal.stats()["syncs"] >= 1

    def test_are_persisted_before_a_handler_sees_them(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            seen = []

            @bus.on("risk.>")
            def handler(event):
                seen.append(bus.journal.persisted["critical"] > event.id)

            publish(bus, RISK, 3)

        assert [True, True, True] == seen

    def test_wait_for_no_subscriber(self, path):
        """What a slow risk reader comes too late for, it reads from the journal."""
        with tb.Bus(journal=kept(path, critical="os"), **SMALL) as bus:
            slow = bus.subscribe("risk.>")
            ids = publish(bus, RISK, 1000)

            assert ids == [event[0] for event in read_all(slow)]

    def test_in_a_batch_cost_one_commit(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            rows = np.zeros(1024, tb.EVENT_DTYPE)
            rows["event_type"], rows["priority"] = RISK, tb.Priority.CRITICAL
            before = bus.journal.stats()["syncs"]
            bus.publish_batch(rows)

            assert 1 <= bus.journal.stats()["syncs"] - before <= 2
            assert 1024 << 2 | 2 == bus.journal.persisted["critical"]

    def test_of_another_process_are_persisted_here(self, path, bus_name, python):
        with tb.Bus(bus_name, journal=kept(path)) as bus:
            code = f"""
                import tickbus as tb
                print(tb.Bus({bus_name!r}, critical_timeout_s=20).publish({int(RISK)}, "BTC-USDT", 0.2))
            """
            event_id = int(output(python(textwrap.dedent(code))))

            assert bus.journal.persisted["critical"] > event_id
            assert event_id == bus.subscribe(">", start="earliest").poll().id


class TestPayloads:
    def test_are_kept_with_their_events(self, path):
        with tb.Bus(journal=kept(path)) as bus:
            bus.publish(TRADING, "BTC-USDT", 1.0, payload=b"client-order-17")

        with tb.Bus(journal=kept(path)) as bus:
            event = bus.subscribe(">", start="earliest").poll()

            assert b"client-order-17" == bus.payload(event)


class TestRefusals:
    def test_a_second_writer_hears_who_the_first_is(self, path, python):
        with tb.Bus(journal=kept(path)):
            code = f"""
                import os, tickbus as tb
                from tickbus.errors import JournalLockedError
                try:
                    tb.Bus(journal={str(path)!r})
                except JournalLockedError as error:
                    print(error.pid)
            """
            assert os.getpid() == int(output(python(textwrap.dedent(code))))
            with pytest.raises(JournalLockedError):
                tb.Bus(journal=kept(path))

    def test_a_level_that_is_none_is_named(self, path):
        with pytest.raises(InvalidEventError, match="fast"):
            tb.Bus(journal=Journal(path, high="fast"))
        assert not path.exists()

    def test_a_time_needs_a_zone_and_a_journal(self, path, bus):
        with pytest.raises(StartError, match="time zone"):
            bus.subscribe(">", start=datetime(2026, 1, 1))
        with pytest.raises(StartError, match="journal"):
            bus.subscribe(">", start=datetime.now(UTC))
