"""The program of README's first screen runs, and prints what README says it prints."""

import re
import subprocess
import sys

from checkout import ROOT

README = (ROOT / "README.md").read_text()


class TestProgram:
    def test_prints_what_the_page_shows(self):
        """A newcomer who copies the program sees the output beside it."""
        program, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()

        result = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
        )

        assert result.stdout == output, result.stderr

    def test_stands_on_the_first_screen(self):
        """What it is, the two commands and the program come before everything else."""
        first_screen = README.splitlines()[:50]

        assert [line for line in first_screen if line.startswith("## ")][:1] in ([], ["## What it promises"])
        assert "./dev demo" in "".join(first_screen)
        assert "./dev test" in "".join(first_screen)
        assert "```text" in first_screen
