"""Promises of `Decoder`: taker side, names, exact prices, every frame accounted for."""

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tickbus as tb
from tickbus.exchanges import VENUES, Decoder

TRADE = int(tb.EventType.PRICE_UPDATE)
QUOTE = int(tb.EventType.TOP_OF_BOOK)

BINANCE_TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
BINANCE_QUOTE = (
    b'{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
    b'"a":"61837.64000000","A":"1.54698000"}'
)
COINBASE_MATCH = (
    b'{"type":"match","trade_id":1568268,"side":"sell","size":"450","price":"0.791",'
    b'"product_id":"SKL-USD","sequence":1,"time":"2021-04-17T16:43:37.121358Z"}'
)
COINBASE_TRADES = (
    b'{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.25Z","sequence_num":9,"events":'
    b'[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67",'
    b'"size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}'
)
KRAKEN_V1_TRADES = (
    b'[321,[["58721.20000","0.02798644","1617666461.465618","s","m",""],'
    b'["58721.30000","0.12749400","1617666461.466773","b","l",""]],"trade","XBT/USD"]'
)
OKX_TRADE = (
    b'{"arg":{"channel":"trades","instId":"ZEN-USDT"},"data":[{"instId":"ZEN-USDT","tradeId":"15270483",'
    b'"px":"32.51","sz":"0.37568","side":"buy","ts":"1646003666197","seqId":77}]}'
)
OKX_BOOK = (
    b'{"arg":{"channel":"books","instId":"ZEN-USDT"},"action":"update","data":[{"asks":[],"bids":'
    b'[["9.6170","441","0","4"]],"ts":"1646003667640","checksum":-980833328,"seqId":15,"prevSeqId":10}]}'
)
BYBIT_TRADE = (
    b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1786310819681,"data":[{"T":1786310819680,'
    b'"s":"BTCUSDT","S":"Sell","v":"0.004","p":"65114.20","i":"a9188a0a-82bc-50de-be60-03eedbe3cdd7",'
    b'"BT":false,"seq":753843954913}]}'
)
KRAKEN_V2_TRADE = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":64013.10,'
    b'"qty":0.00450000,"ord_type":"limit","trade_id":7,"timestamp":"2023-09-25T07:49:37.708706Z"}]}'
)


def signed(metadata: int) -> float:
    """The quantity of a trade: positive when the taker bought."""
    (quantity,) = struct.unpack("<d", metadata.to_bytes(8, "little"))
    return quantity


class TestTakerSide:
    """One case per venue and protocol; the recordings prove the contested one in test_captures."""

    @pytest.mark.parametrize(
        ("venue", "frame", "expected"),
        [
            ("binance", BINANCE_TRADE, [("BTC-USDT", 61837.63, -0.02)]),
            ("binance", BINANCE_TRADE.replace(b'"m":true', b'"m":false'), [("BTC-USDT", 61837.63, 0.02)]),
            ("coinbase", COINBASE_MATCH, [("SKL-USD", 0.791, 450.0)]),
            ("coinbase", COINBASE_MATCH.replace(b"sell", b"buy"), [("SKL-USD", 0.791, -450.0)]),
            ("coinbase", COINBASE_TRADES, [("BTC-USD", 65083.67, 0.01034361)]),
            ("coinbase", COINBASE_TRADES.replace(b"SELL", b"BUY"), [("BTC-USD", 65083.67, -0.01034361)]),
            (
                "kraken",
                KRAKEN_V1_TRADES,
                [("BTC-USD", 58721.2, -0.02798644), ("BTC-USD", 58721.3, 0.127494)],
            ),
            ("kraken", KRAKEN_V2_TRADE, [("BTC-USD", 64013.1, -0.0045)]),
            ("okx", OKX_TRADE, [("ZEN-USDT", 32.51, 0.37568)]),
            ("okx", OKX_TRADE.replace(b"buy", b"sell"), [("ZEN-USDT", 32.51, -0.37568)]),
            ("bybit", BYBIT_TRADE, [("BTC-USDT", 65114.2, -0.004)]),
            ("bybit", BYBIT_TRADE.replace(b"Sell", b"Buy"), [("BTC-USDT", 65114.2, 0.004)]),
        ],
    )
    def test_is_who_took(self, venue, frame, expected):
        """A buyer who is maker sold to nobody: the sign is the taker's on every venue."""
        rows = Decoder(venue).decode(frame)

        assert expected == [(symbol, value, signed(metadata)) for _, symbol, value, metadata, *_ in rows]


class TestDecode:
    def test_says_all_the_frame_says(self):
        """Type, symbol, value, metadata, the venue's time and the trade's id."""
        [row] = Decoder("binance").decode(BINANCE_TRADE)

        assert (TRADE, "BTC-USDT", 61837.63) == row[:3]
        assert (1_723_161_255_342_000_000, 3_735_683_259, None) == row[4:]

    def test_quote_has_exact_prices(self):
        """Unpacked, bid and ask are the doubles of their text."""
        [(number, symbol, value, metadata, *ids)] = Decoder("binance").decode(BINANCE_QUOTE)
        event = tb.Event(number, symbol, value, metadata=metadata)

        assert (QUOTE, [None, None, 50_093_239_212]) == (number, ids)
        assert (61837.63, 61837.64) == (event.bid, event.ask)
        assert (3.78826, 1.54698) == pytest.approx((event.bid_size, event.ask_size), rel=2e-4)

    @pytest.mark.parametrize(
        ("market", "symbol", "source"),
        [
            ("spot", "BTC-USDT", "binance"),
            ("spot-us", "BTC-USDT", "binance_us"),
            ("usdm", "BTC-USDT-PERP", "binance"),
        ],
    )
    def test_market_tells_instruments_apart(self, market, symbol, source):
        """The same name on the wire is another instrument on another market."""
        decoder = Decoder("binance", market)

        assert symbol == decoder.decode(BINANCE_TRADE)[0][1]
        assert source == decoder.source

    def test_outcome_names_the_reason(self):
        """A frame that tells nothing says why."""
        decoder = Decoder("kraken")
        outcomes = []
        for frame in (KRAKEN_V1_TRADES, b'{"event":"heartbeat"}', KRAKEN_V1_TRADES[:-1], b"\xff"):
            decoder.decode(frame)
            outcomes.append(decoder.outcome)

        assert [("events", 2), ("ignored", "heartbeat")] == outcomes[:2]
        assert [("malformed", "not_json"), ("malformed", "not_utf8")] == outcomes[2:]

    @pytest.mark.parametrize(
        ("venue", "market"), [("mtgox", "spot"), ("kraken", "usdm"), ("bybit", "option"), ("", "spot")]
    )
    def test_unknown_market_is_refused(self, venue, market):
        """The message lists what there is."""
        with pytest.raises(ValueError, match="is none of"):
            Decoder(venue, market)

    def test_ids_are_the_venues_own(self):
        """What identifies a trade, a UUID as its number, and what orders it."""
        [okx] = Decoder("okx").decode(OKX_TRADE)
        [bybit] = Decoder("bybit").decode(BYBIT_TRADE)
        advanced = Decoder("coinbase")
        advanced.decode(COINBASE_TRADES)
        heartbeat = Decoder("coinbase")
        heartbeat.decode(b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}')

        assert (15_270_483, 77) == okx[5:]
        assert (UUID("a9188a0a-82bc-50de-be60-03eedbe3cdd7").int, 753_843_954_913) == bybit[5:]
        assert 9 == advanced.connection_sequence
        assert (None, ("BTC-USD", 90, 20)) == (heartbeat.connection_sequence, heartbeat.heartbeat)

    def test_book_messages_are_exact(self):
        """Every digit of every level, with the ids and the checksum that belong to them."""
        decoder = Decoder("okx")

        assert [] == decoder.decode(OKX_BOOK)
        assert ("books", 1) == decoder.outcome
        assert [
            {
                "symbol": "ZEN-USDT",
                "kind": "update",
                "first_id": None,
                "last_id": 15,
                "previous_id": 10,
                "sequence": None,
                "checksum": -980_833_328,
                "limit": 400,
                "venue_time_ns": 1_646_003_667_640_000_000,
                "bids": [(96_170, 4, 441, 0)],
                "asks": [],
            }
        ] == decoder.depths()
        decoder.decode(OKX_TRADE)
        assert [] == decoder.depths()

    def test_frames_without_an_instrument_are_of_the_one_named(self):
        """REST answers of Binance do not say whose book they are."""
        rest = b'{"lastUpdateId":5,"bids":[["1.10","2"]],"asks":[]}'
        decoder = Decoder("binance", instrument="ETHUSDT")

        decoder.decode(rest)
        assert "ETH-USDT" == decoder.depths()[0]["symbol"]
        decoder.instrument = "BTCUSDT"
        decoder.decode(rest)
        assert "BTC-USDT" == decoder.depths()[0]["symbol"]
        decoder.instrument = None
        decoder.decode(rest)
        assert (None, ("ignored", "snapshot_of_unknown")) == (decoder.instrument, decoder.outcome)

    def test_a_new_connection_starts_without_the_old_ones_values(self):
        """A ticker of what changed is no quote until a whole one came."""
        ticker = b'{"topic":"tickers.A","type":"%s","data":{"symbol":"AUSDT","ask1Price":"2"%s},"ts":1}'
        decoder = Decoder("bybit", "linear")
        decoder.decode(ticker % (b"snapshot", b',"ask1Size":"1","bid1Price":"1","bid1Size":"1"'))
        assert 1 == len(decoder.decode(ticker % (b"delta", b"")))

        decoder.reconnected()

        assert [] == decoder.decode(ticker % (b"delta", b""))

    def test_text_is_no_frame(self):
        """Frames are bytes: text has lost what a checksum needs."""
        with pytest.raises(TypeError):
            Decoder("kraken").decode("{}")


@given(st.sampled_from(VENUES), st.lists(st.binary() | st.text().map(str.encode), max_size=20))
def test_every_frame_is_counted_once(venue, frames):
    """Whatever comes in: frames = events + books + history + ignored + malformed."""
    decoder = Decoder(venue)
    for frame in frames:
        decoder.decode(frame)

    counters = decoder.counters()
    places = counters["event_frames"] + counters["book_frames"] + counters["history_frames"]
    places += sum(counters["ignored"].values()) + sum(counters["malformed"].values())
    assert len(frames) == counters["frames"] == places


class TestPublish:
    def test_events_reach_the_bus(self):
        """Order, names, source and the time of receipt."""
        with tb.Bus() as bus:
            sub = bus.subscribe("market.*.kraken.BTC-*")

            published = Decoder("kraken").publish(bus, KRAKEN_V1_TRADES, 1_617_666_461_507_299_200)
            events = sub.drain(10)

        assert 2 == published
        assert [58721.2, 58721.3] == [event.price for event in events]
        assert [-1, 1] == [event.side for event in events]
        assert {("kraken", "BTC-USD", 1_617_666_461_507_299_200)} == {
            (event.source, event.symbol, event.timestamp) for event in events
        }

    def test_no_time_is_now(self):
        """Without a time of receipt the events are stamped when they are published."""
        with tb.Bus() as bus:
            sub = bus.subscribe("market.>")
            Decoder("binance").publish(bus, BINANCE_TRADE)
            event = sub.poll()

        assert event is not None
        assert 1_700_000_000_000_000_000 < event.timestamp

    def test_frame_without_news_publishes_nothing(self):
        """The bus stays as it was."""
        with tb.Bus() as bus:
            assert 0 == Decoder("kraken").publish(bus, b'{"event":"heartbeat"}')
            assert 0 == bus.stats()["lanes"]["high"]["published"]

    def test_handler_may_decode_with_the_same_decoder(self):
        """Inline handlers run between the events of a frame; the decoder is free by then."""
        decoder = Decoder("kraken")
        seen = []
        with tb.Bus() as bus:

            @bus.on("market.price_update.>")
            def _(event):
                seen.append((event.price, decoder.decode(b'{"event":"heartbeat"}')))

            decoder.publish(bus, KRAKEN_V1_TRADES)

        assert [(58721.2, []), (58721.3, [])] == seen

    def test_closed_bus_is_an_error(self):
        """And the decoder goes on."""
        decoder = Decoder("binance")
        bus = tb.Bus()
        bus.close()

        with pytest.raises(tb.errors.BusClosedError):
            decoder.publish(bus, BINANCE_TRADE)
        assert 1 == len(decoder.decode(BINANCE_TRADE))
