"""
What `tickbus doctor` asks a machine: whether it keeps what a journal is promised to keep.

Each check is one sentence with a state, ok, warning or problem, and an advice where there is something to
do. What cannot be known from inside, it says. Nothing needs root, nothing is left behind, and what may
hang, a file system that does not answer, is asked in a child process with a deadline.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import json
import os
import platform
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["Check", "examine"]

State = Literal["ok", "warning", "problem"]

_MIB = 1 << 20
#: What storage may take to answer. Longer, and critical publishers would wait longer than they do.
STORAGE_S = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was found; ``figures`` are what it was judged by."""

    name: str
    state: State
    says: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


def examine(path: str | os.PathLike[str], *, storage_s: float = STORAGE_S) -> list[Check]:
    """Every check; *path* is where a journal is, or will be."""
    checks: list[Check] = []
    for check in (_kernel, _python, _extras, _cpu, _clock, _synchronised, _steps, _limits):
        checks += _asked(check)
    checks += _asked(lambda: shared_memory(Path("/dev/shm"), Path("/proc")))
    return checks + in_child(lambda: _storage(Path(path)), storage_s)


def _storage(path: Path) -> list[Check]:
    from tickbus.doctor import storage

    return storage.examine(path)


def _asked(check: Callable[[], Check | list[Check]]) -> list[Check]:
    """A check's answer. One that cannot ask says so: a doctor that falls over helps nobody."""
    try:
        found = check()
    except OSError as error:
        name = getattr(check, "__name__", "check").strip("_").replace("_", " ")
        return [Check(name, "warning", f"cannot be known: {error}")]
    return found if isinstance(found, list) else [found]


