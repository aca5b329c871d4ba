"""Full log segments are sealed in the background, and nobody who reads can tell."""

from __future__ import annotations

import logging
import os
import random
import struct
import time
from datetime import UTC, datetime, timedelta

import pytest
from journal_parts import (
    MARKET,
    SMALL,
    TRADING,
    kept,
    missed,
    numbered,
    publish,
    read_all,
    segments,
    until,
    until_sealed,
)

import tickbus as tb

FORMS = ["log", "sealed", "packed", "all"]
EVENTS = 20_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture(params=FORMS)
def written(request, path):
    """A bus whose journal has its parts in one form, or in all of them, and the ids of its events."""
    blocked = path / "00000000000000000000.seg.new"
    with tb.Bus(journal=kept(path), **SMALL) as bus:
        if request.param == "log":
            blocked.mkdir()
        ids = publish(bus, EVENTS // 2)
        if request.param != "log":
            until_sealed(bus)
        if request.param in ("packed", "all"):
            bus.journal.compact_old(0)
        ids += publish(bus, EVENTS // 2, first=EVENTS // 2)
        if request.param != "log":
            until_sealed(bus)
        if request.param == "packed":
            bus.journal.compact_old(timedelta(0))
        bus.journal.sync()
        there = {form for form, count in segments(bus).items() if count}
        assert there == {"all": {"packed", "sealed", "log"}}.get(request.param, {request.param, "log"})
        yield bus, ids
    if blocked.exists():
        blocked.rmdir()


class TestReaders:
    def test_from_the_earliest_see_every_event_once(self, written):
        bus, ids = written
        reader = bus.subscribe(">", start="earliest")

        assert numbered(ids) == read_all(reader)
        assert 0 == missed(reader)

    def test_start_at_any_event(self, written):
        bus, ids = written
        for first in (0, 1, 998, 4096, EVENTS // 2, EVENTS - 1):
            assert numbered(ids[first:], first) == read_all(bus.subscribe(">", start=ids[first]))

    def test_start_at_any_time(self, written):
        bus, ids = written
        for first in (0, 1000, 5001, EVENTS - 1):
            when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=1, microseconds=first)
            assert numbered(ids[first:], first) == read_all(bus.subscribe(">", start=when))

    def test_of_batches_see_the_same(self, written):
        bus, _ = written
        reader, values = bus.subscribe("market.>", start="earliest"), []
        while len(batch := reader.read_batch(777)):
            values += batch["value"].tolist()

        assert values == [float(n) for n in range(EVENTS)]

    def test_that_were_lapped_while_parts_were_sealed_miss_nothing(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            reader, found, ids = bus.subscribe(">"), [], []
            for burst in range(40):
                ids += publish(bus, 700, first=len(ids))
                found += [(e.id, e.symbol, e.value) for e in reader.drain(300)]
                if burst % 10 == 9:
                    until_sealed(bus)
                    bus.journal.compact_old(0)
            found += read_all(reader)

            assert numbered(ids) == found
            assert 0 == missed(reader)
            assert segments(bus)["packed"] > 0


class TestReopening:
    def test_finds_events_and_names_in_every_form(self, path):
        ids = []
        for run in range(4):
            with tb.Bus(journal=kept(path), **SMALL) as bus:
                ids += publish(bus, 5000, first=len(ids))
                until_sealed(bus)
                if run % 2 == 0:
                    bus.journal.compact_old(0)

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))
            assert segments(bus)["packed"] > 0 < segments(bus)["sealed"]

    def test_seals_what_an_earlier_run_has_left(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            blocked = path / "00000000000000000000.seg.new"
            blocked.mkdir()
            ids = publish(bus, 5000)
        blocked.rmdir()

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            until_sealed(bus)
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))

    def test_keeps_payloads(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            order = bus.publish(TRADING, "BTC-USDT", 1.0, payload=b"client-order-17")
            publish(bus, 5000)
            until_sealed(bus)

        for form in ("sealed", "packed"):
            with tb.Bus(journal=kept(path), **SMALL) as bus:
                event = bus.subscribe("trading.>", start="earliest").poll()
                assert order == event.id
                assert b"client-order-17" == bus.payload(event)
                assert segments(bus)[form] > 0
                bus.journal.compact_old(0)


class TestFailure:
    def test_is_told_and_tried_again_and_costs_nothing(self, path, caplog):
        """Something stands where the sealed file should be written: the log goes on without sealing."""
        with tb.Bus(journal=kept(path), **SMALL) as bus, caplog.at_level(logging.WARNING, "tickbus.journal"):
            blocked = path / "00000000000000000000.seg.new"
            blocked.mkdir()
            ids = publish(bus, 5000)
            bus.journal.sync()
            until(lambda: bus.stats()["journal"]["failing"])
            until(lambda: caplog.records)
            stats = bus.stats()["journal"]

            assert str(blocked) in stats["failing"]
            assert stats["failures"] >= 1
            assert 0 == stats["sealed"]
            assert str(blocked) in caplog.records[0].getMessage()

            blocked.rmdir()
            ids += publish(bus, 1000, first=5000)
            until_sealed(bus)
            until(lambda: bus.stats()["journal"]["failing"] is None)

            assert str(blocked) in bus.stats()["journal"]["last_failure"]
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))


