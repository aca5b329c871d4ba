"""
Floors: what a hand-written C extension, and the machine without Python, need for the same work.

`floor.c` is compiled against the running interpreter's headers and `machine.c` into a program, both
with the compiler named by ``CC`` (or ``cc``), into the user's cache folder, under a name made from
source and interpreter, so that a second run compiles nothing. Neither is part of the installed
package: no compiler or no headers means the floors are left out, and the report says so.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any, cast

MODULE_NAME = "tickbus_floor"


class NoFloorError(RuntimeError):
    """The floors cannot be compiled here; the message says why."""


@cache
def extension() -> ModuleType:
    """The C extension; every call gives the same module. Raises NoFloorError."""
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        raise NoFloorError(f"no Python.h in {include}: install the interpreter's development headers")
    path = _compiled("floor.c", ".so", ["-shared", "-fPIC", f"-I{include}"])
    loader = importlib.machinery.ExtensionFileLoader(MODULE_NAME, str(path))
    spec = importlib.util.spec_from_loader(MODULE_NAME, loader)
    if spec is None:
        raise NoFloorError(f"{path} is no extension module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def machine(command: str, *numbers: int) -> dict[str, Any]:
    """Run one measurement of `machine.c` and return what it printed. Raises NoFloorError."""
    program = _compiled("machine.c", "", [])
    run = subprocess.run(
        [str(program), command, *map(str, numbers)], capture_output=True, text=True, timeout=300, check=False
    )
    if run.returncode != 0:
        raise NoFloorError(f"machine {command} ended with {run.returncode}: {run.stderr.strip()}")
    return cast(dict[str, Any], json.loads(run.stdout))


def _compiled(source: str, suffix: str, flags: list[str]) -> Path:
    text = resources.files(__package__).joinpath(source).read_bytes()
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise NoFloorError(f"no C compiler: {' '.join(compiler) or 'CC is empty'}")
    command = [*compiler, "-O3", "-march=native", *flags]
    key = hashlib.sha256(repr((text, command, sys.version)).encode()).hexdigest()[:16]
    folder = cache_folder()
    target = folder / f"{Path(source).stem}-{key}{suffix}"
    if not target.exists():
        copy = folder / f"{target.name}.{os.getpid()}.c"
        built = folder / f"{target.name}.{os.getpid()}.tmp"
        copy.write_bytes(text)
        run = subprocess.run(
            [*command, "-o", str(built), str(copy)], capture_output=True, text=True, timeout=120, check=False
        )
        copy.unlink()
        if run.returncode != 0:
            raise NoFloorError(f"{compiler[0]} cannot compile {source}:\n{run.stderr.strip()}")
        # Renaming is atomic: two benchmarks starting at once never run half a file.
        built.rename(target)
    return target


def cache_folder() -> Path:
    """Where benchmarks keep what they compile, and the files they measure."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "tickbus" / "bench"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
