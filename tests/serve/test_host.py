"""`tickbus serve` as a service: it starts, is found, is refused, is killed, stands by and ends properly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from urllib.request import urlopen

import pytest

import tickbus as tb
from tickbus import cli
from tickbus.delivery import Delivery
from tickbus.journal import Journal, verify

RISK = tb.EventType.DRAWDOWN_ALERT


@pytest.fixture
def serve(bus_name, tmp_path, wait_until):
    """Start hosts of one bus; each is a process with its lines of log, killed at the end if need be."""
    hosts = []

    class Host:
        def __init__(self, *arguments, environment=None):
            self.log = (tmp_path / f"log{len(hosts)}").open("w+")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tickbus", "serve", bus_name, *map(str, arguments)],
                stderr=self.log,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | (environment or {}),
            )
            hosts.append(self)

        def lines(self):
            self.log.flush()
            return (tmp_path / os.path.basename(self.log.name)).read_text()

        def says(self, text):
            wait_until(lambda: text in self.lines() or self.process.poll() is not None, 60)
            assert text in self.lines(), self.lines()

        def end(self, number=signal.SIGTERM):
            self.process.send_signal(number)
            return self.process.wait(60)

    yield Host
    for host in hosts:
        host.process.kill()
        host.process.communicate()
        host.log.close()


def options(path, **more):
    return ["--journal", path, "--critical", "os", "--set", "journal.segment=1MiB"]


class TestServing:
    def test_a_desk_of_processes(self, serve, bus_name, tmp_path):
        """The host keeps and follows; a publisher hears of its acknowledgement; the journal is whole."""
        host = serve(*options(tmp_path / "j"))
        host.says("runs the delivery loop")
        with tb.Bus(bus_name, create=False) as bus, Delivery(bus, loop=False) as delivery:
            oms = delivery.subscribe("risk.>", role="oms")
            receipt = bus.publish_critical(RISK, "BTC-USDT", 0.2)
            assert oms.poll(10).id == receipt.event_id
            assert oms.poll(0) is None
            assert receipt.wait(10)
            assert bus.stats()["journaled"]["pid"] == host.process.pid
        assert host.end() == 0
        assert "SIGTERM: ending" in host.lines()
        assert not verify(tmp_path / "j").findings

    def test_policies_of_the_file_count(self, serve, bus_name, tmp_path):
        config = tmp_path / "desk.toml"
        config.write_text(
            '[journal]\npath = "j"\ncritical = "os"\nsegment = "1MiB"\n'
            '[delivery.default]\nescalate_after = "10ms"\nladder = [{ publish = "emergency_stop" }]\n'
        )
        host = serve("--config", config)
        host.says("runs the delivery loop")
        with tb.Bus(bus_name, create=False) as bus, bus.subscribe("critical.>") as stops:
            bus.publish(RISK, "BTC-USDT", 0.2)
            event = stops.poll(20)
            assert event is not None
            assert event.event_type == tb.EventType.EMERGENCY_STOP

    def test_it_goes_on_after_a_kill(self, serve, bus_name, tmp_path):
        host = serve(*options(tmp_path / "j"))
        host.says("runs the delivery loop")
        with tb.Bus(bus_name, create=False) as bus:
            bus.publish(RISK, "BTC-USDT", 0.2)
            host.process.kill()
            host.process.wait()
            again = serve(*options(tmp_path / "j"))
            again.says("runs the delivery loop")
            with Delivery(bus, loop=False) as delivery:
                assert delivery.stats()["pending"] == 1

    def test_without_a_journal_it_serves_what_there_is(self, serve, bus_name):
        host = serve()
        host.says("is served by process")
        assert "critical events are not followed" in host.lines()
        assert host.end(signal.SIGINT) == 0

    def test_sighup_is_answered(self, serve, bus_name):
        host = serve()
        host.says("is served by process")
        host.process.send_signal(signal.SIGHUP)
        host.says("restart to change it")
        assert host.end() == 0


class TestSecondHost:
    def test_is_refused_with_the_pid_of_the_first(self, serve, tmp_path):
        first = serve(*options(tmp_path / "j"))
        first.says("the journal is kept")
        second = serve(*options(tmp_path / "j"))
        assert second.process.wait(60) == 1
        assert f"process {first.process.pid}" in second.lines()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_stands_by_and_takes_over(self, serve, bus_name, tmp_path, number):
        first = serve(*options(tmp_path / "j"))
        first.says("the journal is kept")
        second = serve(*options(tmp_path / "j"), "--standby")
        second.says(f"standing by: process {first.process.pid}")
        with tb.Bus(bus_name, create=False) as bus, bus.subscribe("risk.>") as reader:
            bus.publish(RISK, "BTC-USDT", 1.0)
            first.end(number)
            second.says("runs the delivery loop")
            bus.publish(RISK, "BTC-USDT", 2.0)
            assert [reader.poll(5).value, reader.poll(5).value] == [1.0, 2.0]
        assert second.end() == 0

    def test_that_stands_by_can_be_ended(self, serve, tmp_path, bus_name):
        with tb.Bus(bus_name, journal=Journal(tmp_path / "j", segment_mib=1)):
            second = serve(*options(tmp_path / "j"), "--standby")
            second.says("standing by")
            assert second.end() == 0


class TestConfiguration:
    def test_check_shows_what_is_in_effect_and_opens_nothing(self, capsys, bus_name, tmp_path, monkeypatch):
        monkeypatch.setenv("TICKBUS_SERVE_LOG_FORMAT", "json")
        config = tmp_path / "desk.toml"
        config.write_text('[delivery.types]\ndrawdown_alert = false\n[delivery.types.200]\nrequired = "any"')
        arguments = ["serve", bus_name, "--config", str(config), "--journal", str(tmp_path / "j")]
        assert cli.main([*arguments, "--check"]) == 0
        shown = capsys.readouterr().out
        assert "json  (TICKBUS_SERVE_LOG_FORMAT)" in shown
        assert "policy of drawdown_alert: not followed" in shown
        assert not (tmp_path / "j").exists()
        assert cli.main([*arguments, "--check", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["settings"]["journal.path"] == {"value": str(tmp_path / "j"), "from": "flag"}
        assert "200" in found["policies"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--set", "journal.keep"], "is NAME=VALUE"),
            (["--set", "journal.keeps=1d"], "there is no setting 'journal.keeps'"),
            (["--critical", "tape"], "journal.critical is one of"),
            (["--critical", "os"], "journal.critical is given, and journal.path is not"),
            (["--config", "none.toml"], "No such file"),
            (
                ["--journal", "x", "--critical", "memory", "--set", "delivery.enabled=yes"],
                "critical is memory",
            ),
        ],
    )
    def test_what_is_wrong_is_said_and_code_2(self, capsys, bus_name, arguments, message):
        assert cli.main(["serve", bus_name, *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_delivery_that_was_asked_for_needs_a_journal(self, serve):
        host = serve("--set", "delivery.enabled=true")
        assert host.process.wait(60) == 1
        assert "delivery.enabled: nobody keeps a journal" in host.lines()

    def test_a_journal_that_cannot_be_opened(self, serve, tmp_path):
        (tmp_path / "j").write_text("no directory")
        host = serve("--journal", tmp_path / "j")
        assert host.process.wait(60) == 1
        assert str(tmp_path / "j") in host.lines()


@contextmanager
def manager(path):
    """A systemd that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(path)
        heard.settimeout(60)
        yield heard


