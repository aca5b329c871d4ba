"""`tickbus top` shows what is so, changes nothing, and holds still when it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

import tickbus as tb
from tickbus import cli
from tickbus.delivery import Delivery
from tickbus.errors import UnknownNameError
from tickbus.journal import Journal
from tickbus.top import Tables, attach

RISK = tb.EventType.DRAWDOWN_ALERT


@pytest.fixture
def desk(bus_name, tmp_path):
    """A bus with a journal on which one role owes an event and another reader lags."""
    journal = Journal(tmp_path / "j", critical="os", segment_mib=1)
    with tb.Bus(bus_name, journal=journal) as bus, Delivery(bus, loop=False) as delivery:
        delivery.subscribe("risk.>", role="oms")
        bus.publish_critical(RISK, "BTC-USDT", 0.2)
        with bus.subscribe("market.>"):
            for _ in range(5):
                bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
            yield bus


def by_title(tables):
    return {table.title: table for table in tables}


def test_tables_say_what_is_so(desk):
    with attach(desk.name) as (bus, delivery):
        tables = Tables(bus, delivery)
        first = by_title(tables.look())
        assert first["lanes"].rows[1][:3] == ("high", "5", "-")
        assert first["critical events waiting for acknowledgement"].rows[0][:2] == ("oms", "1")
        assert first["dead letters: 0"].rows == []
        assert first["journal"].rows[0][:2] == ("live", str(os.getpid()))
        assert max(int(row[2]) for row in first["subscriptions"].rows) >= 5
        desk.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
        again = by_title(tables.look())
        assert again["lanes"].rows[1][1] == "6"
        assert float(again["lanes"].rows[1][2].replace(",", "")) > 0


def test_looking_changes_nothing(bus_name, tmp_path):
    """No delivery begins, nobody is held back, and what is in the journal stays what it was."""
    with tb.Bus(bus_name, journal=Journal(tmp_path / "j", critical="os", segment_mib=1)) as bus:
        bus.publish(RISK, "BTC-USDT", 0.2)
        before = bus.stats()["lanes"]
        with attach(bus_name) as (watched, delivery):
            Tables(watched, delivery).look()
            assert delivery is None
        assert bus.stats()["lanes"] == before
        assert not (tmp_path / "j" / "delivery").exists()
        with Delivery(bus, loop=False), attach(bus_name) as (watched, delivery):
            assert delivery is not None
            published = bus.stats()["lanes"]
            Tables(watched, delivery).look()
            assert bus.stats()["lanes"] == published
            # Only members of roles hold back publishers of critical events.
            assert [row["gates"] for row in bus.readers()] == [[], []]


def test_there_has_to_be_a_bus(bus_name, capsys):
    with pytest.raises(UnknownNameError, match=bus_name), attach(bus_name):
        pass
    assert cli.main(["top", bus_name]) == 1
    assert "no bus runs under the name" in capsys.readouterr().err


def test_once_and_json(desk, capsys):
    assert cli.main(["top", desk.name, "--once"]) == 0
    shown = capsys.readouterr().out
    assert "critical events waiting for acknowledgement" in shown
    assert cli.main(["top", desk.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lanes"]["high"]["published"] == 5


def test_without_textual_the_extra_is_named(desk, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "textual.app", None)
    assert cli.main(["top", desk.name]) == 1
    assert "tickbus[ops]" in capsys.readouterr().err


class TestTerminal:
    def cells(self, app, at):
        from textual.widgets import DataTable

        grid = list(app.query(DataTable))[at]
        return [grid.get_row_at(row) for row in range(grid.row_count)]

    def test_it_follows_holds_and_ends(self, desk):
        pytest.importorskip("textual")
        from tickbus.top.app import make

        async def watch():
            with attach(desk.name) as (bus, delivery):
                app = make(desk.name, Tables(bus, delivery), every_s=3600)
                async with app.run_test(size=(120, 50)) as pilot:
                    assert self.cells(app, 0)[1][1] == "5"
                    desk.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
                    await app.look()
                    assert self.cells(app, 0)[1][1] == "6"
                    await pilot.press("p")
                    desk.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
                    await app.look()
                    assert (self.cells(app, 0)[1][1], app.sub_title) == ("6", "held")
                    await pilot.press("p")
                    await app.look()
                    assert self.cells(app, 0)[1][1] == "7"
                    await pilot.press("q")
                assert app.return_code == 0

        asyncio.run(watch())

    def test_what_it_showed_last_stays_when_the_bus_is_gone(self, desk):
        pytest.importorskip("textual")
        from tickbus.top.app import make

        async def watch():
            with attach(desk.name) as (bus, delivery):
                app = make(desk.name, Tables(bus, delivery), every_s=3600)
                async with app.run_test(size=(120, 50)):
                    bus.close()
                    await app.look()
                    assert "closed" in app.sub_title
                    assert self.cells(app, 0)[1][1] == "5"

        asyncio.run(watch())
