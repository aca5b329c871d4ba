"""Killed at any instant: what was acknowledged is there, in an exact prefix, and nothing else."""

from __future__ import annotations

import os
import random
import struct
import time

import numpy as np
import pytest

import tickbus as tb
from tickbus.journal import Journal

RISK, MARKET = tb.EventType.DRAWDOWN_ALERT, tb.EventType.PRICE_UPDATE
TRIALS = {"os": 25, "disk": 15}


def journal(path, level):
    return Journal(path, critical=level, segment_mib=1)


def publish_for_ever(path, level, acknowledged, seed):
    """Publish events that count up, in ones and batches; write each acknowledged number to a pipe."""
    choose = random.Random(seed)
    bus = tb.Bus(journal=journal(path, level))
    number = 1 + max((int(event.value) for event in drained(bus)), default=0)
    while True:
        if choose.random() < 0.5:
            bus.publish(RISK, "BTC-USDT", float(number), metadata=number * 7)
            number += 1
        else:
            rows = np.zeros(choose.choice([2, 64, 65, 500]), tb.EVENT_DTYPE)
            rows["event_type"], rows["priority"] = RISK, tb.Priority.CRITICAL
            rows["value"] = np.arange(number, number + len(rows))
            rows["metadata"] = rows["value"].astype(np.uint64) * 7
            bus.publish_batch(rows)
            number += len(rows)
        os.write(acknowledged, struct.pack("<Q", number - 1))


def read_all(pipe):
    with os.fdopen(pipe, "rb") as stream:
        return stream.read()


def drained(bus):
    reader = bus.subscribe("risk.>", start="earliest")
    while events := reader.drain(4096):
        yield from events
    assert 0 == reader.missed


@pytest.mark.parametrize("level", TRIALS)
def test_every_acknowledged_event_is_there(tmp_path, fork, stress, level):
    """One journal through all trials, so that every recovery is of a log that was killed before."""
    path, random_number = tmp_path / "journal", random.Random(7)
    acknowledged = 0
    for trial in range(TRIALS[level] * stress):
        receive, send = os.pipe()
        child = fork(lambda send=send, trial=trial: publish_for_ever(path, level, send, trial))
        os.close(send)
        first = os.read(receive, 8)
        time.sleep(random_number.random() * 0.03)
        assert -9 == child.kill()
        rest = read_all(receive)
        acknowledged = struct.unpack("<Q", (first + rest)[-8:])[0]

        with tb.Bus(journal=journal(path, level)) as bus:
            numbers = [(int(event.value), event.metadata) for event in drained(bus)]

        assert [(n, n * 7) for n in range(1, len(numbers) + 1)] == numbers, "a prefix, each once and whole"
        assert len(numbers) >= acknowledged, f"trial {trial}: lost {acknowledged - len(numbers)}"


def test_events_on_a_named_bus_outlive_their_publisher_and_the_journal(tmp_path, bus_name, fork):
    """What is in the lanes when everybody is killed is taken over by the next who opens the bus."""
    path = tmp_path / "journal"

    def publish():
        bus = tb.Bus(bus_name, journal=journal(path, "os"))
        for number in range(20_000):
            bus.publish(MARKET, "BTC-USDT", float(number))
        os.kill(os.getpid(), 9)

    fork(publish).wait()
    with tb.Bus(bus_name, journal=journal(path, "os")) as bus:
        reader = bus.subscribe("market.>", start="earliest")
        values = []
        while events := reader.drain(4096):
            values += [event.value for event in events]

    assert [float(n) for n in range(20_000)] == values
