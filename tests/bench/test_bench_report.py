"""Table, JSON and picture of an outcome."""

import json

import pytest
from synthetic import result

from tickbus.bench import machine_record, plot, report
from tickbus.bench.model import TICKBUS, Absent, Kind, Result, Sample, Unit
from tickbus.bench.runner import Failure, Outcome


@pytest.fixture
def outcome():
    return Outcome(
        [
            result("publish.one", TICKBUS, 60.0, 80.0, 61.0),
            result("publish.one", "floor: C with clock", 40.0, 40.0, 40.0),
            result("processes.one", TICKBUS, 6e6, 5e6, 7e6, unit=Unit.EVENTS_PER_S, lost=2.0),
            result("processes.one", "pyzmq", 1e6, 1e6, 1e6, unit=Unit.EVENTS_PER_S),
        ],
        [Absent("processes.one", "iceoryx2", "iceoryx2 is not installed")],
        [Failure("job", "dispatch.one", "blinker", "BehaviourError: lost 1")],
    )


@pytest.fixture
def timed():
    """An outcome with latencies, as the histogram's picture needs."""
    pytest.importorskip("hdrh")
    samples = (Sample(500.0, tuple(range(1, 1_000))),) * 2
    return Outcome([Result("processes", "processes.spin", TICKBUS, Kind.SUBJECT, Unit.NS, samples)])


class TestNumber:
    @pytest.mark.parametrize(
        ("value", "unit", "text"),
        [
            (6.634, Unit.NS, "6.63 ns"),
            (83.14, Unit.NS, "83.1 ns"),
            (4_200.0, Unit.NS, "4.20 µs"),
            (2.7e6, Unit.NS, "2.70 ms"),
            (5.31e6, Unit.EVENTS_PER_S, "5.31 M/s"),
            (116_000.0, Unit.EVENTS_PER_S, "116 k/s"),
            (0.1364, Unit.SHARE, "0.136"),
        ],
    )
    def test_has_three_digits(self, value, unit, text):
        """And the unit that keeps it short."""
        assert text == report.number(value, unit)


class TestText:
    def test_shows_median_spread_and_ratio(self, outcome):
        """Of every contender; the ratio says how much slower than tickbus it is."""
        text = report.to_text(outcome, machine_record.describe())

        row = next(line for line in text.splitlines() if "floor: C with clock" in line)
        assert ["40.0", "ns", "40.0", "ns", "..", "40.0", "ns", "0.66", "×"] == row.split()[-9:]
        assert "61.0 ns" in text
        assert "60.0 ns .. 80.0 ns" in text

    def test_a_rate_is_slower_when_it_is_lower(self, outcome):
        """pyzmq moved a sixth of the events: 6 × slower, not 0.17."""
        text = report.to_text(outcome, machine_record.describe())

        assert "6.00 ×" in next(line for line in text.splitlines() if "pyzmq" in line)

    def test_hides_nothing(self, outcome):
        """What was lost, left out, failed or missed stands in the table."""
        text = report.to_text(outcome, machine_record.describe())

        assert "lost 6" in text
        assert "left out: processes.one: iceoryx2: iceoryx2 is not installed" in text
        assert "FAILED: dispatch.one blinker: BehaviourError: lost 1" in text
        assert 1 == sum("lost ≤ 0" in line and "NOT MET" in line for line in text.splitlines())


class TestJson:
    def test_says_what_the_table_says(self, outcome):
        """Machine, every sample, every target with its verdict; and it is JSON."""
        document = report.to_json(outcome, machine_record.describe(), {"repeats": 3})

        read = json.loads(json.dumps(document))

        assert report.VERSION == read["version"]
        assert [60.0, 80.0, 61.0] == read["figures"][0]["samples"]
        assert (61.0, 60.0, 80.0) == tuple(read["figures"][0][key] for key in ("median", "min", "max"))
        verdicts = {(row["figure"], row["target"]): row["verdict"] for row in read["targets"]}
        assert "met" == verdicts["publish.one", "≤ 2 × floor: C with clock"]
        assert "NOT MET" == verdicts["processes.one", "lost ≤ 0"]
        assert 1 == len(read["failures"]) == len(read["absent"])

    def test_has_percentiles_where_latency_was_measured(self, timed):
        """From all samples together."""
        document = report.to_json(timed, machine_record.describe(), {})

        assert pytest.approx(500, rel=0.01) == document["figures"][0]["latency_ns"]["p50"]


class TestMachine:
    def test_is_recorded(self):
        """Figures without machine, interpreter and versions are hearsay."""
        machine = machine_record.describe()

        assert machine["cores"] >= 1
        assert machine["python"].startswith("CPython 3.")
        assert "numpy" in machine["versions"]
        assert {"cpu", "system", "commit", "load_1min", "when"} <= set(machine)


class TestPicture:
    def test_is_written(self, outcome, timed, tmp_path):
        """Latencies left, throughput right, one file."""
        pytest.importorskip("matplotlib")
        outcome.results += timed.results
        path = tmp_path / "bench.png"

        plot.draw(outcome, machine_record.describe(), path)

        assert path.read_bytes().startswith(b"\x89PNG")
