"""What delivery keeps in the journal's directory beside the log: a snapshot, and the members of roles."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from pathlib import Path
from typing import Any, Self

from tickbus.errors import CapacityError, JournalError

__all__ = [
    "MEMBERS",
    "Member",
    "folder_of",
    "live_members",
    "read_snapshot",
    "write_first_snapshot",
    "write_snapshot",
]

FOLDER = "delivery"
#: Members that a role can have at once.
MEMBERS = 64
_SNAPSHOT = re.compile(r"snapshot\.(\d+)\.json\Z")
_VERSION = 1


def folder_of(journal: Path) -> Path:
    """The folder, made when there is none."""
    folder = journal / FOLDER
    folder.mkdir(exist_ok=True)
    return folder


def write_snapshot(folder: Path, content: dict[str, Any], term: int) -> None:
    """
    Make a snapshot the one of a loop's term: whole, and on the disk, or not at all.

    The newest term's counts. So a loop that was stopped here, and goes on when another has taken over, does
    no harm.
    """
    place = folder / f"snapshot.{term}.json"
    new = place.with_suffix(".new")
    _write(new, content)
    new.replace(place)
    _sync(folder)
    for before, name in _snapshots(folder):
        if before < term:
            (folder / name).unlink(missing_ok=True)


def write_first_snapshot(folder: Path, content: dict[str, Any], pid: int) -> None:
    """Write the snapshot before any loop's unless somebody else was faster."""
    place = folder / "snapshot.0.json"
    new = folder / f"{place.stem}.{pid}.new"
    _write(new, content)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(new, place)
    finally:
        new.unlink()
    _sync(folder)


def _write(path: Path, content: dict[str, Any]) -> None:
    # `json.dump` to a file would go through Python for each number.
    text = json.dumps({"version": _VERSION, **content}, separators=(",", ":"))
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _snapshots(folder: Path) -> list[tuple[int, str]]:
    """Terms that have a snapshot, and its name; the newest last."""
    names = os.listdir(folder)
    return sorted((int(match[1]), name) for name in names if (match := _SNAPSHOT.match(name)))


def has_begun(journal: Path) -> bool:
    """Whether somebody has ever followed events in this journal."""
    folder = journal / FOLDER
    return folder.is_dir() and bool(_snapshots(folder))


def read_snapshot(folder: Path) -> dict[str, Any] | None:
    """
    The snapshot; ``None`` when there is none.

    Raises:
        JournalError: This version cannot read it.
    """
    while found := _snapshots(folder):
        place = folder / found[-1][1]
        try:
            content = json.loads(place.read_text())
        except FileNotFoundError:
            # There is a newer one.
            continue
        except ValueError:
            content = None
        if isinstance(content, dict) and content.get("version") == _VERSION:
            return content
        raise JournalError(f"{place} cannot be read by this version; remove it to begin anew")
    return None


class Member:
    """A place in a role, taken until it is closed or its process dies."""

    def __init__(self, handle: int, number: int) -> None:
        self._handle = handle
        self.number = number

    @classmethod
    def of(cls, folder: Path, role: str) -> Self:
        """
        Take the first free place.

        Raises:
            CapacityError: All are taken.
        """
        for number in range(MEMBERS):
            handle = os.open(_member(folder, role, number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _lock(handle, fcntl.LOCK_EX):
                return cls(handle, number)
            os.close(handle)
        raise CapacityError(f"all {MEMBERS} places of role {role!r} are taken")

    def close(self) -> None:
        """Give the place back. Safe to repeat."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            # Also where a fork still has the file open.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)


def live_members(folder: Path, role: str) -> list[int]:
    """Numbers of the places that are taken."""
    found = []
    for number in range(MEMBERS):
        try:
            handle = os.open(_member(folder, role, number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Places are taken from the first on, and their files stay.
            break
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, handle)
            if not _lock(handle, fcntl.LOCK_SH):
                found.append(number)
    return found


def _member(folder: Path, role: str, number: int) -> Path:
    return folder / f"{role}.{number}.member"


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
