"""
One function per task; its docstring is what ``./dev`` prints, and what comes after the task's name
on the command line is its argument.
"""

import os
import shutil
import time
from argparse import ArgumentParser
from collections.abc import Callable

from dev import checks, extension, taxonomy_table, virtualenv
from dev import coverage as measured
from dev import faults as campaigns
from dev.machine import ROOT, SetupError, require_build_tools, require_nightly_rust
from dev.steps import Step, hand_over, run, run_all, say
from dev.virtualenv import PYTHON, tool

Task = Callable[[list[str]], int]

#: How many times as long the random tests of processes take in a soak.
LONGER = {"TICKBUS_STRESS": "20"}


def demo(arguments: list[str]) -> int:
    """Watch five strategies react to live events. Arguments go to `tickbus demo` (--help)."""
    _ready("demo")
    hand_over([str(tool("tickbus")), "demo", *arguments])


def test(arguments: list[str]) -> int:
    """Everything CI runs: format, lint, types, tests, models. --fast: no models, no slow tests."""
    parser = ArgumentParser(prog="./dev test")
    parser.add_argument("--fast", action="store_true", help="leave out the loom models and tests marked slow")
    options = parser.parse_args(arguments)
    require_build_tools(checks=True)
    virtualenv.ensure("demo", "dev")
    return run_all(checks.everything(fast=options.fast))


def pytest(arguments: list[str]) -> int:
    """Only the Python tests; arguments go to pytest, for example `-k ledger -x`."""
    _ready("demo", "dev")
    os.chdir(ROOT)
    hand_over([str(PYTHON), "-m", "pytest", *arguments])


def lint(arguments: list[str]) -> int:
    """Formatting, lint and types, without running a test."""
    _no(arguments, "lint")
    require_build_tools(checks=True)
    virtualenv.ensure("demo", "dev")
    return run_all([*checks.lint(), Step("build", action=extension.build), *checks.types()])


def fix(arguments: list[str]) -> int:
    """Rewrite the sources the way `lint` wants them, as far as the tools can."""
    _no(arguments, "fix")
    require_build_tools(checks=True)
    virtualenv.ensure("dev")
    run(["cargo", "fmt", "--all"])
    run([str(PYTHON), "-m", "ruff", "check", "--fix", "--quiet"])
    run([str(PYTHON), "-m", "ruff", "format"])
    return 0


def build(arguments: list[str]) -> int:
    """Build the package into .venv; nothing happens when it is up to date."""
    _no(arguments, "build")
    _ready()
    say(f"ready: {tool('tickbus').relative_to(ROOT)}, or `source .venv/bin/activate`")
    return 0


def bench(arguments: list[str]) -> int:
    """Measure. Arguments go to `tickbus bench`, for example --peers --plot (--help)."""
    _ready("demo", "bench")
    hand_over([str(tool("tickbus")), "bench", *arguments])


def model(arguments: list[str]) -> int:
    """The lanes under the loom model checker. --preemptions N: how deep (default 3)."""
    parser = ArgumentParser(prog="./dev model")
    parser.add_argument("--preemptions", type=int, default=3, help="forced switches an interleaving may have")
    options = parser.parse_args(arguments)
    require_build_tools()
    return run_all([checks.loom_models(preemptions=options.preemptions)])


def sanitize(arguments: list[str]) -> int:
    """The core under Miri and ThreadSanitizer, with a nightly Rust. --seeds N: how often (default 8)."""
    parser = ArgumentParser(prog="./dev sanitize")
    parser.add_argument("--seeds", type=int, default=8, help="interleavings Miri tries per test of a lane")
    options = parser.parse_args(arguments)
    require_build_tools()
    require_nightly_rust()
    return run_all(checks.sanitizers(seeds=options.seeds))


