"""
Which lines the tests reach, in both halves, and whether the page about it still says so.

Rust is measured where it runs: in the core's own tests, and in an instrumented build of the native module
that takes the real one's place while the Python tests run. The counters are kept in shared mappings of
files, so what a test kills counts as far as it came.

``docs/coverage.md`` has the result, and a table of how many lines of which files may stay unreached and
why. More than that fails, and so do unreached lines of a file that the table does not name.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dev.machine import ROOT, SetupError, environment
from dev.steps import run
from dev.virtualenv import PYTHON

PAGE = ROOT / "docs" / "coverage.md"
TARGET = ROOT / "target" / "coverage"
PROFILES = TARGET / "profiles"
#: Counters live in the file itself ("%c"), one file for each program ("%m").
FLAGS = {
    "RUSTFLAGS": "-C instrument-coverage -C llvm-args=-runtime-counter-relocation",
    "LLVM_PROFILE_FILE": str(PROFILES / "%c%m.profraw"),
}
_ROW = re.compile(r"^\| `(?P<files>[^`]+)` \| (?P<most>\d+) \| .+ \|$", re.MULTILINE)
_BLOCK = re.compile(r"(<!-- measured -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Reached:
    """How many lines of a file there are, and how many no test reached."""

    lines: int
    missed: int


def core_tests() -> None:
    """Run the core's own tests, instrumented."""
    shutil.rmtree(PROFILES, ignore_errors=True)
    PROFILES.mkdir(parents=True)
    run([*_cargo("test"), "--package", "tickbus-core", "--no-fail-fast"], env=FLAGS)


def python_tests() -> None:
    """Run the Python tests with an instrumented native module in place of the real one."""
    run([*_cargo("build"), "--package", "tickbus-py"], env=FLAGS)
    module = next((ROOT / "src" / "tickbus").glob("_native*.so"))
    kept = TARGET / module.name
    # With its date, by which the next build knows it again.
    shutil.copy2(module, kept)
    try:
        # Another file, not other content: a process that has the real one mapped must keep it.
        module.unlink()
        shutil.copy2(_module(), module)
        coverage = ["--cov", f"--cov-report=json:{TARGET / 'python.json'}", "--cov-report="]
        run([str(PYTHON), "-m", "pytest", "-m", "not soak", "--timeout=600", *coverage], env=FLAGS)
    finally:
        os.replace(kept, module)


def judge() -> None:
    """
    Write the figures into the page, and hold them against what it allows.

    Raises:
        SetupError: A file has more unreached lines than the page gives reasons for.
    """
    python, rust = _python(), _rust()
    page = PAGE.read_text()
    PAGE.write_text(_BLOCK.sub(lambda found: found[1] + _summary(python, rust) + found[2], page))
    faults = found_wrong({**python, **rust}, page)
    if faults:
        raise SetupError("coverage:\n" + "\n".join(f"  - {fault}" for fault in faults))


def found_wrong(reached: Mapping[str, Reached], page: str) -> list[str]:
    """
    What the table of *page* does not account for, a sentence each.

    A row's files are a path with wildcards; a file counts in the first row that names it.
    """
    allowed = {row["files"]: int(row["most"]) for row in _ROW.finditer(page)}
    left = dict(reached)
    faults = []
    for pattern, most in allowed.items():
        names = [name for name in left if fnmatchcase(name, pattern)]
        missed = sum(left.pop(name).missed for name in names)
        if not names:
            faults.append(f"{PAGE.name} names {pattern}, and there is no such file")
        elif missed > most:
            faults.append(f"{pattern}: no test reaches {missed} lines; {PAGE.name} accounts for {most}")
    for name, file in sorted(left.items()):
        if file.missed:
            faults.append(f"{name}: no test reaches {file.missed} of {file.lines} lines, unaccounted for")
    return faults


def _summary(python: Mapping[str, Reached], rust: Mapping[str, Reached]) -> str:
    halves = {
        "Python (`src/tickbus`)": python,
        "Rust core": {name: file for name, file in rust.items() if "tickbus-core" in name},
        "Rust bindings": {name: file for name, file in rust.items() if "tickbus-py" in name},
    }
    text = "| half | lines | reached |\n|---|---|---|\n"
    for half, files in halves.items():
        lines = sum(file.lines for file in files.values())
        missed = sum(file.missed for file in files.values())
        text += f"| {half} | {lines:,} | {100 * (lines - missed) / max(lines, 1):.1f} % |\n"
    return text


def _cargo(command: str) -> list[str]:
    return ["cargo", command, "--target-dir", str(TARGET)]


def _module() -> Path:
    return TARGET / "debug" / "lib_native.so"


def _python() -> dict[str, Reached]:
    files = json.loads((TARGET / "python.json").read_text())["files"]
    return {
        name: Reached(file["summary"]["num_statements"], file["summary"]["missing_lines"])
        for name, file in files.items()
        if name.startswith("src/")
    }


def _rust() -> dict[str, Reached]:
    """Lines of our own sources, by all programs that were measured."""
    merged = TARGET / "merged.profdata"
    _llvm("profdata", "merge", "--sparse", "-o", str(merged), *map(str, PROFILES.glob("*.profraw")))
    programs = [str(_module()), *_test_programs()]
    objects = [word for program in programs for word in ("--object", program)][1:]
    foreign = r"--ignore-filename-regex=(/\.cargo/|/rustc/|/tests/|/target/)"
    found = _llvm("cov", "export", "--summary-only", foreign, f"--instr-profile={merged}", *objects)
    return {
        str(Path(file["filename"]).relative_to(ROOT)): Reached(
            file["summary"]["lines"]["count"],
            file["summary"]["lines"]["count"] - file["summary"]["lines"]["covered"],
        )
        for file in json.loads(found)["data"][0]["files"]
    }


def _test_programs() -> list[str]:
    """The programs that the core's tests are, as cargo tells them; it has built them all."""
    listing = [*_cargo("test"), "--package", "tickbus-core", "--no-run", "--message-format=json"]
    found = subprocess.run(
        listing, cwd=ROOT, env={**environment(), **FLAGS}, stdout=subprocess.PIPE, text=True, check=True
    )
    messages = (json.loads(line) for line in found.stdout.splitlines())
    return [message["executable"] for message in messages if message.get("executable")]


def _llvm(tool: str, *arguments: str) -> str:
    """What one of Rust's LLVM tools prints."""
    command = [str(llvm_tools() / f"llvm-{tool}"), *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        raise SetupError(f"llvm-{tool}: {found.stderr.strip()[-2000:]}")
    return found.stdout


def llvm_tools() -> Path:
    """
    The folder of the LLVM tools of our Rust.

    Raises:
        SetupError: They are not installed; with the command that does it.
    """
    asked = subprocess.run(
        ["rustc", "--print", "target-libdir"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    folder = Path(asked.stdout.strip()).parent / "bin"
    if not (folder / "llvm-cov").exists():
        raise SetupError("needs Rust's LLVM tools: rustup component add llvm-tools")
    return folder
