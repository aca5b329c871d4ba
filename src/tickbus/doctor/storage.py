"""
The storage that a journal is on: file system, space, device, and what a sync costs.

A sync that returns too soon is the one thing a journal cannot survive and cannot see. So the doctor
measures it and compares it with what a device of its kind can do, and says what remains unknown: behind a
virtual disk, or a controller with a cache, the same figures can be honest or not.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tickbus.doctor import Check

__all__ = ["Device", "Mount", "device_of", "examine", "judge_flush", "judge_mount", "judge_space", "mount_of"]

_MIB = 1 << 20
#: Syncs that are measured, and what they may take together.
_SYNCS, _SYNCS_S = 200, 2.0

#: Memory with a path: nothing of it is there after a restart.
_MEMORY = {"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"}
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "virtiofs",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "sshfs",
}
_TRIED = {"ext4", "xfs"}


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a path's file system is mounted, from /proc/self/mountinfo."""

    point: str
    type: str
    source: str
    options: frozenset[str]
    device: str


@dataclass(frozen=True, slots=True)
class Device:
    """What the system says of the disk below; None where it does not."""

    name: str
    rotational: bool | None
    write_cache: str | None
    virtual: bool


def examine(path: Path) -> list[Check]:
    """Every check of the storage below *path*, or below the first folder above it that exists."""
    folder = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
    checks = []
    if folder != path.absolute():
        checks.append(Check("path", "ok", f"{path} is not there yet; {folder} was looked at"))
    mount = mount_of(folder, Path("/proc/self/mountinfo").read_text())
    checks.append(judge_mount(mount))
    checks.append(judge_space(os.statvfs(folder)))
    device = device_of(mount.device, Path("/sys/dev/block")) if mount else None
    checks.append(_judge_device(mount, device))
    try:
        times = measure(folder)
    except OSError as error:
        advice = "Journals are written by the user who opens the bus: give that user the folder."
        return [*checks, Check("flush", "problem", f"nothing can be written to {folder}: {error}", advice)]
    in_memory = mount is not None and mount.type in _MEMORY
    return [*checks, judge_flush(times, device, in_memory=in_memory)]


def mount_of(path: Path, mountinfo: str) -> Mount | None:
    """The mount that *path* is in: the one with the longest path above it, the last of several."""
    best = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (type_, source, superblock) = before.split(" "), after.split(" ")[:3]
        point = fields[4].encode().decode("unicode_escape")
        inside = point == "/" or path == Path(point) or Path(point) in path.parents
        if inside and (best is None or len(point) >= len(best.point)):
            options = frozenset([*fields[5].split(","), *superblock.split(",")])
            best = Mount(point, type_, source, options, fields[2])
    return best


def judge_mount(mount: Mount | None) -> Check:
    """Whether the file system keeps its promises as it is mounted."""
    name = "file system"
    if mount is None:
        return Check(name, "warning", "cannot be known: no mount is listed for the path")
    shown = sorted(mount.options & {"ro", "nobarrier", "barrier=0", "barrier=1", "sync"})
    shown += sorted(option for option in mount.options if option.startswith("data="))
    figures = {"type": mount.type, "point": mount.point, "options": sorted(mount.options)}
    says = f"{mount.type} at {mount.point}" + (f" ({', '.join(shown)})" if shown else "")
    if "ro" in mount.options:
        return Check(name, "problem", f"{says} is mounted read-only", "Mount it writable.", figures)
    if mount.type in _MEMORY:
        advice = "Keep journals on a disk: here even level disk survives no restart."
        return Check(name, "problem", f"{says} is memory", advice, figures)
    if mount.type in _NETWORK or mount.type.startswith("fuse"):
        advice = (
            "Keep journals on a local disk; locks and syncs of such a file system are its server's matter."
        )
        return Check(name, "problem", f"{says} is not local", advice, figures)
    if mount.options & {"nobarrier", "barrier=0"}:
        advice = "Mount it with barriers: without, a sync does not reach the device's platter or flash."
        return Check(name, "problem", f"{says} does not flush the device", advice, figures)
    if mount.type == "overlay":
        advice = (
            "Mount a volume for journals: what is below an overlay, and whether it lasts, is not to be seen."
        )
        return Check(name, "warning", f"{says}, the layers of a container", advice, figures)
    if mount.type not in _TRIED:
        advice = "Journals are tested on ext4; power cuts on this one were not tried."
        return Check(name, "warning", says, advice, figures)
    return Check(name, "ok", says, figures=figures)


def judge_space(space: os.statvfs_result) -> Check:
    """Room for segments, and for files at all."""
    free, size = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    inodes = space.f_favail if space.f_files else None
    figures = {"bytes": size, "free": free, "inodes_free": inodes}
    says = f"{free / _MIB:,.0f} of {size / _MIB:,.0f} MiB free"
    if inodes is not None:
        says += f", room for {inodes:,} files"
    if free < 256 * _MIB or (inodes is not None and inodes < 16):
        advice = "Make room: a journal takes two segments of 64 MiB to begin with, and one more at a time."
        return Check("space", "problem", says, advice, figures)
    if free < 4096 * _MIB or (inodes is not None and inodes < 1000):
        advice = "At a million events a second, 32 MB a second are written before they are packed."
        return Check("space", "warning", says, advice, figures)
    return Check("space", "ok", says, figures=figures)


