"""A journal that is kept for a time, or to a size, loses its oldest parts, and its readers know."""

from __future__ import annotations

from datetime import timedelta

import pytest
from journal_parts import SMALL, kept, missed, numbered, publish, read_all, segments, until, until_sealed

import tickbus as tb
from tickbus.errors import InvalidEventError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


def kept_bytes(bus):
    return sum(bus.stats()["journal"]["bytes"].values())


class TestRetention:
    @pytest.mark.parametrize("pack_after", [None, 0.0], ids=["sealed", "packed"])
    def test_by_size_keeps_the_newest(self, path, pack_after):
        """What is left begins where a reader is told it begins, and has no hole."""
        limit = 300_000
        with tb.Bus(journal=kept(path, keep_bytes=limit, pack_after=pack_after), **SMALL) as bus:
            ids = []
            until(
                lambda: (
                    ids.extend(publish(bus, 2000, first=len(ids))) or bus.stats()["journal"]["removed"] > 3
                )
            )
            until_sealed(bus)
            until(lambda: kept_bytes(bus) <= limit)
            reader = bus.subscribe(">", start="earliest")
            events = read_all(reader)
            first = ids.index(events[0][0])

            assert first > 0
            assert numbered(ids[first:], first) == events
            assert 0 == missed(reader), "it asked for the earliest there is"

    def test_by_age_removes_all_but_the_newest_sealed_segment(self, path):
        with tb.Bus(journal=kept(path, keep=timedelta(0)), **SMALL) as bus:
            publish(bus, 20_000)
            until_sealed(bus)
            until(lambda: segments(bus)["sealed"] == 1)
            stats = bus.stats()["journal"]

        assert stats["removed"] == stats["sealed"] - 1
        assert stats["removed_events"] > 15_000
        assert stats["removed_bytes"] > stats["removed_events"] * 32

    def test_keeps_what_is_young(self, path):
        with tb.Bus(journal=kept(path, keep=timedelta(days=1)), **SMALL) as bus:
            ids = publish(bus, 10_000)
            until_sealed(bus)
            assert 0 == bus.stats()["journal"]["removed"]
            assert numbered(ids) == read_all(bus.subscribe(">", start="earliest"))

    def test_waits_for_durable_subscriptions(self, path):
        """What one has not acknowledged stays, is counted as held, and goes when it is acknowledged."""
        with tb.Bus(journal=kept(path, keep=0.0), **SMALL) as bus:
            slow = bus.subscribe(">", durable="reports", start="earliest")
            ids = publish(bus, 20_000)
            until_sealed(bus)
            until(lambda: bus.stats()["journal"]["held"] > 1)
            assert 0 == bus.stats()["journal"]["removed"]

            assert numbered(ids) == read_all(slow)
            slow.ack()
            until(lambda: segments(bus)["sealed"] == 1)

            assert 0 == missed(slow)

    def test_removes_nothing_while_a_cursor_cannot_be_read(self, path):
        """It may stand anywhere. What is wrong is told."""
        with tb.Bus(journal=kept(path, keep=0.0), **SMALL) as bus:
            with bus.subscribe(">", durable="reports", start="earliest"):
                pass
            (cursor,) = (path / "cursors").glob("*.cursor")
            cursor.write_bytes(b"\xff" * cursor.stat().st_size)
            publish(bus, 20_000)
            until_sealed(bus)
            until(lambda: bus.stats()["journal"]["failing"])
            stats = bus.stats()["journal"]

        assert (0, True) == (stats["removed"], "reports" in stats["failing"])

    def test_is_told_to_a_reader_that_wanted_more(self, path):
        """One that starts at an event that has gone, and one that was lapped and came too late."""
        with tb.Bus(journal=kept(path, keep=0.0), **SMALL) as bus:
            slow = bus.subscribe(">")
            ids = publish(bus, 20_000)
            until_sealed(bus)
            until(lambda: segments(bus)["sealed"] == 1)
            late = bus.subscribe(">", start=ids[10])
            for reader, wanted in ((slow, 0), (late, 10)):
                events = read_all(reader)
                first = ids.index(events[0][0])
                assert first > 10_000
                assert first - wanted == missed(reader)
                assert numbered(ids[first:], first) == events

    def test_leaves_a_journal_that_opens(self, path):
        ids = []
        for _ in range(3):
            with tb.Bus(journal=kept(path, keep=0.0), **SMALL) as bus:
                ids += publish(bus, 5000, first=len(ids))
                until_sealed(bus)
                until(lambda bus=bus: segments(bus)["sealed"] == 1)
        with tb.Bus(journal=kept(path), **SMALL) as bus:
            events = read_all(bus.subscribe(">", start="earliest"))
        first = ids.index(events[0][0])
        assert numbered(ids[first:], first) == events

    def test_waits_for_a_durable_subscription_and_says_so(self, path):
        """What it has not acknowledged stays; once it has, it goes."""
        with tb.Bus(journal=kept(path, keep=0.0), **SMALL) as bus:
            desk = bus.subscribe(">", durable="desk", ack="manual")
            ids = publish(bus, 20_000)
            until_sealed(bus)
            until(lambda: bus.stats()["journal"]["held"] == segments(bus)["sealed"] - 1)
            assert 0 == bus.stats()["journal"]["removed"]
            assert numbered(ids) == read_all(desk)
            assert 0 == missed(desk)

            desk.ack()
            until(lambda: segments(bus)["sealed"] == 1)
            assert 0 == bus.stats()["journal"]["held"]

    @pytest.mark.parametrize(
        "options",
        [{"keep": -1}, {"keep": "1d"}, {"keep_bytes": -1}, {"keep_bytes": 0.5}, {"pack_after": -0.1}],
        ids=str,
    )
    def test_refuses_what_is_no_limit(self, path, options):
        with pytest.raises(InvalidEventError, match=next(iter(options))):
            tb.Bus(journal=kept(path, **options), **SMALL)
        assert not path.exists()
