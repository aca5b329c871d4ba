"""The floors do the work they stand for."""

import pytest

from tickbus.bench import floor


class TestExtension:
    def test_hands_every_event_to_every_handler(self, extension):
        """Type, symbol and value arrive; with the clock, a stamp."""
        first, second = [], []
        extension.connect([first.append, second.append], True)
        try:
            extension.dispatch(3, 7, 1.5)
        finally:
            extension.connect([], False)

        (event,) = first
        assert (3, 7, 1.5) == (event.event_type, event.symbol, event.value)
        assert event.timestamp > 0
        assert second[0] is event

    def test_drains_what_was_published(self, extension):
        """In order, and then nothing."""
        extension.rewind(0)
        for value in (1.0, 2.0, 3.0):
            extension.publish(0, 1, value)

        assert [1.0, 2.0] == [event.value for event in extension.drain(2)]
        assert [3.0] == [event.value for event in extension.drain(9)]
        assert [] == extension.drain(9)

    def test_copies_batches_across_the_end_of_its_ring(self, extension):
        """70,000 events through 65,536 places, 1,000 at a time."""
        extension.rewind(0)
        for start in range(70):
            batch = bytes([start]) * 32_000
            out = bytearray(32_000)

            assert 1_000 == extension.publish_batch(batch)
            assert 1_000 == extension.read_batch(out)
            assert batch == out

    @pytest.mark.parametrize("arguments", [(), (1, 2), ("a", 1, 1.0), (1, 2, "x")])
    def test_refuses_other_arguments(self, extension, arguments):
        """It is minimal, not undefined."""
        with pytest.raises(TypeError):
            extension.publish(*arguments)


class TestMachine:
    @pytest.mark.parametrize("way", ["spin", "eventfd", "futex"])
    def test_latencies_are_ordered(self, extension, way):
        """p50 to p99.9 rise; the waker's own cost is there too."""
        found = floor.machine(way, 200, 50_000)

        for figures in (found["latency_ns"], found["waker_ns"]):
            assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["p99.9"]

    def test_counts(self, extension):
        """The ring checks its own sum and fails when it is wrong."""
        assert floor.machine("ring", 100_000)["events_per_s"] > 0
        assert floor.machine("xadd", 1_000)["ns"] > 0


class TestNoCompiler:
    def test_is_said(self, monkeypatch):
        """The report then lists the floors as left out, with this reason."""
        monkeypatch.setenv("CC", "no-such-compiler --flag")

        with pytest.raises(floor.NoFloorError, match="no C compiler: no-such-compiler"):
            floor.machine("xadd", 1)
