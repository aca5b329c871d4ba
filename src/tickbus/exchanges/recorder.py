"""
Frames into a file, raw, before anything reads them: `Recorder(path)`.

JSON lines as `open_capture` reads them: a header, then `connect`, `send`, `recv`, `http` and `close`
records, each with its connection and its time to the nanosecond. Compressed files are a row of whole
Zstandard frames or gzip members, one a flush, so that a file cut off anywhere is readable up to the last
flush that is whole, and a plain one up to its last whole line.

A killed process loses what it had not flushed, at most *flush_s* of it; what was flushed is the system's, and
on the disk when `close` has returned. A full disk does not end a recording: what does not fit is
kept up to `KEPT_BYTES_MAX`, then dropped and counted, and a `lost` record says so once there is space.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tickbus.errors import CaptureError, MissingExtraError

__all__ = ["COMPRESSIONS", "Recorder"]

COMPRESSIONS = ("zstd", "gzip", "none")
#: Enough for a burst; more is written before its time.
_FLUSH_BYTES = 1 << 20
#: What is kept for a disk that is full, about a minute of a busy venue.
KEPT_BYTES_MAX = 64 << 20
_ZSTD_LEVEL = 3


class Recorder:
    """
    See the module.

    Args:
        path: File to make; it must not exist.
        venue, market: Whose frames they are; part of the header.
        compression: "zstd" (extra `exchanges`), "gzip" or "none".
        flush_s: How long a frame may wait to be written; 0 writes each at once.
        more: What else the header is to say, such as the channels asked for.
        clock: Seconds that never go back; for tests.
    Attributes:
        frames: Received frames taken.
        lost_frames: Those that a full disk has cost.
        written_bytes: Length of the file.
        problem: Why the latest flush failed; empty when it did not.
    Raises:
        CaptureError: The file exists or cannot be made.
        MissingExtraError: Zstandard is asked for and `zstandard` is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        venue: str,
        market: str = "spot",
        *,
        compression: str = "zstd",
        flush_s: float = 1.0,
        more: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if compression not in COMPRESSIONS:
            raise ValueError(f"compression {compression!r} is none of: {', '.join(COMPRESSIONS)}")
        self.path = Path(path)
        self.frames = 0
        self.lost_frames = 0
        self.written_bytes = 0
        self.problem = ""
        self._pack = _packer(compression)
        self._flush_s = flush_s
        self._clock = clock
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._waiting_frames = 0
        self._lost_told = 0
        self._flushed_s = clock()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror or error}") from error
        header = {"t": "header", "format": 2, "exchange": venue.upper(), "venue": venue, "market": market}
        self._add(header | (more or {}) | {"recorded_by": "tickbus"})
        self.flush()

    # What happens on a connection.

    def opened(self, connection: str, time_ns: int, url: str) -> None:
        """A connection stands."""
        self._event("connect", connection, time_ns, addr=url)

    def live(self, connection: str, time_ns: int) -> None:
        """All it subscribes to was answered; who merges connections needs to know since when."""
        self._event("live", connection, time_ns)

    def sent(self, connection: str, time_ns: int, text: str) -> None:
        """A message went to the venue."""
        self._event("send", connection, time_ns, data=text)

    def http(self, connection: str, time_ns: int, url: str, body: str) -> None:
        """A REST answer came."""
        self._event("http", connection, time_ns, url=url, data=body)

    def closed(self, connection: str, time_ns: int, reason: str) -> None:
        """A connection is no more."""
        self._event("close", connection, time_ns, reason=reason)

    def received(self, connection: str, time_ns: int, frame: bytes) -> None:
        """A frame came."""
        self.frames += 1
        if self._waiting_bytes > KEPT_BYTES_MAX:
            self.lost_frames += 1
            self.flush_if_due()
            return
        self._waiting_frames += 1
        try:
            content = {"data": frame.decode()}
        except UnicodeDecodeError:
            content = {"b64": base64.b64encode(frame).decode()}
        self._event("recv", connection, time_ns, **content)

    # Writing.

    def flush(self) -> bool:
        """Hand what waits to the system; False when it does not take it, and `problem` says why."""
        self._flushed_s = self._clock()
        if self.lost_frames > self._lost_told:
            self._add({"t": "lost", "frames": self.lost_frames - self._lost_told})
        if not self._lines:
            return True
        packed = self._pack(b"".join(self._lines))
        try:
            self._write(packed)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}"
            if self.lost_frames > self._lost_told:
                # It is told again, with a later count.
                self._waiting_bytes -= len(self._lines.pop())
            return False
        self._lost_told = self.lost_frames
        self.problem = ""
        self._lines.clear()
        self._waiting_bytes = self._waiting_frames = 0
        return True

    def close(self) -> None:
        """
        Write what waits, and see it on the disk. Safe to call twice.

        Raises:
            CaptureError: It cannot be written; the message says how many frames that costs.
        """
        if self._file < 0:
            return
        is_written = self.flush()
        file, self._file = self._file, -1
        try:
            if is_written:
                os.fdatasync(file)
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror or error}") from error
        finally:
            os.close(file)
        if not is_written:
            self.lost_frames += self._waiting_frames
            raise CaptureError(f"{self.problem}; {self._waiting_frames} frames at the end are lost")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _event(self, kind: str, connection: str, time_ns: int, **content: str) -> None:
        second, rest = divmod(time_ns, 1_000_000_000)
        # The time is written by hand: no float of seconds has room for nanoseconds.
        head = f'{{"t":"{kind}","conn":{json.dumps(connection)},"ts":{second}.{rest:09d},'
        line = head.encode() + _dumps(content)[1:] if content else head[:-1].encode() + b"}"
        self._take(line + b"\n")
        self.flush_if_due()

    def _add(self, record: dict[str, Any]) -> None:
        self._take(_dumps(record) + b"\n")

    def _take(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting_bytes += len(line)

    def flush_if_due(self) -> None:
        """Flush where it is time; called now and then while no frame comes."""
        overdue = self._clock() - self._flushed_s >= self._flush_s
        # While the disk is full, its size gives no reason to try again at every frame.
        if overdue or (self._waiting_bytes >= _FLUSH_BYTES and not self.problem):
            self.flush()

    def _write(self, data: bytes) -> None:
        """Write all of *data*, or leave the file as it was."""
        view = memoryview(data)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._file, view[done:])
        except OSError:
            # Half a frame in the middle of a file would make all after it unreadable.
            os.ftruncate(self._file, self.written_bytes)
            os.lseek(self._file, self.written_bytes, os.SEEK_SET)
            raise
        self.written_bytes += len(data)


def _dumps(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _packer(compression: str) -> Callable[[bytes], bytes]:
    if compression == "none":
        return lambda data: data
    if compression == "gzip":
        return lambda data: gzip.compress(data, 6)
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("recording with --compression zstd", "exchanges") from None
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    return lambda data: bytes(compressor.compress(data))
