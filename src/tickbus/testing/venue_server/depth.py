"""
A simulated market with depth: trades, and order books that change level by level.

Underneath is `tickbus.testing.market`, so venues of one seed agree on prices. Sizes are whole numbers of
1e-8 base units and prices whole ticks, so that every text a venue writes of them is exact. Event
number N depends on seed and venue alone, however fast they are asked for.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tickbus.testing.market import SYMBOLS, TICKS_PER_UNIT, Book, Quote, Scenario

__all__ = ["Change", "Depth", "DepthMarket", "Level", "Trade", "price_text", "size_text"]

#: Levels a side that a book keeps.
LEVELS = 30
SIZE_UNITS = 100_000_000
#: Of four events of a symbol, one is a trade.
EVENTS_PER_TRADE = 4


class Level(NamedTuple):
    """A price in ticks and what stands there, in units of 1e-8; 0 when nothing does any more."""

    ticks: int
    size: int


class Trade(NamedTuple):
    """One trade; `number` counts from 1 per symbol without a hole."""

    symbol: str
    number: int
    ticks: int
    size: int
    bought: bool
    time_ns: int


class Change(NamedTuple):
    """A book has changed: the levels that are different now, and the ids these changes have."""

    symbol: str
    first_id: int
    last_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    time_ns: int


def price_text(ticks: int) -> str:
    return f"{ticks // TICKS_PER_UNIT}.{ticks % TICKS_PER_UNIT:02d}"


def size_text(size: int) -> str:
    return f"{size // SIZE_UNITS}.{size % SIZE_UNITS:08d}"


class Depth:
    """
    One symbol's book.

    Attributes:
        last_id: Of the latest change; each changed level takes one.
    """

    def __init__(self, symbol: str, seed: str) -> None:
        self.symbol = symbol
        self.last_id = 1_000
        self.time_ns = 0
        self._random = random.Random(f"{seed}/depth")
        self._sides: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def bids(self, limit: int = LEVELS) -> list[Level]:
        """The best first."""
        return [Level(*item) for item in sorted(self._sides[0].items(), reverse=True)[:limit]]

    def asks(self, limit: int = LEVELS) -> list[Level]:
        """The best first."""
        return [Level(*item) for item in sorted(self._sides[1].items())[:limit]]

    def move(self, quote: Quote, usual_size: float, time_ns: int) -> Change:
        """Take *quote* for the new top of the book."""
        before = tuple(dict(side) for side in self._sides)
        tops = ((quote.bid, quote.bid_size), (quote.ask, quote.ask_size))
        for side, (best, size), away in zip(self._sides, tops, (-1, 1), strict=True):
            for ticks in [ticks for ticks in side if (ticks - best) * away <= 0]:
                del side[ticks]
            side[best] = max(1, round(size * SIZE_UNITS))
            self._fill(side, away, usual_size)
        changed = []
        for side, old in zip(self._sides, before, strict=True):
            levels = [Level(ticks, size) for ticks, size in side.items() if old.get(ticks) != size]
            levels += [Level(ticks, 0) for ticks in old if ticks not in side]
            changed.append(tuple(sorted(levels)))
        first_id = self.last_id + 1
        # An update that changes nothing still takes an id, as venues' do.
        self.last_id += max(1, len(changed[0]) + len(changed[1]))
        self.time_ns = time_ns
        return Change(self.symbol, first_id, self.last_id, changed[0], changed[1], time_ns)

    def _fill(self, side: dict[int, int], away: int, usual_size: float) -> None:
        """As many levels as there should be, and one of the deeper ones with another size."""
        ordered = sorted(side, key=lambda ticks: ticks * away)
        for ticks in ordered[LEVELS:]:
            del side[ticks]
        deepest = ordered[min(len(ordered), LEVELS) - 1]
        while len(side) < LEVELS:
            deepest += away * self._random.randint(3, 60)
            side[deepest] = self._size(usual_size)
        side[ordered[self._random.randrange(min(len(ordered), LEVELS))]] = self._size(usual_size)

    def _size(self, usual_size: float) -> int:
        # Round sizes are common on real books, and their trailing zeros count in checksums.
        size = round(usual_size * (0.05 + 3.0 * self._random.random()) * SIZE_UNITS)
        return max(1, size - size % 1_000_000 if self._random.random() < 0.3 else size)


class DepthMarket:
    """
    What happens at one venue, one event after another.

    Args:
        venue_number: Which venue of the scenario it is; gives it a basis of its own.
        symbols: Names of `tickbus.testing.market.SYMBOLS`; all of them when left out.
        step_s: Simulated time between two events.
        start_ns: Venue time of the first one.
    Attributes:
        books: By symbol.
        events: How many have happened.
        last_trades: The latest trade of each symbol that had one.
    """

    def __init__(
        self,
        venue_number: int,
        *,
        symbols: tuple[str, ...] = (),
        seed: int = 7,
        step_s: float = 0.001,
        start_ns: int = 1_723_161_253_000_000_000,
        scenario: Scenario | None = None,
    ) -> None:
        known = {symbol.name: (number, symbol) for number, symbol in enumerate(SYMBOLS)}
        if missing := [name for name in symbols if name not in known]:
            raise ValueError(f"symbol {missing[0]!r} is none of: {', '.join(known)}")
        self.symbols = symbols or tuple(known)
        self.books = {name: Depth(name, f"{seed}/{name}/{venue_number}") for name in self.symbols}
        self.events = 0
        self.last_trades: dict[str, Trade] = {}
        self._step_s, self._start_ns = step_s, start_ns
        self._trades = dict.fromkeys(self.symbols, 0)
        self._quotes = [
            Book(known[name][1], known[name][0], venue_number, scenario or Scenario(), seed)
            for name in self.symbols
        ]
        for name in self.symbols:
            self._move(name, self.time_ns)

    @property
    def time_ns(self) -> int:
        """Venue time of the next event."""
        return self._start_ns + int(self.events * self._step_s * 1e9)

    def step(self) -> Trade | Change:
        """The next event."""
        number, time_ns = self.events, self.time_ns
        book = self._quotes[number % len(self._quotes)]
        self.events += 1
        if number // len(self._quotes) % EVENTS_PER_TRADE == EVENTS_PER_TRADE - 1:
            happened = book.trade(number * self._step_s)
            if happened is not None:
                return self._trade(book.symbol.name, *happened, time_ns)
        return self._move(book.symbol.name, time_ns)

    def _trade(self, symbol: str, ticks: int, size: float, bought: bool, time_ns: int) -> Trade:
        self._trades[symbol] += 1
        units = max(1, round(size * SIZE_UNITS))
        trade = Trade(symbol, self._trades[symbol], ticks, units, bought, time_ns)
        self.last_trades[symbol] = trade
        return trade

    def _move(self, symbol: str, time_ns: int) -> Change:
        book = self._quotes[self.symbols.index(symbol)]
        quote = book.requote(self.events * self._step_s)
        return self.books[symbol].move(quote, book.symbol.size, time_ns)
