"""
kill -9 at any instant of publisher, host, loop and consumers, and loops that hang.

Every persisted critical event is acknowledged or a dead letter, comes in order the first time, is escalated
once a step, and is not handed out again once its acknowledgement was made.
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from fault_desk import Desk

#: Trials with one desk, before it is judged.
A_DESK = 25


def _trial(desk: Desk, choose: random.Random, found: Counter[str]) -> None:
    """Kill somebody, or everybody, or stop somebody for a while."""
    what = choose.random()
    if what < 0.04:
        order = list(desk.everybody)
        choose.shuffle(order)
        for who in order:
            desk.kill(who)
        for who in desk.everybody:
            desk.start(who)
        found["kills of everybody"] += 1
        return
    loop = desk.holder()
    who = loop if choose.random() < 0.25 else choose.choice(desk.everybody)
    if what < 0.12:
        desk.stop(who, 0.05 if choose.random() < 0.3 else 0.8)
        found["stops of the loop" if who == loop else "other stops"] += 1
        return
    desk.kill(who)
    found["kills of the loop" if who == loop else f"kills of {who.rstrip(' 12')}"] += 1
    if what < 0.9:
        desk.start(who)


@pytest.mark.parametrize("level", ["os", "disk"])
def test_delivery_killed(tmp_path, bus_name, fork, campaign, level):
    """Two roles, one of them with two members, the other exclusive; all, any and named roles required."""
    choose, desk = campaign.random, None
    for trial in campaign.trials(20, 1_000):
        if desk is None:
            name, seed = f"{bus_name}-{trial}", choose.randrange(1 << 30)
            desk = Desk(tmp_path / f"{trial}", name, level, seed, fork, campaign.found)
            desk.open()
        time.sleep(choose.random() * 0.06)
        for who in desk.everybody:
            desk.start(who)
        _trial(desk, choose, campaign.found)
        if trial % A_DESK == A_DESK - 1:
            desk.settle()
            desk.judge()
            desk = None
    if desk is not None:
        desk.settle()
        desk.judge()
