"""What is said twice is said the same: versions, extras, commands."""

import ast
import re
import subprocess
import sys
import tomllib

from checkout import ROOT, named, pyproject, sources, texts

from dev.tasks import TASKS

README = (ROOT / "README.md").read_text()
SHELL_BLOCKS = "\n".join(re.findall(r"```(?:sh|bash|console)\n(.*?)```", README, re.DOTALL))


def missing_extras() -> list[tuple[str, str | None]]:
    """Where the package raises MissingExtraError, and the extra it names: the second argument."""
    found = []
    for path in sources(".py", folders=("src",)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtraError"):
                by_name = [keyword.value for keyword in node.keywords if keyword.arg == "extra"]
                extra = next(iter([*by_name, *node.args[1:2]]), None)
                found.append((f"{named(path)}:{node.lineno}", getattr(extra, "value", None)))
    return found


class TestVersions:
    def test_python_and_rust_agree(self):
        """One release, one number."""
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())

        assert cargo["workspace"]["package"]["version"] == pyproject()["project"]["version"]

    def test_the_changelog_has_this_version(self):
        """Whoever upgrades finds what changed."""
        version = pyproject()["project"]["version"]

        assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


class TestExtras:
    def test_every_extra_in_a_text_exists(self):
        """What we tell the user to install can be installed."""
        known = set(pyproject()["project"]["optional-dependencies"])
        pattern = re.compile(r"tickbus\[([a-z, ]+)\]")

        named_in_texts = {
            extra.strip()
            for path in texts()
            for group in pattern.findall(path.read_text())
            for extra in group.split(",")
        }

        assert named_in_texts - known == set()

    def test_every_missing_extra_exists(self):
        """An error that says which extra is missing names one that can be installed."""
        known = set(pyproject()["project"]["optional-dependencies"])

        assert missing_extras() != []
        assert [place for place, extra in missing_extras() if extra not in known] == []

    def test_all_means_all(self):
        """The extra `all` is the union of the others."""
        extras = pyproject()["project"]["optional-dependencies"]

        listed = set(re.search(r"\[(.*)\]", extras["all"][0])[1].split(","))

        assert listed == set(extras) - {"all"}


class TestCommands:
    def test_the_readme_runs_only_tasks_that_exist(self):
        """Every `./dev NAME` of README and CONTRIBUTING is a task."""
        texts_read = README + (ROOT / "CONTRIBUTING.md").read_text()

        assert set(re.findall(r"(?:`|^)\./dev ([a-z]+)", texts_read, re.MULTILINE)) - set(TASKS) == set()

    def test_the_readme_runs_only_commands_that_exist(self):
        """Every `tickbus NAME` in a shell block of README answers to --help."""
        commands = sorted(set(re.findall(r"^(?:\$ )?tickbus ([a-z]+)", SHELL_BLOCKS, re.MULTILINE)))
        tickbus = [sys.executable, "-c", "import sys, tickbus.cli as c; sys.exit(c.main())"]

        for command in ["", *commands]:
            arguments = [command, "--help"] if command else ["--help"]
            result = subprocess.run([*tickbus, *arguments], capture_output=True, check=False, timeout=60)
            assert result.returncode == 0, f"tickbus {command} --help: {result.stderr.decode()}"

    def test_ci_runs_the_readme_test_command(self):
        """CI and a newcomer run the same line."""
        last_line = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]

        assert last_line == "exec ./dev test"
        assert re.search(r"^\./dev test\b", SHELL_BLOCKS, re.MULTILINE)

    def test_every_task_is_described(self):
        """`./dev` alone says what each task does, in a line that fits a terminal."""
        lines = {name: (task.__doc__ or "").strip() for name, task in TASKS.items()}

        assert [name for name, line in lines.items() if not 20 <= len(line) <= 100] == []


class TestFiles:
    def test_the_package_is_typed_and_licensed(self):
        """What a wheel and a type checker look for."""
        expected = ["LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "src/tickbus/py.typed"]

        assert [name for name in expected if not (ROOT / name).exists()] == []

    def test_links_in_texts_point_at_files(self):
        """A relative link in a Markdown file leads somewhere."""
        pages = [path for path in texts() if path.suffix == ".md"]
        link = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

        broken = [
            f"{named(page)}: {target}"
            for page in pages
            for target in link.findall(page.read_text())
            if not (page.parent / target).exists()
        ]

        assert broken == []
