"""
One WebSocket life, from the attempt to the end, around a `Session`.

Receives, stamps, records, hands on; sends what the session wants said, as fast as the venue's budgets let it;
asks the session at the right moments whether the connection is still worth keeping.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from tickbus.errors import MissingExtraError
from tickbus.exchanges.connect.clock import Clock, first_of
from tickbus.exchanges.connect.pacing import Pacing, Window
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.session import Session
from tickbus.exchanges.connect.venues.base import PING, Adapter, Request, Stream
from tickbus.exchanges.readings import Reading
from tickbus.exchanges.recorder import Recorder

__all__ = ["Change", "Ending", "Link", "State"]

#: As long as the longest line of a recording; the largest book seen is 7 MB.
FRAME_BYTES_MAX = 64 << 20
_REFUSED_FOR_GOOD = (401, 403, 404)
_TOO_MANY = (418, 429)


class State:
    """Where a connection is; each change is told to `on_change`."""

    #: Waiting for the venue's budget, or after a failure.
    WAITING = "waiting"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    #: Every stream was answered.
    LIVE = "live"
    #: A successor is being connected, and this one goes on meanwhile.
    REPLACING = "replacing"
    ENDED = "ended"
    #: The venue refused one stream; the others go on.
    REFUSED = "refused"
    #: A gap showed in a stream; `RECOVERED` follows where it can be made whole.
    GAP = "gap"
    RECOVERED = "recovered"


class Change(NamedTuple):
    """
    A change of a connection's state.

    Attributes:
        reason: In a word or two, the same for the same cause: "silent", "closed 1006", "refused 429".
        detail: What else is known.
    """

    time_ns: int
    connection: str
    state: str
    reason: str = ""
    detail: str = ""


class Ending(NamedTuple):
    """
    Why a connection is over.

    Attributes:
        wait_s: How long the venue wants to be left alone; 0 when it did not say.
        lived_s: How long all of it was subscribed.
    """

    reason: str
    detail: str = ""
    wait_s: float = 0.0
    lived_s: float = 0.0


class Sink(Protocol):
    """Who gets what a link receives."""

    def received(self, link: Link, reading: Reading, frame: bytes, receive_ns: int) -> None: ...

    def changed(self, link: Link, change: Change) -> None: ...


@dataclass(eq=False)
class Link:
    """
    See the module.

    Attributes:
        name: Of this life; unlike that of any other connection.
        group: Of connections with the same subscriptions.
        live: Set when every stream was answered.
        wants_successor: Set when it is to be replaced.
        session: The protocol; None before the connection stood.
    """

    name: str
    group: str
    adapter: Adapter
    rules: Rules
    streams: list[Stream]
    url: str
    pacing: Pacing
    clock: Clock
    sink: Sink
    recorder: Recorder | None = None
    live: asyncio.Event = field(default_factory=asyncio.Event)
    wants_successor: asyncio.Event = field(default_factory=asyncio.Event)
    session: Session | None = None
    frames: int = 0
    _live_s: float | None = None
    _told_refused: int = 0
    _ended_because: str = ""

    def __post_init__(self) -> None:
        self._outgoing = Window(*self.rules.requests)
        self._changes = Window(*self.rules.changes) if self.rules.changes else None
        self._change_at_s: float | None = None
        self._wake_sender = asyncio.Event()
        self._socket: Any = None

    async def run(self) -> Ending:
        """Live through it; why it ended."""
        now_s = self.clock.monotonic()
        at_s = self.pacing.attempts.grant(now_s)
        if at_s > now_s:
            self._tell(State.WAITING, "budget", f"{at_s - now_s:.1f} s")
            await self.clock.sleep(at_s - now_s)
        self._tell(State.CONNECTING)
        ending = Ending("stopped")
        try:
            ending = await self._live_through()
        finally:
            if self.recorder is not None and self.session is not None:
                self.recorder.closed(self.name, self.clock.time_ns(), ending.reason)
            self._tell(State.ENDED, ending.reason, ending.detail)
        return ending

    async def end(self, reason: str) -> None:
        """Close it in order; `run` returns with *reason*."""
        self._ended_because = self._ended_because or reason
        if self._socket is not None:
            await self._socket.close()

    def renew(self, stream: Stream) -> bool:
        """Have the book of *stream* from its start; False while that is under way already."""
        is_asked = self.session is not None and self.session.renew(stream)
        self._wake_sender.set()
        return is_asked

    async def _live_through(self) -> Ending:
        connect = _library()
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

        try:
            async with connect(
                self.url,
                open_timeout=self.rules.open_within_s,
                close_timeout=1.0,
                max_size=FRAME_BYTES_MAX,
                **({"proxy": None} if _is_local(self.url) else {}),
            ) as socket:
                return await self._converse(socket)
        except InvalidStatus as error:
            return self._refusal(error.response)
        except TimeoutError:
            return Ending("no answer", f"not open within {self.rules.open_within_s:g} s")
        except (InvalidHandshake, InvalidURI, EOFError) as error:
            return Ending("bad handshake", str(error))
        except OSError as error:
            return Ending("unreachable", error.strerror or str(error))

    def _refusal(self, response: Any) -> Ending:
        status = response.status_code
        wait_s = self.rules.ban_s if status in _TOO_MANY else 0.0
        if status in _REFUSED_FOR_GOOD:
            wait_s = self.rules.backoff_max_s
        with contextlib.suppress(KeyError, ValueError):
            wait_s = max(float(response.headers["Retry-After"]), 0.0)
        detail = response.body[:200].decode(errors="replace").strip() if response.body else ""
        if wait_s and status in _TOO_MANY:
            # For every connection of this process, not for this one alone.
            self.pacing.attempts.delay_until(self.clock.monotonic() + wait_s)
        return Ending(f"refused {status}", detail, wait_s)

    async def _converse(self, socket: Any) -> Ending:
        from websockets.exceptions import ConnectionClosed

        self._socket = socket
        self.session = Session(self.adapter, self.streams, self.clock.monotonic(), self.rules)
        if self.recorder is not None:
            self.recorder.opened(self.name, self.clock.time_ns(), self.url)
        self._tell(State.SUBSCRIBING)
        helpers = [asyncio.create_task(self._sending(socket)), asyncio.create_task(self._ticking(socket))]
        try:
            while True:
                self._take(await socket.recv(decode=False))
        except ConnectionClosed as closed:
            return self._ending_of(closed)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def _take(self, frame: bytes) -> None:
        receive_ns = self.clock.time_ns()
        if self.recorder is not None:
            self.recorder.received(self.name, receive_ns, frame)
        assert self.session is not None
        self.frames += 1
        reading = self.session.received(frame, self.clock.monotonic())
        self.sink.received(self, reading, frame, receive_ns)
        self._after()

    def _after(self) -> None:
        """Tell what the session has learnt."""
        session = self.session
        assert session is not None
        if len(session.refused) > self._told_refused:
            for stream, text in list(session.refused.items())[self._told_refused :]:
                self._tell(State.REFUSED, f"{stream.channel} {stream.symbol}", text)
            self._told_refused = len(session.refused)
        if not self.live.is_set() and session.is_live:
            self._live_s = self.clock.monotonic()
            self.live.set()
            self._tell(State.LIVE)
            if self.recorder is not None:
                self.recorder.live(self.name, self.clock.time_ns())
        self._ask_for_successor(session)
        if session.next_request() is not None:
            self._wake_sender.set()

    def _ask_for_successor(self, session: Session) -> None:
        if session.replace_because and not self.wants_successor.is_set():
            self.wants_successor.set()
            self._tell(State.REPLACING, session.replace_because)

    async def _sending(self, socket: Any) -> None:
        while True:
            assert self.session is not None
            if self.session.next_request() is None:
                self._wake_sender.clear()
                await self._wake_sender.wait()
                continue
            request = await self._turn()
            if request is None:
                continue
            await socket.send(request.text)
            if self.recorder is not None:
                self.recorder.sent(self.name, self.clock.time_ns(), request.text)

    async def _turn(self) -> Request | None:
        """The next request, if the budgets let it go now; otherwise None, some time later."""
        assert self.session is not None
        request = self.session.next_request()
        assert request is not None
        if self._changes is not None and request.kind != PING:
            now_s = self.clock.monotonic()
            if self._change_at_s is None:
                self._change_at_s = self._changes.grant(now_s)
            if self._change_at_s > now_s:
                # It may be an hour. A ping that becomes due meanwhile wakes us, and goes first.
                self._wake_sender.clear()
                await first_of(self.clock.sleep(self._change_at_s - now_s), self._wake_sender.wait())
                return None
            self._change_at_s = None
        window = self.pacing.requests if self.rules.requests_by_address else self._outgoing
        now_s = self.clock.monotonic()
        await self.clock.sleep(window.grant(now_s) - now_s)
        self.session.sent(request, self.clock.monotonic())
        return request

    async def _ticking(self, socket: Any) -> None:
        while True:
            assert self.session is not None
            now_s = self.clock.monotonic()
            if reason := self.session.tick(now_s):
                self._ended_because = self._ended_because or reason
                # No goodbye: a dead peer would not answer it, and its frames are worth nothing now.
                socket.transport.abort()
                return
            self._ask_for_successor(self.session)
            if self.session.next_request() is not None:
                self._wake_sender.set()
            # Every frame moves the deadlines, so they are looked at again when the nearest has come.
            await self.clock.sleep(max(self.session.due_s() - now_s, 0.001))

    def _ending_of(self, closed: Any) -> Ending:
        received = closed.rcvd
        lived_s = 0.0 if self._live_s is None else self.clock.monotonic() - self._live_s
        if self._ended_because:
            return Ending(self._ended_because, "", 0.0, lived_s)
        if received is None:
            # The library closes by itself when a message is too long or its own ping is not answered.
            detail = closed.sent.reason if closed.sent is not None else "no close frame"
            return Ending("closed 1006", detail, 0.0, lived_s)
        return Ending(f"closed {received.code:d}", received.reason, 0.0, lived_s)

    def _tell(self, state: str, reason: str = "", detail: str = "") -> None:
        self.sink.changed(self, Change(self.clock.time_ns(), self.name, state, reason, detail))


def _library() -> Any:
    try:
        from websockets.asyncio.client import connect
    except ImportError:
        raise MissingExtraError("connecting to venues", "exchanges") from None
    return connect


def _is_local(url: str) -> bool:
    return urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
