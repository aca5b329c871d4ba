"""
The socket side of a local venue: accepts, answers, paces, breaks.

One asyncio task produces events (or a test does, with `advance`), each connection has a task that sends.
Nothing here knows a venue's messages: a `Protocol` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tickbus.errors import MissingExtraError
from tickbus.exchanges.readings import Kind, reader
from tickbus.testing.venue_server.binance import Binance
from tickbus.testing.venue_server.bybit import Bybit
from tickbus.testing.venue_server.coinbase import Advanced, Exchange
from tickbus.testing.venue_server.depth import Change, DepthMarket, Trade
from tickbus.testing.venue_server.faults import Faults, Harm
from tickbus.testing.venue_server.kraken import Kraken
from tickbus.testing.venue_server.okx import Okx
from tickbus.testing.venue_server.protocol import Closing, Limits, Protocol

__all__ = ["PROTOCOLS", "VenueServer"]

#: By venue and market; their order is their number in the market's scenarios.
PROTOCOLS: dict[tuple[str, str], type[Protocol]] = {
    ("binance", "spot"): Binance,
    ("coinbase", "spot"): Exchange,
    ("kraken", "spot"): Kraken,
    ("okx", "spot"): Okx,
    ("bybit", "spot"): Bybit,
    ("coinbase", "advanced"): Advanced,
}
#: A client that is so many frames behind is sent away, as venues do.
BACKLOG_MAX = 200_000
_TICK_S = 0.005
#: Close codes that the library would not send for us.
_TOO_MUCH = 1008


class Client:
    """One connection."""

    def __init__(self, socket: Any, protocol: Protocol, harm: Harm, number: int) -> None:
        self.socket = socket
        self.protocol = protocol
        self.harm = harm
        self.number = number
        self.is_silent = False
        self.last_heard_s = self.opened_s = time.monotonic()
        self.messages: deque[float] = deque()
        self.backlog: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.replaying: asyncio.Task[None] | None = None

    def send(self, frames: Iterable[str | bytes]) -> None:
        for frame in frames:
            self.backlog.put_nowait(frame)

    def tell(self, frames: Iterable[str]) -> None:
        """Send data, harmed."""
        for frame in frames:
            self.send(self.harm.done_to(frame))

    async def sending(self) -> None:
        while True:
            frame = await self.backlog.get()
            if not self.is_silent:
                await self.socket.send(frame)
            self.backlog.task_done()
            if self.harm.faults.frame_s:
                await asyncio.sleep(self.harm.faults.frame_s)


class VenueServer:
    """
    A venue, from `async with` to its end.

    Args:
        venue, market: One of `PROTOCOLS`.
        symbols: Simulated instruments; see `tickbus.testing.market.SYMBOLS`.
        rate: Events per second; 0 for a venue that moves only by `advance`.
        seed: Same seed, same events.
        capture: A recording to send in the place of a simulation, to each client what it subscribes to,
            from the start. It must speak the protocol version that the clients speak.
        speed: Times the recorded pace; None for as fast as clients take it.
        faults: Harm to data frames; or a function from the number of the connection, from 0, to it.
        limits: The venue's rules, where they are not to be its real ones.
        host, port: Where to listen; port 0 takes a free one.
        start_ns: Venue time of the first event.
        keep: Remember all trades in `trades`, for tests that compare.
    Attributes:
        url: `ws://...`, to be passed to a feed.
        clients: The connections that stand, by number.
        counts: What was accepted, refused, sent away and injected.
        trades: Every trade so far, with *keep*.
    """

    def __init__(
        self,
        venue: str,
        market: str = "spot",
        *,
        symbols: Iterable[str] = (),
        rate: float = 0.0,
        seed: int = 7,
        capture: Any = None,
        speed: float | None = None,
        faults: Faults | Callable[[int], Faults] | None = None,
        limits: Limits | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        start_ns: int = 1_723_161_253_000_000_000,
        keep: bool = False,
    ) -> None:
        if (venue, market) not in PROTOCOLS:
            known = ", ".join(" ".join(pair) for pair in PROTOCOLS)
            raise ValueError(f"venue {venue!r}, market {market!r} is none of: {known}")
        self.venue, self.market = venue, market
        self._protocol = PROTOCOLS[venue, market]
        self.limits = limits or self._protocol.LIMITS
        self.simulation = DepthMarket(
            list(PROTOCOLS).index((venue, market)),
            symbols=tuple(symbols),
            seed=seed,
            step_s=1.0 / rate if rate else 0.001,
            start_ns=start_ns,
        )
        self.trades: list[Trade] = []
        self.clients: dict[int, Client] = {}
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._rate, self._keep = rate, keep
        self._capture, self._speed = capture, speed
        self._faults_of = faults if callable(faults) else lambda number: faults or Faults()
        self._handshake_s = 0.0
        self._where = (host, port)
        self._refusals: deque[tuple[int, float | None]] = deque()
        self._rest_refusals: deque[tuple[int, float | None]] = deque()
        self._attempts: deque[float] = deque()
        self._connections = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._server: Any = None
        self._harms: list[Harm] = []

    @property
    def injected(self) -> Counter[str]:
        """How much harm was done, by kind, over all connections."""
        return sum((harm.injected for harm in self._harms), Counter())

    async def __aenter__(self) -> Self:
        try:
            from websockets.asyncio.server import serve
        except ImportError:
            raise MissingExtraError("the local venue server", "exchanges") from None
        host, port = self._where
        self._server = await serve(
            self._accepted, host, port, process_request=self._requested, compression=None, close_timeout=1
        )
        port = next(iter(self._server.sockets)).getsockname()[1]
        self.url = f"ws://{host}:{port}"
        self._tasks = [asyncio.create_task(self._heartbeating())]
        if self._rate and self._capture is None:
            self._tasks.append(asyncio.create_task(self._pacing()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in list(self.clients.values()):
            client.socket.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    @property
    def rest_url(self) -> str:
        """Where its REST pages are."""
        return self.url.replace("ws://", "http://")

    # What a test or an operator makes happen.

    async def advance(self, events: int) -> None:
        """Let so many events happen, and wait until clients have been sent what they get of them."""
        for _ in range(events):
            self._step()
        await self.drained()

    async def drained(self) -> None:
        """Wait until nothing is left to send."""
        for client in list(self.clients.values()):
            ending = asyncio.create_task(client.socket.wait_closed())
            sent = asyncio.create_task(client.backlog.join())
            await asyncio.wait([ending, sent], return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            sent.cancel()

    def refuse(self, status: int = 429, *, times: int = 1, retry_after_s: float | None = None) -> None:
        """Answer the next connection attempts with an HTTP error."""
        self._refusals.extend([(status, retry_after_s)] * times)

    def refuse_rest(self, status: int = 429, *, times: int = 1, retry_after_s: float | None = None) -> None:
        """Answer the next REST requests with an HTTP error."""
        self._rest_refusals.extend([(status, retry_after_s)] * times)

    def silence(self, connection: int | None = None, *, on: bool = True) -> None:
        """Send nothing more, while the connection stands."""
        for client in self._chosen(connection):
            client.is_silent = on

    def abort(self, connection: int | None = None) -> None:
        """Break the TCP connection, without a goodbye."""
        for client in self._chosen(connection):
            self.counts["aborted"] += 1
            client.socket.transport.abort()

    async def close(self, code: int = 1001, reason: str = "", connection: int | None = None) -> None:
        """Close with a code."""
        for client in self._chosen(connection):
            self.counts["closed"] += 1
            await client.socket.close(code, reason)

    async def close_on_schedule(self, grace_s: float = 1.0, connection: int | None = None) -> None:
        """Announce the end as the venue does (if it does), and close after *grace_s*."""
        chosen = self._chosen(connection)
        for client in chosen:
            if (notice := client.protocol.closing_notice()) is not None:
                client.send([notice])
        await asyncio.sleep(grace_s)
        for client in chosen:
            self.counts["closed"] += 1
            await client.socket.close(1001, "scheduled")

    def slow_handshakes(self, seconds: float) -> None:
        """Take so long to accept connections from now on."""
        self._handshake_s = seconds

    def _chosen(self, connection: int | None) -> list[Client]:
        if connection is None:
            return list(self.clients.values())
        return [client for number, client in self.clients.items() if number == connection]

    # Connections.

    async def _requested(self, socket: Any, request: Any) -> Any:
        url = urlsplit(request.path)
        protocol = self._protocol(self.simulation, request.path, self.limits, any_symbol=False)
        if (page := protocol.http(url.path, dict(parse_qsl(url.query)))) is not None:
            if self._rest_refusals:
                return self._refused(socket, *self._rest_refusals.popleft())
            self.counts["http"] += 1
            return socket.respond(HTTPStatus(page[0]), page[1])
        if self._refusals:
            return self._refused(socket, *self._refusals.popleft())
        if _is_over(self._attempts, self.limits.attempts):
            return self._refused(socket, 429, self.limits.attempts[1])
        if self._handshake_s:
            await asyncio.sleep(self._handshake_s)
        return None

    def _refused(self, socket: Any, status: int, retry_after_s: float | None) -> Any:
        self.counts["refused"] += 1
        response = socket.respond(HTTPStatus(status), "too many requests\n")
        if retry_after_s is not None:
            response.headers["Retry-After"] = f"{retry_after_s:g}"
        return response

    async def _accepted(self, socket: Any) -> None:
        number, self._connections = self._connections, self._connections + 1
        faults = self._faults_of(number)
        if faults.handshake_s:
            await asyncio.sleep(faults.handshake_s)
        harm = Harm(faults, number)
        self._harms.append(harm)
        has_any = self._capture is not None
        protocol = self._protocol(self.simulation, socket.request.path, self.limits, any_symbol=has_any)
        client = self.clients[number] = Client(socket, protocol, harm, number)
        self.counts["accepted"] += 1
        tasks = [asyncio.create_task(client.sending()), asyncio.create_task(self._watching(client))]
        try:
            client.send(protocol.opened())
            if protocol.streams:
                self._replay_to(client)
            await self._listening(client)
        except Closing as closing:
            self.counts["sent_away"] += 1
            await socket.close(closing.code, closing.reason)
        finally:
            del self.clients[number]
            tasks += [client.replaying] if client.replaying else []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listening(self, client: Client) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            async for message in client.socket:
                client.last_heard_s = time.monotonic()
                if _is_over(client.messages, self.limits.messages):
                    raise Closing(_TOO_MUCH, "too many requests")
                text = message if isinstance(message, str) else message.decode(errors="replace")
                self.counts["messages"] += 1
                client.send(client.protocol.received(text))
                if client.protocol.streams:
                    self._replay_to(client)

    async def _watching(self, client: Client) -> None:
        """Send away who does not do what the venue asks for."""
        limits = self.limits
        while True:
            await asyncio.sleep(min(limits.subscribe_within_s or 1.0, limits.client_silent_s or 1.0, 1.0) / 4)
            now_s = time.monotonic()
            idle = limits.subscribe_within_s and not client.protocol.streams
            silent = limits.client_silent_s and now_s - client.last_heard_s > limits.client_silent_s
            if idle and now_s - client.opened_s > limits.subscribe_within_s:
                self.counts["sent_away"] += 1
                await client.socket.close(_TOO_MUCH, "not subscribed in time")
            elif silent:
                self.counts["sent_away"] += 1
                await client.socket.close(4004, "no data received in time")
            elif client.backlog.qsize() > BACKLOG_MAX:
                self.counts["sent_away"] += 1
                await client.socket.close(_TOO_MUCH, "slow client")

    # What there is to tell.

    def _step(self) -> None:
        event: Trade | Change = self.simulation.step()
        if self._keep and isinstance(event, Trade):
            self.trades.append(event)
        for client in self.clients.values():
            client.tell(client.protocol.told(event))

    async def _pacing(self) -> None:
        begin_s, done = time.monotonic(), 0
        while True:
            await asyncio.sleep(_TICK_S)
            due = int((time.monotonic() - begin_s) * self._rate)
            for _ in range(due - done):
                self._step()
            done = due

    async def _heartbeating(self) -> None:
        while True:
            await asyncio.sleep(self.limits.heartbeat_s)
            for client in self.clients.values():
                client.send(client.harm.rest())
                client.send(client.protocol.heartbeats())

    def _replay_to(self, client: Client) -> None:
        if self._capture is not None and client.replaying is None:
            client.replaying = asyncio.create_task(self._replaying(client))

    async def _replaying(self, client: Client) -> None:
        """The recorded data frames of what the client is subscribed to."""
        from tickbus.exchanges import open_capture

        read = reader(self.venue)
        capture = open_capture(self._capture, venue=None)
        first_ns, begin_s = None, time.monotonic()
        for frame in capture:
            reading = read(frame.data)
            wanted = any(client.protocol.wants((part.channel, part.symbol)) for part in reading.parts)
            if reading.kind != Kind.DATA or not wanted:
                continue
            first_ns = frame.receive_ns if first_ns is None else first_ns
            if self._speed is not None:
                due_s = begin_s + (frame.receive_ns - first_ns) / 1e9 / self._speed
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            client.tell([frame.data.decode()])
            if client.backlog.qsize() > 1_000:
                await client.backlog.join()
        self.counts["replayed"] += 1


def _is_over(times: deque[float], limit: tuple[int, float]) -> bool:
    """Note one more, and whether it is one more than *limit* allows."""
    count, per_s = limit
    now_s = time.monotonic()
    while times and times[0] <= now_s - per_s:
        times.popleft()
    times.append(now_s)
    return len(times) > count
