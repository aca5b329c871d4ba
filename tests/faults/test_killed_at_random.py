"""kill -9 at any instant: what was acknowledged is there, an exact prefix of it, and nothing else."""

from __future__ import annotations

import os

import pytest
from fault_writers import Books, everything_in, write_for_ever

#: Trials with one journal: each begins with what the one before left, and some in its recovery.
A_JOURNAL = 10


@pytest.mark.parametrize("level", ["os", "disk"])
def test_killed_at_random(tmp_path, fork, campaign, level):
    """Threads publish in ones and batches; segments rotate and are sealed meanwhile."""
    choose = campaign.random
    for trial in campaign.trials(150, 5_000):
        if trial % A_JOURNAL == 0:
            path, books = tmp_path / f"{trial}", Books()
            kib = choose.choice([8, 16, 64, 256])
        receive, send = os.pipe()
        seed = choose.randrange(1 << 30)
        child = fork(lambda: write_for_ever(path, level, send, trial, seed, kib))  # noqa: B023 - at once
        os.close(send)
        before = books.total()
        if choose.random() < 0.8:
            books.listen_for_one(receive)
        books.listen(receive, choose.choice([0.005, 0.02, 0.05]) * choose.random())
        assert child.kill() == -9, "the writer ended by itself"
        books.listen_to_the_end(receive)
        campaign.found["events acknowledged"] += books.total() - before
        campaign.found["killed before the first"] += books.total() == before
        if choose.random() < 0.4 or trial % A_JOURNAL == A_JOURNAL - 1:
            rows = everything_in(path, level, kib)
            books.judge(rows)
            campaign.found["journals read"] += 1
            campaign.found["segments sealed"] += sum(name.endswith(".seg") for name in os.listdir(path))