def fuzz(arguments: list[str]) -> int:
    """Property tests with many more cases. --cases N (default 20000), --seconds S (of decoders)."""
    parser = ArgumentParser(prog="./dev fuzz")
    parser.add_argument("--cases", type=int, default=20_000, help="cases per property")
    parser.add_argument(
        "--seconds", type=int, default=0, help="how long each property of the decoders goes on"
    )
    chosen = parser.parse_args(arguments)
    cases, seconds = str(chosen.cases), str(chosen.seconds)
    require_build_tools()
    virtualenv.ensure("demo", "dev")
    rust = checks.rust_tests(release=True)
    python = [str(PYTHON), "-m", "pytest", "-p", "dev.fuzz_profile", "-m", "not soak", "--timeout=0"]
    return run_all(
        [
            Step("build", action=extension.build),
            Step("proptest", rust.command, {"PROPTEST_CASES": cases, "FUZZ_SECONDS": seconds}),
            Step("hypothesis", python, {"FUZZ_CASES": cases, "PYTHONPATH": "tools"}, needs="build"),
        ]
    )


def soak(arguments: list[str]) -> int:
    """The stress tests again and again, with the long ones. --minutes N (default 10)."""
    parser = ArgumentParser(prog="./dev soak")
    parser.add_argument("--minutes", type=float, default=10.0, help="start no new round after this long")
    end = time.monotonic() + 60 * parser.parse_args(arguments).minutes
    _ready("demo", "dev")
    rust = [*checks.rust_tests(release=True).command, "--", "--include-ignored"]
    python = [str(PYTHON), "-m", "pytest", "--soak", "--timeout=0"]
    steps = [Step("cargo test, long ones too", rust, LONGER), Step("pytest, slow and soak", python)]
    rounds = 0
    while rounds == 0 or time.monotonic() < end:
        rounds += 1
        say(f"round {rounds}")
        status = run_all(steps)
        if status:
            return status
    return 0


def faults(arguments: list[str]) -> int:
    """Kill the journal, cut its power, fail its disk. --budget 60s|10m|all, --only NAME, --seed N."""
    parser = ArgumentParser(prog="./dev faults")
    parser.add_argument("--budget", default="60s", help="60s (default), 10m, 2h, or all there is to try")
    parser.add_argument("--only", metavar="NAME", help="one campaign: " + ", ".join(campaigns.NAMES))
    parser.add_argument("--seed", type=int, default=0, help="where random choices begin (default 0)")
    options = parser.parse_args(arguments)
    chosen = campaigns.steps(options.budget, only=options.only, seed=options.seed)
    require_build_tools()
    virtualenv.ensure("demo", "dev")
    return run_all(chosen)


def coverage(arguments: list[str]) -> int:
    """Which lines the tests reach, Python and Rust, against what docs/coverage.md accounts for."""
    _no(arguments, "coverage")
    require_build_tools()
    measured.llvm_tools()
    _ready("demo", "dev")
    return run_all(
        [
            Step("core's tests", action=measured.core_tests),
            Step("python's tests", action=measured.python_tests),
            Step("judgement", action=measured.judge),
        ]
    )


def docs(arguments: list[str]) -> int:
    """Rewrite what the docs repeat from the code: the table of event types."""
    _no(arguments, "docs")
    _ready()
    run([str(PYTHON), "-m", "dev.taxonomy_table"], env={"PYTHONPATH": "tools"})
    say(f"{taxonomy_table.PAGE.relative_to(ROOT)} is up to date")
    return 0


def clean(arguments: list[str]) -> int:
    """Remove everything the other tasks made: .venv, target, the native module, caches."""
    _no(arguments, "clean")
    caches = [".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "build", "dist"]
    for name in [".venv", "target", *caches]:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for pattern in ("src/tickbus/_native*.so", ".coverage*"):
        for path in ROOT.glob(pattern):
            path.unlink()
    for folder in ("src", "tools", "tests", "examples"):
        for path in (ROOT / folder).rglob("__pycache__"):
            shutil.rmtree(path, ignore_errors=True)
    return 0


def _ready(*parts: str) -> None:
    """Have the package built and installed, with extras or groups; refuse at once what cannot work."""
    if not extension.up_to_date():
        require_build_tools()
    virtualenv.ensure(*parts)
    extension.build()


def _no(arguments: list[str], task: str) -> None:
    if arguments:
        raise SetupError(f"./dev {task} takes no arguments; found {' '.join(arguments)}")


#: In the order `./dev` lists them: what a newcomer wants first.
TASKS: dict[str, Task] = {
    task.__name__: task
    for task in (
        *(demo, test, pytest, lint, fix, build, bench),
        *(model, sanitize, fuzz, soak, faults, coverage, docs, clean),
    )
}
