"""How many trials a campaign has, and what it says of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass
class Campaign:
    """
    The trials of one fault.

    Attributes:
        seconds: How long to go on; None for the usual number of trials.
        everything: All there are, however long it takes.
        found: What came of the trials, for the summary.
    """

    name: str
    seed: int
    seconds: float | None = None
    everything: bool = False
    found: Counter[str] = field(default_factory=Counter)
    begun: float = field(default_factory=time.monotonic)

    @classmethod
    def from_environment(
        cls, name: str, environment: Mapping[str, str], spent: float, to_come: int
    ) -> Campaign:
        """The one that is next, of *to_come*, when so many seconds of the budget are spent."""
        budget, seed = environment.get("TICKBUS_FAULTS", ""), environment.get("TICKBUS_FAULTS_SEED", "0")
        if budget in ("", "all"):
            return cls(name, int(seed), everything=budget == "all")
        return cls(name, int(seed), seconds=max(0.0, (float(budget) - spent) / to_come))

    @property
    def random(self) -> random.Random:
        """The same numbers for the same seed."""
        return random.Random(f"{self.name} {self.seed}")

    def trials(self, usual: int, everything: int) -> Iterator[int]:
        """Numbers of trials: *usual* of them, *everything*, or what there is time for between."""
        for trial in range(everything if self.seconds is not None or self.everything else usual):
            if trial and self.seconds is not None and time.monotonic() - self.begun > self.seconds:
                return
            self.found["trials"] += 1
            yield trial

    def some_of(self, places: Sequence[int], usual: int) -> Iterator[int]:
        """Places to try: *usual* of them, evenly spread from one by the seed on; or all there is time for."""
        order = list(places)
        stride = max(1, len(order) // usual)
        first = self.random.randrange(stride)
        # Each turn is spread over all of them, so that one cut short has left no stretch out.
        turns = [order[(first + turn) % stride :: stride] for turn in range(stride)]
        spread = [place for turn in turns for place in turn]
        for trial in self.trials(len(turns[0]), len(spread)):
            yield spread[trial]

    def __str__(self) -> str:
        seconds = time.monotonic() - self.begun
        found = ", ".join(f"{count:,} {what}" for what, count in self.found.items())
        return f"{self.name}: {found}; seed {self.seed}, {seconds:.1f} s"
