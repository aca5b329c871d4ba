"""The figures in the text format of Prometheus, asked for over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tickbus.errors import MissingExtraError
from tickbus.metrics.figures import snapshot

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from tickbus.bus import Bus
    from tickbus.delivery import Delivery

__all__ = ["Exporter"]

_LANE_COUNTERS = {
    "published": "Events published",
    "stalled": "Publishes given up behind a stopped process",
    "repaired": "Publishes of dead processes completed by others",
    "spilled": "Batches or events that used the critical reserve",
    "refused": "Publishes refused",
    "waited": "Publishes that waited for room",
}
_READER_COUNTERS = {
    "delivered": "Events handed to a reader",
    "filtered": "Events that a reader's patterns do not match",
    "missed": "Events overwritten before a reader read them",
}
_JOURNAL_COUNTERS = {
    "events": "Events journaled",
    "commits": "Writes of the log",
    "syncs": "Syncs of the log",
    "gaps": "Events overwritten before they were journaled",
    "payloads_lost": "Payloads overwritten before they were journaled",
    "removed_events": "Events removed by retention",
    "failures": "Failures of sealing, packing or retention",
}
_CONCLUDED = {
    "redeliver": "Events handed out again by the loop of this process",
    "escalated": "Escalations by the loop of this process",
    "dead": "Events the loop of this process gave up on",
    "failed": "Steps of escalations that failed",
}
_STATES = ("none", "live", "full", "failed")


class Exporter:
    """
    Serves the figures of *bus* at ``http://ADDRESS/metrics`` until it is closed.

    Args:
        address: HOST:PORT; port 0 takes a free one, which ``port`` then says.
    Raises:
        MissingExtraError: prometheus-client is not installed.
        OSError: The address cannot be had.
    """

    def __init__(self, address: str, bus: Bus, delivery: Delivery | None = None) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError as error:
            raise MissingExtraError("serving metrics", "ops") from error
        self._bus = bus
        self._delivery = delivery
        registry = CollectorRegistry()
        registry.register(self)
        host, _, port = address.rpartition(":")
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise OSError(error.errno, f"metrics cannot be served at {address}: {error.strerror}") from error
        self.port: int = self._server.server_port

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for at each scrape."""
        figures = snapshot(self._bus, self._delivery)
        yield from _of_bus(figures)
        yield from _of_readers(figures["readers"])
        yield from _of_journal(figures)
        if figures["delivery"] is not None:
            yield from _of_delivery(figures["delivery"])

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the bus."""
        return ()

    def close(self) -> None:
        """Serve no more. Safe to repeat."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _gauge(name: str, says: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    return _family("gauge", name, says, rows)


def _counter(name: str, says: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    return _family("counter", f"{name}_total", says, rows)


def _family(kind: str, name: str, says: str, rows: Iterable[tuple[dict[str, str], float]]) -> Metric:
    from prometheus_client.core import Metric

    family = Metric(f"tickbus_{name.removesuffix('_total')}", says, kind)
    for labels, value in rows:
        family.add_sample(f"tickbus_{name}", labels, value)
    return family


def _of_bus(figures: dict[str, Any]) -> Iterator[Metric]:
    lanes = figures["lanes"]
    for key, says in _LANE_COUNTERS.items():
        yield _counter(f"lane_{key}", says, (({"lane": lane}, row[key]) for lane, row in lanes.items()))
    capacities = (({"lane": lane}, row["capacity"]) for lane, row in lanes.items())
    yield _gauge("lane_capacity", "Events a lane holds", capacities)
    for key, says in (
        ("participants", "Handles on the bus, in all processes"),
        ("symbols", "Symbols named"),
        ("sources", "Sources named"),
    ):
        yield _gauge(key, says, [({}, figures[key])])


def _of_readers(readers: list[dict[str, Any]]) -> Iterator[Metric]:
    yield _gauge("readers", "Readers on the bus, in all processes", [({}, len(readers))])
    rows = [
        ({"reader": str(reader["number"]), "pid": str(reader["pid"]), "lane": lane}, books)
        for reader in readers
        for lane, books in reader["lanes"].items()
    ]
    pending = ((labels, books["pending"]) for labels, books in rows)
    yield _gauge("reader_pending", "Events published and not read yet", pending)
    for key, says in _READER_COUNTERS.items():
        yield _counter(f"reader_{key}", says, [(labels, books[key]) for labels, books in rows])


def _of_journal(figures: dict[str, Any]) -> Iterator[Metric]:
    journaled = figures["journaled"]
    states = (({"state": state}, float(state == journaled["state"])) for state in _STATES)
    yield _gauge("journal_state", "1 for the state that the journal is in", states)
    lags = (({"lane": lane}, journaled[lane]) for lane in figures["lanes"] if journaled[lane] is not None)
    yield _gauge("journal_lag_events", "Events published and not journaled yet", lags)
    journal = figures["journal"]
    if journal is None:
        return
    for key, says in _JOURNAL_COUNTERS.items():
        yield _counter(f"journal_{key}", says, [({}, journal[key])])
    for key, says in (("segments", "Segments by form"), ("bytes", "Bytes by form")):
        yield _gauge(f"journal_{key}", says, (({"form": form}, n) for form, n in journal[key].items()))


def _of_delivery(stats: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("delivery_pending", "Critical events neither settled nor dead", [({}, stats["pending"])])
    yield _gauge("delivery_dead_letters", "Critical events given up on", [({}, stats["dead"])])
    yield _gauge(
        "delivery_in_flight", "Critical events of this process without outcome", [({}, stats["in_flight"])]
    )
    yield _gauge("delivery_loop", "1 where this process runs the loop", [({}, float(stats["loop"]))])
    yield _counter(
        "delivery_repeated", "Acknowledgements of what was acknowledged", [({}, stats["repeated"])]
    )
    yield _counter("delivery_unknown", "Records about events nobody follows", [({}, stats["unknown"])])
    for key, says in _CONCLUDED.items():
        yield _counter(f"delivery_{key}", says, [({}, stats["concluded"][key])])
    roles = stats["roles"].items()
    unacked = (({"role": role}, row["unacked"]) for role, row in roles)
    yield _gauge("delivery_unacked", "Pending events a role has not acknowledged", unacked)
    oldest = (({"role": role}, row["oldest_s"]) for role, row in roles)
    yield _gauge("delivery_oldest_unacked_seconds", "Age of the oldest of them", oldest)
