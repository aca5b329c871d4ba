"""One writer: a second one hears who the first is, and a fork may not write."""

from __future__ import annotations

import ctypes
import os
import signal

import pytest
from fault_writers import Books, Writer, everything_in, everything_on, opened, write_for_ever

import tickbus as tb
from tickbus.errors import BusForkedError, JournalError, JournalLockedError


def test_a_second_writer_is_refused_until_the_first_is_dead(tmp_path, fork, campaign):
    """By PID while it lives or is stopped; at once and without waiting when it was killed."""
    path, books = tmp_path / "journal", Books()
    for trial in campaign.trials(5, 200):
        receive, send = os.pipe()
        child = fork(lambda: write_for_ever(path, "os", send, trial, campaign.seed))  # noqa: B023 - at once
        os.close(send)
        books.listen_for_one(receive)
        for stopped in (False, True):
            if stopped:
                os.kill(child.pid, signal.SIGSTOP)
            with pytest.raises(JournalLockedError, match=str(child.pid)) as refused:
                opened(path, "os")
            assert refused.value.pid == child.pid
        child.kill()
        books.listen_to_the_end(receive)

        books.judge(everything_in(path))


def test_a_fork_may_not_write_and_does_no_harm(tmp_path, fork):
    """The child is refused, and the parent publishes on."""
    path, books = tmp_path / "journal", Books()
    receive, send = os.pipe()
    bus = opened(path, "os")
    writer = Writer(1, bus, send, sync=False)
    writer.publish(0, 1)

    def in_the_child():
        with pytest.raises(BusForkedError):
            bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 1.0)
        with pytest.raises(BusForkedError):
            bus.journal.sync()
        bus.close()

    assert fork(in_the_child).wait() == 0
    writer.publish(0, 70)
    assert len(everything_on(bus)) == 71
    bus.close()
    os.close(send)
    books.listen_to_the_end(receive)

    books.judge(everything_in(path))


def test_a_fork_that_the_interpreter_does_not_see_may_not_write_either(tmp_path):
    """As a C library makes one: the log knows its process by itself."""
    with opened(tmp_path / "journal", "os") as bus:
        bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 1.0)
        # With the lock of the interpreter, which the child then has as well.
        pid = ctypes.PyDLL(None).fork()
        if pid == 0:
            code = 1
            try:
                bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 2.0)
            except JournalError as error:
                code = 0 if "fork" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        # What the child has put on its copy of the lane is the child's: this bus has no name.
        bus.publish(tb.EventType.DRAWDOWN_ALERT, "BTC-USDT", 3.0)
        assert [row["value"] for row in everything_on(bus)] == [1.0, 3.0]
