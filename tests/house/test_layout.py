"""Rules about files: how long, what they may hold, where the unsafe is. Ratchets: lists only shrink."""

import re

import pytest
from checkout import named, rust_code, sources, texts

LINES_A_FILE = 500
#: Files over the limit today, with the length they may not exceed. Empty is the goal.
LONG_FILES: dict[str, int] = {
    # One idea, the signatures of one compiled module, which Python's typing keeps in one file.
    "src/tickbus/_native.pyi": 650,
}

#: The files that map memory, call the system or lend memory to NumPy and Arrow; see docs/safety.md.
UNSAFE_FILES = {
    "crates/tickbus-core/src/lane/memory.rs",
    "crates/tickbus-py/src/arrow.rs",
    "crates/tickbus-py/src/event.rs",
    "crates/tickbus-py/src/gil.rs",
    "crates/tickbus-py/src/rows.rs",
}

# Spelled apart, so that this file passes its own rule.
LEFT_FOR_LATER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
PLACES_OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:root|home/\w+|Users/\w+|wo" + r"rk)/")


def lengths() -> dict[str, int]:
    """Lines of every file that is no test in Python: tables of cases may be long."""
    files = sources(".py", ".pyi", ".rs", folders=("crates", "src", "tools"))
    return {named(path): len(path.read_text().splitlines()) for path in files}


class TestLength:
    def test_no_file_holds_two_ideas(self):
        """Past 500 lines a file usually holds two ideas."""
        too_long = {n: length for n, length in lengths().items() if length > LONG_FILES.get(n, LINES_A_FILE)}

        assert too_long == {}

    def test_the_list_of_long_files_only_shrinks(self):
        """A file that came back under the limit leaves the list."""
        shrunk = [name for name in LONG_FILES if lengths().get(name, 0) <= LINES_A_FILE]

        assert shrunk == []


class TestText:
    @pytest.mark.parametrize("path", texts(), ids=named)
    def test_nothing_is_left_for_later(self, path):
        """Open work is an issue, not a note in the sources."""
        assert LEFT_FOR_LATER.findall(path.read_text()) == []

    @pytest.mark.parametrize("path", texts(), ids=named)
    def test_no_path_of_one_machine(self, path):
        """A clone works anywhere, so nothing names a folder outside it."""
        assert PLACES_OF_ONE_MACHINE.findall(path.read_text()) == []


class TestUnsafe:
    def test_only_where_memory_is_mapped_or_lent(self):
        """`unsafe` stands in the listed files, and every listed file still needs it."""
        with_unsafe = {named(path) for path in sources(".rs") if re.search(r"\bunsafe\b", rust_code(path))}

        assert with_unsafe == UNSAFE_FILES
