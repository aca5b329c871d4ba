"""A sync that fails, and a disk that is full for one call: at each place where it can happen."""

from __future__ import annotations

import errno
import os

import pytest
import syscalls
from fault_trials import Trial
from fault_writers import Writer, opened

from tickbus.errors import DurabilityUnknownError, JournalError, StorageFullError

ROUNDS = 4
#: Files with nothing in them that was acknowledged: they are thrown away and made again.
DRAFT = ".new"


@pytest.fixture(scope="module", autouse=True)
def traceable():
    syscalls.require()


def publish_until_refused(path, pipe):
    """Publish through several segments. After the first failed sync everything has to be refused."""
    try:
        bus = opened(path, "disk", kib=8)
    except JournalError:
        return
    writer = Writer(1, bus, pipe, sync=True)
    failed = False
    for _ in range(ROUNDS):
        for thread, count in ((0, 1), (2, 30), (0, 40), (3, 1)):
            try:
                writer.publish(thread, count)
            except JournalError as error:
                assert isinstance(error, DurabilityUnknownError), error
                failed = True
                break
            assert not failed, "acknowledged after a failed sync"
        if failed:
            # Refused at the first try and at every later one, in all lanes.
            for _ in range(3):
                for thread in (0, 2):
                    with pytest.raises(DurabilityUnknownError):
                        Writer(2, bus, pipe, sync=True).publish(thread, 1)
            break
    try:
        bus.close()
    except JournalError:
        assert failed or True


@pytest.fixture
def whole(tmp_path):
    """What `publish_until_refused` does when nothing fails."""
    trial = Trial(publish_until_refused, tmp_path / "whole", kib=8)
    trace = trial.run()
    assert trace.code == 0
    trial.judge()
    return trace


def the(number, names, error):
    """The error for one call of these names, by number."""
    seen = 0

    def fail(call):
        nonlocal seen
        if call.name not in names:
            return 0
        seen += 1
        return error if seen == number + 1 else 0

    return fail


def test_a_failed_sync_is_final(whole, tmp_path, campaign):
    """Nothing is acknowledged or synced after it, and opening again reads what the disk has."""
    syncs = sum(call.name in syscalls.SYNCS for call in whole.calls)
    campaign.found["syncs"] = syncs
    for number in campaign.some_of(range(syncs), usual=30):
        trial = Trial(publish_until_refused, tmp_path / f"{number}", kib=8)

        trace = trial.run(fail=the(number, syscalls.SYNCS, errno.EIO))

        if trace.hit is None:
            continue
        failed = trace.calls[trace.hit]
        assert trace.code == 0, f"sync {number} failed: {failed}"
        if not failed.file.endswith(DRAFT):
            campaign.found["of what was written"] += 1
            later = [call for call in trace.calls[trace.hit + 1 :] if call.name in syscalls.SYNCS]
            assert [call for call in later if call.file == failed.file] == [], f"tried again: {failed}"
        trial.judge()
