"""Signals come to whoever waits, whatever the main thread was doing when they came."""

from __future__ import annotations

import os
import signal
import threading
import time

from tickbus._signals import Signals

ENDING, OTHER = (signal.SIGUSR1,), (signal.SIGUSR2,)


def test_they_come_in_order_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGUSR1)
    with Signals(ENDING, OTHER) as signals:
        assert signals.wait(0) is None
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert {signals.wait(5), signals.wait(5)} == {signal.SIGUSR1, signal.SIGUSR2}
        signals.put(7)
        assert signals.wait(None) == 7
    assert signal.getsignal(signal.SIGUSR1) == before


def test_one_in_the_middle_of_a_wait_does_not_lock_it():
    """Thousands, at any instruction of the wait: an Event that its own handler sets would hang."""
    count = 3_000
    with Signals((), OTHER) as signals:
        main = threading.get_ident()

        def send():
            for _ in range(count):
                signal.pthread_kill(main, signal.SIGUSR2)
                # So that none is merged with the one before.
                time.sleep(0.0001)

        sender = threading.Thread(target=send)
        sender.start()
        got = 0
        while sender.is_alive() or signals.wait(0.05) is not None:
            got += signals.wait(0.0001) is not None
        assert got > count / 10


def test_the_second_ends_at_once(python):
    child = python(
        "import os, signal\n"
        "from tickbus._signals import Signals\n"
        "with Signals((signal.SIGTERM,)) as signals:\n"
        "    print('ready', flush=True)\n"
        "    assert signals.wait(60) == signal.SIGTERM\n"
        "    print('told', flush=True)\n"
        "    signals.wait(60)\n"
    )
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "told\n"
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == -signal.SIGTERM


def test_another_thread_waits_without_handlers():
    found = []

    def run():
        with Signals(ENDING) as signals:
            signals.put(3)
            found.append(signals.wait(1))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [3]
