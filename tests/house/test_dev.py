"""`./dev` on machines that lack something, and what its steps report."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT

from dev import extension, faults, machine, steps, virtualenv
from dev.machine import SetupError
from dev.steps import Step, run, run_all


def command(folder: Path, name: str, text: str) -> None:
    """Put a shell script *name* into *folder*."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path):
    """A folder to be the whole PATH: just what ./dev itself calls, and no Python."""
    for name in ("dirname", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


def dev(path: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(ROOT / "dev"), *arguments],
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def ended_within(limit_s: float, *, pid: str) -> bool:
    """Whether the process is gone, or a zombie nobody has buried yet, before the limit."""
    status = Path("/proc", pid, "stat")
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


class TestWithoutPython:
    def test_says_which_python_it_needs(self, tools):
        """No Python at all: one line that says what to install."""
        result = dev(tools)

        assert result.returncode == 1
        assert "needs Python 3.11 or newer" in result.stderr

    def test_passes_over_an_old_one(self, tools):
        """An old python3 and a newer python3.12 beside it: the newer is used."""
        command(tools, "python3", "exit 1")
        command(tools, "python3.12", f'exec {sys.executable} "$@"')

        result = dev(tools)

        assert result.returncode == 0
        assert "usage: ./dev TASK" in result.stdout

    def test_says_that_the_venv_module_is_missing(self, tools):
        """Distributions that split Python leave `venv` out; the message names the package."""
        command(tools, "python3", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')

        result = dev(tools)

        assert result.returncode == 1
        assert "apt install python3-venv" in result.stderr


class TestWithoutBuildTools:
    def test_names_everything_missing_at_once(self, tools, monkeypatch):
        """No compiler and no Rust: two lines, not two attempts."""
        monkeypatch.setenv("PATH", str(tools))
        monkeypatch.setenv("HOME", str(tools))

        with pytest.raises(SetupError) as caught:
            machine.require_build_tools()

        assert "build-essential" in str(caught.value)
        assert "https://rustup.rs" in str(caught.value)

    def test_names_the_rust_that_is_too_old(self, tools, monkeypatch):
        """The version found stands beside the version wanted."""
        command(tools, "cc", "echo cc")
        command(tools, "cargo", "echo cargo 1.60.0")
        command(tools, "rustc", "echo rustc 1.60.0")
        monkeypatch.setenv("PATH", str(tools))
        monkeypatch.setenv("HOME", str(tools))

        with pytest.raises(SetupError, match=r"found rustc 1\.60\.0"):
            machine.require_build_tools()


class TestEnvironment:
    def test_ignores_what_was_set_up_for_another_project(self, monkeypatch):
        """Neither another virtual environment nor pip settings decide where files land."""
        for name in machine.FOREIGN_SETTINGS:
            monkeypatch.setenv(name, "/elsewhere")

        env = machine.environment()

        assert [name for name in machine.FOREIGN_SETTINGS if name in env] == []

    @pytest.mark.parametrize("home", ["", None])
    def test_has_a_home_even_when_none_is_set(self, home, monkeypatch):
        """cargo and pip keep caches below HOME and fail without one."""
        monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)

        assert os.access(machine.environment()["HOME"], os.W_OK)


class TestRequirements:
    def test_an_extra_is_read_from_pyproject(self):
        """What `./dev demo` installs is what the extra `demo` installs."""
        names = {virtualenv._name(requirement) for requirement in virtualenv.requirements("demo")}

        assert names == {"rich", "zstandard"}


class TestRebuild:
    @pytest.fixture
    def crate(self, tmp_path, monkeypatch):
        """A checkout of one crate."""
        monkeypatch.setattr(extension, "ROOT", tmp_path)
        folder = tmp_path / "crates" / "core"
        for name in ("Cargo.toml", "src/lib.rs", "tests/promise.rs"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        return folder

    @pytest.mark.parametrize("name", ["Cargo.toml", "src/lib.rs"])
    def test_follows_a_changed_source(self, crate, name):
        """What cargo would compile differently is compiled."""
        before = extension._fingerprint()

        (crate / name).write_text("changed")

        assert extension._fingerprint() != before

    @pytest.mark.parametrize("name", ["src/lib.rs", "tests/promise.rs"])
    def test_is_left_out_when_nothing_changed(self, crate, name):
        """A new date on a source, or a changed test, builds nothing."""
        before = extension._fingerprint()

        (crate / name).write_text("changed" if name.startswith("tests") else name)

        assert extension._fingerprint() == before

    def test_replaces_a_module_built_another_way(self, crate):
        """A debug build beside the sources is not mistaken for ours."""
        module = extension.ROOT / "src" / "tickbus" / "_native.so"
        module.parent.mkdir(parents=True)
        module.write_bytes(b"release")
        before = extension._fingerprint()

        module.write_bytes(b"a debug build")

        assert extension._fingerprint() != before


class TestFaults:
    @pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("10m", 600), ("1.5h", 5400), ("all", None)])
    def test_a_budget_is_a_time_or_all(self, text, seconds):
        """As one says it."""
        assert faults.parse_budget(text) == seconds

    @pytest.mark.parametrize("text", ["", "60", "s", "-1s", "everything"])
    def test_no_other_budget_is_taken(self, text):
        """The message shows what it may be."""
        with pytest.raises(SetupError, match="60s, 10m, 2h or all"):
            faults.parse_budget(text)

    def test_every_campaign_can_be_asked_for(self):
        """A file of tests that no name stands for would run only with all others."""
        files = {f"tests/faults/{path.name}" for path in (ROOT / "tests" / "faults").glob("test_*.py")}

        assert files == set(faults.PYTHON_CAMPAIGNS.values())

    def test_a_campaign_that_is_none_is_named(self):
        with pytest.raises(SetupError, match="'flood'; there are random, calls, power"):
            faults.steps("60s", only="flood", seed=0)

    def test_a_budget_is_shared(self):
        """The core gets a third, as lives on a simulated disk."""
        core, _, python = faults.steps("10m", only=None, seed=3)

        assert (core.env["TICKBUS_SEEDS"], core.env["TICKBUS_FIRST_SEED"]) == ("140000", "3000000")
        assert float(python.env["TICKBUS_FAULTS"]) == pytest.approx(400)
        assert python.env["TICKBUS_FAULTS_SEED"] == "3"
        assert min(core.limit_s, python.limit_s) > 600, "nobody ends it before"


