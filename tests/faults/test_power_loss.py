"""
A power cut on a real ext4: level `disk` loses nothing, level `os` leaves an exact prefix.

The file system is shut down as a power cut does it: nothing in the page cache and nothing in the file
system's own journal reaches the device any more. Some pages are written back before, at random, as the
kernel would: so what is left may have holes, and files of which the name is gone.

An acknowledgement needs no sync, so a power cut may take it: then its event comes again, and no other.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from fault_desk import Log, Notes, acknowledge
from fault_mounts import Ext4, in_memory, skipping
from fault_writers import Books, everything_in, write_for_ever

import tickbus as tb
from tickbus.delivery import Delivery, Outcome, Policy, Retry
from tickbus.journal import Journal, verify

A_JOURNAL = 5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
#: Wait, write, wait.
_WRITE_BACK = 7


@pytest.fixture
def ext4(tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="tickbus-", dir=in_memory() or tmp_path))
    try:
        mount = skipping(Ext4, tmp_path / "mount", folder / "image", 64)
        yield mount
        mount.unmount()
    finally:
        shutil.rmtree(folder)


def write_some_back(path, choose):
    """What the kernel does in the background: some pages of some files, in no order."""
    for name in os.listdir(path):
        if name.endswith(".log") and choose.random() < 0.5:
            try:
                file = os.open(path / name, os.O_WRONLY)
            except FileNotFoundError:
                continue
            for _ in range(choose.randrange(6)):
                offset, count = 4096 * choose.randrange(64), 4096 * choose.randrange(1, 8)
                _libc.sync_file_range(file, offset, count, _WRITE_BACK)
            os.close(file)


@pytest.mark.parametrize("level", ["disk", "os"])
def test_power_loss(ext4, fork, campaign, level):
    """Threads publish in ones and batches while the power is cut, again and again."""
    choose = campaign.random
    for trial in campaign.trials(100, 5_000):
        if trial % A_JOURNAL == 0:
            path, books = ext4.place / f"{trial}", Books()
            kib = choose.choice([8, 16, 64, 256])
        receive, send = os.pipe()
        seed = choose.randrange(1 << 30)
        child = fork(lambda: write_for_ever(path, level, send, trial, seed, kib))  # noqa: B023 - at once
        os.close(send)
        before = books.total()
        if choose.random() < 0.8:
            books.listen_for_one(receive)
        books.listen(receive, 0.03 * choose.random())
        if choose.random() < 0.7 and path.exists():
            write_some_back(path, choose)
        ext4.cut_power()
        # It may have been refused by now: everything is, once the power is off.
        child.kill()
        books.listen_to_the_end(receive)
        ext4.power_on()
        if not path.exists():
            assert books.total() == 0 or level == "os"
            books = Books()
            continue
        rows = everything_in(path, level, kib)
        campaign.found["events acknowledged"] += books.total() - before
        campaign.found["lost"] += max(0, books.total() - len(rows))
        campaign.found["torn tails"] += sum(name.endswith(".torn") for name in os.listdir(path))
        books.judge(rows, complete=level == "disk")
        books.forget_what_is_lost(rows)
        if trial % A_JOURNAL == A_JOURNAL - 1:
            assert verify(path).whole
            shutil.rmtree(path)


PATIENT = Policy(retry=Retry(attempts=60_000, first_s=0.01, most_s=0.05), escalate_after_s=0.02)


def _desk(kept: Journal, published: Notes, handed: Notes, events: int) -> None:
    """Publish and acknowledge; the end of it is to have everything acknowledged."""
    with tb.Bus(journal=kept) as bus, Delivery(bus, default=PATIENT) as delivery:
        member = delivery.subscribe("risk.>", role="oms", ack="manual", start="earliest")
        for number in range(events):
            value = float(os.getpid() * 1_000_000 + number)
            published.add(delivery.publish_critical(tb.EventType.DRAWDOWN_ALERT, "A", value).event_id, value)
            _acknowledge(member, handed, 2)
        while delivery.stats()["pending"]:
            _acknowledge(member, handed, 100)
        ids = [int(words[0]) for _, words in published.lines()]
        assert {delivery.wait_ack(event_id, 0).outcome for event_id in ids} <= {Outcome.ACKED}


def _acknowledge(member, handed, most):
    for _ in range(most):
        event = member.poll(0.001)
        if event is None:
            return
        handed.add("handed", event.sequence)
        # Some are left for the loop to hand out again.
        if (event.sequence + member.attempt) % 5:
            acknowledge(member, event, handed)


def test_power_loss_of_acknowledgements(ext4, tmp_path, fork, campaign):
    """At level `disk` each event with a receipt ends acknowledged; again comes what the log says is not."""
    choose, found = campaign.random, campaign.found
    published, handed = Notes(tmp_path / "published"), Notes(tmp_path / "handed")
    kept = Journal(ext4.place / "journal", segment_mib=0.25)
    for _ in campaign.trials(10, 500):
        child = fork(lambda: _desk(kept, published, handed, 1 << 40))
        before = published.size()
        end = time.monotonic() + 20
        while published.size() == before and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.05 * choose.random())
        if choose.random() < 0.7:
            write_some_back(kept.path, choose)
        ext4.cut_power()
        child.kill()
        ext4.power_on()
    assert fork(lambda: _desk(kept, published, handed, 0)).wait() == 0

    log = Log(kept)
    for _, (event_id, value) in published.lines():
        assert log.events[int(event_id) >> 2][1] == float(value)
    # An acknowledgement that the log lost may have been kept by the loop's snapshot.
    made = {int(numbers[0]) for _, (what, *numbers) in handed.lines() if what == "acked"}
    assert all(sequence in made or log.acked[sequence, "oms"] for sequence in log.events)
    assert set(log.escalated.values()) <= {1}
    acked, lost = set(), 0
    for _, (what, *numbers) in handed.lines():
        sequence = int(numbers[0])
        if what == "handed":
            assert sequence not in acked, f"{sequence} was acknowledged"
        elif log.has("oms", *map(int, numbers)):
            acked.add(sequence)
        else:
            lost += 1
    found["events"] += len(log.events)
    found["escalations"] += len(log.escalated)
    found["acknowledgements lost"] += lost
    found["acknowledged"] += len(acked)
