"""What Prometheus is told is what the bus and delivery say of themselves."""

from __future__ import annotations

import sys
from urllib.request import urlopen

import pytest

import tickbus as tb
from tickbus.delivery import Delivery
from tickbus.errors import MissingExtraError
from tickbus.journal import Journal
from tickbus.metrics import Exporter, snapshot

RISK = tb.EventType.DRAWDOWN_ALERT


def scraped(exporter):
    """Samples by name and labels, parsed by the client library's own parser."""
    from prometheus_client.parser import text_string_to_metric_families

    with urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def exporter(bus, tmp_path):
    pytest.importorskip("prometheus_client")

    def make(bus, delivery=None):
        made.append(Exporter("127.0.0.1:0", bus, delivery))
        return made[-1]

    made: list[Exporter] = []
    yield make
    for one in made:
        one.close()


def test_lanes_and_readers(bus, exporter):
    reader = bus.subscribe("market.>")
    for _ in range(3):
        bus.publish(tb.EventType.PRICE_UPDATE, "BTC-USDT", 1.0)
    bus.publish(tb.EventType.ORDER_FILLED, "BTC-USDT", 1.0)
    reader.poll()
    found = scraped(exporter(bus))
    assert found["tickbus_lane_published_total", (("lane", "high"),)] == 3
    assert found["tickbus_lane_capacity", (("lane", "critical"),)] == 64
    assert found["tickbus_readers", ()] == 1
    [row] = bus.readers()
    labels = (("lane", "high"), ("pid", str(row["pid"])), ("reader", str(row["number"])))
    assert found["tickbus_reader_delivered_total", labels] == 1
    assert found["tickbus_reader_pending", labels] == 2
    assert found["tickbus_journal_state", (("state", "none"),)] == 1
    assert not any(name.startswith("tickbus_delivery") for name, _ in found)


def test_journal_and_delivery(tmp_path, exporter):
    journal = Journal(tmp_path / "j", critical="os", segment_mib=1)
    with tb.Bus(journal=journal) as bus, Delivery(bus, loop=False) as delivery:
        oms = delivery.subscribe("risk.>", role="oms")
        for _ in range(3):
            bus.publish_critical(RISK, "BTC-USDT", 0.2)
        oms.ack(oms.poll(5))
        found = scraped(exporter(bus, delivery))
        assert found["tickbus_journal_state", (("state", "live"),)] == 1
        assert found["tickbus_journal_lag_events", (("lane", "critical"),)] == 0
        assert found["tickbus_journal_segments", (("form", "log"),)] >= 1
        assert found["tickbus_delivery_pending", ()] == 2
        assert found["tickbus_delivery_in_flight", ()] == 2
        assert found["tickbus_delivery_unacked", (("role", "oms"),)] == 2
        assert found["tickbus_delivery_oldest_unacked_seconds", (("role", "oms"),)] > 0
        assert found["tickbus_delivery_loop", ()] == 0
        assert found["tickbus_delivery_escalated_total", ()] == 0


def test_a_snapshot_has_every_process(named_bus, python):
    child = python(
        "import sys, tickbus as tb\n"
        "with tb.Bus(sys.argv[1]) as bus, bus.subscribe('risk.>') as reader:\n"
        "    print('there', flush=True); sys.stdin.readline()\n",
        named_bus.name,
    )
    assert child.stdout.readline() == "there\n"
    [row] = snapshot(named_bus)["readers"]
    assert (row["pid"], row["gates"]) == (child.pid, ["critical"])


def test_a_taken_address_is_named(bus, exporter):
    first = exporter(bus)
    with pytest.raises(OSError, match=f"127.0.0.1:{first.port}"):
        Exporter(f"127.0.0.1:{first.port}", bus)


def test_without_the_library_the_extra_is_named(bus, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"tickbus\[ops\]"):
        Exporter("127.0.0.1:0", bus)
