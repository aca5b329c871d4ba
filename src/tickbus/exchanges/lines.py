"""
Lines of a file that may be compressed, one at a time, however large the file is.

Compression is told by the first bytes, not by the name: plain, gzip, Zstandard (which needs the
library `zstandard`, extra `exchanges`). Memory is bounded by the longest line, and that by
`LINE_BYTES_MAX`. A compressed stream that ends before its own end marker is an error: a capture cut
off by a crash must not pass for a quiet market.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from tickbus.errors import CaptureCutOffError, CaptureError, MissingExtraError

#: No venue's frame is longer; the largest recorded one, a full book, has 7 MB.
LINE_BYTES_MAX = 64 << 20
GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_PLAIN_READ_BYTES = 1 << 18
_GZIP_READ_BYTES = 1 << 16
# A Zstandard block of 4 bytes may unpack to 128 KiB and the library has no limit on the output of
# one call, so the input of a call is what bounds memory: 2 KiB unpack to 64 MiB at the very worst.
_ZSTD_READ_BYTES = 1 << 11


class LineReader:
    """
    Lines of one file, without their line ends.

    Attributes:
        line_number: Of the line yielded last, from 1.
        ended_in_newline: Whether that line was ended; a file cut off has a last line that is not.
        position_bytes: How much of the stored file has been read, for progress.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.line_number = 0
        self.ended_in_newline = True
        self.position_bytes = 0

    def error(self, what: str) -> CaptureError:
        """An error that names the file and the line reached."""
        return CaptureError(f"{self.path}:{max(self.line_number, 1)}: {what}")

    def __iter__(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        pending_bytes = 0
        for block in self._blocks():
            head, *rest = block.split(b"\n")
            pending.append(head)
            pending_bytes += len(head)
            if pending_bytes > LINE_BYTES_MAX:
                self.line_number += 1
                raise self.error(f"line is longer than {LINE_BYTES_MAX >> 20} MiB")
            if not rest:
                continue
            yield self._take(b"".join(pending))
            for line in rest[:-1]:
                yield self._take(line)
            pending, pending_bytes = [rest[-1]], len(rest[-1])
        last = b"".join(pending)
        if last:
            self.ended_in_newline = False
            yield self._take(last)

    def _take(self, line: bytes) -> bytes:
        self.line_number += 1
        return line.removesuffix(b"\r")

    def _blocks(self) -> Iterator[bytes]:
        try:
            with open(self.path, "rb") as file:
                magic = file.read(4)
                file.seek(0)
                if magic.startswith(GZIP_MAGIC):
                    yield from self._unpacked(file, _gzip, _GZIP_READ_BYTES)
                elif magic == ZSTD_MAGIC:
                    yield from self._unpacked(file, _zstd(), _ZSTD_READ_BYTES)
                else:
                    yield from self._read(file, _PLAIN_READ_BYTES)
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror or error}") from error

    def _read(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        while chunk := file.read(size):
            self.position_bytes += len(chunk)
            yield chunk

    def _unpacked(self, file: BinaryIO, unpacker: Callable[[], Any], read_bytes: int) -> Iterator[bytes]:
        """Blocks of all frames (members) of a compressed file, which may be several in a row."""
        frame = unpacker()
        begun = False
        for chunk in self._read(file, read_bytes):
            while chunk:
                begun = True
                try:
                    block = frame.decompress(chunk)
                except (zlib.error, ValueError, _zstd_error()) as error:
                    raise self.error(f"compressed data is damaged: {error}") from error
                if block:
                    yield block
                chunk = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame, begun = unpacker(), False
        if begun:
            raise CaptureCutOffError(str(self.error("compressed file is cut off")))


def _gzip() -> Any:
    # Deflate's ratio is at most 1032: a chunk gives no more than 64 MiB.
    return zlib.decompressobj(wbits=31)


def _zstd() -> Callable[[], Any]:
    try:
        import zstandard
    except ImportError:
        raise MissingExtraError("reading .zst captures", "exchanges") from None
    return lambda: zstandard.ZstdDecompressor().decompressobj()


def _zstd_error() -> type[Exception]:
    try:
        import zstandard
    except ImportError:
        return ValueError
    error: type[Exception] = zstandard.ZstdError
    return error
