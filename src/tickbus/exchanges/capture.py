"""
Recorded wire frames, read back: `for frame in open_capture(path)`.

Three formats are read, plain, gzip or Zstandard, told apart by content:

    tsjson      RECEIVE_NS FRAME                              one connection
    rec.txt     SECONDS: FRAME, and lines about the connection    one connection
    rec.jsonl   {"t":"recv","conn":...,"ts":...,"data":...}   several, each in a block of its own

Frames come in order of receive time over all connections of a file, with the bytes the venue sent.
What the recorder wrote about itself (headers, requests, REST answers) is passed over. Memory is
bounded: lines are read one at a time, and a file whose connections have to be merged is read once per
connection, side by side. Files of venues without a decoder are read like any other. A foreign,
damaged or cut-off file is a `CaptureError` that names file and line; the frames before it have been
yielded by then.
"""

from __future__ import annotations

import ast
import base64
import binascii
import contextlib
import heapq
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from tickbus.errors import CaptureCutOffError, CaptureError
from tickbus.exchanges import detect
from tickbus.exchanges.decoders import VenueDecoder, decoder_for
from tickbus.exchanges.lines import LineReader

__all__ = ["Capture", "Decoders", "Frame", "merge", "open_capture"]


class Frame(NamedTuple):
    """One message as a venue sent it."""

    #: When the recorder got it, nanoseconds since the Unix epoch, UTC, by the recorder's clock.
    receive_ns: int
    connection: str
    data: bytes


class Change(NamedTuple):
    """A connection stood ("connect"), was wholly subscribed ("live") or was no more ("close")."""

    time_ns: int
    connection: str
    kind: str