def in_child(checks: Callable[[], list[Check]], timeout_s: float) -> list[Check]:
    """The answers of *checks*, made in a child process: a hung file system cannot be interrupted."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(receive)
            with os.fdopen(send, "w") as told:
                json.dump([asdict(check) for check in _asked(checks)], told)
        finally:
            os._exit(0)
    os.close(send)
    answer, deadline = b"", time.monotonic() + timeout_s
    with os.fdopen(receive, "rb", 0) as stream:
        while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            if not (some := stream.read(1 << 16)):
                os.waitpid(pid, 0)
                return _told(answer)
            answer += some
    os.kill(pid, signal.SIGKILL)
    # Not waited for: what hangs in the kernel does not even die.
    os.waitpid(pid, os.WNOHANG)
    return [
        Check(
            "storage",
            "problem",
            f"the file system has not answered in {timeout_s:.0f} s",
            "See to the device or the file server before a journal is kept there.",
        )
    ]


def _told(answer: bytes) -> list[Check]:
    try:
        return [Check(**row) for row in json.loads(answer)]
    except ValueError:
        return [Check("storage", "problem", "the checks of the file system ended without an answer")]


def _kernel() -> Check:
    release = platform.release()
    figures = {"system": platform.system(), "release": release, "machine": platform.machine()}
    if platform.system() != "Linux":
        says, advice = f"{platform.system()} {release}", "tickbus is made for Linux."
        return Check("kernel", "problem", says, advice, figures)
    return Check("kernel", "ok", f"Linux {release}, {platform.machine()}", figures=figures)


def _python() -> Check:
    import tickbus
    from tickbus import _native

    version = platform.python_version()
    says = f"{platform.python_implementation()} {version}, tickbus {tickbus.__version__}"
    figures = {"version": version, "tickbus": tickbus.__version__, "debug_build": _native.DEBUG_BUILD}
    if _native.DEBUG_BUILD:
        advice = "Build it with --release: a debug build is many times slower."
        return Check("python", "warning", f"{says}, a debug build", advice, figures)
    return Check("python", "ok", says, figures=figures)


def _extras() -> Check:
    """Which extras are there, by what the package's own metadata says they need."""
    try:
        needs = importlib.metadata.requires("tickbus") or []
    except importlib.metadata.PackageNotFoundError:
        return Check("extras", "ok", "cannot be known: tickbus runs from a checkout")
    extras: dict[str, list[str]] = {}
    for need in needs:
        found = re.fullmatch(r"([\w.-]+).*extra == ['\"](\w+)['\"].*", need)
        # An extra of other extras says nothing of its own.
        if found and found[1] != "tickbus":
            extras.setdefault(found[2], []).append(found[1])
    have = {name: all(map(_is_installed, libraries)) for name, libraries in sorted(extras.items())}
    there = ", ".join(name for name, installed in have.items() if installed) or "none"
    missing = ", ".join(name for name, installed in have.items() if not installed)
    says = f"installed: {there}" + (f"; not installed: {missing}" if missing else "")
    return Check("extras", "ok", says, figures=have)


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _read(path: str | Path) -> str:
    """The text of a file of the system's, empty when there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpu() -> Check:
    usable, present = len(os.sched_getaffinity(0)), os.cpu_count() or 0
    governors = {
        _read(path) for path in Path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor")
    }
    quota = _read("/sys/fs/cgroup/cpu.max").split()
    figures = {"usable": usable, "present": present, "governors": sorted(governors), "quota": quota}
    says = f"{usable} of {present} CPUs"
    if usable < 2:
        advice = "Give it two: the journal's thread and the publishers take turns on one."
        return Check("cpu", "warning", f"{says} may be used", advice, figures)
    if len(quota) == 2 and quota[0] != "max" and int(quota[0]) < usable * int(quota[1]):
        share = int(quota[0]) / int(quota[1])
        advice = "Take the quota off: when it is used up, every thread stops for the rest of its period."
        return Check("cpu", "warning", f"{says}, with a quota of {share:g}", advice, figures)
    if governors and governors != {"performance"}:
        advice = "For low latency: cpupower frequency-set -g performance."
        return Check("cpu", "warning", f"{says}, governor {', '.join(sorted(governors))}", advice, figures)
    governor = "governor performance" if governors else "no governor is to be seen, as in virtual machines"
    return Check("cpu", "ok", f"{says}, {governor}", figures=figures)


#: Clock sources that are read without leaving the program.
_FAST = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"}


def _clock() -> Check:
    source = _read("/sys/devices/system/clocksource/clocksource0/current_clocksource") or "unknown"
    resolution = time.clock_getres(time.CLOCK_REALTIME)
    rounds, began = 20_000, time.perf_counter_ns()
    for _ in range(rounds):
        time.time_ns()
    cost = (time.perf_counter_ns() - began) / rounds
    figures = {"source": source, "resolution_ns": round(resolution * 1e9), "call_ns": round(cost)}
    says = f"clock source {source}, resolution {resolution * 1e9:.0f} ns, {cost:.0f} ns a call"
    if resolution > 1e-6:
        return Check("clock", "warning", says, "Timestamps are coarse: use a kernel with hrtimers.", figures)
    if source not in _FAST and source != "unknown":
        advice = f"Every timestamp is a system call with {source}; see why the kernel does not use tsc."
        return Check("clock", "warning", says, advice, figures)
    return Check("clock", "ok", says, figures=figures)


_UNSYNCHRONISED = 0x40
_MAXERROR_AT, _STATUS_AT = 24, 40


def _synchronised() -> Check:
    name, advice = "clock synchronised", "Run chrony or systemd-timesyncd: events carry this clock's time."
    libc = ctypes.CDLL(None, use_errno=True)
    # struct timex is 208 bytes on 64 bits; with no modes set the call only reads.
    timex = ctypes.create_string_buffer(512)
    if ctypes.sizeof(ctypes.c_long) != 8 or libc.adjtimex(timex) < 0:
        return _by_timedatectl(name, advice)
    status = int.from_bytes(timex.raw[_STATUS_AT : _STATUS_AT + 4], sys.byteorder)
    maxerror_us = int.from_bytes(timex.raw[_MAXERROR_AT : _MAXERROR_AT + 8], sys.byteorder)
    figures = {"status": status, "maxerror_us": maxerror_us}
    if status & _UNSYNCHRONISED:
        says = "the kernel says that the clock is not synchronised"
        if Path("/dev/ptp0").exists() or "hypervisor" in _read("/proc/cpuinfo"):
            says += "; in a virtual machine the host may see to it, which cannot be known from inside"
        return Check(name, "warning", says, advice, figures)
    return Check(name, "ok", f"within {maxerror_us / 1e3:g} ms, says the kernel", figures=figures)


def _by_timedatectl(name: str, advice: str) -> Check:
    try:
        command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if said == "yes":
        return Check(name, "ok", "yes, says timedatectl")
    if said == "no":
        return Check(name, "warning", "no, says timedatectl", advice)
    return Check(name, "warning", "cannot be known: neither adjtimex nor timedatectl may be asked", advice)


def _steps() -> Check:
    """Whether the wall clock runs as the monotonic one does, for a fifth of a second."""
    name = "clock steps"
    begin = time.time_ns() - time.monotonic_ns()
    worst = 0
    for _ in range(20):
        time.sleep(0.01)
        # The least of three: between two readings this process may have to wait.
        worst = max(worst, min(abs(time.time_ns() - time.monotonic_ns() - begin) for _ in range(3)))
    says = f"wall and monotonic clock parted by at most {worst / 1e3:.0f} us in 0.2 s"
    if worst > 1_000_000:
        advice = "The clock is being set. Order is by sequence all the same; queries by time may surprise."
        return Check(name, "warning", says, advice, {"worst_ns": worst})
    return Check(name, "ok", says, figures={"worst_ns": worst})


def _limits() -> list[Check]:
    def soft(which: int) -> int | None:
        value = resource.getrlimit(which)[0]
        return None if value == resource.RLIM_INFINITY else value

    files, locked, size = (
        soft(of) for of in (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_FSIZE)
    )
    figures = {"nofile": files, "memlock": locked, "fsize": size}
    if size is not None and size < 65 * _MIB:
        says = f"files may have at most {size:,} bytes, and a log segment has 64 MiB"
        return [Check("limits", "problem", says, "ulimit -f unlimited", figures)]
    if files is not None and files < 1024:
        says = f"{files} open files are allowed"
        return [
            Check("limits", "warning", says, "ulimit -n 4096, for long journals and many readers.", figures)
        ]
    told = ", ".join(
        f"{name} {'unlimited' if value is None else f'{value:,}'}" for name, value in figures.items()
    )
    return [Check("limits", "ok", told, figures=figures)]


def shared_memory(folder: Path, proc: Path) -> list[Check]:
    """Room for buses, and buses that nobody has open."""
    space = os.statvfs(folder)
    size, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    figures = {"bytes": size, "free": free}
    says = f"{free / _MIB:,.0f} of {size / _MIB:,.0f} MiB free"
    advice = "Give containers more with --shm-size; a bus of the default size takes some 7 MiB."
    state: State = "ok" if free >= 64 * _MIB else "warning" if free >= 16 * _MIB else "problem"
    checks = [Check("shared memory", state, says, "" if state == "ok" else advice, figures)]
    mine = [file for file in folder.glob("tickbus.*") if file.is_file() and file.stat().st_uid == os.getuid()]
    used = {place for maps in _maps(proc) for place in maps}
    stale = [file for file in mine if _place(file.stat()) not in used]
    if stale:
        names = ", ".join(sorted(file.name.removeprefix("tickbus.") for file in stale)[:5])
        more = f" and {len(stale) - 5} more" if len(stale) > 5 else ""
        size = sum(file.stat().st_blocks * 512 for file in stale)
        checks.append(
            Check(
                "buses",
                "warning",
                f"no process has these open: {names}{more} ({size / _MIB:,.1f} MiB)",
                "Opening and closing such a bus removes it; do it with its journal if its last events count.",
                {"stale": [file.name for file in stale]},
            )
        )
    elif mine:
        checks.append(Check("buses", "ok", f"{len(mine)} in shared memory, all in use"))
    return checks


def _place(meta: os.stat_result) -> tuple[str, str]:
    """Device and number of a file, as /proc/*/maps writes them: it may be mapped by a name it had before."""
    return f"{os.major(meta.st_dev):02x}:{os.minor(meta.st_dev):02x}", str(meta.st_ino)


def _maps(proc: Path) -> Iterator[set[tuple[str, str]]]:
    """The files that each process of ours maps."""
    for maps in proc.glob("[0-9]*/maps"):
        try:
            lines = maps.read_text().splitlines()
        except OSError:
            # Of another user, or gone.
            continue
        yield {(fields[3], fields[4]) for fields in (line.split(None, 5) for line in lines)}
