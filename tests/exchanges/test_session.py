"""Promises of a connection without its socket: subscribed, answered, pinged, given up in time."""

import dataclasses
import json

import pytest

from tickbus.errors import InvalidNameError
from tickbus.exchanges.connect import ADAPTERS, Rules, Stream, adapter
from tickbus.exchanges.connect.session import Session

MARKETS = [
    pytest.param(venue, market, id=f"{venue}-{market}") for venue in ADAPTERS for market in ADAPTERS[venue]
]
#: Our name of a perpetual where there is nothing else.
SYMBOLS = {
    "usdm": "BTC-USDT-PERP",
    "coinm": "BTC-USD-PERP",
    "linear": "BTC-USDT-PERP",
    "inverse": "BTC-USD-PERP",
}


def session_of(venue: str, market: str = "spot", channels=("trades",), symbols=(), **rules) -> Session:
    made = adapter(venue, market)
    symbols = symbols or [SYMBOLS.get(market, "BTC-USDT")]
    streams = made.streams(symbols, channels)
    return Session(made, streams, 0.0, dataclasses.replace(made.rules, **rules))


def send_all(session: Session, now_s: float = 0.0) -> list[str]:
    texts = []
    while (request := session.next_request()) is not None:
        session.sent(request, now_s)
        texts.append(request.text)
    return texts


class TestAdapters:
    @pytest.mark.parametrize(("venue", "market"), MARKETS)
    def test_knows_where_and_what(self, venue, market):
        """An address, three channels, rules that a connection can live by."""
        made = adapter(venue, market)

        assert made.url.startswith("wss://")
        assert {"trades", "quotes", "books"} == set(made.channels)
        assert made.rules.dead_after_s > (made.rules.ping_after_s or made.rules.ping_every_s or 1.0)

    @pytest.mark.parametrize(
        ("venue", "market", "symbol", "native"),
        [
            ("binance", "spot", "BTC-USDT", "BTCUSDT"),
            ("binance", "spot", "btcusdt", "BTCUSDT"),
            ("binance", "usdm", "BTC-USDT-PERP", "BTCUSDT"),
            ("binance", "usdm", "BTC-USDT-240927", "BTCUSDT_240927"),
            ("binance", "coinm", "BTC-USD-PERP", "BTCUSD_PERP"),
            ("coinbase", "spot", "BTC-USD", "BTC-USD"),
            ("kraken", "spot", "BTC-USD", "BTC/USD"),
            ("kraken", "spot", "BTC/USD", "BTC/USD"),
            ("okx", "spot", "BTC-USDT", "BTC-USDT"),
            ("okx", "spot", "BTC-USDT-PERP", "BTC-USDT-SWAP"),
            ("bybit", "spot", "BTC-USDT", "BTCUSDT"),
            ("bybit", "linear", "BTC-USDT-PERP", "BTCUSDT"),
            ("bybit", "linear", "BTC-USDC-PERP", "BTCPERP"),
        ],
    )
    def test_names_instruments_as_the_venue_does(self, venue, market, symbol, native):
        assert native == adapter(venue, market).native(symbol)

    @pytest.mark.parametrize(
        ("venue", "market", "symbol"),
        [
            ("binance", "spot", "BTC-USDT-PERP"),
            ("binance", "usdm", "BTC-USDT"),
            ("coinbase", "spot", "BTC-USD-PERP"),
            ("kraken", "spot", "BTC-"),
            ("okx", "spot", "-USDT"),
            ("bybit", "linear", "BTC-USDT"),
        ],
    )
    def test_a_symbol_of_another_market_is_named(self, venue, market, symbol):
        """Before anything is sent."""
        with pytest.raises(InvalidNameError, match=symbol):
            adapter(venue, market).native(symbol)

    @pytest.mark.parametrize(("venue", "market"), [("mtgox", "spot"), ("kraken", "futures")])
    def test_an_unknown_market_is_named(self, venue, market):
        with pytest.raises(ValueError, match=f"{'mtgox' if venue == 'mtgox' else 'futures'}.* none of"):
            adapter(venue, market)

    def test_contract_sizes_come_with_contracts(self):
        """OKX sizes swaps in contracts, and says only in its list what one is."""
        made = adapter("okx")
        streams = made.streams(["BTC-USDT", "BTC-USDT-PERP", "BTC-USD-240927"], ["trades"])
        companions = made.companions(streams)

        assert [Stream("instruments", "FUTURES"), Stream("instruments", "SWAP")] == companions
        args = made.message("subscribe", companions, 1)["args"]
        assert {"channel": "instruments", "instType": "SWAP"} == args[1]
        assert [] == made.companions(streams[:1])

    @pytest.mark.parametrize(("venue", "market"), MARKETS)
    def test_messages_stay_within_the_rules(self, venue, market):
        """Hundreds of streams, each in exactly one message that is neither too long nor too full."""
        made = adapter(venue, market)
        tail = "-PERP" if market in SYMBOLS else ""
        quote = "USD" if market in ("coinm", "inverse") else "USDT"
        streams = made.streams([f"A{n}-{quote}{tail}" for n in range(300)], ["trades", "quotes"])
        requests = list(made.requests("subscribe", streams, 1))

        assert streams == [stream for request in requests for stream in request.streams]
        for request in requests:
            assert len(request.streams) <= made.rules.args_max
            assert len(request.text) <= 65_536
            json.loads(request.text)


