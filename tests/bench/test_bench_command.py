"""The command: what it prints where, and its exit codes."""

import json

import pytest
from synthetic import case, job

from tickbus import _native
from tickbus.bench import jobs
from tickbus.bench.model import Sample
from tickbus.cli import bench


@pytest.fixture
def fake_jobs(monkeypatch):
    """Replace the jobs by one that is done at once; returns how to make it another."""
    pytest.importorskip("hdrh")
    # The build that measures coverage is none to measure speed with, but these figures are made up.
    monkeypatch.setattr(_native, "DEBUG_BUILD", False)

    def use(*cases):
        monkeypatch.setattr(jobs, "JOBS", (job(*cases),))

    use(case("tickbus", lambda: Sample(5.0)))
    return use


def broken():
    raise RuntimeError("broken")


class TestExitCode:
    def test_is_0_when_all_was_measured(self, fake_jobs, capsys):
        """The table is on stdout, progress is not."""
        assert 0 == bench.main([])

        out, err = capsys.readouterr()
        assert "job.figure" in out
        assert "job ..." in err

    def test_is_1_when_a_contender_failed(self, fake_jobs, capsys):
        """And the table says which."""
        fake_jobs(case("a", lambda: Sample(5.0)), case("b", broken))

        assert 1 == bench.main([])
        assert "FAILED: job.figure b: RuntimeError: broken" in capsys.readouterr().out

    @pytest.mark.parametrize("arguments", [["no-such-job"], ["job", "another"]])
    def test_is_2_for_an_unknown_job(self, fake_jobs, capsys, arguments):
        """The message names it and those there are."""
        assert 2 == bench.main(arguments)
        assert f"no such job: {arguments[-1]}; there are job" in capsys.readouterr().err

    def test_is_2_for_a_debug_build(self, fake_jobs, capsys, monkeypatch):
        """Nobody benchmarks one by accident."""
        monkeypatch.setattr(_native, "DEBUG_BUILD", True)

        assert 2 == bench.main([])
        assert "debug build" in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["--json", "--plot"])
    def test_is_2_for_a_folder_that_is_not_there(self, fake_jobs, capsys, option):
        """Said before minutes are spent."""
        assert 2 == bench.main([option, "/no/such/folder/file.png"])
        assert "no such folder: /no/such/folder" in capsys.readouterr().err

    def test_is_130_after_ctrl_c(self, fake_jobs, capsys):
        """Half a run is not reported as one."""

        def interrupted():
            raise KeyboardInterrupt

        fake_jobs(case("a", interrupted))

        assert 130 == bench.main([])
        out, err = capsys.readouterr()
        assert "" == out
        assert "interrupted" in err

    @pytest.mark.parametrize("repeat", ["0", "-1", "x"])
    def test_is_2_for_no_rounds(self, repeat):
        """argparse's own exit."""
        with pytest.raises(SystemExit) as exit_:
            bench.main(["--repeat", repeat])

        assert 2 == exit_.value.code


class TestOutput:
    def test_list_names_every_job(self, capsys):
        """With what it measures."""
        assert 0 == bench.main(["--list"])

        lines = capsys.readouterr().out.splitlines()
        assert [one.name for one in jobs.JOBS] == [line.split()[0] for line in lines]

    def test_json_to_stdout_is_json_alone(self, fake_jobs, capsys):
        """So that it can be piped."""
        bench.main(["--json", "-", "--repeat", "3"])

        document = json.loads(capsys.readouterr().out)
        assert [5.0] * 3 == document["figures"][0]["samples"]
        assert {"quick": False, "peers": False, "repeats": 3, "recordings": None} == document["options"]

    def test_json_to_a_file_keeps_the_table(self, fake_jobs, capsys, tmp_path):
        """Both, in one run."""
        bench.main(["--json", str(tmp_path / "bench.json")])

        assert 1 == json.loads((tmp_path / "bench.json").read_text())["version"]
        assert "job.figure" in capsys.readouterr().out