class TestFigures:
    def test_say_what_there_is(self, path):
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            publish(bus, 5000)
            until_sealed(bus)
            stats, files = None, []
            while stats is None or bus.stats()["journal"] != stats:
                # One more may have been sealed between the figures and the folder.
                stats = bus.stats()["journal"]
                files = [(file.suffix, file.stat().st_size) for file in path.glob("*.seg")]

        sealed = [size for suffix, size in files if suffix == ".seg"]
        assert len(sealed) == stats["segments"]["sealed"] > 0
        assert sum(sealed) == stats["bytes"]["sealed"]
        assert stats["written"] >= 5000

    def test_are_of_the_handle_that_keeps_the_journal(self, bus):
        assert bus.stats()["journal"] is None


def publish_for_ever(path, acknowledged, seed):
    choose = random.Random(seed)
    bus = tb.Bus(journal=kept(path, pack_after=0.0), **SMALL)
    number = 1 + max((int(event[2]) for event in read_all(bus.subscribe(">", start="earliest"))), default=-1)
    while True:
        count = choose.choice([1, 10, 1000])
        publish(bus, count, first=number)
        number += count
        bus.journal.sync(disk=False)
        os.write(acknowledged, struct.pack("<Q", number))


def test_killed_at_any_instant_of_sealing_and_packing_a_journal_is_whole(path, fork, stress):
    """One journal through all trials; segments are sealed and packed as fast as they fill."""
    random_number, acknowledged = random.Random(11), 0
    for trial in range(20 * stress):
        receive, send = os.pipe()
        child = fork(lambda send=send, trial=trial: publish_for_ever(path, send, trial))
        os.close(send)
        first = os.read(receive, 8)
        time.sleep(random_number.random() * 0.15)
        assert -9 == child.kill()
        with os.fdopen(receive, "rb") as stream:
            acknowledged = struct.unpack("<Q", (first + stream.read())[-8:])[0]

        with tb.Bus(journal=kept(path), **SMALL) as bus:
            events = read_all(bus.subscribe(">", start="earliest"))

        assert [(f"S{n % 7}", float(n)) for n in range(len(events))] == [event[1:] for event in events]
        assert len({event[0] for event in events}) == len(events) >= acknowledged, f"trial {trial}"
    assert any(path.glob("*.segz")), "something was packed"


def test_another_process_reads_while_segments_are_sealed(path, bus_name, fork):
    """It has no lock and no word from the writer: only the directory, which changes under it."""

    def read():
        with tb.Bus(bus_name) as bus:
            for _ in range(3):
                reader, expected = bus.subscribe(">", start="earliest"), 0
                while expected < 30_000:
                    for event in reader.drain(1000):
                        assert event.value == expected
                        expected += 1
                assert 0 == missed(reader)
        os._exit(7)

    with tb.Bus(bus_name, journal=kept(path, pack_after=0.0), **SMALL) as bus:
        child = fork(read)
        for first in range(0, 30_000, 100):
            publish(bus, 100, first=first, kind=MARKET)
        assert 7 == child.wait()
