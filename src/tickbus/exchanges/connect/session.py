"""
One connection without its socket: what the venue sends and the time go in; requests and verdicts come out.

    session = Session(adapter, streams, now_s)
    while request := session.next_request(): send(request.text); session.sent(request, now_s)
    reading = session.received(frame, now_s)
    verdict = session.tick(now_s)             # why to give the connection up, or ""

It subscribes, matches answers to requests, asks for each stream alone where a batch was refused for one of
them, pings, notices silence and missing answers, and says when the connection is to be replaced.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.connect.venues.base import PING, SUBSCRIBE, UNSUBSCRIBE, Adapter, Request, Stream
from tickbus.exchanges.readings import Kind, Reading, reader

__all__ = ["Session"]


class _Pending:
    """A request that was sent and not wholly answered."""

    def __init__(self, request: Request, sent_s: float) -> None:
        self.request = request
        self.sent_s = sent_s
        self.open = set(request.streams)


class Session:
    """
    See the module.

    Args:
        adapter: Of the venue.
        streams: What to subscribe to; companions are added.
        now_s: When the connection stood, by any clock that never goes back.
        rules: Those of the venue, unless others are to hold.
    Attributes:
        confirmed: Streams the venue has acknowledged, with the time of their latest message.
        refused: Streams it has refused, with its words.
        replace_because: Why a successor is to be connected; empty while none is.
        counts: Frames by kind, requests sent, refusals nothing could be matched to.
    """

    def __init__(
        self, adapter: Adapter, streams: Sequence[Stream], now_s: float, rules: Rules | None = None
    ) -> None:
        self.adapter = adapter
        self.rules = rules or adapter.rules
        self.confirmed: dict[Stream, float] = {}
        self.refused: dict[Stream, str] = {}
        self.replace_because = ""
        self.counts: Counter[str] = Counter()
        self._read = reader(adapter.venue)
        self._outbox: deque[Request] = deque()
        self._pending: dict[str, _Pending] = {}
        self._renewing: set[Stream] = set()
        self._requests = 0
        self._opened_s = self._heard_s = self._pinged_s = now_s
        self._ask(SUBSCRIBE, [*streams, *adapter.companions(streams)])

    @property
    def is_live(self) -> bool:
        """Every stream was answered, and one at least is there."""
        waits = any(waiting.request.kind == SUBSCRIBE for waiting in self._pending.values())
        asks = any(request.kind == SUBSCRIBE for request in self._outbox)
        return bool(self.confirmed) and not waits and not asks

    # Out.

    def next_request(self) -> Request | None:
        """What is to be sent next."""
        return self._outbox[0] if self._outbox else None

    def sent(self, request: Request, now_s: float) -> None:
        """*request* has been sent."""
        self._outbox.remove(request)
        self.counts["requests"] += 1
        if request.kind == PING:
            self._pinged_s = now_s
        else:
            self._pending[request.number] = _Pending(request, now_s)

    def renew(self, stream: Stream) -> bool:
        """Subscribe anew, to have the book from its start; False while that is under way."""
        if stream in self._renewing or stream not in self.confirmed:
            return False
        self._renewing.add(stream)
        self.counts["renewals"] += 1
        self._ask(UNSUBSCRIBE, [stream])
        self._ask(SUBSCRIBE, [stream])
        return True

    def _ask(self, kind: str, streams: Iterable[Stream]) -> None:
        for request in self.adapter.requests(kind, list(streams), self._requests + 1):
            self._requests += 1
            self._outbox.append(request)

    # In.

    def received(self, frame: bytes, now_s: float) -> Reading:
        """Take a frame; what it is."""
        self._heard_s = now_s
        reading = self._read(frame)
        self.counts[reading.kind] += 1
        if reading.kind in (Kind.DATA, Kind.HEARTBEAT):
            for part in reading.parts:
                stream = self.adapter.stream_of(part)
                if stream in self.confirmed:
                    self.confirmed[stream] = now_s
        elif reading.kind == Kind.ACK:
            self._acknowledged(reading, now_s)
        elif reading.kind == Kind.REFUSAL:
            self._refused(reading, now_s)
        elif reading.kind == Kind.NOTICE:
            self.replace_because = self.replace_because or reading.text
        return reading

    def _acknowledged(self, reading: Reading, now_s: float) -> None:
        told = {Stream(part.channel, part.symbol) for part in reading.parts}
        chosen = {reading.request} if reading.request in self._pending else set(self._pending)
        for number, waiting in list(self._pending.items()):
            if number not in chosen or reading.text not in ("", waiting.request.kind):
                continue
            if told:
                # A list of all that is subscribed answers an unsubscription by what it lacks.
                is_over = waiting.request.kind == UNSUBSCRIBE
                lists_all = self.adapter.venue == "coinbase"
                answered = waiting.open - told if is_over and lists_all else waiting.open & told
            elif reading.request == number:
                answered = set(waiting.open)
            else:
                continue
            self._settle(number, waiting, answered, now_s)

    def _settle(self, number: str, waiting: _Pending, answered: set[Stream], now_s: float) -> None:
        waiting.open -= answered
        if waiting.request.kind == SUBSCRIBE:
            self.confirmed |= dict.fromkeys(answered, now_s)
            self._renewing -= answered
        if not waiting.open:
            del self._pending[number]

    def _refused(self, reading: Reading, now_s: float) -> None:
        told = {Stream(part.channel, part.symbol) for part in reading.parts if part.symbol}
        waiting = self._pending.get(reading.request)
        if waiting is None:
            # Venues that repeat no number answer in order; those that name the stream may not.
            candidates = (w for w in self._pending.values() if not told or _one_of(told, w.open))
            waiting = next(candidates, None)
        if waiting is None:
            self.counts["refusals_of_nothing"] += 1
            return
        number, request = waiting.request.number, waiting.request
        ended = _one_of(told, waiting.open) or set(waiting.open)
        if "already subscribed" in reading.text.lower() or request.kind == UNSUBSCRIBE:
            # What we wanted, as it is.
            self._settle(number, waiting, ended, now_s)
        elif len(ended) > 1:
            # One of them is wrong, and which one is not said: each is asked for alone.
            del self._pending[number]
            for stream in sorted(ended):
                self._ask(SUBSCRIBE, [stream])
        else:
            self.refused |= dict.fromkeys(ended, reading.text)
            waiting.open -= ended
            self._renewing -= ended
            for stream in ended:
                self.confirmed.pop(stream, None)
            if not waiting.open:
                del self._pending[number]

    # Time.

    def tick(self, now_s: float) -> str:
        """Do what is due; why the connection is to be given up, or an empty string."""
        rules = self.rules
        if now_s - self._heard_s >= rules.dead_after_s:
            return "silent"
        if any(now_s - waiting.sent_s >= rules.answer_within_s for waiting in self._pending.values()):
            return "unanswered"
        if self.refused and not self.confirmed and not self._pending and not self._outbox:
            return "all refused"
        if self._ping_due_s() <= now_s and (ping := self.adapter.ping(self._requests + 1)):
            self._requests += 1
            self._pinged_s = now_s
            # Before subscriptions that wait for their turn: they may wait for minutes.
            self._outbox.appendleft(ping)
        if self._replace_due_s() <= now_s:
            self.replace_because = self.replace_because or "lifetime"
        return ""

    def due_s(self) -> float:
        """When `tick` is needed next, if nothing happens before."""
        answers = [waiting.sent_s + self.rules.answer_within_s for waiting in self._pending.values()]
        replace_s = [] if self.replace_because else [self._replace_due_s()]
        return min(self._heard_s + self.rules.dead_after_s, self._ping_due_s(), *replace_s, *answers)

    def quiet(self, now_s: float, for_s: float) -> list[Stream]:
        """Streams that were accepted and have said nothing for so long."""
        return [stream for stream, heard_s in self.confirmed.items() if now_s - heard_s >= for_s]

    def _ping_due_s(self) -> float:
        rules = self.rules
        every_s = self._pinged_s + rules.ping_every_s if rules.ping_every_s else float("inf")
        if rules.ping_after_s is None:
            return every_s
        # One ping a silence: the next one only after the venue was heard again, or as long after.
        return min(every_s, max(self._heard_s, self._pinged_s) + rules.ping_after_s)

    def _replace_due_s(self) -> float:
        if self.rules.lifetime_s is None:
            return float("inf")
        return self._opened_s + max(self.rules.lifetime_s - self.rules.replace_before_s, 0.0)


def _one_of(told: set[Stream], open: set[Stream]) -> set[Stream]:
    """The open streams that *told* names; a refusal may leave the channel out."""
    return {s for s in open if s in told or Stream("", s.symbol) in told}
