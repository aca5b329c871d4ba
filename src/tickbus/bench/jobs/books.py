"""
Order books of a venue: its frames as bytes until the book is changed, made up in the shape of recorded ones.

- books.update: one message of four levels into a book of 2,000. tickbus: Rust without Python, with the check
  of its sequence; the peers: their own objects, made beforehand, in a call.
- books.frame: one frame of four levels from its bytes to the changed book. The peer takes it through
  msgspec (or json).
- books.dedup: is this id new, with a million ids live, each check adding one and expiring another.
- books.aggregate: 20 levels a side merged from five venues.
"""

from __future__ import annotations

import heapq
import importlib
import itertools
import json
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from time import perf_counter_ns
from typing import Any

from tickbus import _native
from tickbus.bench.jobs.support import expect
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers.contract import installed
from tickbus.bench.targets import CACHETOOLS, DICT_TTL, NAUTILUS_BOOK, ORDER_BOOK, SORTED_DICTS
from tickbus.bench.timing import fastest_slice, no_gc
from tickbus.exchanges import AggregatedBook, Books, Decoder, Dedup

MID = 65_000_00
LEVELS = 1_000
VENUES = 5
DEPTH = 20
_BOTH = ("update", "frame")

Frame = bytes
Take = Callable[[Frame], object]
#: A run of its own: given the frames, something to call with each, and the best bid and ask then.
Make = Callable[[], tuple[Take, Callable[[], tuple[float, float]]]]


def cases(options: Options) -> list[Case | Absent]:
    count = options.count(20_000, quick=500)
    live = options.count(1_000_000, quick=2_000)
    frames = [_snapshot(MID), *_updates(count)]
    found: list[Case | Absent] = [_core_case(count), _frame_case(TICKBUS, Kind.SUBJECT, frames, _tickbus)]
    if installed("order_book"):
        found.append(_frame_case(ORDER_BOOK, Kind.PEER, frames, _order_book))
        found.append(_prebuilt(ORDER_BOOK, frames, _order_book_prebuilt))
    else:
        found += [Absent(f"books.{what}", ORDER_BOOK, "order_book is not installed") for what in _BOTH]
    if installed("nautilus_trader"):
        found.append(_prebuilt(NAUTILUS_BOOK, frames, _nautilus_prebuilt))
    else:
        found.append(Absent("books.update", NAUTILUS_BOOK, "nautilus_trader is not installed"))
    found += _dedup_cases(live)
    found += _aggregate_cases(options.count(2_000, quick=20))
    return found


def _core_case(count: int) -> Case:
    def check() -> None:
        expect("a figure above zero", True, _native.bench_books(1_000) > 0)

    sample = partial(_native.bench_books, count)
    return Case("books.update", TICKBUS, Kind.SUBJECT, Unit.NS, lambda: Sample(sample()), check)


def _text(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02}"


def _snapshot(mid: int) -> Frame:
    bids = ",".join(f'["{_text(mid - 1 - 2 * at)}","1.{at:03}"]' for at in range(LEVELS))
    asks = ",".join(f'["{_text(mid + 1 + 2 * at)}","1.{at:03}"]' for at in range(LEVELS))
    return f'{{"lastUpdateId":0,"bids":[{bids}],"asks":[{asks}]}}'.encode()