class TestSurroundings:
    @pytest.mark.parametrize("abstract", [False, True])
    def test_systemd_hears_of_readiness_life_and_end(self, serve, tmp_path, abstract, bus_name):
        path = f"\0{bus_name}" if abstract else str(tmp_path / "notify")
        with manager(path) as heard:
            environment = {
                "NOTIFY_SOCKET": path.replace("\0", "@"),
                "WATCHDOG_USEC": "100000",
                "JOURNAL_STREAM": "8:1",
            }
            host = serve(environment=environment)
            assert heard.recv(1000).decode().startswith("READY=1")
            assert heard.recv(1000) == b"WATCHDOG=1"
            assert host.end() == 0
            while (said := heard.recv(1000)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1"
        # systemd writes the time itself, and wants to know how serious a line is.
        assert all(line.startswith("<") for line in host.lines().splitlines())
        assert "<4>no journal" in host.lines()

    def test_lines_can_be_json(self, serve):
        host = serve("--log-format", "json")
        host.says("is served by process")
        assert host.end() == 0
        rows = [json.loads(line) for line in host.lines().splitlines()]
        assert {"time", "level", "logger", "message"} <= rows[0].keys()
        assert "warning" in {row["level"] for row in rows}

    def test_metrics_are_served(self, serve, tmp_path):
        pytest.importorskip("prometheus_client")
        host = serve(*options(tmp_path / "j"), "--metrics", "127.0.0.1:0")
        host.says("runs the delivery loop")
        address = host.lines().split("metrics at ")[1].split()[0]
        with urlopen(address, timeout=20) as answer:
            text = answer.read().decode()
        assert 'tickbus_journal_state{state="live"} 1.0' in text
        assert "tickbus_delivery_loop 1.0" in text

    def test_an_address_that_is_taken(self, serve):
        pytest.importorskip("prometheus_client")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            host = serve("--metrics", f"127.0.0.1:{port}")
            assert host.process.wait(60) == 1
            assert f"metrics cannot be served at 127.0.0.1:{port}" in host.lines()
