"""Peers do what they are timed for, and a transport that loses or reorders is caught."""

import random

import pytest

from tickbus.bench import exchange
from tickbus.bench.jobs import journal
from tickbus.bench.jobs.support import check_dispatch
from tickbus.bench.model import BehaviourError
from tickbus.bench.peers import DISPATCHERS, PROCESS_TRANSPORTS, THREAD_TRANSPORTS
from tickbus.bench.peers.contract import installed
from tickbus.bench.peers.durable import LOGS
from tickbus.bench.peers.simple_queue import SimpleQueueTransport


def need(requires):
    if not installed(requires):
        pytest.skip(f"{requires} is not installed")


class TestDispatchers:
    @pytest.mark.parametrize("peer", DISPATCHERS, ids=lambda peer: peer.name)
    def test_deliver_every_event_to_every_handler_in_order(self, peer):
        """The check the benchmark makes before it times a peer."""
        need(peer.requires)

        check_dispatch(peer.wire, 3)

    @pytest.mark.parametrize("peer", DISPATCHERS, ids=lambda peer: peer.name)
    def test_time_their_hot_loop(self, peer):
        """The loop calls the handlers: as often for each of them."""
        need(peer.requires)
        calls = [0, 0]

        def counter(index):
            def handler(event):
                calls[index] += 1

            return handler

        wired = peer.wire([counter(0), counter(1)])
        try:
            wired.ns(500)
        finally:
            wired.close()

        assert calls[0] == calls[1] >= 500


class TestTransports:
    @pytest.mark.parametrize("transport", THREAD_TRANSPORTS, ids=lambda transport: transport.name)
    def test_carry_every_event_between_threads(self, transport):
        """All of 500, once, in order."""
        need(transport.requires)

        sample = exchange.throughput(lambda: transport(1 << 10), exchange.reader_thread, 500)

        assert (0, 0) == (sample.notes["lost"], sample.notes["disordered"])

    @pytest.mark.parametrize("transport", PROCESS_TRANSPORTS, ids=lambda transport: transport.name)
    def test_carry_every_event_between_processes(self, transport):
        """All of 500, once, in order."""
        need(transport.requires)

        sample = exchange.throughput(lambda: transport(1 << 10), exchange.reader_process, 500)

        assert (0, 0) == (sample.notes["lost"], sample.notes["disordered"])


class Lossy(SimpleQueueTransport):
    """Forgets every tenth event."""

    def sender(self):
        send = super().sender()
        return lambda value: value % 10 and send(value)


class Shuffling(SimpleQueueTransport):
    """Hands out events in any order."""

    def sender(self):
        send, held = super().sender(), []

        def hold(value):
            held.append(value)
            if len(held) == 50:
                random.Random(1).shuffle(held)
                for one in held:
                    send(one)
                held.clear()

        return hold


class TestCheck:
    @pytest.mark.parametrize(("transport", "fault"), [(Lossy, "lost"), (Shuffling, "disordered")])
    def test_names_the_fault(self, transport, fault, monkeypatch):
        """A transport that loses or reorders is never timed."""
        monkeypatch.setattr(exchange, "IDLE_S", 0.1)

        with pytest.raises(BehaviourError, match=f"{fault} .* of 500 events"):
            exchange.check(lambda: transport(0), exchange.reader_thread, 500)

    def test_a_reader_that_fails_says_why(self):
        """Its exception arrives here, from a thread as from a process."""

        class Unreadable(SimpleQueueTransport):
            def receiver(self):
                raise OSError("cannot open")

        with pytest.raises(OSError, match="cannot open"):
            exchange.check(lambda: Unreadable(0), exchange.reader_thread, 10)


class TestDurableLogs:
    @pytest.mark.parametrize("kind", LOGS, ids=lambda kind: kind.name)
    @pytest.mark.parametrize("rows", [1, 1_024])
    def test_keep_what_they_committed_and_begin_anew(self, kind, rows, tmp_path):
        """The check the benchmark makes; what was committed before a sample is not counted in it."""
        need(kind.requires)
        log = kind(tmp_path)

        for commits in (3, 2):
            log.begin()
            for _ in range(commits):
                log.commit(journal.rows_of(journal.RISK, rows))
            assert commits * rows == log.count()

        log.close()