class TestSubscribing:
    def test_is_live_when_all_is_answered(self):
        session = session_of("kraken", channels=("trades", "quotes"))
        send_all(session)
        for channel in ("trade", "ticker"):
            assert not session.is_live
            answer = {"channel": channel, "symbol": "BTC/USDT", "snapshot": True}
            number = 1 if channel == "trade" else 2
            message = {"method": "subscribe", "result": answer, "success": True, "req_id": number}
            session.received(json.dumps(message).encode(), 1.0)

        assert session.is_live
        assert {Stream("trade", "BTC/USDT"), Stream("ticker", "BTC/USDT")} == set(session.confirmed)

    def test_a_refused_stream_does_not_cost_the_others(self):
        """Bybit refuses a whole message for one bad argument: each is asked for alone."""
        session = session_of("bybit", symbols=["BTC-USDT", "FOO-USDT", "ETH-USDT"])
        [text] = send_all(session)
        assert 3 == len(json.loads(text)["args"])
        bad = {"success": False, "ret_msg": "Invalid symbol", "op": "subscribe", "req_id": "1"}
        session.received(json.dumps(bad).encode(), 0.1)
        for text in send_all(session):
            message = json.loads(text)
            good = message["args"] != ["publicTrade.FOOUSDT"]
            answer = {"success": good, "ret_msg": "" if good else "Invalid symbol", "op": "subscribe"}
            session.received(json.dumps(answer | {"req_id": message["req_id"]}).encode(), 0.2)

        assert session.is_live
        assert {"BTCUSDT", "ETHUSDT"} == {stream.symbol for stream in session.confirmed}
        assert {Stream("publicTrade", "FOOUSDT"): "Invalid symbol"} == session.refused

    def test_a_refusal_in_words_finds_its_stream(self):
        """OKX says in a sentence which argument was wrong."""
        session = session_of("okx", symbols=["BTC-USDT", "FOO-USDT"])
        send_all(session)
        text = "Wrong URL or channel:trades,instId:FOO-USDT doesn't exist."
        session.received(json.dumps({"event": "error", "code": "60018", "msg": text}).encode(), 0.1)
        arg = {"channel": "trades", "instId": "BTC-USDT"}
        session.received(json.dumps({"event": "subscribe", "arg": arg}).encode(), 0.1)

        assert session.is_live
        assert [Stream("trades", "FOO-USDT")] == list(session.refused)

    def test_nothing_left_is_no_connection(self):
        """Everything refused: there is nothing to wait for."""
        session = session_of("kraken")
        send_all(session)
        refusal = {"method": "subscribe", "success": False, "symbol": "BTC/USDT", "error": "no", "req_id": 1}
        session.received(json.dumps(refusal).encode(), 0.1)

        assert "all refused" == session.tick(0.2)

    def test_no_answer_is_noticed(self):
        session = session_of("binance", answer_within_s=10.0)
        send_all(session, now_s=1.0)

        assert "" == session.tick(10.9)
        assert "unanswered" == session.tick(11.0)

    def test_renewing_asks_once_at_a_time(self):
        """Unsubscribes and subscribes; a second wish meanwhile changes nothing."""
        session = session_of("okx", channels=("books",))
        stream = Stream("books", "BTC-USDT")
        assert not session.renew(stream), "what is not there cannot be renewed"
        send_all(session)
        arg = {"channel": "books", "instId": "BTC-USDT"}
        session.received(json.dumps({"event": "subscribe", "arg": arg}).encode(), 0.1)

        assert [True, False, False] == [session.renew(stream) for _ in range(3)]
        assert ["unsubscribe", "subscribe"] == [json.loads(text)["op"] for text in send_all(session)]
        for event in ("unsubscribe", "subscribe"):
            assert not session.renew(stream)
            session.received(json.dumps({"event": event, "arg": arg}).encode(), 0.2)
        assert session.renew(stream)


