"""
What tickbus has to reach, in one place, as data; `report` prints each with what was measured.

A relative target compares with a contender of the same figure in the same run: ``at_most`` bounds
tickbus / other, ``at_least`` bounds how many times tickbus is better. An absolute one bounds the
median itself (in the figure's unit). A target whose other side did not run is "not measured",
never met.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from tickbus.bench.model import TICKBUS, Result, Unit

FLOOR = "floor: C"
FLOOR_STAMPED = "floor: C with clock"
DICT_PREBUILT = "dict of lists, prebuilt"
DICT_BUILT = "dict of lists, built"
MACHINE = "floor: machine"
EVENTFD = "floor: eventfd"
XADD = "floor: xadd"
FDATASYNC = "floor: fdatasync"
DUCKDB = "DuckDB over Parquet"
PARQUET = "tickbus, Parquet"
ORDER_BOOK = "order-book"
NAUTILUS_BOOK = "NautilusTrader"
DICT_TTL = "OrderedDict with times"
CACHETOOLS = "cachetools"
SORTED_DICTS = "heapq.merge of lists"


class Verdict(Enum):
    MET = "met"
    MISSED = "NOT MET"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Target:
    """One promise about one figure. Exactly one of *at_most*, *at_least* is given."""

    figure: str
    versus: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    #: The contender that has to reach it, when it is not plain "tickbus".
    subject: str = TICKBUS
    #: Judge this note of the samples (their total for losses) instead of the value.
    note: str | None = None

    def text(self) -> str:
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        if self.note is not None:
            return f"{self.note} {sign} {bound:g}"
        if self.versus is None:
            return f"{sign} {bound:,g}"
        return f"{sign} {bound:g} × {self.versus}"

    def floor_itself(self, results: Sequence[Result]) -> float | None:
        """What the stamped floor reaches of a target against a peer: the best there is to reach."""
        if self.versus is None or self.versus.startswith("floor"):
            return None
        return replace(self, subject=FLOOR_STAMPED).judge(results)[0]

    def judge(self, results: Iterable[Result]) -> tuple[float | None, Verdict]:
        """The measured median or ratio, and whether it is good enough."""
        by_name = {result.contender: result for result in results if result.figure == self.figure}
        subject = by_name.get(self.subject)
        if subject is None:
            return None, Verdict.UNKNOWN
        measured = subject.median if self.note is None else subject.notes().get(self.note, 0.0)
        if self.versus is not None:
            other = by_name.get(self.versus)
            if other is None:
                return None, Verdict.UNKNOWN
            # Of a time, "times better" is the other's over ours; of a rate, ours over the other's.
            reverse = self.at_least is not None and subject.unit.lower_is_better
            measured = other.ratio_to(subject) if reverse else subject.ratio_to(other)
        met = measured <= self.at_most if self.at_most is not None else measured >= (self.at_least or 0.0)
        return measured, Verdict.MET if met else Verdict.MISSED


CRYPTOFEED = "cryptofeed"
CORE = "tickbus, Rust"
#: Venues whose frames are decoded, and who else decodes them.
DECODED = {
    "binance": ("msgspec + Python", "orjson + Python", "NautilusTrader"),
    "coinbase": ("msgspec + Python", "orjson + Python"),
    "kraken": ("msgspec + Python", "orjson + Python"),
    "okx": ("msgspec + Python", "orjson + Python"),
    "bybit": ("msgspec + Python", "orjson + Python", "NautilusTrader"),
}

TARGETS: tuple[Target, ...] = (
    Target("publish.one", versus=FLOOR_STAMPED, at_most=2.0),
    Target("dispatch.one", versus=FLOOR_STAMPED, at_most=1.6),
    Target("dispatch.one", versus=DICT_PREBUILT, at_most=1.0),
    Target("dispatch.one", versus=DICT_BUILT, at_least=5.0),
    Target("dispatch.one", versus="blinker", at_least=10.0),
    Target("dispatch.ten", versus=FLOOR_STAMPED, at_most=1.3),
    Target("drain.list", versus=FLOOR, at_most=1.5),
    Target("drain.read", versus=FLOOR, at_most=1.5),
    Target("batch.publish", at_least=100e6),
    Target("batch.read", at_least=100e6),
    Target("batch.processes", at_least=30e6),
    Target("processes.one", at_least=5e6),
    Target("processes.one", note="lost", at_most=0.0),
    Target("processes.spin", at_most=1_000.0),
    Target("processes.spin", versus="iceoryx2", at_least=5.0),
    Target("processes.sleep", versus=EVENTFD, at_most=1.2),
    Target("threads.sleep", versus=EVENTFD, at_most=1.2),
    Target("threads.one", at_least=2e6),
    Target("core.alone", at_most=12.0),
    Target("core.reader", at_least=25e6),
    *(Target(f"decode.{venue}", at_most=1_000.0) for venue in DECODED),
    *(Target(f"decode.{venue}", subject=CORE, versus=CRYPTOFEED, at_least=10.0) for venue in DECODED),
    *(
        Target(f"decode.{venue}", versus=other, at_most=1.0)
        for venue, others in DECODED.items()
        for other in others
    ),
    Target("decode.handler", at_most=2_000.0),
    Target("store.sealed", at_most=5e6),
    Target("store.sealed", versus=DUCKDB, at_most=1.0),
    Target("store.packed", at_most=5e6),
    Target("store.packed", versus=DUCKDB, at_most=1.0),
    Target("store.read", at_least=20e6),
    Target("store.replay", at_least=5e6),
    Target("store.handlers", at_least=1e6),
    # Overtakes: a full backlog may not even double the tail that idle lanes have.
    Target("priority.critical", versus="tickbus, idle lanes", at_most=2.0),
    # The guarantee is one event in eight while both lanes have some.
    Target("priority.normal_share", at_least=0.124),
    # Flat: a thousand subscriptions that do not match cost a publisher no more than one does,
    # within what two runs of the same thing differ by.
    Target("growth.unmatched", subject="tickbus, 1000", versus="tickbus, 1", at_most=1.15),
    Target("growth.handlers_unmatched", subject="tickbus, 1000", versus="tickbus, 1", at_most=1.15),
    # Linear: each of a thousand handlers that match costs what it costs a C loop over them.
    Target("growth.handlers_matched", subject="tickbus, 1000", versus="floor: C, 1000", at_most=1.3),
    Target("books.frame", versus=ORDER_BOOK, at_least=5.0),
    # Four levels a message, 100 ns each.
    Target("books.update", at_most=400.0),
    Target("books.update", versus=ORDER_BOOK, at_least=3.0),
    Target("books.update", versus=NAUTILUS_BOOK, at_least=2.0),
    Target("books.dedup", versus=DICT_TTL, at_most=1.0),
    Target("books.dedup", versus=CACHETOOLS, at_least=3.0),
    Target("books.aggregate", at_most=2_000.0),
    Target("journal.batches", at_least=3e6),
    Target("journal.batches", versus="preallocated file", at_least=1.2),
    Target("journal.one", versus=FDATASYNC, at_most=1.3),
    Target("journal.written", at_least=10e6),
    Target("journal.publish", versus="tickbus, no journal", at_most=1.1),
    Target("journal.critical", at_most=1_000.0),
    Target("journal.reopen", at_most=0.3e9),
    Target("delivery.publish", at_most=1_000.0),
    Target("delivery.acked", at_most=5_000.0),
    Target("delivery.backlog", versus="tickbus, empty bus", at_most=2.0),
    Target("delivery.disk", versus=FDATASYNC, at_most=1.3),
)

#: Units in which the absolute targets are stated, for the report.
UNITS = {Unit.NS: "ns", Unit.EVENTS_PER_S: "events/s", Unit.SHARE: "", Unit.COUNT: "events"}
