"""Paced load: the schedule stands, whoever is late."""

import time

from tickbus.bench import pace

MS = 1_000_000


class TestSchedule:
    def test_sends_every_value_once_and_never_early(self):
        """Event k is not sent before start + k * interval."""
        sent = []

        start, costs = pace.send_paced(
            lambda value: sent.append((value, time.monotonic_ns())), 20, MS // 10, yields=False
        )

        assert [float(k) for k in range(20)] == [value for value, _ in sent]
        assert all(at >= start + k * MS // 10 for k, (_, at) in enumerate(sent))
        assert 20 == len(costs)

    def test_a_held_up_publisher_catches_up_at_once(self):
        """The schedule does not move: the last event is due when it always was."""
        sent = []

        def send(value):
            if value == 0.0:
                time.sleep(0.01)
            sent.append(time.monotonic_ns())

        start, _ = pace.send_paced(send, 10, MS, yields=True)

        # Sent after the hold-up but by the schedule, not 10 ms after it.
        assert sent[1] - start >= 10 * MS
        assert [at >= start + k * MS for k, at in enumerate(sent)] == [True] * 10


class TestLatency:
    def test_counts_from_when_an_event_was_due(self):
        """Waiting behind a held-up publisher is latency: no coordinated omission."""
        arrivals = [(0.0, 100 + 5_000), (1.0, 100 + 5_010), (2.0, 100 + 5_020)]

        assert [5_000, 4_010, 3_020] == pace.latencies_ns(100, 1_000, arrivals, warm_up=0)

    def test_leaves_the_warm_up_out(self):
        """By number, so that a lost event shifts nothing."""
        arrivals = [(0.0, 900), (2.0, 2_007), (3.0, 3_008)]

        assert [7, 8] == pace.latencies_ns(0, 1_000, arrivals, warm_up=1)
