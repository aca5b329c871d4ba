"""Promises of the source through ccxt, on an object that behaves like ccxt's, and on ccxt where it is."""

import asyncio

import pytest

import tickbus as tb
from tickbus.errors import InvalidNameError, MissingExtraError
from tickbus.exchanges import ccxt_source
from tickbus.exchanges.ccxt_source import CcxtSource
from tickbus.exchanges.connect import State
from tickbus.testing.clock import FakeClock


class BadSymbol(Exception):
    pass


class NetworkError(Exception):
    pass


class FakeExchange:
    """Answers what it was given, one after the other, then nothing more; an exception is raised."""

    id = "fakex"

    def __init__(self, trades=(), quotes=(), *, has_bids_asks=True, markets=None):
        self.has = {"watchBidsAsks": has_bids_asks}
        self.markets = markets or {}
        self._answers = {"trades": list(trades), "quotes": list(quotes)}

    async def _next(self, what):
        await asyncio.sleep(0)
        if not self._answers[what]:
            await asyncio.Event().wait()
        answer = self._answers[what].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch_trades(self, symbol):
        return await self._next("trades")

    async def watch_bids_asks(self, symbols):
        return {symbols[0]: await self._next("quotes")}

    async def watch_order_book(self, symbol):
        return await self._next("quotes")


def trade(id, price=100.5, amount=2.0, side="buy"):
    return {"id": id, "price": price, "amount": amount, "side": side}


def gathered(exchange, symbol="BTC-USDT", channels=("trades",), seconds=0.0):
    """(events, source, changes, waits) after all that the exchange has to say."""

    async def run():
        clock, changes = FakeClock(), []
        with tb.Bus() as bus:
            read = bus.subscribe("market.>")
            source = CcxtSource(
                exchange, [symbol], bus=bus, channels=channels, on_change=changes.append, clock=clock
            )
            task = asyncio.create_task(source.run())
            await clock.advance(seconds)
            await clock.settle()
            events = read.drain(1_000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return events, source, changes, clock.slept

    return asyncio.run(run())


class TestEvents:
    def test_trades_have_the_takers_side_and_come_once(self):
        exchange = FakeExchange(
            [[trade("1"), trade("2", side="sell")], [trade("2", side="sell"), trade("3")]]
        )
        events, source, *_ = gathered(exchange)

        assert [2.0, -2.0, 2.0] == [event.side * event.quantity for event in events]
        assert {"BTC-USDT"} == {event.symbol for event in events}
        assert (3, 1) == (source.counts["events"], source.counts["duplicates"])

    def test_are_flagged_unverified(self):
        """By the source's name, so that a pattern can leave them out, and by the source itself."""
        events, source, *_ = gathered(FakeExchange([[trade("1")]]))

        assert ["ccxt_fakex"] == [event.source for event in events]
        assert ("ccxt_fakex", "unverified") == (source.source, source.integrity)

    @pytest.mark.parametrize("has_bids_asks", [True, False])
    def test_quotes(self, has_bids_asks):
        """By the venue's best prices, or by the top of its book."""
        quote = {"bid": 61837.63, "bidVolume": 0.5, "ask": 61837.64, "askVolume": 1.5}
        book = {"bids": [[61837.63, 0.5], [61837.0, 9.0]], "asks": [[61837.64, 1.5]]}
        exchange = FakeExchange(quotes=[quote if has_bids_asks else book], has_bids_asks=has_bids_asks)
        [event], *_ = gathered(exchange, channels=["quotes"])

        assert (61837.63, 61837.64) == (event.bid, event.ask)
        assert (0.5, 1.5) == (event.bid_size, event.ask_size)

    @pytest.mark.parametrize(
        ("market", "expected"),
        [
            ({"contract": True, "contractSize": 0.01}, 0.02),
            ({"contract": True, "contractSize": 100, "inverse": True}, 2.0),
        ],
    )
    def test_contracts_are_converted(self, market, expected):
        """Two contracts of 0.01 bitcoin each; of 100 dollars each at a price of 100."""
        exchange = FakeExchange([[trade("1", price=100.0)]], markets={"BTC/USDT:USDT": market})
        [event], *_ = gathered(exchange, symbol="BTC-USDT-PERP")

        assert ("BTC-USDT-PERP", expected) == (event.symbol, event.quantity)

    def test_what_is_incomplete_costs_no_other(self):
        rows = [trade("1"), trade("2", price=None), trade("3", side=None), {"id": "4"}, trade("5")]
        events, source, *_ = gathered(FakeExchange([rows]))

        assert 2 == len(events)
        assert 3 == sum(count for name, count in source.counts.items() if name.startswith("unusable"))


class TestFailures:
    def test_are_counted_waited_out_and_asked_again(self):
        exchange = FakeExchange([NetworkError("away"), NetworkError("away"), [trade("1")]])
        events, source, changes, slept = gathered(exchange, seconds=60)

        assert 1 == len(events)
        assert 2 == source.counts["NetworkError"] == len(slept)
        states = [change.state for change in changes]
        assert [State.SUBSCRIBING, State.WAITING, State.WAITING, State.LIVE] == states

    def test_what_will_never_work_is_not_asked_again(self):
        _, source, changes, _ = gathered(FakeExchange([BadSymbol("no such market")] * 3), seconds=60)

        assert 1 == source.counts["BadSymbol"]
        assert (State.REFUSED, "no such market") == (changes[-1].state, changes[-1].detail)

    def test_a_closed_bus_ends_it(self):
        async def run():
            bus = tb.Bus()
            source = CcxtSource(FakeExchange([[trade("1")]]), ["BTC-USDT"], bus=bus, channels=["trades"])
            bus.close()
            await asyncio.wait_for(source.run(), 5)

        with pytest.raises(tb.errors.BusClosedError):
            asyncio.run(run())


class TestNames:
    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ("BTC-USDT", "BTC/USDT"),
            ("BTC-USDT-PERP", "BTC/USDT:USDT"),
            ("BTC-USD-PERP", "BTC/USD:BTC"),
            ("BTC-USDT-240927", "BTC/USDT:USDT-240927"),
        ],
    )
    def test_there_and_back(self, ours, theirs):
        assert theirs == ccxt_source._theirs(ours)
        assert ours == ccxt_source._ours(theirs)

    def test_wrong_ones_are_named(self):
        with tb.Bus() as bus:
            with pytest.raises(InvalidNameError, match="'BTC'"):
                CcxtSource(FakeExchange(), ["BTC"], bus=bus)
            with pytest.raises(ValueError, match="'books'"):
                CcxtSource(FakeExchange(), ["BTC-USDT"], bus=bus, channels=["books"])

    def test_without_ccxt_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "ccxt.pro", None)
        with pytest.raises(MissingExtraError, match=r"tickbus\[ccxt\]"):
            ccxt_source.exchange("kucoin")


