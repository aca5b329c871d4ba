"""What the house rules look at: the files of this checkout, and the text of each without its comments."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tickbus"

#: Folders that hold our own sources.
SOURCE_FOLDERS = ("crates", "src", "tools", "tests", "examples")
TEXT_SUFFIXES = (".py", ".pyi", ".rs", ".c", ".toml", ".md")
MADE_BY_TOOLS = {"__pycache__", "target", ".hypothesis"}


def sources(*suffixes: str, folders: tuple[str, ...] = SOURCE_FOLDERS) -> list[Path]:
    """Our own files with one of *suffixes*, below *folders*."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and path.is_file() and not MADE_BY_TOOLS & set(path.parts)
    )


def texts() -> list[Path]:
    """Every text we wrote: sources, docs and the files of the root."""
    in_root = sorted(path for path in ROOT.glob("*") if path.suffix in TEXT_SUFFIXES)
    in_folders = sources(*TEXT_SUFFIXES, folders=(*SOURCE_FOLDERS, "docs"))
    return [*in_folders, *in_root, ROOT / "dev", ROOT / ".ci" / "run"]


def named(path: Path) -> str:
    """*path* as the rules spell it."""
    return path.relative_to(ROOT).as_posix()


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def rust_code(path: Path) -> str:
    """The Rust source without comments and string literals."""
    text = path.read_text()
    text = re.sub(r'b?"(?:\\.|[^"\\])*"', '""', re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return re.sub(r"//.*$", "", text, flags=re.MULTILINE)
