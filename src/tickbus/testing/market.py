"""
A made-up market that several venues quote: deterministic, and lively enough to react to.

Each symbol has one underlying price, a random walk in steps of a millisecond of simulated time that
depends on the seed and the symbol alone, so that venues in different processes agree on it. Every
venue quotes a few ticks around it, with a basis of its own. On top of that, by the clock of the
simulation and so in every run alike:

    drop         the underlying falls by 4 % within 40 ms, and comes back over seconds
    dislocation  one venue quotes 0.4 % off for 30 ms: its bid above another's ask, or below
    spoof        for 60 ms a venue shows bids of 80 times the usual size and pulls each untraded

Costs about 3 µs a frame. Not a model of a market: nobody's orders rest here.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

STEP_S = 0.001


@dataclass(frozen=True, slots=True)
class Symbol:
    """An instrument: its name here, where its price starts, and its usual size, in base units."""

    name: str
    price: float
    size: float


#: All three venues list these.
SYMBOLS = (
    Symbol("BTC-USDT", 61_837.00, 0.4),
    Symbol("ETH-USDT", 2_684.00, 6.0),
    Symbol("SOL-USDT", 154.00, 90.0),
)
#: Prices are multiples of a cent for all of them.
TICKS_PER_UNIT = 100


@dataclass(frozen=True, slots=True)
class Scenario:
    """When something happens; each thing first after half its period, in every symbol in turn."""

    volatility_per_step: float = 0.000_02
    drop_every_s: float = 6.0
    drop_share: float = 0.04
    drop_s: float = 0.04
    dislocation_every_s: float = 1.5
    dislocation_share: float = 0.004
    dislocation_s: float = 0.03
    spoof_every_s: float = 1.0
    spoof_s: float = 0.06
    spoof_size: float = 80.0


class Underlying:
    """The price of one symbol, asked for at times that never go back."""

    def __init__(self, symbol: Symbol, number: int, scenario: Scenario, seed: int) -> None:
        # A string seeds the same generator in every process; hash() would not.
        self._random = random.Random(f"{seed}/{symbol.name}")
        self._walk = 0.0
        self._step = 0
        self._start = symbol.price
        self._scenario = scenario
        self._phase_s = (number + 1) / len(SYMBOLS) * scenario.drop_every_s / 2

    def price(self, time_s: float) -> float:
        step = int(time_s / STEP_S)
        while self._step < step:
            self._step += 1
            # The pull to the start keeps a long run within a few per cent of it.
            noise = self._random.random() + self._random.random() - 1.0
            self._walk += noise * self._scenario.volatility_per_step * 2.45 - self._walk * 0.000_05
        return self._start * math.exp(self._walk) * (1.0 - self._fallen(time_s))

    def _fallen(self, time_s: float) -> float:
        """How much of the price the latest drop has taken and not given back."""
        scenario = self._scenario
        since_s = (time_s - self._phase_s) % scenario.drop_every_s
        if time_s < self._phase_s:
            return 0.0
        if since_s < scenario.drop_s:
            return scenario.drop_share * since_s / scenario.drop_s
        recovered = (since_s - scenario.drop_s) / (0.6 * scenario.drop_every_s)
        return scenario.drop_share * max(0.0, 1.0 - recovered)


class Quote(NamedTuple):
    """A top of book; prices in ticks, sizes in base units."""

    bid: int
    ask: int
    bid_size: float
    ask_size: float


class Book:
    """What one venue quotes for one symbol."""

    def __init__(self, symbol: Symbol, number: int, venue_number: int, scenario: Scenario, seed: int) -> None:
        self.symbol = symbol
        self._underlying = Underlying(symbol, number, scenario, seed)
        self._random = random.Random(f"{seed}/{symbol.name}/{venue_number}")
        self._scenario = scenario
        self._number = number
        self._venue_number = venue_number
        self._basis = 0.0
        self._shows_spoof = False
        self.quote = self.requote(0.0)

    def is_spoofed(self, time_s: float) -> bool:
        scenario = self._scenario
        turn, since_s = divmod(time_s - scenario.spoof_every_s / 2, scenario.spoof_every_s)
        return (
            0 <= turn
            and since_s < scenario.spoof_s
            and turn % len(SYMBOLS) == self._number
            and int(turn) // len(SYMBOLS) % 3 == self._venue_number % 3
        )

    def requote(self, time_s: float) -> Quote:
        """The next top of book."""
        uniform = self._random.random
        self._basis += (uniform() - 0.5) * 0.000_01 - self._basis * 0.02
        fair = self._underlying.price(time_s) * (1.0 + self._basis + self._dislocation(time_s))
        mid = fair * TICKS_PER_UNIT
        half_spread = mid * 0.000_05
        bid = int(mid - half_spread * (0.5 + uniform()))
        ask = max(bid + 1, int(mid + half_spread * (0.5 + uniform())))
        usual = self.symbol.size
        bid_size, ask_size = usual * (0.2 + 2.0 * uniform()), usual * (0.2 + 2.0 * uniform())
        if self.is_spoofed(time_s):
            self._shows_spoof = not self._shows_spoof
            if self._shows_spoof:
                bid_size = usual * self._scenario.spoof_size
        self.quote = Quote(bid, ask, bid_size, ask_size)
        return self.quote

    def trade(self, time_s: float) -> tuple[int, float, bool] | None:
        """(price in ticks, size, whether the taker bought); None while the book is a lie."""
        if self.is_spoofed(time_s):
            return None
        bought = self._random.random() < 0.5
        size = self.symbol.size * 0.1 * (0.01 + self._random.random())
        return (self.quote.ask if bought else self.quote.bid), size, bought

    def _dislocation(self, time_s: float) -> float:
        scenario = self._scenario
        period_s = scenario.dislocation_every_s
        turn, since_s = divmod(time_s - period_s / 2, period_s)
        # Venue and symbol take turns out of step, so that each pair gets one; up and down in turn.
        is_ours = turn % 3 == self._venue_number % 3 and int(turn) // 3 % len(SYMBOLS) == self._number
        if turn < 0 or not is_ours or since_s >= scenario.dislocation_s:
            return 0.0
        return scenario.dislocation_share * (1 if turn % 2 else -1)
