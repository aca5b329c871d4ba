"""A sync that fails, and a disk that is full for one call: at each place where it can happen."""

from __future__ import annotations

import enum
import errno
import subprocess
import sys
import textwrap
import time

import pytest
import syscalls
from fault_scenarios import SCENARIOS
from fault_trials import Trial, begun_with
from fault_writers import Writer, journal, opened

import tickbus as tb
from tickbus.errors import DurabilityUnknownError, JournalError

ROUNDS = 4
WRITES = {"pwrite64", "write"}


@pytest.fixture(scope="module", autouse=True)
def traceable():
    syscalls.require()


class Ended(enum.IntEnum):
    """How a process with a failing device ends."""

    WELL = 0
    NOT_OPENED = 3
    REFUSED = 4
    NOT_CLOSED = 5


def publish_through_segments(path, pipe):
    """Through segments of two blocks, in all lanes. After a failed sync everything has to be refused."""
    try:
        bus = opened(path, "disk", kib=8)
    except JournalError:
        return Ended.NOT_OPENED
    writer = Writer(1, bus, pipe, sync=True)
    for thread, count in [(0, 1), (2, 30), (0, 1), (3, 40)] * ROUNDS:
        try:
            writer.publish(thread, count)
        except DurabilityUnknownError:
            for late in range(2, 5):
                for lane in (0, 2):
                    with pytest.raises(DurabilityUnknownError):
                        Writer(late, bus, pipe, sync=True).publish(lane, 1)
            return Ended.REFUSED
        except JournalError as error:
            go_on(writer, thread, error)
    try:
        bus.close()
    except JournalError:
        return Ended.NOT_CLOSED
    return Ended.WELL


def go_on(writer, thread, error):
    """What was refused for now is on the bus, and acknowledged as soon as the journal has it."""
    end = time.monotonic() + 60
    while True:
        try:
            writer.bus.journal.sync()
            break
        except DurabilityUnknownError:
            raise
        except JournalError:
            assert time.monotonic() < end, f"no end of: {error}"
            time.sleep(0.001)
    writer.acknowledge(thread)


@pytest.fixture
def whole(tmp_path):
    """What `publish_through_segments` does when nothing fails."""
    trial = Trial(publish_through_segments, tmp_path / "whole", kib=8)
    trace = trial.run()
    assert trace.code == 0
    trial.judge()
    return trace


def the(number, names, error, of=None):
    """The error for one call of these names, by number."""
    seen = 0

    def fail(call):
        nonlocal seen
        if call.name not in names or call.file.startswith("pipe") or of not in (None, call.file):
            return 0
        seen += 1
        return error if seen == number + 1 else 0

    return fail


def test_a_failed_sync_is_final(whole, tmp_path, campaign):
    """Nothing is acknowledged and nothing tried again after it; opening anew reads what the disk has."""
    syncs = sum(call.name in syscalls.SYNCS for call in whole.calls)
    campaign.found["syncs"] = syncs
    for number in campaign.some_of(range(syncs), usual=30):
        trial = Trial(publish_through_segments, tmp_path / f"{number}", kib=8)

        trace = trial.run(fail=the(number, syscalls.SYNCS, errno.EIO))

        if trace.hit is None:
            continue
        failed, ended = trace.calls[trace.hit], Ended(trace.code)
        campaign.found[ended.name.lower().replace("_", " ")] += 1
        if failed.file.endswith(".log"):
            assert ended != Ended.WELL, f"sync {number}: {failed}"
            later = trace.calls[trace.hit + 1 :]
            assert [call for call in later if call == failed] == [], f"tried again: {failed}"
        trial.judge()


@pytest.mark.parametrize("name", ["seal", "compact"])
def test_a_sync_that_fails_in_the_background_costs_nothing(name, tmp_path, campaign):
    """What is sealed or packed counts when it is on the disk; what it was made of goes only then."""
    scenario = SCENARIOS[name]
    template = begun_with(scenario.before, tmp_path / "before") if scenario.before else None
    undisturbed = Trial(scenario.work, tmp_path / "whole", kib=scenario.kib, template=template)
    syncs = sum(call.name in syscalls.SYNCS for call in undisturbed.run().calls)
    campaign.found["syncs"] = syncs
    for number in campaign.some_of(range(syncs), usual=12):
        trial = Trial(scenario.work, tmp_path / f"{number}", kib=scenario.kib, template=template)

        trial.run(fail=the(number, syscalls.SYNCS, errno.EIO))

        trial.judge()


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EFBIG", "EIO"])
def test_what_cannot_be_written_is_written_later(whole, tmp_path, campaign, error):
    """A full disk, a quota, a limit of size or a failing write are over with the next write."""
    writes = sum(call.name in WRITES and "pipe" not in call.file for call in whole.calls)
    campaign.found["writes"] = writes
    for number in campaign.some_of(range(writes), usual=10):
        trial = Trial(publish_through_segments, tmp_path / f"{number}", kib=8)

        trace = trial.run(fail=the(number, WRITES, getattr(errno, error)))

        if trace.hit is None:
            continue
        ended = Ended(trace.code)
        campaign.found[ended.name.lower().replace("_", " ")] += 1
        assert ended != Ended.REFUSED, f"write {number}: {trace.calls[trace.hit]}"
        trial.judge()


def test_a_write_that_failed_once_is_no_trouble_to_other_processes(tmp_path, bus_name):
    """What they publish after it is acknowledged."""
    source = """
        import sys, tickbus as tb
        with tb.Bus(sys.argv[1]) as bus:
            for _ in range(20):
                bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 1.0)
    """

    def keep(path, pipe):
        with tb.Bus(bus_name, journal=journal(path, "disk")) as bus:
            writer = Writer(1, bus, pipe, sync=True)
            try:
                for _ in range(ROUNDS):
                    writer.publish(0, 1)
            except JournalError as error:
                go_on(writer, 0, error)
            other = [sys.executable, "-c", textwrap.dedent(source), bus_name]
            return subprocess.run(other, check=False, timeout=60).returncode

    trial = Trial(keep, tmp_path / "journal")

    trace = trial.run(fail=the(3, {"pwrite64"}, errno.EIO, of="00000000000000000000.log"))

    assert (trace.hit is not None, trace.code) == (True, 0)
