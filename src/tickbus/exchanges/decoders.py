"""
Decoders by name: the compiled ones, and those that other packages bring.

`decoder_for(venue, market)` gives a `VenueDecoder`, whatever it is made of. A package adds a venue with
an entry point of the group `tickbus.exchanges`, named like the venue, that loads a class:

    [project.entry-points."tickbus.exchanges"]
    bitmex = "my_package:BitmexDecoder"

The class is called with the market and gives a `VenueDecoder`. The shortest way to one is
`PythonDecoder`: say what one frame tells, and counting, outcomes and publishing are there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any, ClassVar, NoReturn, Protocol, runtime_checkable

from tickbus import Bus, EventType
from tickbus._native import VENUES, Decoder, pack_quantity, pack_quote

__all__ = ["GROUP", "PythonDecoder", "Row", "VenueDecoder", "decoder_for", "quote", "trade", "venues"]

GROUP = "tickbus.exchanges"

#: (event_type, symbol, value, metadata, venue_time_ns, trade_id, sequence), as `Decoder.decode` gives.
Row = tuple[int, str, float, int, int | None, int | None, int | None]


@runtime_checkable
class VenueDecoder(Protocol):
    """
    What every decoder offers; `Decoder` documents each.

    A decoder belongs to one connection. `decode` takes any bytes and raises for none: what it makes of
    them is in `outcome`, and every frame is counted in exactly one place of `counters()`. The symbol
    is tickbus's name of the instrument, the sign of a trade the taker's side.
    """

    @property
    def venue(self) -> str: ...
    @property
    def market(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def outcome(self) -> tuple[str, int | str]: ...
    @property
    def connection_sequence(self) -> int | None: ...
    def decode(self, frame: bytes) -> list[Row]: ...
    def depths(self) -> list[dict[str, Any]]: ...
    def publish(self, bus: Bus, frame: bytes, timestamp: int = 0) -> int: ...
    def reconnected(self) -> None: ...
    def counters(self) -> dict[str, Any]: ...


def venues() -> dict[str, str]:
    """Every venue there is a decoder for, and where it comes from: "tickbus" or the entry point."""
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return found | dict.fromkeys(VENUES, "tickbus")


def decoder_for(venue: str, market: str = "spot", *, instrument: str | None = None) -> VenueDecoder:
    """
    A new decoder of a venue's market: compiled, or by an entry point.

    Args:
        venue, market: As `Decoder` takes them; markets of other venues are their decoder's business.
        instrument: See `Decoder`; only for venues decoded by tickbus itself.
    Raises:
        ValueError: There is no decoder for this venue, or it has no such market.
    """
    if venue in VENUES:
        return Decoder(venue, market, instrument=instrument)
    for entry in entry_points(group=GROUP, name=venue):
        decoder: VenueDecoder = entry.load()(market)
        return decoder
    raise ValueError(f"no decoder for venue {venue!r}; there are {', '.join(sorted(venues()))}")


class _IgnoredError(Exception):
    """A healthy frame without news."""


class PythonDecoder(ABC):
    """
    A decoder written in Python: a subclass says in `read` what a frame tells.

        class BitmexDecoder(PythonDecoder):
            venue = "bitmex"

            def read(self, frame):
                message = json.loads(frame)
                if message.get("table") != "trade":
                    self.ignore(message.get("table", "notice"))
                for row in message["data"]:
                    size = row["homeNotional"] * (1 if row["side"] == "Buy" else -1)
                    yield trade(row["symbol"], row["price"], size)

    A frame is told whole or not at all: an exception in `read` makes it malformed, by the exception's
    name. Frames with book messages set `self.books` to dicts as `Decoder.depths` gives them.
    """

    venue: ClassVar[str]
    markets: ClassVar[tuple[str, ...]] = ("spot",)

    def __init__(self, market: str = "spot") -> None:
        if market not in self.markets:
            raise ValueError(f"market {market!r} of {self.venue} is none of: {', '.join(self.markets)}")
        self.market = market
        self.books: list[dict[str, Any]] = []
        self.connection_sequence: int | None = None
        self.outcome: tuple[str, int | str] = ("ignored", "no_frame")
        self._counts: Counter[str] = Counter()
        self._ignored: Counter[str] = Counter()
        self._malformed: Counter[str] = Counter()

    @abstractmethod
    def read(self, frame: bytes) -> Iterable[Row]:
        """The events of one frame, made with `trade` and `quote`."""

    @property
    def source(self) -> str:
        """The source that published events carry."""
        return self.venue

    def ignore(self, reason: str) -> NoReturn:
        """Within `read`: the frame is healthy and tells nothing."""
        raise _IgnoredError(reason)

    def decode(self, frame: bytes) -> list[Row]:
        """As `Decoder.decode`."""
        self.books, self.connection_sequence = [], None
        rows: list[Row] = []
        try:
            rows = list(self.read(frame))
        except _IgnoredError as reason:
            self.outcome = ("ignored", str(reason))
        except Exception as error:
            # Whatever a venue sends must not end the feed; the name says what kind of surprise it was.
            self.books = []
            self.outcome = ("malformed", type(error).__name__)
        else:
            if rows:
                self.outcome = ("events", len(rows))
            elif self.books:
                self.outcome = ("books", len(self.books))
            else:
                self.outcome = ("ignored", "empty")
        self._count(rows)
        return rows

    def _count(self, rows: list[Row]) -> None:
        kind, what = self.outcome
        self._counts["frames"] += 1
        if kind == "events":
            trades = sum(row[0] == EventType.PRICE_UPDATE for row in rows)
            self._counts += Counter(event_frames=1, trades=trades, quotes=len(rows) - trades)
        elif kind == "books":
            self._counts["book_frames"] += 1
        else:
            (self._ignored if kind == "ignored" else self._malformed)[str(what)] += 1
        self._counts["books"] += len(self.books)
        self._counts["levels"] += sum(len(book["bids"]) + len(book["asks"]) for book in self.books)

    def depths(self) -> list[dict[str, Any]]:
        """As `Decoder.depths`."""
        return self.books

    def publish(self, bus: Bus, frame: bytes, timestamp: int = 0) -> int:
        """As `Decoder.publish`."""
        rows = self.decode(frame)
        for event_type, symbol, value, metadata, *_ in rows:
            bus.publish(
                event_type,
                symbol,
                value,
                metadata=metadata,
                source=self.source,
                timestamp=timestamp or None,
            )
        return len(rows)

    def reconnected(self) -> None:
        """Forget what a new connection tells again; a subclass that keeps something overrides this."""
        self.books, self.connection_sequence = [], None

    def counters(self) -> dict[str, Any]:
        """As `Decoder.counters`."""
        names = ("frames", "event_frames", "book_frames", "history_frames")
        what = ("trades", "quotes", "books", "levels", "history", "unpackable", "outside_book")
        return (
            {name: self._counts[name] for name in names}
            | {"ignored": dict(self._ignored), "malformed": dict(self._malformed)}
            | {name: self._counts[name] for name in what}
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.market!r})"


def trade(
    symbol: str,
    price: float,
    quantity: float,
    *,
    venue_time_ns: int | None = None,
    trade_id: int | None = None,
    sequence: int | None = None,
) -> Row:
    """
    A trade for `PythonDecoder.read`.

    Args:
        symbol: tickbus's name of the instrument, "BTC-USDT".
        quantity: In the base asset; negative if the taker sold.
        trade_id: What the venue says identifies it, unique per instrument.
        sequence: What orders it among others of the instrument.
    """
    kind = int(EventType.PRICE_UPDATE)
    return (kind, symbol, price, pack_quantity(quantity), venue_time_ns, trade_id, sequence)


def quote(
    symbol: str,
    bid: float,
    ask: float,
    bid_size: float,
    ask_size: float,
    *,
    decimals: int,
    venue_time_ns: int | None = None,
    sequence: int | None = None,
) -> Row:
    """
    A top of book for `PythonDecoder.read`.

    Args:
        decimals: Most decimals of the two prices; see `tickbus.pack_quote`.
    Raises:
        ValueError: The quote has no packed form.
    """
    value, metadata = pack_quote(bid, ask, bid_size, ask_size, decimals)
    return (int(EventType.TOP_OF_BOOK), symbol, value, metadata, venue_time_ns, None, sequence)
