"""
The compiled half: built in release, installed editable, and only when its sources changed.

The stamp in ``.venv`` holds a hash over everything cargo and maturin read, and the size and time of
the module they wrote. Contents decide, not dates: a fresh clone or a branch and back costs nothing,
and a module somebody built another way is built again.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dev import virtualenv
from dev.machine import ROOT, require_build_tools
from dev.steps import run, say

SOURCES = ("Cargo.toml", "Cargo.lock", "pyproject.toml")
STAMP = virtualenv.STAMPS / "extension"


def up_to_date() -> bool:
    """Whether the installed module was built from the sources as they are now."""
    return STAMP.exists() and STAMP.read_text() == _fingerprint()


def build() -> None:
    """Build and install the package into ``.venv`` unless what is there is up to date."""
    if up_to_date():
        return
    require_build_tools()
    say("building the native module in release (a minute or two the first time)")
    STAMP.unlink(missing_ok=True)
    # Twice, because only maturin shows cargo's progress and only pip installs the package and its
    # command without its requirements; the second finds everything compiled.
    python = str(virtualenv.PYTHON)
    run([python, "-m", "maturin", "develop", "--release", "--skip-install"])
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", "."])
    STAMP.write_text(_fingerprint())


def _fingerprint() -> str:
    """Of the sources, and of the module if it is there."""
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for module in sorted((ROOT / "src" / "tickbus").glob("_native*.so")):
        status = module.stat()
        digest.update(f"{module.name} {status.st_size} {status.st_mtime_ns}".encode())
    digest.update(str(virtualenv.tool("tickbus").exists()).encode())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        if (ROOT / name).exists():
            yield ROOT / name
    for folder in sorted((ROOT / "crates").iterdir()):
        # Tests and benches are no part of the module.
        yield folder / "Cargo.toml"
        yield from sorted(path for path in (folder / "src").rglob("*") if path.is_file())
