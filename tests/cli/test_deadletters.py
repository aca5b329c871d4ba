"""`tickbus deadletters` on a journal at rest and on a running bus."""

import json

import pytest

import tickbus as tb
from tickbus import cli
from tickbus.delivery import Delivery, Outcome, Policy, Retry
from tickbus.journal import Journal

QUICK = Policy(retry=Retry(attempts=2, first_s=0.01), escalate_after_s=0.02)
RISK = tb.EventType.DRAWDOWN_ALERT


@pytest.fixture
def kept(tmp_path):
    return Journal(tmp_path / "journal", critical="os", segment_mib=1)


@pytest.fixture
def dead(kept):
    """Ids of two dead letters in the journal."""
    with tb.Bus(journal=kept) as bus, Delivery(bus, default=QUICK) as delivery:
        delivery.subscribe("risk.>", role="oms").close()
        receipts = [delivery.publish_critical(RISK, "BTC-USDT", 0.2) for _ in range(2)]
        assert {receipt.wait(30).outcome for receipt in receipts} == {Outcome.DEAD_LETTERED}
        return [receipt.event_id for receipt in receipts]


def test_lists_them_as_a_table(kept, dead, capsys):
    assert cli.main(["deadletters", "list", "--journal", str(kept.path)]) == 0

    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["event", "published", "type", "symbol"]
    assert [int(row.split()[0]) for row in rows] == dead
    assert "drawdown_alert  BTC-USDT  oms" in rows[0]


def test_lists_them_as_json(kept, dead, capsys):
    assert cli.main(["deadletters", "list", "--journal", str(kept.path), "--json"]) == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["event_id"] for row in rows] == dead
    assert rows[0]["missing"] == ["oms"]


def test_redrives_some_of_a_journal_at_rest(kept, dead, capsys):
    assert cli.main(["deadletters", "redrive", "--journal", str(kept.path), str(dead[1])]) == 0

    with tb.Bus(journal=kept) as bus, Delivery(bus, default=QUICK, loop=False) as delivery:
        assert [letter.event_id for letter in delivery.dead_letters()] == dead[:1]
        assert delivery.stats()["pending"] == 1


def test_redrives_all_of_a_running_bus(kept, dead, bus_name, capsys):
    with tb.Bus(bus_name, journal=kept) as bus, Delivery(bus, default=QUICK, loop=False) as delivery:
        assert cli.main(["deadletters", "redrive", bus_name, "--all"]) == 0
        assert delivery.dead_letters() == []
        assert cli.main(["deadletters", "list", bus_name]) == 0
        assert capsys.readouterr().out == ""


def test_says_what_is_wrong(kept, dead, bus_name, capsys):
    assert cli.main(["deadletters", "list"]) == 2
    assert cli.main(["deadletters", "list", bus_name]) == 1
    assert "journal" in capsys.readouterr().err
    assert cli.main(["deadletters", "redrive", "--journal", str(kept.path), str(dead[-1] + 400)]) == 1
    assert "no dead letter" in capsys.readouterr().err
