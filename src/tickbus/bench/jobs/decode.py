"""
decode.VENUE: one trade message of a venue, from the bytes of its frame to an object in Python.
decode.handler: the same frames from bytes to a Python handler on a bus, one at a time.

Every contender gets the same frames and must tell the same trades: symbol, price, size and who took.
"tickbus, published" leaves the event on a bus instead, without a Python object; "tickbus, Rust" is the
core alone. With ``--recordings`` the trades are those of the recordings, else the simulator's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import tickbus as tb
from tickbus import _native
from tickbus.bench.jobs.support import expect, ns_case
from tickbus.bench.model import TICKBUS, Absent, Case, Kind, Options, Sample, Unit
from tickbus.bench.peers.contract import installed
from tickbus.bench.peers.cryptofeed_frames import CRYPTOFEED
from tickbus.bench.peers.frame_parsers import MSGSPEC, ORJSON, Parser, Seen
from tickbus.bench.peers.nautilus_frames import NAUTILUS
from tickbus.bench.targets import CORE
from tickbus.bench.timing import Loop, no_gc
from tickbus.bench.trade_frames import MARKETS, Trades, recorded, simulated
from tickbus.exchanges import decoder_for

PEERS = (MSGSPEC, ORJSON, CRYPTOFEED, NAUTILUS)
FRAMES = 1_000


def cases(options: Options) -> list[Case | Absent]:
    rounds = options.count(100, quick=1)
    found: list[Case | Absent] = []
    for venue in MARKETS:
        figure = f"decode.{venue}"
        try:
            trades = _trades(venue, options)
        except (tb.errors.CaptureError, tb.errors.MissingExtraError) as error:
            found.append(Absent(figure, TICKBUS, str(error)))
            continue
        found.append(_case(figure, TICKBUS_PARSER, Kind.SUBJECT, trades, rounds))
        found += [_published(figure, trades, rounds), _core(figure, trades, rounds)]
        for peer in PEERS if options.peers else ():
            if venue not in peer.venues:
                found.append(Absent(figure, peer.name, f"its client of {venue} takes no frame from outside"))
            elif not installed(peer.requires):
                found.append(Absent(figure, peer.name, f"{peer.requires} is not installed"))
            else:
                found.append(_case(figure, peer, Kind.PEER, trades, rounds))
    found.append(_handler(simulated("binance", FRAMES), rounds))
    return found


def _trades(venue: str, options: Options) -> Trades:
    if options.recordings is None:
        return simulated(venue, FRAMES)
    return recorded(venue, Path(options.recordings))


def _decoder(trades: Trades) -> Callable[[bytes], Any]:
    return decoder_for(trades.venue, trades.market).decode


def _seen(rows: Any, trades: Trades) -> list[Seen]:
    return [
        (symbol, price, struct.unpack("<d", struct.pack("<Q", metadata))[0])
        for _, symbol, price, metadata, *_ in rows
    ]


TICKBUS_PARSER = Parser(TICKBUS, None, _decoder, _seen)


def _case(figure: str, parser: Parser, kind: Kind, trades: Trades, rounds: int) -> Case:
    parse = parser.make(trades)
    frames = [parser.prepare(frame) for frame in trades.frames]

    def check() -> None:
        told = [seen for frame in frames for seen in parser.seen(parse(frame), trades)]
        expect("trades told", trades.expected, told)

    loop = Loop("for frame in frames:\n    parse(frame)", parse=parse, frames=frames)
    return ns_case(figure, parser.name, kind, lambda: loop.ns(rounds) / len(frames), check)


def _published(figure: str, trades: Trades, rounds: int) -> Case:
    bus = tb.Bus()
    publish = decoder_for(trades.venue, trades.market).publish

    def check() -> None:
        with tb.Bus() as own:
            read = own.subscribe("market.price_update.>")
            for frame in trades.frames:
                publish(own, frame, 1)
            events = read.drain(2 * len(trades.expected))
        told = [(event.symbol, event.price, event.quantity * event.side) for event in events]
        expect("trades on the bus", trades.expected, told)

    loop = Loop(
        "for frame in frames:\n    publish(bus, frame)", publish=publish, bus=bus, frames=trades.frames
    )
    name = f"{TICKBUS}, published"
    return ns_case(figure, name, Kind.SUBJECT, lambda: loop.ns(rounds) / len(trades.frames), check, bus.close)


def _core(figure: str, trades: Trades, rounds: int) -> Case:
    def ns() -> float:
        return _native.bench_decode(trades.venue, trades.market, trades.frames, rounds)

    def check() -> None:
        """What it decodes is what the decoder in Python's hands decodes: checked there."""
        expect("a figure above zero", True, ns() > 0)

    return ns_case(figure, CORE, Kind.SUBJECT, ns, check)


def _handler(trades: Trades, rounds: int) -> Case:
    """From just before the call to the handler's first line, each frame on its own."""
    bus = tb.Bus()
    publish = decoder_for(trades.venue, trades.market).publish
    arrived: list[int] = []
    seen: list[float] = []

    @bus.on("market.price_update.>")
    def handle(event: tb.Event) -> None:
        arrived.append(perf_counter_ns())

    def sample() -> Sample:
        latencies: list[int] = []
        with no_gc():
            for _ in range(max(1, rounds // 10)):
                for frame in trades.frames:
                    begin = perf_counter_ns()
                    publish(bus, frame)
                    latencies.append(arrived.pop() - begin)
        return Sample(median(latencies), tuple(latencies))

    def check() -> None:
        with tb.Bus() as own:
            own.on("market.price_update.>")(lambda event: seen.append(event.price))
            for frame in trades.frames:
                publish(own, frame)
        expect("prices handled", [price for _, price, _ in trades.expected], seen)

    return Case("decode.handler", TICKBUS, Kind.SUBJECT, Unit.NS, sample, check, partial(_close, bus))


def _close(bus: tb.Bus) -> None:
    bus.close()
