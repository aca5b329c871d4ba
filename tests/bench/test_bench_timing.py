"""Hot loops: what is counted, and what is taken off."""

import gc

import pytest

from tickbus.bench.timing import SLICES, Loop, fastest_slice, no_gc


class TestLoop:
    def test_runs_the_statement_as_often_as_asked(self):
        """In slices, but no more and no less."""
        calls = []

        Loop("call(1)", call=calls.append).ns(SLICES * 7)

        assert SLICES * 7 == len(calls)

    def test_is_never_negative(self):
        """An empty statement costs nothing, not less."""
        assert Loop("pass").ns(1_000) >= 0.0


class TestFastestSlice:
    def test_leaves_interrupted_stretches_out(self):
        """One long interruption spoils its own stretch only."""
        times = [10] * (SLICES * 5)
        times[3] = 10_000

        assert 10.0 == fastest_slice(times)

    @pytest.mark.parametrize("count", [1, 3, SLICES + 1])
    def test_takes_any_number_of_times(self, count):
        """A quick run has fewer than there are slices."""
        assert 4.0 == fastest_slice([4] * count)


class TestGarbageCollection:
    @pytest.mark.parametrize("enabled", [True, False])
    def test_is_off_inside_and_afterwards_as_before(self, enabled):
        """Also when the work raises."""
        was = gc.isenabled()
        (gc.enable if enabled else gc.disable)()
        inside = []

        def work():
            with no_gc():
                inside.append(gc.isenabled())
                raise KeyError

        try:
            with pytest.raises(KeyError):
                work()
            assert [False] == inside
            assert enabled == gc.isenabled()
        finally:
            (gc.enable if was else gc.disable)()
