"""Promises of the local venues: same seed, same frames; realistic, eventful, complete over a socket."""

import os
import signal
import subprocess
import sys

import pytest

import tickbus as tb
from tickbus.exchanges import Decoder
from tickbus.testing.venues import Simulator, VenueProcess, connect, connect_batches

VENUES = ("binance", "coinbase", "kraken", "okx", "bybit")
#: Slow enough for ten simulated seconds in a moment.
RATE = 3_000.0


def quotes(venue: str, seconds: float) -> list[tuple[float, tb.Event]]:
    """(simulated time, quote) of one venue."""
    simulator, decoder = Simulator(venue, rate=RATE), Decoder(venue)
    rows = []
    for at, frame in enumerate(simulator.frames(int(RATE * seconds))):
        for number, symbol, value, metadata, *_ in decoder.decode(frame):
            if number == tb.EventType.TOP_OF_BOOK:
                rows.append((at / RATE, tb.Event(number, symbol, value, metadata=metadata)))
    return rows


class TestFrames:
    @pytest.mark.parametrize("venue", VENUES)
    def test_decode_completely(self, venue):
        """Each frame is one trade or one quote, as many as the simulator says it made."""
        simulator, decoder = Simulator(venue), Decoder(venue)
        for frame in simulator.frames(20_000):
            assert 1 == len(decoder.decode(frame)), frame

        counters = decoder.counters()
        assert (simulator.trades, simulator.quotes) == (counters["trades"], counters["quotes"])
        assert 20_000 == simulator.trades + simulator.quotes
        assert 0.2 < simulator.trades / 20_000 < 0.3

    @pytest.mark.parametrize("venue", VENUES)
    def test_seed_decides_everything(self, venue):
        """Same seed, same bytes; another seed, others. How they are asked for does not matter."""
        one, other = Simulator(venue, seed=1), Simulator(venue, seed=2)
        again = Simulator(venue, seed=1)
        frames = one.frames(1_000)

        assert frames == again.frames(300) + again.frames(700)
        assert frames != other.frames(1_000)

    def test_taker_side_survives_the_wire(self):
        """Bought at the ask, sold at the bid, on every venue's own notation."""
        for venue in VENUES:
            decoder, touch, trades = Decoder(venue), {}, 0
            for frame in Simulator(venue).frames(5_000):
                [(number, symbol, value, metadata, *_)] = decoder.decode(frame)
                event = tb.Event(number, symbol, value, metadata=metadata)
                if number == tb.EventType.TOP_OF_BOOK:
                    touch[symbol] = event
                else:
                    expected = touch[symbol].ask if event.side > 0 else touch[symbol].bid
                    assert expected == event.price
                    trades += 1
            assert trades > 1_000

    def test_same_names_on_every_venue(self):
        """So that strategies can compare them."""
        for venue in VENUES:
            symbols = {event.symbol for _, event in quotes(venue, 0.1)}
            assert {"BTC-USDT", "ETH-USDT", "SOL-USDT"} == symbols

    @pytest.mark.parametrize(("venue", "rate"), [("mtgox", 1.0), ("kraken", 0.0), ("kraken", float("nan"))])
    def test_bad_argument(self, venue, rate):
        with pytest.raises(ValueError):
            Simulator(venue, rate=rate)


class TestScenario:
    def test_arbitrage_appears_now_and_then(self):
        """One venue's bid above another's ask, on every symbol, but seldom."""
        touches: dict[tuple[str, str], tb.Event] = {}
        crossed = {"BTC-USDT": 0, "ETH-USDT": 0, "SOL-USDT": 0}
        rows = [(time_s, venue, event) for venue in VENUES for time_s, event in quotes(venue, 15.0)]
        for _, venue, event in sorted(rows, key=lambda row: row[:2]):
            touches[venue, event.symbol] = event
            others = [touches.get((other, event.symbol)) for other in VENUES if other != venue]
            crossed[event.symbol] += any(
                other is not None and (event.bid > other.ask or other.bid > event.ask) for other in others
            )

        assert all(crossed.values())
        assert sum(crossed.values()) < len(rows) / 10

    def test_price_drops_suddenly(self):
        """At least 3 % within a tenth of a second."""
        mids = [(time_s, event.bid) for time_s, event in quotes("kraken", 6.0) if event.symbol == "BTC-USDT"]
        falls = [
            1 - after / before
            for (_, before), (time_s, after) in zip(mids, mids[90:], strict=False)
            if time_s > 0
        ]

        assert 0.03 < max(falls) < 0.06

    def test_large_quotes_are_pulled_untraded(self):
        """A bid of many times the usual size, gone with the next quote."""
        for venue in VENUES:
            large, pulled = 0, 0
            latest: dict[str, tb.Event] = {}
            usual = {"BTC-USDT": 0.4, "ETH-USDT": 6.0, "SOL-USDT": 90.0}
            for _, event in quotes(venue, 12.0):
                before = latest.get(event.symbol)
                latest[event.symbol] = event
                large += event.bid_size > 50 * usual[event.symbol]
                pulled += (
                    before is not None
                    and before.bid_size > 50 * usual[event.symbol]
                    and event.bid_size < 3 * usual[event.symbol]
                )
            assert pulled > 5
            assert large - pulled in (0, 1), "every one is pulled; the last may be still to come"


class TestProcess:
    def test_serves_all_frames(self):
        """What the client reads is what the simulator makes, and what the summary counts."""
        decoder = Decoder("kraken")
        with VenueProcess("kraken", rate=20_000, seconds=0.5, seed=3) as venue:
            for frame in connect(venue.address):
                decoder.decode(frame)
            summary = venue.wait()

        counters = decoder.counters()
        assert {"frames": 10_000, "client_left": False}.items() <= summary.items()
        assert (summary["trades"], summary["quotes"]) == (counters["trades"], counters["quotes"])
        assert 10_000 == counters["event_frames"] == counters["frames"]

    def test_client_may_leave(self):
        """The venue says how far it got and ends."""
        with VenueProcess("binance", rate=20_000, seconds=60) as venue:
            batches = connect_batches(venue.address)
            assert next(batches)
            batches.close()
            summary = venue.wait()

        assert summary["client_left"]
        assert 0 == venue.process.returncode

    def test_close_ends_the_process(self):
        """Also one that nobody ever connected to."""
        with VenueProcess("binance") as venue:
            pass

        assert venue.process.returncode is not None
        venue.close()

    def test_unix_socket(self, tmp_path):
        """The other kind of address; the socket's file is gone afterwards."""
        path = str(tmp_path / "venue")
        command = [sys.executable, "-m", "tickbus.testing.venues", "--venue", "coinbase", "--unix", path]
        command += ["--rate", "1000", "--seconds", "0.2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            frames = list(connect(path))
            process.wait(10)

        assert 200 == len(frames)
        assert not os.path.exists(path)

    def test_interrupt_is_quiet(self):
        """Ctrl-C: exit code 130 and no traceback."""
        command = [sys.executable, "-m", "tickbus.testing.venues", "--venue", "binance"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=10)

        assert (130, b"") == (process.returncode, errors)
