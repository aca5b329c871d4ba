"""
The fault campaigns of journal and delivery: what there is, and how a budget of time is shared among them.

Those in Python (``tests/faults``) stop when their share is used up. Those in Rust flip every bit and tear
at every byte whatever the budget: the simulated disk is what gets more lives out of more time.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from dev import extension
from dev.machine import SetupError
from dev.steps import STEP_LIMIT_S, Step
from dev.virtualenv import PYTHON

#: By name: what to run of `tests/faults`, or of the core's test `journal`.
PYTHON_CAMPAIGNS: Mapping[str, str] = {
    "random": "tests/faults/test_killed_at_random.py",
    "calls": "tests/faults/test_every_system_call.py",
    "power": "tests/faults/test_power_loss.py",
    "full": "tests/faults/test_full_disk.py",
    "device": "tests/faults/test_failing_device.py",
    "writers": "tests/faults/test_two_writers.py",
    "delivery": "tests/faults/test_delivery_killed.py",
}
RUST_CAMPAIGNS: Mapping[str, str] = {"torn": "torn::", "bits": "damage::", "simulated": "crashes::"}
NAMES = (*PYTHON_CAMPAIGNS, *RUST_CAMPAIGNS)

#: Lives on a simulated disk: what CI tries, and what a core gets through in a second.
SEEDS = 20_000
SEEDS_A_SECOND = 700
ALL_SEEDS = 1_000_000
#: Whoever asks for everything waits for it.
ALL_LIMIT_S = 48 * 3600.0
#: Of a budget; the rest is for the campaigns in Python.
RUST_SHARE = 1 / 3


def parse_budget(text: str) -> float | None:
    """
    Seconds of ``60s``, ``10m`` or ``2h``; None for ``all``.

    Raises:
        SetupError: It is none of these.
    """
    if text == "all":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise SetupError(f"a budget is like 60s, 10m, 2h or all; found {text!r}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def in_rust(*, seeds: int = SEEDS, first_seed: int = 0, only: str = "", shown: bool = False) -> Step:
    """Every bit, every byte, and *seeds* lives on a simulated disk."""
    command = ["cargo", "test", "--package", "tickbus-core", "--test", "journal", "--", only]
    env = {"TICKBUS_EVERY_CASE": "1", "TICKBUS_SEEDS": str(seeds), "TICKBUS_FIRST_SEED": str(first_seed)}
    return Step("faults, core", [*filter(None, command), *(["--nocapture"] if shown else [])], env)


def steps(budget: str, *, only: str | None, seed: int) -> list[Step]:
    """What a budget buys, of all campaigns or of *only* one."""
    seconds = parse_budget(budget)
    if only is not None and only not in NAMES:
        raise SetupError(f"no campaign {only!r}; there are {', '.join(NAMES)}")
    limit_s = ALL_LIMIT_S if seconds is None else STEP_LIMIT_S + 2 * seconds
    chosen: list[Step] = []
    if only not in PYTHON_CAMPAIGNS:
        seeds = ALL_SEEDS
        if seconds is not None:
            seeds = max(SEEDS, round(seconds * (RUST_SHARE if only is None else 1) * SEEDS_A_SECOND))
        filter_by = RUST_CAMPAIGNS.get(only or "", "")
        core = in_rust(seeds=seeds, first_seed=seed * ALL_SEEDS, only=filter_by, shown=True)
        chosen.append(replace(core, limit_s=limit_s))
    if only not in RUST_CAMPAIGNS:
        share = "all" if seconds is None else str(seconds * (1 - RUST_SHARE if only is None else 1))
        env = {"TICKBUS_FAULTS": share, "TICKBUS_FAULTS_SEED": str(seed)}
        where = PYTHON_CAMPAIGNS.get(only or "", "tests/faults")
        command = [str(PYTHON), "-m", "pytest", "--timeout=0", "-q", where]
        chosen.append(Step("build", action=extension.build))
        chosen.append(Step("faults, bus and journal", command, env, needs="build", limit_s=limit_s))
    return chosen