def device_of(number: str, blocks: Path) -> Device | None:
    """The disk with this number, major:minor: of a partition its disk, of a mapped one what is below."""
    here = (blocks / number).resolve()
    if not here.is_dir():
        return None
    if (here / "partition").exists():
        here = here.parent
    below = sorted((here / "slaves").glob("*"))
    if below:
        first = below[0].resolve()
        here = first.parent if (first / "partition").exists() else first
    rotational, cache = _read(here / "queue/rotational"), _read(here / "queue/write_cache")
    virtual = here.name.startswith(("vd", "xvd", "loop", "zram", "nbd")) or "virtio" in str(here)
    return Device(here.name, rotational == "1" if rotational else None, cache or None, virtual)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _judge_device(mount: Mount | None, device: Device | None) -> Check:
    if device is None:
        says = "cannot be known: the file system is on no block device that is to be seen"
        return Check(
            "device", "warning", says, "Ask whoever provides the storage whether it honours flushes."
        )
    kind = {True: "rotating", False: "not rotating", None: "of unknown kind"}[device.rotational]
    cache = {
        "write back": "a volatile write cache, which the kernel flushes",
        "write through": "no volatile cache",
    }
    said = cache.get(device.write_cache or "", "a cache that it does not tell of")
    says = f"{device.name}, {kind}, with {said}"
    figures = {
        "name": device.name,
        "rotational": device.rotational,
        "write_cache": device.write_cache,
        "virtual": device.virtual,
        "mounted_from": mount.source if mount else None,
    }
    if device.virtual:
        says += "; a virtual disk: whether its host passes flushes on cannot be known from inside"
    return Check("device", "ok", says, figures=figures)


@contextmanager
def _scratch(folder: Path) -> Iterator[int]:
    """A file without a name, which the kernel takes back whatever happens to us."""
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError:
        # Not every file system has them. The name is gone before anything is written.
        handle, name = tempfile.mkstemp(dir=folder, prefix=".tickbus-doctor-")
        os.unlink(name)
    try:
        yield handle
    finally:
        os.close(handle)


def measure(folder: Path, *, sync: Callable[[int], None] = os.fdatasync) -> list[float]:
    """Seconds of each write of 4 KiB and sync, to blocks that are there already, as a journal writes."""
    block = os.urandom(4096)
    times = []
    with _scratch(folder) as handle:
        os.pwrite(handle, bytes(_MIB), 0)
        os.fsync(handle)
        end = time.perf_counter() + _SYNCS_S
        for number in range(_SYNCS):
            began = time.perf_counter()
            os.pwrite(handle, block, number * 4096 % _MIB)
            sync(handle)
            now = time.perf_counter()
            times.append(now - began)
            if now > end:
                break
    return times


#: The least that a device can honestly take for a write and a flush, in seconds: half a turn of a fast disk
#: without a cache; what flash takes to program a page, less for the few with capacitors.
_HONEST = {True: 2e-3, False: 20e-6, None: 20e-6}
_SLOW_P99_S = 0.05
#: What flash without a protected cache takes at least, as a rule.
_FLASH_S = 200e-6


def judge_flush(times: list[float], device: Device | None, *, in_memory: bool = False) -> Check:
    """Whether syncs take what they must; *times* are in seconds."""
    ordered = sorted(times)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    figures = {"syncs": len(times), "p50_us": round(p50 * 1e6, 1), "p99_us": round(p99 * 1e6, 1)}
    says = f"write and fdatasync of 4 KiB: p50 {p50 * 1e6:,.0f} us, p99 {p99 * 1e6:,.0f} us"
    if in_memory:
        return Check("flush", "problem", f"{says}: memory, no device", "Keep journals on a disk.", figures)
    rotational = device.rotational if device else None
    least = _HONEST[rotational]
    unknown = device is None or device.virtual
    # A virtual disk calls itself rotating whatever is below it.
    if unknown and rotational:
        least = _HONEST[None]
    if p50 < least:
        advice = (
            "Take it that a power cut loses what was acknowledged, until the maker or host says otherwise."
        )
        kind = "a rotating disk" if rotational else "a device"
        says += f": faster than {kind} without a protected cache can be"
        return Check("flush", "warning", says, advice, figures)
    if p99 > _SLOW_P99_S:
        advice = (
            "Critical publishers wait that long at level disk; use a faster device, or level os for them."
        )
        return Check("flush", "warning", says, advice, figures)
    if p50 < _FLASH_S:
        says += "; so fast is flash whose cache is protected, and any that is not asked to flush"
    if unknown:
        says += "; plausible, and no proof: only a power cut of the host would be one"
    else:
        says += "; as long as an honest device may take"
    return Check("flush", "ok", says, figures=figures)
