"""`tickbus demo`: strategies react, everything adds up, and nothing stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tickbus.demo.cast import CAST
from tickbus.demo.stage import Plan, Stage
from tickbus.testing.venues import Simulator

TIMEOUT_S = 90
SHARED_MEMORY = Path("/dev/shm")


def demo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tickbus", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def left_behind(pid):
    """Files in shared memory of the demo whose main process was *pid*."""
    return [path.name for path in SHARED_MEMORY.glob(f"tickbus.demo-{pid}-*")]


def write_capture(path, frames, every_ns=2_000_000):
    """A recording of Binance's trades and quotes."""
    start_ns = 1_723_161_253_000_000_000
    lines = Simulator("binance", rate=500.0).frames(frames)
    path.write_bytes(b"".join(b"%d %s\n" % (start_ns + i * every_ns, one) for i, one in enumerate(lines)))
    return path


@pytest.fixture(scope="module")
def simulated():
    """The document of a short run on simulated venues."""
    result = demo("--seconds", 2, "--rate", 1_500, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


class TestSimulatedVenues:
    def test_every_event_is_accounted_for(self, simulated):
        """Each subscription saw every event of every lane, or says what became of it."""
        published = sum(lane["published"] for lane in simulated["lanes"].values())

        for reader in simulated["readers"]:
            lanes = reader["ledger"].values()
            assert sum(lane["published"] for lane in lanes) == published
            for lane in lanes:
                parts = lane["delivered"] + lane["filtered"] + lane["missed"] + lane["pending"]
                assert lane["published"] == parts
        assert simulated["ok"]

    def test_every_frame_arrives(self, simulated):
        """What the venues sent is what the feed decoded: 3 venues, 2 s, 1,500 frames a second."""
        assert sum(venue["frames"] for venue in simulated["venues"]) == 9_000
        assert sum(one["frames"] for one in simulated["feed"]["decoded"]) == 9_000
        assert [one["malformed"] for one in simulated["feed"]["decoded"]] == [{}, {}, {}]

    def test_all_five_needs_are_met(self, simulated):
        """The market of the default seed gives every strategy a reason within two seconds."""
        assert len(simulated["needs"]) == 5
        assert all(count > 0 for count in simulated["needs"].values())

    def test_each_strategy_has_its_own_process(self, simulated):
        """Seven strategies and the monitor, eight processes."""
        names = [reader["name"] for reader in simulated["readers"]]

        assert names == [*CAST, "monitor"]
        assert len({reader["pid"] for reader in simulated["readers"]}) == len(names)

    def test_latencies_are_counted_for_every_delivery(self, simulated):
        """A percentile is of all events a strategy was given, not of a sample."""
        for reader in simulated["readers"][:-1]:
            for lane, figures in reader["latency_ns"].items():
                assert figures["count"] == reader["ledger"][lane]["delivered"]
                assert 0 < figures["p50"] <= figures["p99"] <= figures["p999"] <= figures["max"]

    def test_at_most_one_reader_spins(self, simulated):
        """A demo that burns every core measures its own crowding."""
        assert [reader["wait"] for reader in simulated["readers"]].count("spin") <= 1


class TestSummary:
    def test_reads_well_in_a_pipe(self):
        """Without a terminal: plain lines, a verdict, nothing on standard error."""
        result = demo("--seconds", 1, "--rate", 200)

        assert result.returncode == 0
        assert result.stderr == ""
        assert "\x1b" not in result.stdout
        assert result.stdout.splitlines()[-1] == "Every event is accounted for."


class TestCapture:
    def test_plays_a_recording_to_its_end(self, tmp_path):
        """Every frame once, at the speed asked for."""
        path = write_capture(tmp_path / "trades.tsjson", 600)

        result = demo("--capture", path, "--speed", 4, "--json")

        document = json.loads(result.stdout)
        assert result.returncode == 0, result.stderr
        assert [one["frames"] for one in document["feed"]["decoded"]] == [600]
        assert document["plan"]["seconds"] == pytest.approx(599 * 0.002 / 4)
        assert document["lanes"]["high"]["published"] == 600

    def test_ends_early_when_told(self, tmp_path):
        """`--seconds` ends a recording that lasts longer, and the sums still hold."""
        path = write_capture(tmp_path / "trades.tsjson", 600, every_ns=100_000_000)

        result = demo("--capture", path, "--speed", 1, "--seconds", 1, "--json")

        document = json.loads(result.stdout)
        assert result.returncode == 0, result.stderr
        assert 0 < document["feed"]["decoded"][0]["frames"] < 30

    def test_plays_the_venues_of_real_recordings(self, data):
        """Binance, Coinbase and Kraken: trades and quotes of each reach the strategies."""
        files = [
            data / "binance" / "2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
            data / "coinbase" / "2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst",
            data / "kraken" / "2021-04-05_spot_ticker.rec.txt.zst",
            data / "kraken" / "2021-04-05_spot_trade.rec.txt.zst",
        ]

        result = demo("--seconds", 3, "--json", "--capture", *files)

        document = json.loads(result.stdout)
        assert result.returncode == 0, result.stderr
        binance, coinbase, kraken_ticker, kraken_trade = document["feed"]["decoded"]
        for decoded in (binance, coinbase):
            assert decoded["trades"] > 0
            assert decoded["quotes"] > 0
        assert kraken_ticker["quotes"] > 0
        assert kraken_trade["trades"] > 0
        assert document["needs"]["coordinated action"] > 0

    @pytest.mark.parametrize(
        ("text", "line"),
        [(b"once upon a time\n", 1), (b"", None), (None, 301)],
        ids=["foreign", "empty", "damaged"],
    )
    def test_refuses_a_bad_file(self, text, line, tmp_path):
        """One line names file and line, before anything is started."""
        path = tmp_path / "bad.tsjson"
        if text is None:
            write_capture(path, 300)
            text = path.read_bytes() + b"and then it broke\n"
        path.write_bytes(text)

        result = demo("--capture", path)

        assert result.returncode == 1
        assert result.stdout == ""
        (said,) = result.stderr.splitlines()
        assert said.startswith(f"tickbus: {path}" + (f":{line}" if line else ""))

    def test_refuses_a_missing_file(self, tmp_path):
        """A file that is not there is named."""
        result = demo("--capture", tmp_path / "none.tsjson")

        assert result.returncode == 1
        assert re.fullmatch(r"tickbus: .*none\.tsjson.*\n", result.stderr)


class TestInterruption:
    def test_ctrl_c_leaves_nothing_behind(self):
        """Exit code 130, one line, no process, no shared memory."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tickbus", "demo", "--seconds", "60", "--rate", "500"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if "/s" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_S)

        assert process.returncode == 130
        assert said == "interrupted\n"
        assert len(children) == len(CAST) + 4
        assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
        assert left_behind(process.pid) == []

    def test_a_killed_demo_takes_its_processes_along(self):
        """After `kill -9` of the parent its children end by themselves and the bus is removed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tickbus", "demo", "--seconds", "60", "--rate", "500"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if "/s" in line:
                break

        process.kill()
        process.communicate(timeout=TIMEOUT_S)

        deadline_s = time.monotonic() + 30
        while left_behind(process.pid) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert left_behind(process.pid) == []

    def test_a_child_that_dies_is_reported(self):
        """The others go on, the summary names it, and the demo fails."""
        with Stage(Plan(seconds=2.0, rate=200.0, seed=7)) as stage:
            documents = []
            for document in stage.play(0.2):
                if not documents:
                    os.kill(document["readers"][0]["pid"], signal.SIGKILL)
                documents.append(document)

        final = documents[-1]
        pid = documents[0]["readers"][0]["pid"]
        assert final["failures"] == [f"stop_loss (pid {pid}) ended by signal 9"]
        assert not final["ok"]
        assert final["readers"][1]["ledger"]["high"]["published"] == final["lanes"]["high"]["published"]
