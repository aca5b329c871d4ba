"""What the docs repeat from the code is what the code says."""

import inspect

import pytest

import tickbus
from dev import taxonomy_table
from tickbus import _native


class TestTaxonomyTable:
    def test_is_what_the_native_module_says(self):
        """`./dev docs` rewrites the table; nobody copies it by hand."""
        page = taxonomy_table.PAGE.read_text()

        assert taxonomy_table.replace(page, taxonomy_table.render(_native.taxonomy())) == page

    def test_names_every_type_once(self):
        """One row per type of the taxonomy."""
        table = taxonomy_table.render(_native.taxonomy())

        for event_type in tickbus.EventType:
            assert table.count(f"`{event_type.name}`") == 1

    def test_a_page_without_marks_is_refused(self):
        """Without its marks the table has no place, and nothing is written."""
        with pytest.raises(ValueError, match="exactly one pair of marks"):
            taxonomy_table.replace("a page", "a table")


class TestPublicNames:
    @pytest.mark.parametrize("name", tickbus.__all__)
    def test_is_documented(self, name):
        """`help()` answers for every public name; a constant is explained on a page of the docs."""
        public = getattr(tickbus, name)

        if inspect.isclass(public) or inspect.isroutine(public) or inspect.ismodule(public):
            text = inspect.getdoc(public) or ""
        else:
            pages = [page.read_text() for page in taxonomy_table.PAGE.parent.glob("*.md")]
            text = next((line for page in pages for line in page.splitlines() if f"{name}`" in line), "")

        assert len(text) >= 20
