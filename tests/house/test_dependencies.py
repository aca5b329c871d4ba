"""
Dependencies point at the bus.

    errors ← event, bus, subscription, ... ← every other part ← the command line

A part is a package below `tickbus`; the modules beside them are the bus itself. A part imports another
only where ARROWS draws it, and optional libraries are imported where they are used.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import PACKAGE, named, sources

EVERY = "every part"

#: part → the other parts it may import. What is in no row is the bus, and "" says what that may.
ARROWS: dict[str, set[str] | str] = {
    # `Bus(journal=...)` takes the options that are written there.
    "": {"journal"},
    "journal": set(),
    "doctor": set(),
    "delivery": {"journal"},
    "metrics": {"delivery"},
    "serve": {"delivery", "journal", "metrics"},
    "top": {"delivery", "metrics"},
    "exchanges": set(),
    "store": set(),
    "testing": {"exchanges", "store"},
    "bench": {"testing", "exchanges", "journal", "delivery", "store"},
    "demo": {"testing", "exchanges"},
    "cli": EVERY,
    "__main__": EVERY,
}

MODULES = sources(".py", folders=("src",))


def part_of(path: Path) -> str:
    """The part a module belongs to; an empty string for the bus."""
    first = path.relative_to(PACKAGE).parts[0]
    name = first.removesuffix(".py")
    return name if name in ARROWS or (PACKAGE / first).is_dir() else ""


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules and names that a module imports."""
    package = ["tickbus", *path.relative_to(PACKAGE).with_suffix("").parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            yield from (".".join([*base, alias.name]) for alias in node.names)


def parts_imported(path: Path) -> set[str]:
    """The parts that a module imports from, its own left out."""
    names = (name.split(".") for name in imported(path))
    inside = {levels[1] for levels in names if levels[0] == "tickbus" and len(levels) > 1}
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    return inside & (packages | set(ARROWS)) - {part_of(path)}


class TestArrows:
    def test_every_part_is_drawn(self):
        """A new package says first what it may import."""
        packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}

        assert packages - set(ARROWS) == set()

    @pytest.mark.parametrize("path", MODULES, ids=named)
    def test_a_part_imports_only_what_is_drawn(self, path):
        """The bus knows nobody; a part knows the bus and the parts its arrows point at."""
        allowed = ARROWS.get(part_of(path), set())

        undrawn = parts_imported(path) if allowed != EVERY else set()

        assert undrawn - set(allowed) == set()

    def test_errors_import_nothing_of_ours(self):
        """Both halves import the exceptions, so these import neither."""
        ours = {name for name in imported(PACKAGE / "errors.py") if name.split(".")[0] == "tickbus"}

        assert ours == set()


IMPORT_WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

class OnlyNumpy:
    def find_spec(self, name, path=None, target=None):
        first = name.partition(".")[0]
        if first not in sys.stdlib_module_names and first not in ("tickbus", "numpy"):
            raise ModuleNotFoundError(f"no module named {name!r} here", name=name)

sys.meta_path.insert(0, OnlyNumpy())
import tickbus
for module in pkgutil.walk_packages(tickbus.__path__, "tickbus."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""


class TestOptionalLibraries:
    def test_every_module_imports_with_numpy_alone(self):
        """A missing extra is reported where it is used, never by an import of ours."""
        result = subprocess.run(
            [sys.executable, "-c", IMPORT_WITHOUT_EXTRAS],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert result.returncode == 0, result.stderr
        assert "tickbus.cli" in result.stdout
