"""Promise: on all recordings the decoders say what a slow reference says, to the last digit and level."""

import re
import struct
from decimal import Decimal

import pytest
from reference import told
from test_recordings import RECORDED

import tickbus as tb
from tickbus.exchanges import lines, open_capture

pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")

#: Words of wire names that tickbus writes otherwise.
RENAMED = {"XBT": "BTC", "XDG": "DOGE"}


def letters(wire, market):
    """A wire name without what venues put between its parts, and with what tickbus adds."""
    words = [RENAMED.get(word, word) for word in re.split(r"[-/_]", wire)]
    if words[-1] == "SWAP":
        words[-1] = "PERP"
    elif market in ("usdm", "linear") and words == [wire]:
        words.append("PERP")
    return "".join(words)


def text(units, scale):
    digits = str(units).zfill(scale + 1)
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def levels(side):
    return [(text(*level[:2]), text(*level[2:])) for level in side]


def contracts(data):
    """OKX's own list of the recorded day: the frames with it; (size, is it USD) of a contract by name."""
    frames, sizes = [], {}
    for line in lines.LineReader(data / "okx/2022-02-27_instruments.rec.txt.zst"):
        _, arrow, answer = line.partition(b" -> ")
        if arrow:
            frames.append(answer.split(b": ", 1)[1])
            for fields in re.finditer(
                rb'"ctMult":"([\d.]+)"[^}]*"ctVal":"([\d.]+)","ctValCcy":"(\w+)"[^}]*"instId":"([^"]+)"',
                frames[-1],
            ):
                multiplier, value, currency, name = (field.decode() for field in fields.groups())
                sizes[name] = (Decimal(multiplier) * Decimal(value), currency == "USD")
    return frames, sizes


def in_base_units(size, price, wire, market, sizes):
    """What a size is in the base asset; None for a contract of unknown size."""
    if market == "coinm":
        return size * (100 if wire.startswith("BTC") else 10) / price
    if wire in sizes:
        value, is_quote = sizes[wire]
        return size * value / price if is_quote else size * value
    return None if market == "okx" and wire.count("-") > 1 else size


def expected_events(reference, market, sizes):
    """Of the reference's events those that a decoder tells."""
    for kind, wire, *rest in reference:
        if kind == "trade":
            price, size, *ids = rest
            base = in_base_units(size, price, wire, market, sizes)
            if base is not None:
                yield (kind, wire, price, (base,), ids[0], *ids[1:])
        elif kind == "quote":
            bid, ask, bid_size, ask_size, time, sequence = rest
            base = [
                in_base_units(size, price, wire, market, sizes)
                for price, size in ((bid, bid_size), (ask, ask_size))
            ]
            if None not in base:
                yield (kind, wire, (bid, ask), base, time, None, sequence)


@pytest.mark.parametrize("name", [row[0] for row in RECORDED])
def test_every_trade_quote_and_level_agrees(data, name):
    """Names, prices, sizes, sides, times, ids, checksums, and every level of every book message."""
    capture = open_capture(data / name)
    instruments, sizes = contracts(data) if capture.venue == "okx" else ([], {})
    decoders, memories = {}, {}
    compared = {"events": 0, "levels": 0}
    for frame in capture:
        if frame.connection not in decoders:
            decoders[frame.connection] = capture.decoder(frame.connection)
            memories[frame.connection] = {"instrument": capture.instrument}
            for answer in instruments:
                decoders[frame.connection].decode(answer)
        decoder = decoders[frame.connection]
        market = "okx" if capture.venue == "okx" else decoder.market
        rows = decoder.decode(frame.data)
        reference = told(capture.venue, market, frame.data, memories[frame.connection])
        events = list(expected_events(reference, market, sizes))

        assert len(events) == len(rows), frame.data
        for row, event in zip(rows, events, strict=True):
            compare_event(row, event, market, is_exact=not sizes and market != "coinm")
        books = [event for event in reference if event[0] == "book"]
        messages = decoder.depths()
        assert len(books) == len(messages), frame.data
        for message, book in zip(messages, books, strict=True):
            compare_book(message, book, market)
            compared["levels"] += len(message["bids"]) + len(message["asks"])
        compared["events"] += len(rows)
    counted = [decoder.counters() for decoder in decoders.values()]
    assert compared == {
        "events": sum(one["trades"] + one["quotes"] for one in counted),
        "levels": sum(one["levels"] for one in counted),
    }
    assert compared["events"] + compared["levels"] > 20


def compare_event(row, expected, market, *, is_exact):
    number, symbol, value, metadata, time, trade_id, sequence = row
    kind, wire, prices, sizes, *ids = expected
    assert letters(wire, market) == symbol.replace("-", "")
    assert [time, trade_id, sequence] == ids
    if kind == "trade":
        assert number == tb.EventType.PRICE_UPDATE
        assert float(prices) == value
        (quantity,) = struct.unpack("<d", struct.pack("<Q", metadata))
        exact = float(sizes[0])
        assert quantity == exact if is_exact else quantity == pytest.approx(exact, rel=1e-15)
    else:
        assert number == tb.EventType.TOP_OF_BOOK
        event = tb.Event(number, symbol, value, metadata=metadata)
        assert [float(price) for price in prices] == [event.bid, event.ask]
        # A quote's sizes are rounded to fit; see docs/parts/events.md.
        for size, exact in zip((event.bid_size, event.ask_size), sizes, strict=True):
            assert abs(size - float(exact)) <= float(exact) / 8192


def compare_book(message, expected, market):
    _, wire, kind, first, last, previous, sequence, checksum, limit, time, bids, asks = expected
    assert letters(wire, market) == message["symbol"].replace("-", "")
    ids = ("kind", "first_id", "last_id", "previous_id", "sequence", "checksum", "limit", "venue_time_ns")
    assert [kind, first, last, previous, sequence, checksum, limit, time] == [message[key] for key in ids]
    assert bids == levels(message["bids"])
    assert asks == levels(message["asks"])