def _updates(count: int) -> Iterator[Frame]:
    """Half of the changes are within eight ticks of the best, a third take a level away."""
    draw = random.Random(1)
    for number in range(1, count + 1):
        sides: tuple[list[str], list[str]] = ([], [])
        for at in range(4):
            away = 1 + draw.randrange(8 << min(7, int(draw.expovariate(1.0))))
            size = "0" if draw.random() < 1 / 3 else f"{draw.randrange(1, 5000)}.5"
            ticks = MID - away if at < 2 else MID + away
            sides[at // 2].append(f'["{_text(ticks)}","{size}"]')
        # Levels that are sure to be there, so that every contender ends with the same best.
        sides[0].append(f'["{_text(MID - 1)}","{number}"]')
        sides[1].append(f'["{_text(MID + 1)}","{number}"]')
        bids, asks = ",".join(sides[0][1:]), ",".join(sides[1][1:])
        yield (
            f'{{"e":"depthUpdate","E":1,"T":1,"s":"BTCUSDT","U":{number},"u":{number},"pu":{number - 1},'
            f'"b":[{bids}],"a":[{asks}]}}'
        ).encode()


def _frame_case(name: str, kind: Kind, frames: list[Frame], make: Make) -> Case:
    def run() -> tuple[float, tuple[float, float]]:
        take, best = make()
        take(frames[0])
        times = []
        with no_gc():
            for frame in frames[1:]:
                begin = perf_counter_ns()
                take(frame)
                times.append(perf_counter_ns() - begin)
        return fastest_slice(times) - _clock_ns(), best()

    def check() -> None:
        expect("best bid and ask", ((MID - 1) / 100, (MID + 1) / 100), run()[1])

    return Case("books.frame", name, kind, Unit.NS, lambda: Sample(run()[0]), check)


def _clock_ns() -> float:
    times = [perf_counter_ns() for _ in range(2_001)]
    return fastest_slice([later - one for one, later in itertools.pairwise(times)])


def _tickbus() -> tuple[Take, Callable[[], tuple[float, float]]]:
    books = Books(Decoder("binance", "usdm", instrument="BTCUSDT"))

    def best() -> tuple[float, float]:
        found = books["BTC-USDT-PERP"].best
        assert found is not None
        return found[0], found[2]

    return books.feed, best


def _loads() -> Callable[[bytes], Any]:
    if installed("msgspec"):
        decode: Callable[[bytes], Any] = importlib.import_module("msgspec").json.decode
        return decode
    return json.loads


def _order_book() -> tuple[Take, Callable[[], tuple[float, float]]]:
    book = importlib.import_module("order_book").OrderBook()
    loads = _loads()

    def take(frame: Frame) -> None:
        message = loads(frame)
        for side, levels in (
            (book.bids, message.get("b") or message.get("bids")),
            (book.asks, message.get("a") or message.get("asks")),
        ):
            for price, size in levels:
                key, value = Decimal(price), Decimal(size)
                if value:
                    side[key] = value
                elif key in side:
                    del side[key]

    return take, lambda: (float(book.bids.index(0)[0]), float(book.asks.index(0)[0]))


def _prebuilt(name: str, frames: list[Frame], make: Callable[[list[Frame]], Any]) -> Case:
    """A peer that is given its own objects, so that only its book is measured."""

    def run() -> tuple[float, tuple[float, float]]:
        take, messages, best = make(frames)
        take(messages[0])
        times = []
        with no_gc():
            for message in messages[1:]:
                begin = perf_counter_ns()
                take(message)
                times.append(perf_counter_ns() - begin)
        return fastest_slice(times) - _clock_ns(), best()

    def check() -> None:
        expect("best bid and ask", ((MID - 1) / 100, (MID + 1) / 100), run()[1])

    return Case("books.update", name, Kind.PEER, Unit.NS, lambda: Sample(run()[0]), check)


def _levels(frame: Frame) -> list[tuple[int, str, str]]:
    message = json.loads(frame)
    bids = message.get("b") or message.get("bids")
    asks = message.get("a") or message.get("asks")
    return [(side, *level) for side, levels in enumerate((bids, asks)) for level in levels]


def _order_book_prebuilt(frames: list[Frame]) -> Any:
    book = importlib.import_module("order_book").OrderBook()
    sides = (book.bids, book.asks)
    messages = [
        [(sides[side], Decimal(price), Decimal(size)) for side, price, size in _levels(frame)]
        for frame in frames
    ]

    def take(message: list[tuple[Any, Decimal, Decimal]]) -> None:
        for side, price, size in message:
            if size:
                side[price] = size
            elif price in side:
                del side[price]

    return take, messages, lambda: (float(book.bids.index(0)[0]), float(book.asks.index(0)[0]))


def _nautilus_prebuilt(frames: list[Frame]) -> Any:
    data = importlib.import_module("nautilus_trader.model.data")
    enums = importlib.import_module("nautilus_trader.model.enums")
    objects = importlib.import_module("nautilus_trader.model.objects")
    identifiers = importlib.import_module("nautilus_trader.model.identifiers")
    instrument = identifiers.InstrumentId.from_str("BTCUSDT.BINANCE")
    book = importlib.import_module("nautilus_trader.model.book").OrderBook(instrument, enums.BookType.L2_MBP)

    def delta(side: int, price: str, size: str, number: int) -> Any:
        is_gone = Decimal(size) == 0
        order = data.BookOrder(
            enums.OrderSide.SELL if side else enums.OrderSide.BUY,
            objects.Price.from_str(price),
            objects.Quantity.from_str(f"{Decimal(size):.3f}"),
            0,
        )
        action = enums.BookAction.DELETE if is_gone else enums.BookAction.UPDATE
        return data.OrderBookDelta(instrument, action, order, 0, number, number, number)

    messages = [
        data.OrderBookDeltas(instrument, [delta(*level, number) for level in _levels(frame)])
        for number, frame in enumerate(frames)
    ]
    return (
        book.apply_deltas,
        messages,
        lambda: (float(str(book.best_bid_price())), float(str(book.best_ask_price()))),
    )


def _dedup_cases(live: int) -> list[Case | Absent]:
    found: list[Case | Absent] = [_dedup_case(TICKBUS, Kind.SUBJECT, live, _tickbus_dedup)]
    found.append(_dedup_case(DICT_TTL, Kind.PEER, live, _dict_dedup))
    if installed("cachetools"):
        found.append(_dedup_case(CACHETOOLS, Kind.PEER, live, _cachetools_dedup))
    else:
        found.append(Absent("books.dedup", CACHETOOLS, "cachetools is not installed"))
    return found


IsFirst = Callable[[str, int, int], bool]
#: Time between two ids, so that *live* of them are known at a time.
_STEP_NS = 1_000_000


def _dedup_case(name: str, kind: Kind, live: int, make: Callable[[int], IsFirst]) -> Case:
    """Ids as a venue counts them; the cache is made full once, and kept full."""
    checked = max(1_000, live // 20)
    prepared: list[tuple[IsFirst, Iterator[int]]] = []

    def sample() -> Sample:
        if not prepared:
            is_first = make(live)
            ids: Iterator[int] = itertools.count(1)
            for number in itertools.islice(ids, live):
                is_first("trades", number, number * _STEP_NS)
            prepared.append((is_first, ids))
        is_first, ids = prepared[0]
        times = []
        with no_gc():
            for number in itertools.islice(ids, checked):
                now = number * _STEP_NS
                begin = perf_counter_ns()
                is_first("trades", number, now)
                times.append(perf_counter_ns() - begin)
        return Sample(fastest_slice(times) - _clock_ns())

    def check() -> None:
        is_first = make(16)
        expect("first and again", [True, False], [is_first("trades", 1, _STEP_NS) for _ in range(2)])

    case = Case("books.dedup", name, kind, Unit.NS, sample, check)
    case.close = prepared.clear
    return case


def _tickbus_dedup(live: int) -> IsFirst:
    return Dedup(2 * live, ttl_s=live * _STEP_NS / 1e9).first


def _dict_dedup(live: int) -> IsFirst:
    """An ordered dict: the oldest are first, and go when their time is over."""
    seen: OrderedDict[tuple[str, int], int] = OrderedDict()
    ttl = live * _STEP_NS

    def is_first(stream: str, identity: int, now: int) -> bool:
        key = (stream, identity)
        if key in seen:
            return False
        while seen and now - next(iter(seen.values())) > ttl:
            seen.popitem(last=False)
        seen[key] = now
        return True

    return is_first


def _cachetools_dedup(live: int) -> IsFirst:
    clock = 0
    cache = importlib.import_module("cachetools").TTLCache(2 * live, live * _STEP_NS, timer=lambda: clock)

    def is_first(stream: str, identity: int, now: int) -> bool:
        nonlocal clock
        clock = now
        key = (stream, identity)
        if key in cache:
            return False
        cache[key] = None
        return True

    return is_first


def _aggregate_cases(count: int) -> list[Case | Absent]:
    mids = [MID + 2 * venue for venue in range(VENUES)]
    best = ((mids[-1] - 1) / 100, (MID + 1) / 100)

    aggregate, keep = AggregatedBook(DEPTH), []
    for venue, mid in enumerate(mids):
        books = Books(Decoder("binance", instrument="BTCUSDT"))
        books.feed(_snapshot(mid), 1)
        aggregate.add(str(venue), books["BTC-USDT"])
        keep.append(books)

    def ours() -> tuple[float, float]:
        aggregate.build(2)
        return best

    def checked() -> tuple[float, float]:
        aggregate.build(2)
        return tuple(float(aggregate.depth(side)["price"][0]) for side in ("bid", "ask"))  # type: ignore[return-value]

    def case(name: str, kind: Kind, merge: Callable[[], Any], check: Callable[[], Any]) -> Case:
        def sample() -> Sample:
            times = []
            with no_gc():
                for _ in range(count):
                    begin = perf_counter_ns()
                    merge()
                    times.append(perf_counter_ns() - begin)
            return Sample(fastest_slice(times) - _clock_ns())

        return Case("books.aggregate", name, kind, Unit.NS, sample, lambda: expect("best", best, check()))

    sides = [
        [[(sign * (mid + sign * (1 + 2 * at)) / 100, 1.0, venue) for at in range(DEPTH)] for venue, mid in
         enumerate(mids)]
        for sign in (-1, 1)
    ]  # fmt: skip

    def merged() -> tuple[float, float]:
        tops = []
        for venues in sides:
            levels: dict[float, float] = {}
            for price, size, _ in heapq.merge(*venues):
                if price not in levels and len(levels) == DEPTH:
                    break
                levels[price] = levels.get(price, 0.0) + size
            tops.append(abs(next(iter(levels))))
        return tops[0], tops[1]

    return [
        case(TICKBUS, Kind.SUBJECT, ours, checked),
        case(SORTED_DICTS, Kind.PEER, merged, merged),
    ]
