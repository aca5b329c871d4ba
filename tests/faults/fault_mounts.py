"""File systems of a test's own: small ones that are full soon, and ext4 whose power can be cut."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: Shut the file system down at once, and do not even write its own journal: what a power cut does.
_EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2


class CannotMount(Exception):
    """Why there can be no such file system here."""


def _run(*command: str | Path) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except FileNotFoundError as error:
        raise CannotMount(f"{command[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise CannotMount(f"{command[0]}: {error.stderr.strip()}") from error


def _require_root() -> None:
    if os.geteuid() != 0:
        raise CannotMount("only root may mount")


class Mount:
    """A mounted file system, unmounted at the end."""

    def __init__(self, place: Path, *options: str | Path) -> None:
        _require_root()
        self.place, self.options = place, options
        place.mkdir()
        self.mount()

    def mount(self) -> None:
        _run("mount", *self.options, self.place)

    def unmount(self) -> None:
        # Whoever was killed a moment ago may still be letting go of its files.
        for attempt in range(100):
            try:
                return _run("umount", self.place)
            except CannotMount as error:
                if "busy" not in str(error) or attempt == 99:
                    raise
                ctypes.CDLL(None).usleep(10_000)

    def fill(self) -> None:
        """Take all the space there is."""
        with (self.place / "filler").open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
                try:
                    os.fsync(file)
                except OSError:
                    pass

    def free(self) -> None:
        (self.place / "filler").unlink(missing_ok=True)


def small_tmpfs(place: Path) -> Mount:
    return Mount(place, "-t", "tmpfs", "-o", "size=4m", "tickbus-test")


class Ext4(Mount):
    """ext4 in a file, on a loop device."""

    def __init__(self, place: Path, image: Path, mib: int) -> None:
        _require_root()
        with image.open("wb") as file:
            file.truncate(mib << 20)
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", image)
        super().__init__(place, "-o", "loop", image)

    def cut_power(self) -> None:
        """From here on nothing reaches the device; what was not synced is lost."""
        folder = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def power_on(self) -> None:
        self.unmount()
        self.mount()


def in_memory() -> Path | None:
    """A place for images whose writes cost nothing."""
    place = Path("/dev/shm")
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > 1 << 28 else None


def skipping(make: object, *arguments: object) -> Mount:
    """Make a file system, or skip the test and say why."""
    try:
        return make(*arguments)  # type: ignore[operator, no-any-return]
    except CannotMount as error:
        pytest.skip(f"no file system of one's own: {error}")
