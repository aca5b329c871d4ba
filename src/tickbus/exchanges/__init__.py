"""
What venues send, as events: decoders, and recorded captures to feed them.

`Decoder` turns the bytes of one wire frame into trades and tops of book, with one name per instrument
and the taker's side (Binance spot and futures, Coinbase Exchange and Advanced Trade, Kraken v1 and
v2). `open_capture` reads recorded frames from files. Neither opens a connection.

    capture = open_capture("spot.tsjson.zst")
    decoder = capture.decoder()
    for frame in capture:
        decoder.publish(bus, frame.data, frame.receive_ns)
    print(decoder.counters())
"""

from tickbus._native import VENUES, Decoder
from tickbus.exchanges.capture import Capture, Frame, merge, open_capture

__all__ = ["VENUES", "Capture", "Decoder", "Frame", "merge", "open_capture"]
