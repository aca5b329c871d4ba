"""
The commands that check the code, in the order of ``./dev test``: cheap ones first.

The bindings are linked against no Python (an extension module finds it where it is loaded), so
``cargo test`` leaves them out; their tests are in Python. The loom models are compiled with another
configuration of the same crate and keep a target folder of their own, or each would undo the
other's build.
"""

import platform
from dataclasses import replace

from dev import extension, faults
from dev.machine import ROOT
from dev.steps import Step
from dev.virtualenv import PYTHON

STUBTEST_ALLOWLIST = "tests/typing/stubtest-allowlist.txt"
#: Interleavings with more forced switches than this find few further faults for much more time.
LOOM_PREEMPTIONS_IN_TESTS = 2
#: The Python tests wait more than they compute: for processes that start, clocks and disks.
AT_ONCE = ("-n", "3", "--dist", "worksteal")


def _python(name: str, *arguments: str, needs: str | None = None) -> Step:
    return Step(name, [str(PYTHON), "-m", *arguments], needs=needs)


def lint() -> list[Step]:
    """Formatting and lint, Rust then Python. Needs no build."""
    return [
        Step("rustfmt", ["cargo", "fmt", "--all", "--check"]),
        Step("clippy", ["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        _python("ruff check", "ruff", "check"),
        _python("ruff format", "ruff", "format", "--check"),
    ]


def types() -> list[Step]:
    """What an editor infers, and that the stubs say what the native module does."""
    # Which native classes cannot share a subclass (@disjoint_base) is a fact about their memory, and
    # nobody derives from two of them.
    stubtest = ["mypy.stubtest", "tickbus._native", "--ignore-disjoint-bases"]
    stubtest += ["--mypy-config-file", "pyproject.toml"]
    return [
        _python("mypy", "mypy"),
        _python("stubtest", *stubtest, "--allowlist", STUBTEST_ALLOWLIST, needs="build"),
    ]


def rust_tests(*, release: bool = False) -> Step:
    """The core's tests: unit, integration and doc tests."""
    profile = ["--release"] if release else []
    command = ["cargo", "test", "--workspace", "--exclude", "tickbus-py", "--no-fail-fast", *profile]
    return Step("cargo test", command)


def loom_models(*, preemptions: int) -> Step:
    """The lanes under the model checker: every interleaving up to *preemptions* forced switches."""
    command = ["cargo", "test", "--release", "--package", "tickbus-core", "--test", "loom_*"]
    env = {"RUSTFLAGS": "--cfg loom", "LOOM_MAX_PREEMPTIONS": str(preemptions)}
    # A checker that visits each interleaving gains nothing from a minute of linking.
    env |= {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    return Step("loom models", [*command, "--target-dir", str(ROOT / "target" / "loom")], env)


def sanitizers(*, seeds: int) -> list[Step]:
    """What a nightly Rust can look for in the core's `unsafe` and its threads."""
    cargo = ["cargo", "+nightly"]
    package = ["test", "--package", "tickbus-core"]
    # Miri runs a thousand times slower, so: a lane alone, and the units that touch its memory.
    miri = [*cargo, "miri", *package, "--target-dir", str(ROOT / "target" / "miri")]
    interleavings = {"MIRIFLAGS": f"-Zmiri-many-seeds=0..{seeds} -Zmiri-preemption-rate=0.05"}
    units = [*miri, "--lib", "--", "lane::", "event::", "text::"]
    # The standard library too has to be built for it, or its own locks look like races.
    thread = [*cargo, *package, "-Zbuild-std", "--target", f"{platform.machine()}-unknown-linux-gnu"]
    thread += ["--target-dir", str(ROOT / "target" / "tsan"), "--lib", "--test", "nothing_lost"]
    return [
        Step("miri, units", units, {"MIRIFLAGS": "-Zmiri-disable-isolation", "PROPTEST_CASES": "4"}),
        Step("miri, a lane", [*miri, "--test", "lane_threads"], interleavings),
        Step(
            "thread sanitizer",
            [*thread, "--test", "lane_threads"],
            {"RUSTFLAGS": "-Zsanitizer=thread", "PROPTEST_CASES": "32"},
        ),
    ]


def everything(*, fast: bool) -> list[Step]:
    """All of ``./dev test``; *fast* leaves out the models and the tests marked slow."""
    selection = ["-m", "not soak and not slow"] if fast else ["-m", "not soak"]
    steps = [
        *lint(),
        rust_tests(),
        Step("build", action=extension.build),
        *types(),
        _python("pytest", "pytest", *selection, *AT_ONCE, needs="build"),
    ]
    slow = [faults.in_rust(), loom_models(preemptions=LOOM_PREEMPTIONS_IN_TESTS)]
    return steps if fast else [*steps, *(replace(step, beside="pytest") for step in slow)]
