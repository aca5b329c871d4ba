"""
Local venues: processes that send wire frames over a local socket, as fast as told.

    python -m tickbus.testing.venues --venue binance --port 0 --rate 20000 --seconds 20 --seed 7

The server says where it listens in one JSON line on standard output, waits for one client, sends its
venue's frames, a newline after each (no frame contains one), and ends with a JSON line that counts
what it sent. Frames are due by the clock: a client that reads too slowly gets them late, never fewer,
so that a slow reader shows as latency and not as a lower rate.

From Python: `with VenueProcess("binance", rate=20_000) as venue: for frame in connect(venue.address)`,
or `Simulator(...).frames(n)` without a process. Same seed, same frames.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Self

from tickbus.testing.market import SYMBOLS, Book, Scenario
from tickbus.testing.wire import WIRES

__all__ = ["Scenario", "Simulator", "VenueProcess", "connect", "connect_batches"]

#: Of four frames of a symbol, one is a trade: about what Binance sends.
FRAMES_PER_TRADE = 4
_TICK_S = 0.000_5
_RECEIVE_BYTES = 1 << 18
#: A venue whose parent never connects ends by itself.
_CLIENT_TIMEOUT_S = 30.0


class Simulator:
    """
    Makes one venue's frames.

    Args:
        venue: "binance", "coinbase", "kraken", "okx" or "bybit".
        rate: Frames per second of simulated time.
        seed: Same seed, same prices; venues of one market share it.
        start_ns: Venue time of the first frame, nanoseconds since the Unix epoch.
    Attributes:
        trades, quotes: How many of each were made so far.
    """

    def __init__(
        self,
        venue: str,
        *,
        rate: float = 20_000.0,
        seed: int = 7,
        start_ns: int = 1_723_161_253_000_000_000,
        scenario: Scenario | None = None,
    ) -> None:
        if venue not in WIRES:
            raise ValueError(f"venue {venue!r} is none of: {', '.join(WIRES)}")
        if not rate > 0:
            raise ValueError(f"rate={rate} is not above 0")
        self.venue = venue
        self.trades = 0
        self.quotes = 0
        self._wire = WIRES[venue]()
        self._step_s = 1.0 / rate
        self._start_ns = start_ns
        self._number = 0
        number = list(WIRES).index(venue)
        scenario = scenario or Scenario()
        self._books = [Book(symbol, i, number, scenario, seed) for i, symbol in enumerate(SYMBOLS)]

    def frames(self, count: int) -> list[bytes]:
        """The next *count* frames."""
        return [frame.encode() for frame in self.texts(count)]

    def texts(self, count: int) -> Iterator[str]:
        """The same, as text."""
        books, wire = self._books, self._wire
        for number in range(self._number, self._number + count):
            self._number = number + 1
            book = books[number % len(books)]
            time_s = number * self._step_s
            time_ns = self._start_ns + int(time_s * 1e9)
            trade = None
            if number // len(books) % FRAMES_PER_TRADE == FRAMES_PER_TRADE - 1:
                trade = book.trade(time_s)
            if trade is None:
                self.quotes += 1
                yield wire.quote(book.symbol.name, book.requote(time_s), number, time_ns)
            else:
                self.trades += 1
                yield wire.trade(book.symbol.name, *trade, number, time_ns)


def serve(client: socket.socket, simulator: Simulator, *, rate: float, seconds: float) -> dict[str, Any]:
    """Send the simulator's frames for *seconds*, or until the client leaves; what was sent."""
    begin = time.perf_counter()
    total = int(rate * seconds)
    sent = 0
    late_s_max = 0.0
    left = False
    while sent < total:
        now_s = time.perf_counter() - begin
        due = min(int(now_s * rate) + 1, total) - sent
        if due <= 0:
            time.sleep(_TICK_S)
            continue
        late_s_max = max(late_s_max, now_s - sent / rate)
        # At most 10 ms' worth at once, so that one who is late catches up in small steps.
        due = min(due, max(1, int(rate / 100)))
        try:
            client.sendall("\n".join(itertools.chain(simulator.texts(due), ("",))).encode())
        except (BrokenPipeError, ConnectionResetError):
            left = True
            break
        sent += due
    return {
        "venue": simulator.venue,
        "frames": sent,
        "trades": simulator.trades,
        "quotes": simulator.quotes,
        "seconds": round(time.perf_counter() - begin, 3),
        "late_ms_max": round(late_s_max * 1e3, 3),
        "client_left": left,
    }


