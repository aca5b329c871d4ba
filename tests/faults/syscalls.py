"""
Run a process under ptrace and let something happen at one of its system calls.

What is counted are the calls, of all its threads, by which a process changes files or says something
in a pipe: between two of them a death leaves the same behind as at the second. A call can be the one at
whose beginning the process is killed, or fail without having happened. No program, no root and no
start of an interpreter are needed: the process is a fork of this one.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fault_writers import run_and_exit

#: By number on x86-64; the ones that take a directory and a name say where that name stands.
CALLS = {
    1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 74: "fsync", 75: "fdatasync", 77: "ftruncate",
    82: "rename", 83: "mkdir", 84: "rmdir", 86: "link", 87: "unlink", 257: "openat", 258: "mkdirat",
    263: "unlinkat", 264: "renameat", 265: "linkat", 277: "sync_file_range", 285: "fallocate",
    316: "renameat2",
}  # fmt: skip
OF_A_FILE = {"write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "ftruncate", "fallocate"}
OF_A_NAME = {"openat": 1, "mkdirat": 1, "unlinkat": 1, "renameat": 1, "renameat2": 1, "linkat": 1}
SYNCS = {"fsync", "fdatasync"}

_TRACEME, _POKEUSER, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E
#: Mark stops at system calls, follow clones, die with the tracer.
_OPTIONS = 1 | 1 << 3 | 1 << 20
_WALL = 0x40000000
#: Of `user_regs_struct`.
_RAX, _ORIG_RAX = 80, 120


class _Info(ctypes.Structure):
    """`struct ptrace_syscall_info` at the beginning of a call."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_uint64),
        ("arguments", ctypes.c_uint64 * 6),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def require() -> None:
    """Skip the test where calls cannot be traced."""
    if platform.machine() != "x86_64":
        pytest.skip(f"system calls are known by number for x86_64; this is {platform.machine()}")
    if trace(lambda: None).code != 0:
        pytest.skip("a child may not be traced here (ptrace is forbidden)")


@dataclass(frozen=True)
class Call:
    """A system call that changes something."""

    name: str
    #: The file, or the name of it.
    file: str
    thread: int

    def __str__(self) -> str:
        return f"{self.name} {self.file}"


@dataclass
class Trace:
    """What a process did."""

    calls: list[Call] = field(default_factory=list)
    #: As `os.waitstatus_to_exitcode` says it; None if it could not be traced.
    code: int | None = None
    #: The call at which something happened.
    hit: int | None = None


def trace(
    work: Callable[[], object],
    *,
    kill_at: int | None = None,
    fail: Callable[[Call], int] | None = None,
    fails_for_ever: bool = False,
) -> Trace:
    """
    Run *work* in a fork.

    Args:
        kill_at: Number of the call at whose beginning the process is killed.
        fail: Error number with which a call fails, or 0; asked until it has said one.
        fails_for_ever: It goes on being asked.
    """
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        if _libc.ptrace(_TRACEME, 0, None, None) != 0:
            os._exit(98)
        os.kill(os.getpid(), signal.SIGSTOP)
        run_and_exit(work)
    _, status = os.waitpid(pid, _WALL)
    if not os.WIFSTOPPED(status):
        return Trace(code=None)
    _ptrace(_SETOPTIONS, pid, 0, _OPTIONS)
    _ptrace(_SYSCALL, pid, 0, 0)
    traced = _Traced(pid, kill_at, fail, fails_for_ever)
    try:
        traced.follow()
    finally:
        if traced.trace.code is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, _WALL)
    return traced.trace


def _ptrace(request: int, thread: int, address: int, data: int) -> int:
    # Fails when the thread has been killed meanwhile, which `waitpid` will tell.
    return int(_libc.ptrace(request, thread, address, data))


class _Traced:
    def __init__(
        self, pid: int, kill_at: int | None, fail: Callable[[Call], int] | None, fails_for_ever: bool
    ) -> None:
        self.pid, self.kill_at, self.fail, self.fails_for_ever = pid, kill_at, fail, fails_for_ever
        self.trace = Trace()
        self.known = {pid}
        #: Threads in a call, and what it shall return instead.
        self.inside: dict[int, int] = {}

    def follow(self) -> None:
        """Until the process has ended."""
        while self.trace.code is None:
            # The group is its own, so that nobody else's children are taken from them.
            thread, status = os.waitpid(-self.pid, _WALL)
            if not os.WIFSTOPPED(status):
                self.inside.pop(thread, None)
                if thread == self.pid:
                    self.trace.code = os.waitstatus_to_exitcode(status)
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if number == signal.SIGTRAP | 0x80:
                self.at_a_call(thread)
                number = 0
            elif event or number == signal.SIGTRAP:
                number = 0
            elif number == signal.SIGSTOP and thread not in self.known:
                # How a new thread says that it is there.
                self.known.add(thread)
                number = 0
            _ptrace(_SYSCALL, thread, 0, number)

    def at_a_call(self, thread: int) -> None:
        if thread in self.inside:
            error = self.inside.pop(thread)
            if error:
                _ptrace(_POKEUSER, thread, _RAX, -error & 0xFFFFFFFFFFFFFFFF)
            return
        self.inside[thread] = 0
        info = _Info()
        if _libc.ptrace(_GET_SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.byref(info)) <= 0:
            return
        name = CALLS.get(info.number)
        call = name and self.changing(name, thread, info)
        if not call:
            return
        number = len(self.trace.calls)
        self.trace.calls.append(call)
        if number == self.kill_at:
            self.trace.hit = number
            os.kill(self.pid, signal.SIGKILL)
        elif self.fail and (self.trace.hit is None or self.fails_for_ever) and (error := self.fail(call)):
            self.trace.hit = number if self.trace.hit is None else self.trace.hit
            self.inside[thread] = error
            # There is no such call: it does nothing, and its result is replaced at its end.
            _ptrace(_POKEUSER, thread, _ORIG_RAX, 0xFFFFFFFFFFFFFFFF)

    def changing(self, name: str, thread: int, info: _Info) -> Call | None:
        """The call, if it is one on a file of the disk or a pipe and changes something."""
        if name in OF_A_FILE:
            try:
                file = os.readlink(f"/proc/{self.pid}/fd/{info.arguments[0]}")
            except OSError:
                return None
            if not file.startswith(("/", "pipe:")) or file.startswith("/dev/null"):
                return None
            return Call(name, file.rpartition("/")[2], thread)
        if name == "openat" and not info.arguments[2] & os.O_CREAT:
            return None
        return Call(name, self.text(thread, info.arguments[OF_A_NAME.get(name, 0)]), thread)

    def text(self, thread: int, address: int) -> str:
        """A name in the memory of the process."""
        with Path(f"/proc/{thread}/mem").open("rb") as memory:
            memory.seek(address)
            name = memory.read1(256).split(b"\0")[0]  # type: ignore[attr-defined]
        return str(name.decode(errors="replace")).rpartition("/")[2]
