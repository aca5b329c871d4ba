"""What the venues' adapters have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from tickbus.errors import InvalidNameError
from tickbus.exchanges.connect.rules import Rules
from tickbus.exchanges.readings import Part

__all__ = ["CHANNELS", "Adapter", "Request", "Stream", "dumps"]

#: What every venue has, under these names; other channels go by the venue's own.
CHANNELS = ("trades", "quotes", "books")

SUBSCRIBE, UNSUBSCRIBE, PING = "subscribe", "unsubscribe", "ping"


class Stream(NamedTuple):
    """One channel of one instrument, in the venue's words, as `Part` has them."""

    channel: str
    symbol: str


class Request(NamedTuple):
    """
    A message to the venue.

    Attributes:
        kind: "subscribe", "unsubscribe" or "ping".
        number: Repeated in the answer, where the venue does so.
    """

    kind: str
    text: str
    streams: tuple[Stream, ...] = ()
    number: str = ""


class Adapter:
    """
    One venue's market.

    Attributes:
        venue, market: As `adapter` was asked for them.
        decoder_market: As `Decoder` takes it.
        url, path: Address of the WebSocket; *url* can be replaced, as by a local venue's.
        rest_url: Address of the REST side, where it is needed.
        channels: The venue's own names of `CHANNELS`.
    """

    venue = ""
    url = ""
    path = ""
    rest_url = ""
    channels: ClassVar[dict[str, str]]
    rules: Rules

    def __init__(self, market: str) -> None:
        self.market = market
        self.decoder_market = market

    # Names.

    def native(self, symbol: str) -> str:
        """The venue's name of our *symbol*; a name without "-" is taken for the venue's own."""
        raise NotImplementedError

    def streams(self, symbols: Iterable[str], channels: Iterable[str]) -> list[Stream]:
        """
        Every channel of every symbol, in the venue's words.

        Raises:
            InvalidNameError: A symbol cannot be one of this market.
        """
        symbols = list(symbols)
        names = [self.channels.get(channel, channel) for channel in channels]
        return [Stream(name, self.native(symbol)) for name in names for symbol in symbols]

    def companions(self, streams: Sequence[Stream]) -> list[Stream]:
        """Streams to subscribe to as well: heartbeats, so that silence means something; contract sizes."""
        return []

    def stream_of(self, part: Part) -> Stream:
        """The stream we subscribed to that *part* of a reading belongs to."""
        return Stream(part.channel, part.symbol)

    def is_book(self, channel: str) -> bool:
        """Whether *channel* tells changes of a book, so that one that is lost spoils what follows."""
        return channel == self.channels["books"]

    # Messages.

    def requests(self, kind: str, streams: Sequence[Stream], number: int) -> Iterator[Request]:
        """Messages that subscribe or unsubscribe *streams*, numbered from *number*, each within the rules."""
        for place, batch in enumerate(self.batches(streams)):
            text = dumps(self.message(kind, batch, number + place))
            yield Request(kind, text, tuple(batch), str(number + place))

    def batches(self, streams: Sequence[Stream]) -> Iterator[list[Stream]]:
        """*streams* in groups that fit in a message."""
        batch: list[Stream] = []
        size = 0
        for stream in streams:
            # Quotes, braces and keys around the names: 60 bytes at the most wordy venue.
            bytes_more = len(stream.channel) + len(stream.symbol) + 60
            full = len(batch) == self.rules.args_max or size + bytes_more > self.rules.message_bytes_max
            if batch and (full or not self.fits(batch[-1], stream)):
                yield batch
                batch, size = [], 0
            batch.append(stream)
            size += bytes_more
        if batch:
            yield batch

    def fits(self, one: Stream, other: Stream) -> bool:
        """Whether both can be in one message."""
        return True

    def message(self, kind: str, streams: Sequence[Stream], number: int) -> Any:
        """The message for streams that fit in one, to be written as JSON."""
        raise NotImplementedError

    def ping(self, number: int) -> Request | None:
        """A message that the venue answers, if it has one."""
        return None

    # Books that start with a REST request.

    def snapshot_path(self, stream: Stream) -> str | None:
        """Where the book of *stream* is to be fetched; None where it comes by the socket."""
        return None

    def _pair(self, symbol: str) -> tuple[str, str, str]:
        """(base, quote, what follows) of our name."""
        base, _, rest = symbol.partition("-")
        quote, _, tail = rest.partition("-")
        if not base or not quote:
            raise InvalidNameError(f"symbol {symbol!r} is no BASE-QUOTE of {self.venue} {self.market}")
        return base, quote, tail

    def _no_tail(self, symbol: str) -> tuple[str, str]:
        base, quote, tail = self._pair(symbol)
        if tail:
            raise InvalidNameError(
                f"symbol {symbol!r} is no spot instrument, and {self.market} has no others"
            )
        return base, quote


def dumps(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))