class Capture:
    """
    A recorded file; made by `open_capture`. Iterating reads it from the start, each time.

    Attributes:
        path: The file.
        format: "tsjson", "rec.txt" or "rec.jsonl".
        venue, market: Whose frames they are, as `decoder_for` takes them; of a venue without a decoder
            the market is empty, and so is the venue where nothing in the file names it.
        markets: Market by connection, where the file's connections go to several; else empty.
        instrument: The venue's name of the instrument of frames that name none, where all are of one.
        cut_off: Where and how the file ended too early, after an iteration that got there; else empty.
        size_bytes: Length of the stored file.
        position_bytes: How far the latest iteration has got in it; for progress.
    """

    def __init__(
        self,
        path: str,
        format: str,
        venue: str,
        market: str,
        *,
        markets: Mapping[str, str] | None = None,
        instrument: str | None = None,
        accept_cut: bool = False,
    ) -> None:
        self.path = path
        self.cut_off = ""
        self.format = format
        self.venue = venue
        self.market = market
        self.markets = dict(markets or {})
        self.instrument = instrument
        self.size_bytes = os.stat(path).st_size
        self._readers: list[LineReader] = []
        self._accept_cut = accept_cut

    def __repr__(self) -> str:
        return f"Capture({self.path!r}, format={self.format!r}, venue={self.venue!r}, market={self.market!r})"

    def decoder(self, connection: str | None = None) -> VenueDecoder:
        """
        A new decoder for this capture's frames.

        Args:
            connection: Of a frame, where connections go to several markets; `decoders` makes one each.
        Raises:
            CaptureError: There is no decoder for this venue, or it depends on the connection.
        """
        if connection is None and len(set(self.markets.values())) > 1:
            found = ", ".join(sorted(set(self.markets.values())))
            raise CaptureError(f"{self.path}: connections to several markets ({found}); use decoders()")
        market = self.markets.get(connection or "", self.market)
        try:
            return decoder_for(self.venue, market or "spot", instrument=self.instrument)
        except ValueError as error:
            raise CaptureError(f"{self.path}: {error}; pass venue= to override") from error

    def decoders(self) -> Decoders:
        """A decoder for each connection: ``decoders[frame.connection].decode(frame.data)``."""
        return Decoders(self)

    @property
    def position_bytes(self) -> int:
        return min((reader.position_bytes for reader in self._readers), default=0)

    def __iter__(self) -> Iterator[Frame]:
        self.cut_off = ""
        if self.format == detect.JSONL:
            yield from self._jsonl()
        else:
            read = _tsjson if self.format == detect.TSJSON else _text
            yield from self._until_cut(read(self._read()))
        if self.cut_off and not self._accept_cut:
            raise CaptureCutOffError(self.cut_off)

    def changes(self) -> Iterator[Change]:
        """
        What became of the file's connections, in the order it was recorded; of our own recordings only.

        A file that is cut off ends quietly: reading its frames says so.
        """
        if self.format != detect.JSONL:
            return
        with contextlib.suppress(CaptureCutOffError):
            for record in _records(LineReader(self.path), kinds=_CHANGES):
                if {"conn", "ts"} <= record.keys() and record["t"] in _CHANGES:
                    time_ns = _nanoseconds(*record["ts"].encode().split(b"."))
                    yield Change(time_ns, record["conn"], record["t"])

    def _until_cut(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """*frames*, and a note where they end too early: other connections may have more to tell."""
        try:
            yield from frames
        except CaptureCutOffError as error:
            self.cut_off = str(error)

    def _read(self) -> LineReader:
        self._readers = [LineReader(self.path)]
        return self._readers[0]

    def _jsonl(self) -> Iterator[Frame]:
        connections, in_order = _survey(LineReader(self.path))
        if in_order:
            return self._until_cut(_jsonl(self._read(), None))
        self._readers = [LineReader(self.path) for _ in connections]
        streams = [self._until_cut(_jsonl(*pair)) for pair in zip(self._readers, connections, strict=True)]
        return heapq.merge(*streams, key=lambda frame: frame.receive_ns)


class Decoders(dict[str, VenueDecoder]):
    """Decoders of a capture by connection, each made when it is first asked for."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __missing__(self, connection: str) -> VenueDecoder:
        self[connection] = decoder = self._capture.decoder(connection)
        return decoder


def open_capture(
    path: str | os.PathLike[str],
    *,
    venue: str | None = None,
    market: str | None = None,
    accept_cut: bool = False,
) -> Capture:
    """
    Recognise a recorded file.

    Args:
        path: The file; compressed or not.
        venue: One that there is a decoder for, where the file does not say.
        market: Market of that venue, see `Decoder`; "spot" when only the venue is given.
        accept_cut: End quietly where the file was cut off, and say so in `cut_off`, instead of raising.
    Raises:
        CaptureError: The file is unreadable or no capture.
        MissingExtraError: It is Zstandard-compressed and `zstandard` is not installed.
    """
    reader = LineReader(path)
    format = None
    lines = []
    for line in _first_lines(reader):
        if format is None and line.strip():
            format = detect.format_of(line)
            if format is None:
                raise reader.error(f"no capture in a known format; the line begins {line[:40]!r}")
        lines.append(line)
    if format is None:
        raise reader.error("the file is empty")
    markets: dict[str, str] = {}
    if venue is None:
        venue, found = detect.market_of(reader.path, format, lines)
        if format == detect.JSONL and venue in detect.TOLD_BY_ADDRESS and market is None:
            markets = _markets(reader.path)
            found = next(iter(markets.values()), found)
        market = market or found
    else:
        market = market or "spot"
    instrument = detect.only_instrument(lines) if venue == "binance" else None
    return Capture(
        reader.path,
        format,
        venue,
        market,
        markets=markets,
        instrument=instrument,
        accept_cut=accept_cut,
    )


def _first_lines(reader: LineReader) -> Iterator[bytes]:
    """As many as are probed; fewer where a short file is cut off, which reading its frames will say."""
    begun = False
    try:
        for line in itertools.islice(reader, detect.LINES_PROBED):
            begun = True
            yield line
    except CaptureCutOffError:
        if not begun:
            raise


def _markets(path: str) -> dict[str, str]:
    """Market by connection, from the addresses that were connected to."""
    markets = {}
    for line in _all_lines(path):
        if not line.startswith(b'{"t":"connect"'):
            continue
        try:
            record = json.loads(line)
            _, market = detect.of_address(record["addr"].encode())
            if market:
                markets[str(record["conn"])] = market
        except (ValueError, KeyError, TypeError, AttributeError):
            # Reading the frames will name the line.
            continue
    return markets


def _all_lines(path: str) -> Iterator[bytes]:
    with contextlib.suppress(CaptureCutOffError):
        yield from LineReader(path)


def merge(captures: Iterable[Capture]) -> Iterator[tuple[Capture, Frame]]:
    """Frames of several captures in order of receive time, each with the capture it is from."""

    def labelled(capture: Capture) -> Iterator[tuple[Capture, Frame]]:
        return ((capture, frame) for frame in capture)

    return heapq.merge(*map(labelled, captures), key=lambda pair: pair[1].receive_ns)


def _tsjson(reader: LineReader) -> Iterator[Frame]:
    for line in reader:
        time, _, data = line.partition(b" ")
        if not time.isdigit() or not data:
            if line.strip():
                raise reader.error(f"expected 'NANOSECONDS FRAME', found {line[:40]!r}")
            continue
        _check_end(reader, data)
        yield Frame(int(time), "0", data)


_RECEIVED = re.compile(rb"(\d{1,12})(?:\.(\d+))?: ")
_CONNECTED = re.compile(rb"(\S+) <-> \d")
_RECORDERS_OWN = re.compile(rb"configuration: |\S+ (?:<-|->) \d")


def _text(reader: LineReader) -> Iterator[Frame]:
    connection = "0"
    for line in reader:
        if received := _RECEIVED.match(line):
            data = line[received.end() :]
            _check_end(reader, data)
            yield Frame(_nanoseconds(received[1], received[2]), connection, _unquoted(reader, data))
        elif connected := _CONNECTED.match(line):
            connection = connected[1].decode(errors="replace")
        elif line.strip() and not _RECORDERS_OWN.match(line):
            raise reader.error(f"expected 'SECONDS: FRAME', found {line[:40]!r}")


def _unquoted(reader: LineReader, data: bytes) -> bytes:
    """A binary frame is recorded as a Python bytes literal."""
    if not data.startswith((b"b'", b'b"')):
        return data
    try:
        literal = ast.literal_eval(data.decode())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise reader.error(f"bad bytes literal {data[:40]!r}") from error
    if not isinstance(literal, bytes):
        raise reader.error(f"bad bytes literal {data[:40]!r}")
    return literal


def _jsonl(reader: LineReader, only: str | None) -> Iterator[Frame]:
    """Frames of the connection *only*, or of all."""
    for record in _records(reader):
        if record.get("t") != "recv":
            continue
        try:
            connection = record["conn"]
            if only is not None and connection != only:
                continue
            time = record["ts"]
            if "b64" in record:
                data = base64.b64decode(record["b64"], validate=True)
            else:
                data = record["data"].encode()
            yield Frame(_nanoseconds(*time.encode().split(b".")), connection, data)
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            raise reader.error(f"'recv' record without conn, ts and data or b64 ({error!r})") from error


#: What our own recorder says about connections.
_CHANGES = ("connect", "live", "close")


def _records(reader: LineReader, kinds: tuple[str, ...] = ()) -> Iterator[dict[str, str]]:
    """All records, or those that begin like one of *kinds*."""
    begins = tuple(f'{{"t":"{kind}"'.encode() for kind in kinds)
    for line in reader:
        if not line.strip() or (begins and not line.startswith(begins)):
            continue
        try:
            # Numbers stay text: a float of seconds has no room for nanoseconds.
            record = json.loads(line, parse_float=str, parse_int=str)
        except ValueError as error:
            if not reader.ended_in_newline:
                raise CaptureCutOffError(str(reader.error(f"the last line is cut off: {error}"))) from error
            raise reader.error(f"not a JSON record: {error}") from error
        if not isinstance(record, dict):
            raise reader.error(f"expected a record with 't', found {line[:40]!r}")
        yield record


def _survey(reader: LineReader) -> tuple[list[str], bool]:
    """The connections with received frames, and whether these are in order of time as they stand."""
    connections: dict[str, None] = {}
    in_order, latest = True, 0
    with contextlib.suppress(CaptureCutOffError):
        for frame in _jsonl(reader, None):
            connections[frame.connection] = None
            in_order = in_order and latest <= frame.receive_ns
            latest = frame.receive_ns
    return list(connections), in_order


def _nanoseconds(whole: bytes, fraction: bytes | None = None) -> int:
    return int(whole) * 1_000_000_000 + int((fraction or b"")[:9].ljust(9, b"0"))


def _check_end(reader: LineReader, data: bytes) -> None:
    """Refuse a last line that was cut off; a whole one may lack its newline."""
    if reader.ended_in_newline or not data.startswith((b"{", b"[")):
        return
    try:
        json.loads(data)
    except ValueError as error:
        raise CaptureCutOffError(str(reader.error("the last line is cut off"))) from error
