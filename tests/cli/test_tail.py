"""`tickbus tail` prints what passes, and says what it could not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

import tickbus as tb
from tickbus import cli

MARKET, RISK = tb.EventType.PRICE_UPDATE, tb.EventType.DRAWDOWN_ALERT


def test_lines_have_time_topic_and_fields(named_bus, capsys):
    named_bus.publish(MARKET, "BTC-USDT", 100.5, metadata=tb.pack_quantity(-2.0), timestamp=10**18 + 5)
    named_bus.publish(RISK, "BTC-USDT", 0.25)
    assert cli.main(["tail", named_bus.name, "market.>", "--start", "earliest", "--max", "1"]) == 0
    line = capsys.readouterr().out.rstrip()
    assert line.split("  ") == [
        "2001-09-09T01:46:40.000000005Z",
        "market.price_update.-.BTC-USDT",
        "price=100.5",
        "quantity=2.0",
        "side=-1",
    ]


def test_json_is_an_object_a_line(named_bus, capsys):
    with tb.Bus(named_bus.name, allow_nan=True) as bus:
        bus.publish(RISK, "BTC-USDT", float("nan"), source="risk")
    assert cli.main(["tail", named_bus.name, "--json", "--start", "earliest", "--max", "1"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["topic"], row["source"], row["priority"]) == ("risk.drawdown_alert.risk.BTC-USDT", "risk", 2)
    assert row["fields"]["drawdown"] == "nan"


def test_what_was_missed_is_counted(named_bus, capsys):
    """The lane holds 128, and nobody waits for a terminal that is stopped."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tickbus", "tail", named_bus.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not named_bus.readers():
        pass
    named_bus.publish(MARKET, "BTC-USDT", 0.0)
    assert "price=0.0" in child.stdout.readline()
    child.send_signal(signal.SIGSTOP)
    for number in range(1000):
        named_bus.publish(MARKET, "BTC-USDT", float(number))
    child.send_signal(signal.SIGCONT)
    assert "missed" in child.stderr.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130


def test_a_reader_that_leaves_ends_it(named_bus):
    child = subprocess.Popen(
        [sys.executable, "-m", "tickbus", "tail", named_bus.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not named_bus.readers():
        pass
    named_bus.publish(MARKET, "BTC-USDT", 1.0)
    assert "price_update" in child.stdout.readline()
    child.stdout.close()
    while child.poll() is None:
        named_bus.publish(MARKET, "BTC-USDT", 1.0)
    assert child.returncode == 1
    # It may have missed some of so many; it says nothing else.
    assert all(line.startswith("missed") for line in child.stderr)
    child.stderr.close()


@pytest.mark.parametrize(("arguments", "message"), [([], "no bus runs"), (["risk"], "no bus runs")])
def test_there_has_to_be_a_bus(bus_name, capsys, arguments, message):
    assert cli.main(["tail", bus_name, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_pattern_that_is_none(named_bus, capsys):
    assert cli.main(["tail", named_bus.name, "risk"]) == 1
    assert "pattern" in capsys.readouterr().err