class TestRealCcxt:
    def test_an_unknown_venue_is_named(self):
        pytest.importorskip("ccxt.pro", reason="extra 'ccxt' is not installed")
        with pytest.raises(ValueError, match="'mtgox'"):
            ccxt_source.exchange("mtgox")

    def test_kraken_through_ccxt_from_a_local_venue(self):
        """ccxt itself connects to the venue server, and its trades are those the server told."""
        pytest.importorskip("ccxt.pro", reason="extra 'ccxt' is not installed")
        pytest.importorskip("websockets", reason="extra 'exchanges' is not installed")
        from tickbus.testing.venue_server import Limits, VenueServer

        async def run():
            async with VenueServer("kraken", keep=True, limits=Limits(heartbeat_s=0.2)) as server:
                exchange = ccxt_source.exchange("kraken", enableRateLimit=False)
                exchange.urls["api"]["ws"] = dict.fromkeys(exchange.urls["api"]["ws"], server.url + "/v2")
                market = {"id": "XBTUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "spot": True}
                market |= {"type": "spot", "precision": {"price": 0.01, "amount": 1e-8}, "limits": {}}
                market |= {
                    "info": {"wsname": "BTC/USDT"},
                    "wsId": "BTC/USDT",
                    "active": True,
                    "contract": False,
                }
                exchange.set_markets([market])
                with tb.Bus() as bus:
                    read = bus.subscribe("market.price_update.ccxt_kraken.BTC-USDT")
                    source = CcxtSource(exchange, ["BTC-USDT"], bus=bus, channels=["trades"])
                    task = asyncio.create_task(source.run())
                    deadline = asyncio.get_running_loop().time() + 20
                    while not server.clients or not any(c.protocol.streams for c in server.clients.values()):
                        assert asyncio.get_running_loop().time() < deadline, source.counts
                        await asyncio.sleep(0.01)
                    while source.counts["events"] < 20:
                        assert asyncio.get_running_loop().time() < deadline, source.counts
                        await server.advance(12)
                        await asyncio.sleep(0.02)
                    events = read.drain(1_000)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    await exchange.close()
                    return events, server.trades

        events, trades = asyncio.run(run())
        told = {
            (t.ticks / 100, (t.size if t.bought else -t.size) / 1e8) for t in trades if t.symbol == "BTC-USDT"
        }
        assert {(event.price, event.side * event.quantity) for event in events} <= told
        assert len(events) >= 20
