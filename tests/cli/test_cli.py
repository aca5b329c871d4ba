"""The command `tickbus`: help, errors and exit codes."""

import subprocess
import sys

import pytest

import tickbus
from tickbus import cli
from tickbus.errors import BusOwnerError


@pytest.fixture
def command(monkeypatch):
    """Make `tickbus bench` do something else."""

    def replace(run):
        monkeypatch.setattr("tickbus.cli.bench.run", run)

    return replace


def raising(error):
    def run(args):
        raise error

    return run


class TestHelp:
    def test_lists_every_command(self, capsys):
        """`tickbus --help` names each command with what it does."""
        with pytest.raises(SystemExit) as ended:
            cli.main(["--help"])

        printed = capsys.readouterr().out
        assert ended.value.code == 0
        assert all(name in printed for name in cli.COMMANDS)

    @pytest.mark.parametrize("name", cli.COMMANDS)
    def test_every_command_explains_itself(self, name, capsys):
        """`tickbus NAME --help` prints its options."""
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])

        assert ended.value.code == 0
        assert "--json" in capsys.readouterr().out

    def test_is_a_module_too(self):
        """`python -m tickbus` is the same command."""
        result = subprocess.run(
            [sys.executable, "-m", "tickbus", "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert (result.returncode, result.stdout) == (0, f"tickbus {tickbus.__version__}\n")


class TestExitCode:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nothing-such"],
            ["demo", "--seconds", "0"],
            ["demo", "--rate", "nan"],
            ["demo", "--seed", "x"],
        ],
        ids=" ".join,
    )
    def test_wrong_use_is_2(self, arguments, capsys):
        """Usage goes to standard error."""
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)

        assert ended.value.code == 2
        assert "usage: tickbus" in capsys.readouterr().err

    def test_a_known_error_is_1_and_one_line(self, command, capsys):
        """What went wrong is said without a traceback."""
        command(raising(BusOwnerError("bus 'desk' belongs to user 1234")))

        assert cli.main(["bench"]) == 1
        assert capsys.readouterr().err == "tickbus: bus 'desk' belongs to user 1234\n"

    def test_ctrl_c_is_130(self, command, capsys):
        """As the shell has it: 128 + SIGINT."""
        command(raising(KeyboardInterrupt()))

        assert cli.main(["bench"]) == 130
        assert capsys.readouterr().err == "interrupted\n"

    def test_an_unknown_error_keeps_its_traceback(self, command):
        """A fault of ours is not dressed up."""
        command(raising(ZeroDivisionError()))

        with pytest.raises(ZeroDivisionError):
            cli.main(["bench"])
