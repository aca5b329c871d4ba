"""`./dev coverage` refuses what docs/coverage.md does not account for."""

from dev.coverage import PAGE, Reached, found_wrong

PAGE_TEXT = """
| files | at most | why |
|---|---|---|
| `src/tickbus/a.py` | 2 | it is broken |
| `src/tickbus/folder/*` | 3 | so are they |
"""


FILES = ("src/tickbus/a.py", "src/tickbus/folder/b.py", "src/tickbus/folder/c.py", "src/tickbus/d.py")


def reached(**missed: int) -> dict[str, Reached]:
    """The files, with so many unreached lines of those that are named."""
    return {name: Reached(100, missed.get(name[-4], 0)) for name in FILES}


def test_what_is_accounted_for_passes():
    assert [] == found_wrong(reached(a=2, b=1, c=2), PAGE_TEXT)


def test_more_lines_than_a_row_allows():
    (fault,) = found_wrong(reached(a=3), PAGE_TEXT)
    assert "src/tickbus/a.py: no test reaches 3 lines" in fault


def test_the_files_of_a_row_count_together():
    (fault,) = found_wrong(reached(b=2, c=2), PAGE_TEXT)
    assert "src/tickbus/folder/*: no test reaches 4 lines" in fault


def test_a_file_without_a_row():
    (fault,) = found_wrong(reached(d=1), PAGE_TEXT)
    assert "src/tickbus/d.py: no test reaches 1 of 100 lines" in fault


def test_a_row_for_a_file_that_is_gone():
    files = reached()
    del files["src/tickbus/a.py"]
    (fault,) = found_wrong(files, PAGE_TEXT)
    assert "src/tickbus/a.py" in fault


def test_the_page_has_a_place_for_the_figures():
    text = PAGE.read_text()
    assert text.index("<!-- measured -->") < text.index("<!-- end -->")
