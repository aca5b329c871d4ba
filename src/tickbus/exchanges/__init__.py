"""
What venues send, as events: decoders, and recorded captures to feed them.

`Decoder` turns the bytes of one wire frame into trades, tops of book and order book messages, with one
name per instrument and the taker's side (Binance spot and futures, Coinbase Exchange and Advanced
Trade, Kraken v1 and v2, OKX, Bybit). `decoder_for` finds it by name, and decoders that other packages
bring. `open_capture` reads recorded frames from files, of any venue. None of them opens a connection.

`Books` keeps the order books of a connection and says whether they can be trusted, `AggregatedBook`
merges those of several venues, and `Dedup` finds what came before.

    capture = open_capture("spot.tsjson.zst")
    decoders = capture.decoders()
    for frame in capture:
        decoders[frame.connection].publish(bus, frame.data, frame.receive_ns)
"""

from tickbus._native import (
    VENUES,
    AggregatedBook,
    Book,
    BookChange,
    Books,
    Crossing,
    Decoder,
    Dedup,
)
from tickbus.exchanges.capture import Capture, Decoders, Frame, merge, open_capture
from tickbus.exchanges.decoders import PythonDecoder, VenueDecoder, decoder_for, venues
from tickbus.exchanges.tables import depth_table

__all__ = [
    "VENUES",
    "AggregatedBook",
    "Book",
    "BookChange",
    "Books",
    "Capture",
    "Crossing",
    "Decoder",
    "Decoders",
    "Dedup",
    "Frame",
    "PythonDecoder",
    "VenueDecoder",
    "decoder_for",
    "depth_table",
    "merge",
    "open_capture",
    "venues",
]
