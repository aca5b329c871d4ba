"""
delivery.publish: what `publish_critical` costs its caller at level ``os``; beside it a plain publish.
delivery.acked: from `publish_critical` through a handler in another process to the acknowledgement in
the publisher's hands, one event at a time, level ``os``, both spinning.
delivery.backlog: p99.9 of the same while a million high events lie unread, and more of them come before
each critical one; beside it the same on an empty bus.
delivery.disk: the same way at level ``disk``; beside it one `fdatasync`.

Publisher and consumer have a core each. Nobody runs the loop that retries and escalates: it is on
nobody's way, and with two cores it would be in it.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter_ns, sleep
from typing import Any

import numpy as np

import tickbus as tb
from tickbus.bench.child import LIMIT_S, child
from tickbus.bench.floor import cache_folder
from tickbus.bench.jobs.support import expect
from tickbus.bench.model import TICKBUS, Absent, BehaviourError, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers.durable import ZeroedFile
from tickbus.bench.subject import SYMBOL, bus_name
from tickbus.bench.timing import cores, no_gc, pinned
from tickbus.delivery import Delivery, Outcome
from tickbus.journal import Journal, Level

PUBLISH, ACKED, BACKLOG, DISK = "delivery.publish", "delivery.acked", "delivery.backlog", "delivery.disk"
PLAIN, EMPTY, SQLITE = "tickbus, plain publish", "tickbus, empty bus", "SQLite table, polled"
RISK, HIGH = tb.EventType.DRAWDOWN_ALERT, tb.EventType.PRICE_UPDATE
MILLION = 1 << 20
#: High events before each critical one: about a million a second.
FEED = 8
#: Tells the consumer that there are no more.
END = -1.0
SETTLE_S = 0.5


def cases(options: Options) -> list[Case | Absent]:
    folder = Path(tempfile.mkdtemp(prefix="delivery-", dir=cache_folder()))
    place = partial(tempfile.mkdtemp, dir=folder)
    trips, syncs = options.count(10_000, quick=20), options.count(1_000, quick=5)
    backlog = MILLION if not options.quick else 1 << 12
    settle = 0.0 if options.quick else SETTLE_S

    def trip(level: Level, count: int, **around: int) -> Callable[[], Sample]:
        return lambda: Sample(*_trips(Path(place()), level, count, settle, **around))

    def check() -> None:
        _trips(Path(place()), "os", 20, 0.0)

    def tail(found: Sample) -> Sample:
        latencies = sorted(found.latencies_ns)
        return Sample(float(latencies[len(latencies) * 999 // 1000]), found.latencies_ns)

    full = trip("os", trips, backlog=backlog)
    empty = trip("os", trips)
    cost = options.count(20_000, quick=50)
    found: list[Case | Absent] = [
        _case(PUBLISH, TICKBUS, lambda: _publish(Path(place()), cost, settle, receipt=True), check),
        _case(PUBLISH, PLAIN, lambda: _publish(Path(place()), cost, settle, receipt=False), check),
        _case(ACKED, TICKBUS, trip("os", trips), check),
        _case(BACKLOG, TICKBUS, lambda: tail(full()), check),
        _case(BACKLOG, EMPTY, lambda: tail(empty()), check),
        _case(DISK, TICKBUS, trip("disk", syncs), check),
        _fdatasync(Path(place()), syncs),
    ]
    if options.peers:
        table = partial(_sqlite, trips=options.count(2_000, quick=10))
        found.append(_case(ACKED, SQLITE, lambda: table(Path(place())), lambda: None, Kind.PEER))
    last = found[-1]
    assert isinstance(last, Case), "it is made here"
    close = last.close

    def finish() -> None:
        close()
        shutil.rmtree(folder, ignore_errors=True)

    # The runner closes them in this order.
    last.close = finish
    return found


def _case(
    figure: str,
    name: str,
    sample: Callable[[], Sample],
    check: Callable[[], None],
    kind: Kind = Kind.SUBJECT,
) -> Case:
    return Case(figure, name, kind, Unit.NS, sample, check)


def _publish(folder: Path, count: int, settle_s: float, *, receipt: bool) -> Sample:
    """Each call timed; nobody consumes."""
    with (
        tb.Bus(journal=Journal(folder / "journal", critical="os"), critical_size=MILLION) as bus,
        Delivery(bus, loop=False, max_in_flight=MILLION) as delivery,
    ):
        sleep(settle_s)
        publish: Callable[..., object] = delivery.publish_critical if receipt else bus.publish
        times = []
        with no_gc():
            for _ in range(count):
                begin = perf_counter_ns()
                publish(RISK, SYMBOL, 1.0)
                times.append(perf_counter_ns() - begin)
    return Sample(median(times), tuple(times))


def _trips(
    folder: Path, level: Level, count: int, settle_s: float, *, backlog: int = 0
) -> tuple[float, tuple[int, ...]]:
    """Events there and back, one at a time, behind *backlog* high events that somebody has not read."""
    publisher_core, consumer_core = cores()
    name = bus_name("delivery")
    journal = Journal(folder / "journal", critical=level)
    times: list[int] = []
    with (
        tb.Bus(name, journal=journal, high_size=MILLION) as bus,
        Delivery(bus, loop=False, wait="spin") as delivery,
        bus.subscribe("market.>", lossy=True) as idle,
        child(_consume, name, consumer_core) as next_message,
    ):
        expect("the consumer's first word", "ready", next_message())
        prices = _prices(bus)
        for _ in range(backlog // len(prices)):
            bus.publish_batch(prices)
        feed = prices[: FEED if backlog else 0]
        sleep(settle_s)
        with pinned(publisher_core), no_gc():
            for number in range(count):
                bus.publish_batch(feed)
                begin = perf_counter_ns()
                result = delivery.publish_critical(RISK, SYMBOL, float(number)).wait(LIMIT_S)
                times.append(perf_counter_ns() - begin)
                if result.outcome is not Outcome.ACKED:
                    raise BehaviourError(f"event {number} was not acknowledged: {result}")
        delivery.publish_critical(RISK, SYMBOL, END)
        expect("values the consumer was handed", count, next_message())
        if idle.lag < backlog:
            raise BehaviourError(f"{idle.lag} events lie unread where {backlog} should")
    warm = tuple(times[count // 10 :])
    return median(warm), warm


def _prices(bus: tb.Bus) -> Any:
    events = np.zeros(4096, tb.EVENT_DTYPE)
    events["timestamp"] = 1
    events["event_type"] = int(HIGH)
    events["priority"] = int(tb.Priority.HIGH)
    events["symbol"] = bus.symbol_id(SYMBOL)
    return events


def _consume(send: Callable[[Any], object], name: str, core: int) -> None:
    """A handler that does nothing, and acknowledges."""
    with (
        tb.Bus(name) as bus,
        Delivery(bus, loop=False) as delivery,
        delivery.subscribe("risk.>", role="oms", ack="manual", wait="spin") as member,
        pinned(core),
        no_gc(),
    ):
        send("ready")
        count = 0
        while (event := member.poll(LIMIT_S)) is not None and event.value != END:
            member.ack(event)
            count += event.value == count
        send(count)


def _fdatasync(folder: Path, count: int) -> Case:
    file = ZeroedFile(folder)
    row = np.ones(1, tb.EVENT_DTYPE)

    def sample() -> Sample:
        file.begin()
        times = []
        for _ in range(count):
            begin = perf_counter_ns()
            file.commit(row)
            times.append(perf_counter_ns() - begin)
        return Sample(median(times), tuple(times))

    def check() -> None:
        file.begin()
        file.commit(row)
        expect("rows read back", 1, file.count())

    return Case(DISK, ZeroedFile.name, Kind.FLOOR, Unit.NS, sample, check, file.close)


@contextmanager
def _table(path: Path) -> Iterator[sqlite3.Connection]:
    """As many queues over SQLite keep it: a row an event, which survives the process and not the machine."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    connection.execute("create table if not exists queue (id integer primary key, value real, acked integer)")
    try:
        yield connection
    finally:
        connection.close()


def _sqlite(folder: Path, trips: int) -> Sample:
    times = []
    path = folder / "queue"
    with _table(path) as table, child(_consume_table, path) as next_message:
        expect("the consumer's first word", "ready", next_message())
        for number in range(trips):
            begin = perf_counter_ns()
            key = table.execute("insert into queue (value, acked) values (?, 0)", (number,)).lastrowid
            while not table.execute("select acked from queue where id = ?", (key,)).fetchone()[0]:
                pass
            times.append(perf_counter_ns() - begin)
        table.execute("insert into queue (value, acked) values (?, 0)", (END,))
        expect("values the consumer was handed", trips, next_message())
    return Sample(median(times), tuple(times))


def _consume_table(send: Callable[[Any], object], path: Path) -> None:
    with _table(path) as table:
        table.execute("pragma busy_timeout = 10000")
        send("ready")
        last = count = 0
        while True:
            row = table.execute("select id, value from queue where id > ?", (last,)).fetchone()
            if row is None:
                continue
            last, value = row
            if value == END:
                break
            table.execute("update queue set acked = 1 where id = ?", (last,))
            count += 1
        send(count)
