"""The commands about venues: `record --raw`, `replay --raw`, `exchanges list` and `exchanges check`."""

import json
import signal
import subprocess
import sys

import pytest

import tickbus as tb
from tickbus.cli import main
from tickbus.exchanges import open_capture
from tickbus.exchanges.connect import ADAPTERS
from tickbus.exchanges.recorder import Recorder

TRADE = (
    '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1.5,"qty":2,'
    '"ord_type":"market","trade_id":%d,"timestamp":"2024-01-01T00:00:00.000000Z"}]}'
)


@pytest.fixture
def recording(tmp_path):
    """Trades 1 to 100 of one second, uncompressed."""
    path = tmp_path / "x.rec.jsonl"
    with Recorder(path, "kraken", compression="none") as made:
        for number in range(1, 101):
            made.received("c", 1_700_000_000_000_000_000 + number * 10_000_000, (TRADE % number).encode())
    return path


class TestList:
    def test_names_every_market(self, capsys):
        assert 0 == main(["exchanges", "list", "--json"])
        rows = json.loads(capsys.readouterr().out)

        expected = {(venue, market) for venue, markets in ADAPTERS.items() for market in markets}
        assert expected <= {(row["venue"], row["market"]) for row in rows}
        assert all(row["url"].startswith("wss://") for row in rows if row["url"])

    def test_is_readable(self, capsys):
        assert 0 == main(["exchanges", "list"])
        assert "closes after 24 h" in capsys.readouterr().out


class TestCheck:
    def test_all_explained(self, recording, capsys):
        assert 0 == main(["exchanges", "check", str(recording)])
        out = capsys.readouterr().out

        assert "kraken spot, 1 connection, 100 frames (100 data, 0 other)" in out
        assert "BTC/USD" in out
        assert "NOT EXPLAINED" not in out

    def test_not_all_explained(self, recording, capsys):
        """Exit code 1, and a line that says what."""
        lines = recording.read_bytes().splitlines(keepends=True)
        recording.write_bytes(b"".join([*lines[:40], *lines[45:]]))
        assert 1 == main(["exchanges", "check", str(recording)])
        assert "NOT EXPLAINED: trade BTC/USD: 1 gaps, 5 messages missing" in capsys.readouterr().out

        assert 1 == main(["exchanges", "check", "--json", str(recording)])
        report = json.loads(capsys.readouterr().out)
        [stream] = report["streams"]
        assert (95, 1, 5) == (stream["frames"], stream["gaps"], stream["missing"])
        assert report["unexplained"]

    def test_a_file_cut_off_is_read_to_its_end(self, recording, capsys):
        recording.write_bytes(recording.read_bytes()[:-40])
        assert 1 == main(["exchanges", "check", "--json", str(recording)])
        report = json.loads(capsys.readouterr().out)

        assert 99 == report["frames"]["frames"]
        assert "cut off" in report["cut_off"]

    def test_one_bad_file_does_not_hide_the_others(self, recording, tmp_path, capsys):
        (tmp_path / "bad").write_bytes(b"\x7fELF")
        assert 1 == main(["exchanges", "check", str(tmp_path / "bad"), str(recording)])
        out, err = capsys.readouterr()

        assert "no capture in a known format" in err
        assert "100 frames" in out


class TestReplay:
    def test_into_a_bus(self, recording, bus_name, capsys):
        with tb.Bus(bus_name) as bus:
            trades = bus.subscribe("market.price_update.kraken.BTC-USD")
            assert 0 == main(["replay", "--raw", str(recording), bus_name, "--json"])
            events = trades.drain(1_000)

        assert 100 == len(events)
        assert 1_700_000_000_010_000_000 == events[0].timestamp
        summary = json.loads(capsys.readouterr().out)
        assert (100, 100, 0.99) == (summary["frames"], summary["events"], summary["recorded_s"])

    def test_a_file_cut_off_is_played_and_said(self, recording, bus_name, capsys):
        recording.write_bytes(recording.read_bytes()[:-40])
        with tb.Bus(bus_name):
            assert 0 == main(["replay", "--raw", str(recording), bus_name])
        out, err = capsys.readouterr()

        assert "99 events of 99 frames" in out
        assert "what came before was played" in err

    def test_several_paths_need_raw(self, recording, bus_name, capsys):
        assert 2 == main(["replay", str(recording), str(recording), bus_name])
        assert "--raw" in capsys.readouterr().err