class TestSteps:
    def test_a_failing_command_is_named_as_one_types_it(self):
        """The message of a failure can be pasted into a shell."""
        with pytest.raises(SetupError, match=r"exit status 3: GREETING=hi sh -c 'exit 3'"):
            run(["sh", "-c", "exit 3"], env={"GREETING": "hi"})

    def test_a_command_that_hangs_is_ended_with_its_children(self, tmp_path):
        """Past its limit a step ends, and so does what it started."""
        started = tmp_path / "child"

        with pytest.raises(SetupError, match="ended after"):
            run(["sh", "-c", f"sleep 600 & echo $! > {started}; wait"], limit_s=0.5)

        assert ended_within(5.0, pid=started.read_text().strip())

    def test_a_failure_hides_no_later_finding(self, capfd):
        """Later steps run, those that need the failed one are skipped, and the status says so."""
        status = run_all(
            [
                Step("first", ["false"]),
                Step("second", ["true"]),
                Step("third", ["true"], needs="first"),
            ]
        )

        summary = capfd.readouterr().err.rpartition("==> summary")[2]
        assert status == 1
        assert [line.split()[:2] for line in summary.splitlines() if line.startswith("    ")] == [
            ["first", "FAILED"],
            ["second", "ok"],
            ["third", "skipped"],
        ]

    def test_a_step_beside_another_runs_meanwhile_and_is_told_of_in_its_turn(self, tmp_path, capfd):
        """Each waits for the other here, so neither would end alone."""
        one, other = tmp_path / "one", tmp_path / "other"

        def meet(mine: Path, theirs: Path, word: str) -> list[str]:
            wait = f"touch {mine}; until [ -e {theirs} ]; do sleep 0.01; done; echo {word}"
            return ["sh", "-c", wait]

        status = run_all(
            [
                Step("long", meet(one, other, "first"), limit_s=30),
                Step("between", ["sh", "-c", "echo second"]),
                Step("companion", meet(other, one, "third"), limit_s=30, beside="long"),
                Step("broken", ["false"], beside="long"),
            ]
        )

        printed = capfd.readouterr()
        assert printed.out.split() == ["first", "second", "third"]
        assert status == 1
        assert "broken     FAILED" in printed.err

    def test_an_interrupt_ends_what_runs_beside(self, tmp_path):
        started = tmp_path / "child"

        def interrupt() -> None:
            while not started.exists() or not started.read_text().strip():
                time.sleep(0.01)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_all(
                [
                    Step("ours", action=interrupt),
                    Step("theirs", ["sh", "-c", f"echo $$ > {started}; sleep 600"], beside="ours"),
                ]
            )

        assert ended_within(10.0, pid=started.read_text().strip())

    def test_colours_only_a_terminal_that_has_them(self, monkeypatch):
        """No escape codes in a pipe, a file or a dumb terminal."""
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("TERM", "dumb")

        assert not steps._colourful()
