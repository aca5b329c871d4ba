"""Promises of `decoder_for` and of decoders that other packages bring."""

import json
import sys
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.exchanges import VENUES, Decoder, PythonDecoder, VenueDecoder, decoder_for, decoders, venues
from tickbus.exchanges.decoders import quote, trade

TRADES = b'{"table":"trade","data":[{"s":"XBTUSD","p":59000.5,"q":0.5,"buy":true,"id":7},%s]}'
TRADE = b'{"s":"XBTUSD","p":59001.0,"q":0.25,"buy":false,"id":8}'
QUOTE = b'{"table":"quote","data":[{"s":"XBTUSD","bid":59000.5,"ask":59001.0}]}'
BOOK = b'{"table":"book","data":[{"s":"XBTUSD","bids":[[590005,1,100,0]],"asks":[]}]}'


class ExampleDecoder(PythonDecoder):
    """A venue that writes as BitMEX does, more or less."""

    venue = "example"
    markets = ("spot", "swap")

    def read(self, frame):
        message = json.loads(frame)
        table = message.get("table", "notice")
        for row in message.get("data", ()):
            symbol = row["s"].replace("XBTUSD", "BTC-USD")
            if table == "trade":
                size = row["q"] if row["buy"] else -row["q"]
                yield trade(symbol, row["p"], size, trade_id=row["id"])
            elif table == "quote":
                yield quote(symbol, row["bid"], row["ask"], 1.0, 2.0, decimals=1)
            elif table == "book":
                self.books.append({"symbol": symbol, "bids": row["bids"], "asks": row["asks"]})
        if table == "notice":
            self.ignore("notice")


@pytest.fixture
def installed(monkeypatch):
    """As if a package with the entry point were installed."""
    entry = EntryPoint("example", f"{__name__}:ExampleDecoder", decoders.GROUP)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[ExampleDecoder.__module__])
    monkeypatch.setattr(
        decoders, "entry_points", lambda group, name="example": [entry] if name == "example" else []
    )


class TestDecoderFor:
    def test_compiled_venues(self):
        """By name and market, with the options of `Decoder`."""
        for venue in VENUES:
            assert isinstance(decoder_for(venue), Decoder)
        decoder = decoder_for("binance", "usdm", instrument="BTCUSDT")

        assert ("binance", "usdm", "BTCUSDT") == (decoder.venue, decoder.market, decoder.instrument)
        assert dict.fromkeys(VENUES, "tickbus") == {name: venues()[name] for name in VENUES}

    def test_venues_of_other_packages(self, installed):
        """An entry point named like the venue; it is called with the market."""
        decoder = decoder_for("example", "swap")

        assert ("example", "swap", "example") == (decoder.venue, decoder.market, decoder.source)
        assert f"{__name__}:ExampleDecoder" == venues()["example"]
        with pytest.raises(ValueError, match="is none of: spot, swap"):
            decoder_for("example", "moon")

    def test_unknown_venue(self, installed):
        """The message lists what there is."""
        with pytest.raises(
            ValueError, match="'mtgox'; there are binance, bybit, coinbase, example, kraken, okx"
        ):
            decoder_for("mtgox")

    def test_both_kinds_offer_the_same(self, installed):
        """What is written against one works with the other, to the names of the counters."""
        compiled, other = decoder_for("kraken"), decoder_for("example")

        for decoder in (compiled, other):
            assert isinstance(decoder, VenueDecoder)
            assert ("ignored", "no_frame") == decoder.outcome
            assert (None, []) == (decoder.connection_sequence, decoder.depths())
            decoder.reconnected()
        assert compiled.counters() == other.counters()


class TestPythonDecoder:
    def test_tells_what_is_read(self):
        """Rows like those of `Decoder`."""
        decoder = ExampleDecoder()
        rows = decoder.decode(TRADES % TRADE)
        [quoted] = decoder.decode(QUOTE)

        assert [("BTC-USD", 59000.5, 7), ("BTC-USD", 59001.0, 8)] == [
            (row[1], row[2], row[5]) for row in rows
        ]
        assert [1, -1] == [tb.Event(*row[:3], metadata=row[3]).side for row in rows]
        event = tb.Event(*quoted[:3], metadata=quoted[3])
        assert (59000.5, 59001.0, 1.0, 2.0) == (event.bid, event.ask, event.bid_size, event.ask_size)

    def test_a_frame_is_told_whole_or_not_at_all(self):
        """The second trade is damaged: the first is not told either, and the reason is the exception's."""
        decoder = ExampleDecoder()

        assert [] == decoder.decode(TRADES % b'{"s":"XBTUSD"}')
        assert ("malformed", "KeyError") == decoder.outcome
        assert [] == decoder.decode(b'{"table"')
        assert ("malformed", "JSONDecodeError") == decoder.outcome
        assert 2 == len(decoder.decode(TRADES % TRADE))

    def test_books(self):
        """Frames of book messages are counted as such, and forgotten with the next frame."""
        decoder = ExampleDecoder()
        decoder.decode(BOOK)

        assert (("books", 1), ["BTC-USD"]) == (decoder.outcome, [book["symbol"] for book in decoder.depths()])
        decoder.decode(QUOTE)
        counters = decoder.counters()
        assert (1, 1, 1, []) == (
            counters["book_frames"],
            counters["books"],
            counters["levels"],
            decoder.depths(),
        )

    def test_publishes(self):
        """In order, under the venue's name, with the time of receipt."""
        with tb.Bus() as bus:
            sub = bus.subscribe("market.*.example.>")
            assert 2 == ExampleDecoder().publish(bus, TRADES % TRADE, 1_617_666_461_507_299_200)
            events = sub.drain(10)

        assert [0.5, 0.25] == [abs(event.quantity) for event in events]
        assert {1_617_666_461_507_299_200} == {event.timestamp for event in events}

    @given(st.lists(st.binary() | st.sampled_from([TRADES % TRADE, QUOTE, BOOK, b"{}", b"[]", b"5"])))
    def test_every_frame_is_counted_once(self, frames):
        """Whatever comes in, and whatever `read` makes of it."""
        decoder = ExampleDecoder()
        for frame in frames:
            decoder.decode(frame)

        counters = decoder.counters()
        places = counters["event_frames"] + counters["book_frames"] + counters["history_frames"]
        places += sum(counters["ignored"].values()) + sum(counters["malformed"].values())
        assert len(frames) == counters["frames"] == places
