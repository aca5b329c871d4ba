"""
The texts behind a log's numbers: event types with their meaning, sources, symbols.

Number 0 is no source and no symbol: an empty text. A number without a name, which only a damaged or
foreign log has, is told as ``#number`` and not hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tickbus import _native
from tickbus.errors import UnknownNameError

__all__ = ["Names", "TypeMeaning"]


@dataclass(frozen=True, slots=True)
class TypeMeaning:
    """A row of the taxonomy: what `value` and `metadata` of an event type say."""

    number: int
    name: str
    value: str = "value"
    metadata: str = ""
    encoding: str = "unused"


@functools.cache
def _builtin() -> tuple[TypeMeaning, ...]:
    keys = ("number", "name", "value", "metadata", "encoding")
    return tuple(TypeMeaning(*(row[key] for key in keys)) for row in _native.taxonomy())


@dataclass(frozen=True)
class Names:
    """
    Texts by number.

    Args:
        symbols, sources: Text of each number, without number 0.
        types: Types registered beside the built-in ones; those are always there.
    """

    symbols: Mapping[int, str] = field(default_factory=dict)
    sources: Mapping[int, str] = field(default_factory=dict)
    types: Mapping[int, TypeMeaning] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", {**{row.number: row for row in _builtin()}, **self.types})

    @classmethod
    def of_bus(cls, bus: _native.Bus, events: NDArray[np.void]) -> Names:
        """
        The names that *bus* has for the numbers in *events*, and all its types.

        A bus does not tell what the fields of a registered type mean; pass `types` to say it.
        """
        known = {row.number for row in _builtin()}
        symbols, sources = (set(np.unique(events[column]).tolist()) - {0} for column in ("symbol", "source"))
        return cls(
            {number: bus.symbol_name(number) for number in sorted(symbols)},
            {number: bus.source_name(number) for number in sorted(sources)},
            {n: TypeMeaning(n, name) for name, n in bus.types().items() if n not in known},
        )

    def symbol(self, number: int) -> str:
        """Text of a symbol."""
        return _text(self.symbols, number)

    def source(self, number: int) -> str:
        """Text of a source."""
        return _text(self.sources, number)

    def type(self, number: int) -> str:
        """Name of an event type."""
        row = self.types.get(number)
        return row.name if row else f"#{number}"

    def knows(self, column: str, numbers: NDArray[np.unsignedinteger]) -> bool:
        """Whether all *numbers* of the events' field *column* have a name."""
        if column == "event_type":
            known = np.zeros(256, bool)
            known[list(self.types)] = True
            return bool(known[numbers].all())
        texts = self.symbols if column == "symbol" else self.sources
        # Numbers are given out in order, so the greatest tells; else each is looked up.
        greatest = int(numbers.max(initial=0))
        if len(texts) >= greatest and max(texts, default=0) == len(texts):
            return True
        return set(np.unique(numbers).tolist()) <= {0, *texts}

    def symbol_numbers(self, wanted: Iterable[str | int] | str | int | None) -> frozenset[int] | None:
        """Numbers of symbols given as texts or numbers; None is all."""
        return _numbers("symbol", wanted, {text: n for n, text in self.symbols.items()}, {"": 0})

    def source_numbers(self, wanted: Iterable[str | int] | str | int | None) -> frozenset[int] | None:
        """Numbers of sources given as texts or numbers; None is all."""
        return _numbers("source", wanted, {text: n for n, text in self.sources.items()}, {"": 0})

    def type_numbers(self, wanted: Iterable[str | int] | str | int | None) -> frozenset[int] | None:
        """Numbers of event types given as names, in any case, or numbers; None is all."""
        by_name = {row.name: row.number for row in self.types.values()}
        upper = {row.name.upper(): row.number for row in self.types.values()}
        return _numbers("event type", wanted, by_name, upper)


def _text(texts: Mapping[int, str], number: int) -> str:
    if number == 0:
        return ""
    return texts.get(number) or f"#{number}"


def _numbers(
    kind: str,
    wanted: Iterable[str | int] | str | int | None,
    by_text: Mapping[str, int],
    others: Mapping[str, int],
) -> frozenset[int] | None:
    if wanted is None:
        return None
    given = [wanted] if isinstance(wanted, (str, int)) else list(wanted)
    return frozenset(_number(kind, one, by_text, others) for one in given)


def _number(kind: str, one: str | int, by_text: Mapping[str, int], others: Mapping[str, int]) -> int:
    if isinstance(one, int) and not isinstance(one, bool):
        if one in by_text.values() or one in others.values():
            return int(one)
        raise UnknownNameError(f"the log has no {kind} number {int(one)}")
    number = by_text.get(one) if isinstance(one, str) else None
    if number is None:
        number = others.get(one) if isinstance(one, str) else None
    if number is None:
        some = ", ".join(sorted(by_text)[:8]) or "none"
        raise UnknownNameError(f"the log has no {kind} {one!r}; it has {some}{_more(by_text)}")
    return number


def _more(texts: Mapping[str, int]) -> str:
    return f" and {len(texts) - 8} more" if len(texts) > 8 else ""
