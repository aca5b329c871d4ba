"""
Who runs the loop: a term, of which there is one more each time that somebody takes the loop over.

    delivery/loop.7     locked by the process that runs the loop as the seventh

Its lock says whether that process lives, a number in it that goes up says whether it does anything, and
its name in the directory whether its term still counts. Whoever takes over makes the file of the next
term, which only one can, and removes those before. So one that was stopped and goes on finds its
file gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tickbus.errors import CursorLockedError

__all__ = ["BEAT_S", "HUNG_S", "Lease", "Watch"]

#: A loop says so often at least that it lives; after so long without a word it is taken for hung.
BEAT_S = 0.05
HUNG_S = 0.5
#: Looks at one that says nothing, so that whoever did not run itself for a while accuses nobody.
HUNG_LOOKS = 3

#: Beats, the process, and how far the wall clock is ahead of the monotonic one, in ns.
_CONTENT = struct.Struct("<QQq")
#: A wall clock that has moved by more was set.
_SET_NS = 1_000_000
_NAME = re.compile(r"loop\.(\d+)\Z")
#: End of the name of a file that is being made.
_NEW = ".new"
_LEFT = re.compile(r"loop\.(\d+)(\..*)?\Z")


class Watch:
    """What somebody who waits for the loop has seen of the one that runs it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen = (0, 0)
        self._since = now()
        self._looks = 0

    def hangs(self, term: int, beats: int) -> bool:
        """Take in how far the holder of a term has counted; whether it is to be taken for hung."""
        if (term, beats) != self._seen:
            self._seen, self._since, self._looks = (term, beats), self._now(), 0
            return False
        self._looks += 1
        return self._looks >= HUNG_LOOKS and self._now() - self._since >= HUNG_S


class Lease:
    """
    The loop's newest term, ours.

    Args:
        watch: What this process has seen of the holder; without it one that hangs is waited for.
    Raises:
        CursorLockedError: Another process has the loop.
    """

    def __init__(self, folder: Path, watch: Watch | None = None) -> None:
        before = _newest(folder)
        #: What the last loop knew of the clocks, see `note`; 0 when there was none.
        self.ahead_before = _refuse_if_held(folder, before, watch) if before is not None else 0
        self.term = (before or 0) + 1
        self._path = folder / f"loop.{self.term}"
        self._beats = 0
        self._ahead = 0
        self._beaten = time.monotonic()
        self._handle = self._make(folder)
        # Whoever was stopped on the way here may be terms behind.
        if _newest(folder) != self.term:
            self.close()
            self._path.unlink(missing_ok=True)
            raise CursorLockedError("the loop was taken over meanwhile")
        _remove_before(folder, self.term)

    def hold(self) -> None:
        """
        Say that we live, and make sure that our term still counts.

        Raises:
            CursorLockedError: Somebody has taken the loop over.
        """
        if self.lost:
            raise CursorLockedError(
                f"term {self.term} of the loop is over: another process has taken it over"
            )
        now = time.monotonic()
        if now - self._beaten >= BEAT_S / 2:
            self._beaten = now
            self._beat()

    def note(self, ahead_ns: int) -> None:
        """Let the next loop know how far the wall clock was ahead of the monotonic one."""
        if abs(ahead_ns - self._ahead) > _SET_NS:
            self._ahead = ahead_ns
            self._beat()

    def _beat(self) -> None:
        self._beats += 1
        os.pwrite(self._handle, _CONTENT.pack(self._beats, os.getpid(), self._ahead), 0)

    @property
    def lost(self) -> bool:
        """Whether somebody has taken the loop over."""
        return self._handle < 0 or os.fstat(self._handle).st_nlink == 0

    def close(self) -> None:
        """Leave the loop to others. Safe to repeat."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            # Also where a fork still has the file open.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def _make(self, folder: Path) -> int:
        """The file of our term: locked when others can see it."""
        handle, new = tempfile.mkstemp(_NEW, f"{self._path.name}.", folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(handle, _CONTENT.pack(0, os.getpid(), 0), 0)
            os.link(new, self._path)
        except BaseException as error:
            os.close(handle)
            if isinstance(error, FileExistsError):
                raise CursorLockedError("another process was faster to take the loop over") from None
            raise
        finally:
            # A process that came later has removed it if this one was stopped.
            Path(new).unlink(missing_ok=True)
        return handle


def _terms(folder: Path) -> list[int]:
    """Terms with a file. A listing is no snapshot while others make and remove files, so it is made twice."""
    found: list[int] | None = None
    while True:
        again = sorted(int(match[1]) for name in os.listdir(folder) if (match := _NAME.match(name)))
        if again == found:
            return again
        found = again


def _newest(folder: Path) -> int | None:
    return max(_terms(folder), default=None)


def _remove_before(folder: Path, term: int) -> None:
    """Take earlier terms away, and what somebody left who was killed while making one."""
    for name in os.listdir(folder):
        if (match := _LEFT.match(name)) and int(match[1]) < term:
            (folder / name).unlink(missing_ok=True)


def _refuse_if_held(folder: Path, term: int, watch: Watch | None) -> int:
    """Raise while somebody runs the loop; how far the wall clock was ahead for the last who did."""
    try:
        handle = os.open(folder / f"loop.{term}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise CursorLockedError("another process is taking the loop over") from None
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        # It is not synced: a power cut can leave the name alone.
        content = os.pread(handle, _CONTENT.size, 0).ljust(_CONTENT.size, b"\0")
        beats, pid, ahead = _CONTENT.unpack(content)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if watch is None or not watch.hangs(term, beats):
                raise CursorLockedError(f"process {pid} runs the loop", pid=pid) from None
        return int(ahead)
