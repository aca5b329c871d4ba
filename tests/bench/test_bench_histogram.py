"""HDR histograms: three digits, and a clear word when the library is missing."""

import sys

import pytest

from tickbus.bench import histogram
from tickbus.errors import MissingExtraError


class TestPercentiles:
    def test_are_right_to_three_digits(self):
        """1 .. 10,000 ns: the percentiles are known."""
        pytest.importorskip("hdrh")

        found = histogram.percentiles(range(1, 10_001))

        expected = {"p50": 5_000, "p90": 9_000, "p99": 9_900, "p99.9": 9_990, "max": 10_000}
        assert {key: pytest.approx(value, rel=1e-3) for key, value in expected.items()} == found

    def test_what_lies_outside_is_kept_at_the_edge(self):
        """A clock a nanosecond early, or a minute's stall: counted, not dropped."""
        pytest.importorskip("hdrh")

        assert 2 == histogram.record([-5, 10**15]).get_total_count()


class TestMissingLibrary:
    def test_names_the_extra(self, monkeypatch):
        """`pip install 'tickbus[bench]'` is what helps."""
        monkeypatch.setitem(sys.modules, "hdrh.histogram", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[bench\]"):
            histogram.record([1])