def connect_batches(address: str, *, timeout_s: float = 5.0) -> Iterator[list[bytes]]:
    """
    Frames from a venue, all that have arrived at once in a list; ends when the venue does.

    Args:
        address: "HOST:PORT", or the path of a Unix socket.
        timeout_s: For connecting; reading waits as long as it takes.
    """
    with _open(address, timeout_s) as connection:
        rest = b""
        buffer = bytearray(_RECEIVE_BYTES)
        view = memoryview(buffer)
        while count := connection.recv_into(buffer):
            *frames, rest = (rest + view[:count]).split(b"\n")
            if frames:
                yield frames
        if rest:
            yield [rest]


def connect(address: str, *, timeout_s: float = 5.0) -> Iterator[bytes]:
    """Frames from a venue, one by one; as `connect_batches`."""
    return itertools.chain.from_iterable(connect_batches(address, timeout_s=timeout_s))


def _open(address: str, timeout_s: float) -> socket.socket:
    if "/" in address:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
    else:
        host, _, port = address.rpartition(":")
        connection = socket.create_connection((host, int(port)), timeout_s)
    connection.settimeout(None)
    return connection


class VenueProcess:
    """
    A venue in a process of its own, started at once and ended with the `with` block.

    Attributes:
        address: Where it listens, for `connect`.
        process: The `subprocess.Popen`.
        summary: What it sent; filled by `wait`.
    """

    def __init__(self, venue: str, *, rate: float = 20_000.0, seconds: float = 20.0, seed: int = 7) -> None:
        command = [sys.executable, "-m", "tickbus.testing.venues", "--venue", venue, "--port", "0"]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--seed", str(seed)]
        # Its own group: Ctrl-C in a terminal goes to the parent, which then ends its venues in order.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0)
        self.summary: dict[str, Any] = {}
        try:
            self.address: str = self._line(timeout_s=20.0)["address"]
        except BaseException:
            self.close()
            raise

    def _line(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], timeout_s)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(
                f"venue process {self.process.pid} said nothing (exit code {self.process.poll()})"
            )
        record: dict[str, Any] = json.loads(line)
        return record

    def wait(self, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait until it has ended; its summary."""
        if not self.summary:
            self.summary = self._line(timeout_s)
            self.process.wait(timeout_s)
        return self.summary

    def close(self) -> None:
        """End it. Safe to call twice."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def main(arguments: list[str] | None = None) -> int:
    """Serve one venue to one client."""
    parser = argparse.ArgumentParser(
        prog="python -m tickbus.testing.venues", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--venue", required=True, choices=list(WIRES))
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=0, help="loopback TCP port; 0 picks a free one")
    where.add_argument("--unix", metavar="PATH", help="Unix socket instead")
    parser.add_argument("--rate", type=float, default=20_000.0, help="frames per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to send")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same frames")
    options = parser.parse_args(arguments)
    if not options.rate > 0:
        parser.error(f"--rate {options.rate} is not above 0")
    # As after Ctrl-C, so that a venue that is told to end says what it sent.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _main(options)
    except KeyboardInterrupt:
        return 130
    finally:
        if options.unix:
            with contextlib.suppress(OSError):
                os.unlink(options.unix)


def _main(options: argparse.Namespace) -> int:
    if options.unix:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.unix)
        listener.listen(1)
        address = options.unix
    else:
        listener = socket.create_server(("127.0.0.1", options.port), backlog=1)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with listener:
        print(json.dumps({"venue": options.venue, "address": address}), flush=True)
        listener.settimeout(_CLIENT_TIMEOUT_S)
        try:
            client, _ = listener.accept()
        except TimeoutError:
            print(f"no client within {_CLIENT_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
    with client:
        client.settimeout(None)
        if client.family == socket.AF_INET:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        simulator = Simulator(options.venue, rate=options.rate, seed=options.seed, start_ns=time.time_ns())
        summary = serve(client, simulator, rate=options.rate, seconds=options.seconds)
    print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