class TestRecord:
    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["--raw", "f"], "needs --venue and --symbols"),
            (["--raw", "f", "--venue", "kraken", "--symbols", "A-B", "bus", "path"], "takes no PATH"),
            (["--raw", "f", "--venue", "mtgox", "--symbols", "A-B"], "'mtgox' is none of"),
            (["--raw", "f", "--venue", "kraken", "--symbols", "A"], "'A' is no BASE-QUOTE"),
            (["bus"], "required: NAME, PATH"),
        ],
    )
    def test_wrong_use(self, arguments, what, capsys, tmp_path, monkeypatch):
        """Exit code 2, a reason, and no file."""
        monkeypatch.chdir(tmp_path)
        assert 2 == main(["record", *arguments])
        assert what in capsys.readouterr().err
        assert [] == list(tmp_path.iterdir())

    def test_a_file_that_exists_is_kept(self, recording, capsys):
        before = recording.read_bytes()
        arguments = ["--venue", "kraken", "--symbols", "BTC-USD", "--compression", "none"]
        assert 1 == main(["record", "--raw", str(recording), *arguments])
        assert "File exists" in capsys.readouterr().err
        assert before == recording.read_bytes()

    @pytest.mark.parametrize("ended_by", ["time", signal.SIGINT, signal.SIGKILL])
    def test_records_a_local_venue(self, tmp_path, ended_by, bus_name):
        """Until its time, a signal, or kill -9: the file is readable, and the bus has had the events."""
        pytest.importorskip("websockets", reason="extra 'exchanges' is not installed")
        path = tmp_path / "x.rec.jsonl.gz"
        serve = [sys.executable, "-m", "tickbus.testing.venue_server", "--venue", "kraken", "--rate", "500"]
        with subprocess.Popen(serve, stdout=subprocess.PIPE) as venue, tb.Bus(bus_name) as bus:
            assert venue.stdout is not None
            url = json.loads(venue.stdout.readline())["url"]
            trades = bus.subscribe("market.>")
            command = [sys.executable, "-m", "tickbus", "record", "--raw", str(path), "--venue", "kraken"]
            command += ["--symbols", "BTC-USDT", "--url", url, "--compression", "gzip", "--json", bus_name]
            command += ["--for", "4"] if ended_by == "time" else []
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recording:
                assert recording.stdout is not None
                for line in recording.stdout:
                    if ended_by != "time" and json.loads(line)["bytes"] > 5_000:
                        recording.send_signal(ended_by)
                        break
                err = recording.communicate(timeout=30)[1]
            events = trades.drain(100_000)
            venue.send_signal(signal.SIGTERM)
            told = json.loads(venue.communicate(timeout=30)[0])

        capture = open_capture(path, accept_cut=True)
        frames = list(capture)
        assert ("kraken", "spot") == (capture.venue, capture.market)
        assert len(frames) > 50
        assert len(events) > 50
        assert b"kraken-spot.0.0.1 live" in err
        assert 1 == told["accepted"]
        if ended_by == signal.SIGKILL:
            assert -9 == recording.returncode
        else:
            assert 0 == recording.returncode, err
            assert "" == capture.cut_off


def test_the_server_refuses_what_it_does_not_have(capsys):
    from tickbus.testing.venue_server import __main__ as command

    with pytest.raises(SystemExit) as ended:
        command.main(["--venue", "kraken", "--market", "advanced"])
    assert 2 == ended.value.code
    assert "has no --market advanced" in capsys.readouterr().err