class TestTime:
    @pytest.mark.parametrize("venue", ADAPTERS)
    def test_silence_is_noticed_in_time(self, venue):
        """Pings where the venue has them, then the end; `due_s` never sleeps past either."""
        session = session_of(venue)
        session.rules = dataclasses.replace(session.rules, answer_within_s=1e9)
        now_s, pings = 0.0, 0
        send_all(session)
        while not (verdict := session.tick(now_s)):
            pings += len(send_all(session, now_s))
            due_s = session.due_s()
            assert due_s > now_s, "it would spin"
            now_s = due_s

        assert "silent" == verdict
        assert now_s == session.rules.dead_after_s
        assert (pings > 0) == (session.adapter.ping(1) is not None)

    @pytest.mark.parametrize("venue", ["binance", "kraken", "okx"])
    def test_a_venue_that_talks_is_not_pinged(self, venue):
        session = session_of(venue)
        send_all(session)
        for second in range(1, 200):
            session.received(b'{"channel":"heartbeat"}', float(second))
            session.rules = dataclasses.replace(session.rules, answer_within_s=1e9)
            assert "" == session.tick(float(second))
        assert [] == send_all(session)

    def test_bybit_is_pinged_anyway(self):
        """Every 20 s, whatever comes."""
        session = session_of("bybit")
        session.rules = dataclasses.replace(session.rules, answer_within_s=1e9)
        send_all(session)
        pings = 0
        for second in range(1, 101):
            session.received(b'{"topic":"publicTrade.BTCUSDT","data":[]}', float(second))
            session.tick(float(second))
            pings += len(send_all(session, float(second)))

        assert 5 == pings

    def test_a_ping_goes_before_subscriptions_that_wait(self):
        """They may wait an hour for their budget; the connection would be dead by then."""
        session = session_of("okx", symbols=[f"A{n}-USDT" for n in range(300)])
        session.tick(25.0)

        assert "ping" == session.next_request().text

    def test_is_replaced_before_the_venue_closes_it(self):
        """Binance: after 24 hours, so ten minutes before."""
        session = session_of("binance", dead_after_s=1e9, ping_after_s=None, answer_within_s=1e9)
        session.tick(24 * 3600 - 601)
        assert "" == session.replace_because
        assert 24 * 3600 - 600 == session.due_s()
        session.tick(24 * 3600 - 600)

        assert "lifetime" == session.replace_because

    @pytest.mark.parametrize(
        ("venue", "frame"),
        [
            ("binance", b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}'),
            ("okx", b'{"event":"notice","code":"64008","msg":"The connection will soon be closed"}'),
        ],
    )
    def test_a_notice_asks_for_a_successor(self, venue, frame):
        session = session_of(venue)
        session.received(frame, 1.0)

        assert session.replace_because

    def test_quiet_streams_are_listed(self):
        """Accepted, and not a word since: the venue takes any name."""
        session = session_of("binance", symbols=["BTC-USDT", "FOO-USDT"])
        send_all(session)
        session.received(b'{"result":null,"id":1}', 0.0)
        trade = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1}}'
        session.received(trade, 50.0)

        assert [Stream("trade", "FOOUSDT")] == session.quiet(60.0, 60.0)
        assert [] == session.quiet(30.0, 60.0)


def test_rules_are_by_keyword():
    with pytest.raises(TypeError):
        Rules((1, 1.0), (1, 1.0))
