"""Every Python snippet of the first pages is text of an example, and the examples are run."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = "\n\n".join(path.read_text() for path in sorted((ROOT / "examples").glob("*.py")))


def snippets():
    for name in ("start.md", "guides/reactions.md"):
        for number, text in enumerate(
            re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.S)
        ):
            yield pytest.param(text, id=f"{name}-{number + 1}")


def flat(text):
    """The text at the margin: a snippet may stand deeper in its file."""
    return "\n".join(line.strip() for line in textwrap.dedent(text).strip().splitlines())


@pytest.mark.parametrize("text", list(snippets()))
def test_stands_in_an_example(text):
    """What the docs show is what runs."""
    assert flat(text) in flat(EXAMPLES)
