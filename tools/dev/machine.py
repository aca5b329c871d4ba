"""
What must be on the machine, and the environment every command gets.

A fresh machine needs Linux, Python 3.11+, a C compiler and Rust. Everything missing is reported at
once, a line each, with what to install. Commands get an environment in which nothing set up for
another project decides where our files land, and in which cargo works without ``HOME``.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Would send pip or Python somewhere else than ``.venv``, or maturin to another environment.
FOREIGN_SETTINGS = (
    "CONDA_PREFIX",
    "PIP_BREAK_SYSTEM_PACKAGES",
    "PIP_PREFIX",
    "PIP_PYTHON",
    "PIP_ROOT",
    "PIP_TARGET",
    "PIP_USER",
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONUSERBASE",
    "VIRTUAL_ENV",
)


class SetupError(Exception):
    """Set-up cannot go on; the message says what the user can do."""


def environment() -> dict[str, str]:
    """The environment of every command we start."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN_SETTINGS}
    home = Path(env.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    if not os.access(home, os.W_OK):
        # cargo and pip keep their caches under HOME; without a usable one they go beside the build.
        home = ROOT / "target" / "home"
        home.mkdir(parents=True, exist_ok=True)
    env["HOME"] = str(home)
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["PYO3_PYTHON"] = str(ROOT / ".venv" / "bin" / "python")
    _find_rust(env)
    # Last, hence first: the build backend and the tests call maturin and tickbus by name.
    env["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


def _find_rust(env: dict[str, str]) -> None:
    """
    Point *env* at the Rust toolchain.

    rustup's ``cargo`` is a proxy that looks for toolchains under ``HOME``, and a shell opened before
    rustup was installed lacks its folder in ``PATH``. Neither should stop a build.
    """
    path = env.get("PATH", os.defpath)
    cargo = shutil.which("cargo", path=path)
    if cargo is None:
        beside_home = Path(env["HOME"]) / ".cargo" / "bin"
        if (beside_home / "cargo").exists():
            env["PATH"] = f"{beside_home}{os.pathsep}{path}"
        return
    if "RUSTUP_HOME" not in env and not (Path(env["HOME"]) / ".rustup").exists():
        # ~/.cargo/bin/cargo and ~/.rustup are siblings wherever rustup was installed.
        rustup_home = Path(cargo).parent.parent.with_name(".rustup")
        if (rustup_home / "toolchains").is_dir():
            env["RUSTUP_HOME"] = str(rustup_home)


def require_build_tools(*, checks: bool = False) -> None:
    """
    Refuse to start a build that cannot finish.

    Args:
        checks: Also require rustfmt and clippy.
    Raises:
        SetupError: With a line per missing tool.
    """
    env = environment()
    missing = []
    if sys.platform != "linux":
        missing.append(f"Linux: tickbus uses eventfd and /dev/shm; this is {sys.platform}")
    if not _answers(["cc", "--version"], env):
        missing.append("a C compiler called cc (Debian, Ubuntu: apt install build-essential)")
    missing += _missing_rust(env, checks=checks)
    if missing:
        raise SetupError("this machine lacks\n" + "\n".join(f"  - {line}" for line in missing))


def require_nightly_rust() -> None:
    """
    Refuse to start what only a nightly Rust can do.

    Raises:
        SetupError: With the commands that install it.
    """
    env = environment()
    if not _answers(["cargo", "+nightly", "miri", "--version"], env):
        parts = "--component miri --component rust-src"
        raise SetupError(f"needs a nightly Rust with Miri: rustup toolchain install nightly {parts}")


def _missing_rust(env: dict[str, str], *, checks: bool) -> list[str]:
    wanted = _wanted_rust()
    install = f"Rust {wanted} or newer with cargo (https://rustup.rs)"
    found = _answers(["rustc", "--version"], env)
    if not found or not _answers(["cargo", "--version"], env):
        return [install]
    if _numbers(found) < _numbers(wanted):
        return [f"{install}; found {found} (rustup update stable)"]
    if not checks:
        return []
    return [
        f"cargo {component} (rustup component add {package})"
        for component, package in (("fmt", "rustfmt"), ("clippy", "clippy"))
        if not _answers(["cargo", component, "--version"], env)
    ]


def _wanted_rust() -> str:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    return str(manifest["workspace"]["package"]["rust-version"])


def _numbers(version: str) -> tuple[int, ...]:
    match = re.search(r"\d+(\.\d+)+", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _answers(command: list[str], env: dict[str, str]) -> str:
    """What *command* prints, or an empty string when it cannot run."""
    executable = shutil.which(command[0], path=env.get("PATH", os.defpath))
    if executable is None:
        return ""
    result = subprocess.run([executable, *command[1:]], env=env, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""
