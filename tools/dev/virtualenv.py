"""
``.venv`` in the checkout, and what is installed there.

Nothing is ever installed outside it. A set of requirements is installed once: its stamp holds a hash
of the list, the Python and the place of the checkout (scripts in a virtual environment hold absolute
paths, so a moved checkout gets a new one). A stamp is written last; set-up that was interrupted is
done again.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from dev.machine import ROOT, SetupError, environment
from dev.steps import run, say

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / ".tickbus"


def ensure(*parts: str) -> None:
    """
    Make the virtual environment, with the build backend, the package's own requirements and *parts*.

    Args:
        parts: Names of extras (``demo``) or dependency groups (``dev``) of pyproject.toml.
    """
    if not _usable():
        _create()
    for part in ("", *parts):
        _install(part or "base", requirements(part))


def requirements(part: str = "") -> list[str]:
    """The requirements of an extra or a group; of the package and its build when *part* is empty."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if not part:
        return [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    parts: dict[str, Any] = project["project"]["optional-dependencies"] | project["dependency-groups"]
    return list(parts[part])


def _identity() -> str:
    return f"{ROOT} {sys.version_info.major}.{sys.version_info.minor}"


def _usable() -> bool:
    """Whether ``.venv`` runs, is new enough and stands where it was made."""
    made_for = STAMPS / "identity"
    if not PYTHON.exists() or not made_for.exists():
        return False
    probe = [str(PYTHON), "-c", "import sys, pip; print('%d.%d' % sys.version_info[:2])"]
    result = subprocess.run(probe, env=environment(), capture_output=True, text=True, check=False)
    return result.returncode == 0 and made_for.read_text() == f"{ROOT} {result.stdout.strip()}"


def _create() -> None:
    if VENV.exists() and not (VENV / "pyvenv.cfg").exists() and any(VENV.iterdir()):
        raise SetupError(f"{VENV} is no virtual environment; move it away, it will be made again")
    say(f"making {VENV.relative_to(ROOT)} with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(VENV)])
    STAMPS.mkdir()
    (STAMPS / "identity").write_text(_identity())


def _install(name: str, wanted: list[str]) -> None:
    stamp = STAMPS / f"{name}.json"
    digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    names = ", ".join(_name(requirement) for requirement in wanted)
    say(f"installing {names} into .venv")
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "--no-input", *wanted])
    stamp.write_text(digest)


def _name(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
    return requirement[:end]


def tool(name: str) -> Path:
    """The path of an installed console script."""
    return VENV / "bin" / name
