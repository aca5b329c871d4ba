"""Promises of feeds, shown on local venues that break on demand: seen, counted, recovered from."""

import asyncio
import dataclasses
import random
import time
from collections import Counter

import pytest

import tickbus as tb
from tickbus.errors import BusClosedError, MissingExtraError
from tickbus.exchanges import VENUES
from tickbus.exchanges.connect import Feed, Pacing, State, Stream, adapter
from tickbus.exchanges.connect.merge import Merger
from tickbus.exchanges.readings import Kind, reader
from tickbus.testing.venue_server import PROTOCOLS, Faults, VenueServer
from tickbus.testing.venue_server import Limits as VenueLimits

pytest.importorskip("websockets", reason="extra 'exchanges' is not installed")

ALL = [pytest.param(*pair, id="-".join(pair)) for pair in PROTOCOLS]
DECODED = [pytest.param(*pair, id="-".join(pair)) for pair in PROTOCOLS if pair[0] in VENUES]
#: Venues whose trades are numbered one by one, so that a lost one shows.
NUMBERED = ("binance", "coinbase", "kraken")
#: Limits that let a test hurry.
FREE = VenueLimits(heartbeat_s=0.05)
TIMEOUT_S = 20.0


def hurried(venue, market="spot", **more):
    """The venue's rules, with waits of milliseconds and budgets without an end."""
    rules = adapter(venue, market).rules
    hurry = {"attempts": (10_000, 1.0), "requests": (10_000, 1.0), "changes": None, "rest": (10_000, 1.0)}
    hurry |= {"backoff_first_s": 0.01, "backoff_max_s": 0.05, "overlap_s": 0.1, "ban_s": 0.05}
    return dataclasses.replace(rules, **hurry | more)


class Desk:
    """A feed on a local venue, its events and its changes."""

    def __init__(self, server, *, symbols=("BTC-USDT", "ETH-USDT"), rules=None, **options):
        self.bus = tb.Bus(high_size=1 << 16)
        self.events = self.bus.subscribe("market.>")
        self.changes = []
        self.server = server
        rules = rules or hurried(server.venue, server.market)
        self.feed = Feed(
            server.venue,
            symbols,
            market=server.market,
            bus=self.bus,
            url=server.url,
            rules=rules,
            pacing=Pacing(rules.attempts, rules.requests, rules.rest),
            on_change=self.changes.append,
            seed=1,
            **options,
        )

    async def __aenter__(self):
        self.task = asyncio.create_task(self.feed.run())
        return self

    async def __aexit__(self, *_):
        self.feed.stop()
        await asyncio.wait_for(asyncio.gather(self.task, return_exceptions=True), TIMEOUT_S)
        self.events.close()
        self.bus.close()

    async def until(self, condition, what="it"):
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        while not condition():
            assert not self.task.done() or self.task.exception() is None, self.task.exception()
            assert asyncio.get_running_loop().time() < deadline, f"{what} did not happen: {self.feed.stats()}"
            await asyncio.sleep(0.002)

    async def live(self, count=1):
        """Until so many connections have become live, in all."""
        await self.until(lambda: self.feed.changes[State.LIVE] >= count, f"live {count}")

    async def caught_up(self, events):
        """Let *events* happen, and see them through to the end of the feed."""
        await self.server.advance(events)
        # Heartbeats never end; data does.
        before, unchanged = -1, 0
        while unchanged < 4:
            unchanged = unchanged + 1 if before == self.told() else 0
            before = self.told()
            await asyncio.sleep(0.015)

    def told(self):
        return self.feed.counts[Kind.DATA] + self.feed.counts[Kind.UNREADABLE]

    def trades(self):
        """(symbol, price, signed quantity) of every trade on the bus, in order."""
        rows = iter(lambda: self.events.drain(10_000), [])
        return [
            (event.symbol, event.price, event.side * event.quantity)
            for part in rows
            for event in part
            if event.event_type == tb.EventType.PRICE_UPDATE
        ]

    def reasons(self, state):
        return Counter(change.reason for change in self.changes if change.state == state)


def truth(server):
    """The same of what the venue has told, of the two symbols subscribed to."""
    return [
        (trade.symbol, trade.ticks / 100, (trade.size if trade.bought else -trade.size) / 1e8)
        for trade in server.trades
        if trade.symbol in ("BTC-USDT", "ETH-USDT")
    ]


def latest(trades):
    """The last one of each symbol."""
    return set({symbol: (symbol, *rest) for symbol, *rest in trades}.values())


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


class TestEveryVenue:
    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_subscribes_and_receives(self, venue, market):
        """Live, with every stream confirmed and saying something, and no frame that is not understood."""

        async def scene():
            async with VenueServer(venue, market, limits=FREE, keep=True) as server:
                frames = Counter()
                count = lambda frame, reading: frames.update({part[:2] for part in reading.parts})  # noqa: E731
                async with Desk(server, channels=("trades", "quotes", "books"), on_frame=count) as desk:
                    await desk.live()
                    await desk.caught_up(600)
                    return desk.feed, frames, desk.trades(), truth(server), desk.feed.quiet(0.5)

        feed, frames, trades, expected, quiet = run(scene())
        stats = feed.stats()
        assert not {Kind.UNKNOWN, Kind.UNREADABLE, Kind.REFUSAL} & set(stats["counts"])
        assert not {"gap", "late", "repeated"} & set(stats["counts"])
        aliases = {
            Stream("level2_batch", symbol): Stream("level2", symbol) for symbol in ("BTC-USDT", "ETH-USDT")
        }
        assert {aliases.get(stream, stream) for stream in feed.streams} <= set(frames)
        assert [] == quiet
        assert {} == stats["refused"]
        if venue in VENUES:
            assert expected == trades

    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_stays_within_the_venues_own_limits(self, venue, market):
        """Real rules on both sides: nobody is sent away, however many instruments there are."""

        async def scene():
            async with VenueServer(venue, market) as server:
                symbols = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
                rules = adapter(venue, market).rules
                async with Desk(
                    server,
                    symbols=symbols,
                    rules=rules,
                    connections=2,
                    channels=("trades", "quotes", "books"),
                ) as desk:
                    await desk.live(2)
                    return server.counts

        counts = run(scene())
        assert (2, 0, 0) == (counts["accepted"], counts["sent_away"], counts["refused"])

    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_a_stream_that_does_not_exist(self, venue, market):
        """Is refused by name while the others go on; where the venue takes any name, it is told quiet."""

        async def scene():
            async with (
                VenueServer(venue, market, limits=FREE) as server,
                Desk(server, symbols=("BTC-USDT", "FOO-USDT"), channels=["trades"]) as desk,
            ):
                await desk.live()
                since_s = time.monotonic()
                await desk.caught_up(60)
                quiet = desk.feed.quiet(time.monotonic() - since_s)
                return desk.feed.stats()["refused"], quiet, desk.reasons(State.REFUSED)

        refused, quiet, told = run(scene())
        if venue == "binance":
            assert [Stream("trade", "FOOUSDT")] == [stream for _, stream in quiet]
        else:
            assert all("FOO" in name for name in refused)
            # Coinbase refuses the instrument's heartbeat as well.
            assert len(refused) == (2 if (venue, market) == ("coinbase", "spot") else 1)
            assert set(refused) == set(told)


class TestFaults:
    """Each is seen, counted, and recovered from."""

    @pytest.mark.parametrize("venue", NUMBERED)
    def test_drops_are_counted_as_gaps(self, venue):
        """Trades that did not come: so many are missing, no more and no fewer."""

        async def scene():
            async with (
                VenueServer(venue, limits=FREE, keep=True, faults=Faults(drop=0.05)) as server,
                Desk(server, channels=["trades"]) as desk,
            ):
                await desk.live()
                await desk.caught_up(1_200)
                trades, stats = desk.trades(), desk.feed.stats()
                return trades, truth(server), stats, server.injected["drop"], desk.changes

        trades, expected, stats, dropped, changes = run(scene())
        assert len(expected) - len(trades) == dropped > 5
        assert not Counter(trades) - Counter(expected)
        # A drop at the very end shows with the next trade only.
        assert dropped - 2 <= stats["missing"] <= dropped
        gaps = [change for change in changes if change.state == State.GAP]
        assert len(gaps) == stats["counts"]["gap"] > 0

    @pytest.mark.parametrize(
        ("venue", "market"),
        [("binance", "spot"), ("okx", "spot"), ("bybit", "spot"), ("coinbase", "advanced")],
    )
    def test_a_book_with_a_gap_is_asked_for_anew(self, venue, market):
        """Seen by the venue's rule, recovered by a new snapshot, one request at a time."""

        async def scene():
            snapshots = []
            async with VenueServer(venue, market, limits=FREE, faults=Faults(drop=0.02)) as server:
                take = lambda stream, body: snapshots.append(stream)  # noqa: E731
                async with Desk(server, channels=["books"], on_snapshot=take) as desk:
                    await desk.live()
                    for _ in range(20):
                        await desk.caught_up(40)
                    gaps, recovered = (desk.reasons(state) for state in (State.GAP, State.RECOVERED))
                    dropped = server.injected["drop"]
                # What was under way is over now.
                return desk.feed.stats(), gaps, recovered, snapshots, dropped

        stats, gaps, recovered, snapshots, dropped = run(scene())
        assert 0 < sum(gaps.values()) <= dropped
        assert recovered
        if market == "advanced":
            # It numbers the connection, so both books are in doubt whichever lost something.
            assert {"connection"} == set(gaps)
        else:
            assert set(gaps) == set(recovered)
        assert (len(snapshots) > 2) == (venue == "binance")
        assert {"fetched": len(snapshots), "requests": len(snapshots)} == stats["snapshots"] or not snapshots

    def test_a_snapshot_that_fails_is_fetched_again(self):
        """REST answers 500, then 429 with a time, then well; what others ask for waits as well."""

        async def scene():
            got = []
            async with VenueServer("binance", limits=FREE) as server:
                server.refuse_rest(500)
                server.refuse_rest(429, retry_after_s=0.2)
                take = lambda stream, body: got.append((stream.symbol, body))  # noqa: E731
                async with Desk(server, channels=["books"], on_snapshot=take) as desk:
                    await desk.live()
                    await server.advance(40)
                    await desk.until(lambda: len(got) == 2)
                    return got, desk.feed.stats()["snapshots"]

        got, counts = run(scene())
        assert {"BTCUSDT", "ETHUSDT"} == {symbol for symbol, _ in got}
        assert all(b'"lastUpdateId"' in body for _, body in got)
        assert {"requests": 4, "fetched": 2, "failed 500": 1, "failed 429": 1} == counts

    @pytest.mark.parametrize(("venue", "market"), [pair for pair in PROTOCOLS if pair[0] != "binance"])
    def test_a_book_can_be_asked_for_anew(self, venue, market):
        """As after a checksum that does not hold: on each connection once at a time, from a new snapshot."""

        async def scene():
            snapshots = Counter()

            def note(frame, reading):
                snapshots.update(part.symbol for part in reading.parts if part.is_snapshot)

            async with (
                VenueServer(venue, market, limits=FREE) as server,
                Desk(server, channels=["books"], connections=2, on_frame=note) as desk,
            ):
                await desk.live(2)
                await desk.caught_up(60)
                first = dict(snapshots)
                asked = [desk.feed.renew("books", "BTC-USDT") for _ in range(3)]
                await desk.until(lambda: sum(snapshots.values()) == sum(first.values()) + 2)
                await desk.caught_up(60)
                again = desk.feed.renew("books", "BTC-USDT")
                return first, asked, again, dict(snapshots), desk.feed.stats()

        first, asked, again, snapshots, stats = run(scene())
        [btc] = {symbol for symbol in snapshots if symbol.startswith("BTC")}
        assert {2} == set(first.values())
        assert 4 == snapshots[btc]
        assert ([2, 0, 0], 2) == (asked, again)
        assert (2, {}) == (stats["lives"], stats["refused"])

    @pytest.mark.parametrize(("venue", "market"), DECODED)
    def test_duplicates_are_published_once(self, venue, market):
        async def scene():
            faults = Faults(duplicate=0.1)
            async with (
                VenueServer(venue, market, limits=FREE, keep=True, faults=faults) as server,
                Desk(server, channels=["trades"]) as desk,
            ):
                await desk.live()
                await desk.caught_up(600)
                return desk.trades(), truth(server), desk.feed.stats(), server.injected["duplicate"]

        trades, expected, stats, duplicated = run(scene())
        assert expected == trades
        assert stats["duplicates"] == duplicated > 5

    @pytest.mark.parametrize("venue", NUMBERED)
    def test_what_was_overtaken_is_told_and_nothing_is_missing(self, venue):
        async def scene():
            one, faults = ["BTC-USDT"], Faults(reorder=0.05)
            async with (
                VenueServer(venue, symbols=one, limits=FREE, keep=True, faults=faults) as server,
                Desk(server, symbols=one, channels=["trades"]) as desk,
            ):
                await desk.live()
                await desk.caught_up(600)
                await desk.until(lambda: len(server.trades) and desk.feed.stats()["missing"] == 0)
                await asyncio.sleep(0.1)
                return desk.trades(), truth(server), desk.feed.stats(), server.injected["reorder"]

        trades, expected, stats, reordered = run(scene())
        assert Counter(expected) == Counter(trades)
        assert reordered > 5
        # The very first trade has nothing it could come after.
        assert reordered - 1 <= stats["counts"]["late"] == stats["counts"]["gap"] <= reordered

    @pytest.mark.parametrize(("venue", "market"), DECODED)
    def test_cut_frames_and_noise_are_counted_and_harm_nothing_else(self, venue, market):
        async def scene():
            faults = Faults(truncate=0.05, garbage=0.05)
            async with (
                VenueServer(venue, market, limits=FREE, keep=True, faults=faults) as server,
                Desk(server, channels=["trades"]) as desk,
            ):
                await desk.live()
                await desk.caught_up(600)
                return desk.trades(), truth(server), desk.feed.stats(), server.injected

        trades, expected, stats, injected = run(scene())
        assert len(expected) - len(trades) == injected["truncate"] > 2
        assert not Counter(trades) - Counter(expected)
        seen = stats["counts"][Kind.UNREADABLE] + stats["counts"].get(Kind.UNKNOWN, 0)
        # Noise may by chance be a number, which is JSON and told as unknown.
        assert seen == injected["truncate"] + injected["garbage"]
        assert 1 == stats["lives"]

    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_silence_ends_a_connection_that_stands(self, venue, market):
        """TCP and the library's own pings are fine; nothing comes, so another connection is made."""

        async def scene():
            async with VenueServer(venue, market, limits=FREE) as server:
                base = adapter(venue, market).rules
                quick = {"dead_after_s": 0.3, "ping_after_s": base.ping_after_s and 0.1}
                rules = hurried(venue, market, **quick, ping_every_s=base.ping_every_s and 0.1)
                async with Desk(server, rules=rules) as desk:
                    await desk.live()
                    server.silence()
                    await desk.live(2)
                    return desk.reasons(State.ENDED)

        assert {"silent"} == set(run(scene()))

    @pytest.mark.parametrize(("venue", "market"), ALL)
    @pytest.mark.parametrize("how", ["abort", 1001, 1008, 4004])
    def test_a_lost_connection_is_made_again(self, venue, market, how):
        """Whatever the code; with the reason told, and events going on."""

        async def scene():
            async with VenueServer(venue, market, limits=FREE, keep=True) as server, Desk(server) as desk:
                await desk.live()
                await desk.caught_up(60)
                server.abort() if how == "abort" else await server.close(how)
                await desk.live(2)
                before = desk.feed.counts[Kind.DATA]
                await desk.caught_up(60)
                return desk.reasons(State.ENDED), desk.feed.counts[Kind.DATA] - before, desk.feed.stats()

        ended, more, stats = run(scene())
        assert {f"closed {1006 if how == 'abort' else how}": 1} == ended
        assert more > 20
        assert {f"closed {1006 if how == 'abort' else how}": 1} == stats["endings"]

    def test_pings_go_before_subscriptions_that_have_to_wait(self):
        """OKX allows so many an hour: what is there stays alive until the rest may be asked for."""

        async def scene():
            patient = {"dead_after_s": 60.0, "answer_within_s": 60.0}
            rules = hurried("okx", changes=(1, 3600.0), args_max=1, ping_after_s=0.05, **patient)
            async with VenueServer("okx", limits=FREE) as server, Desk(server, rules=rules) as desk:
                await desk.until(lambda: desk.feed.counts[Kind.PONG] >= 3)
                [client] = server.clients.values()
                return client.protocol.streams, server.counts["messages"]

        streams, messages = run(scene())
        assert 1 == len(streams)
        assert messages >= 4

    def test_refusals_are_waited_out(self):
        """429 with a time: no attempt before it has passed, for any connection; then all is well."""

        async def scene():
            async with VenueServer("okx", limits=FREE) as server:
                server.refuse(429, times=1, retry_after_s=0.4)
                async with Desk(server, connections=2) as desk:
                    await desk.live(2)
                    moments = [change.time_ns for change in desk.changes if change.state == State.LIVE]
                    refused = [c.time_ns for c in desk.changes if c.reason == "refused 429"]
                    return min(refused), moments, server.counts, desk.reasons(State.ENDED)

        refused_ns, live_ns, counts, ended = run(scene())
        assert {"refused 429": 1} == ended
        assert 1 == counts["refused"]
        assert max(live_ns) - refused_ns >= 400_000_000

    def test_a_ban_without_a_time_is_the_venues_usual_one(self):
        async def scene():
            async with VenueServer("binance", limits=FREE) as server:
                server.refuse(418)
                async with Desk(server, rules=hurried("binance", ban_s=0.3)) as desk:
                    await desk.live()
                    return [change for change in desk.changes if change.state == State.WAITING]

        [waiting] = run(scene())
        assert "refused 418" == waiting.reason
        assert float(waiting.detail.split()[0]) >= 0.3

    def test_a_slow_venue_is_given_up_and_tried_again(self):
        """A handshake that takes too long."""

        async def scene():
            async with VenueServer("kraken", limits=FREE) as server:
                server.slow_handshakes(1.0)
                async with Desk(server, rules=hurried("kraken", open_within_s=0.2)) as desk:
                    await desk.until(lambda: desk.reasons(State.ENDED))
                    server.slow_handshakes(0.0)
                    await desk.live()
                    return desk.reasons(State.ENDED)

        assert {"no answer"} == set(run(scene()))

    def test_a_slow_stream_loses_nothing(self):
        """Frames that come late come all."""

        async def scene():
            faults = Faults(frame_s=0.001)
            async with (
                VenueServer("coinbase", limits=FREE, keep=True, faults=faults) as server,
                Desk(server, channels=["trades"]) as desk,
            ):
                await desk.live()
                await desk.caught_up(300)
                return desk.trades(), truth(server)

        trades, expected = run(scene())
        assert expected == trades

    def test_nobody_there(self):
        """Attempts with growing waits, and a connection as soon as somebody is."""

        async def scene():
            async with VenueServer("kraken", limits=FREE) as server:
                url = server.url
            port = int(url.rpartition(":")[2])
            server = VenueServer("kraken", limits=FREE, port=port)
            server.url = url
            async with Desk(server) as desk:
                await desk.until(lambda: desk.reasons(State.ENDED)["unreachable"] >= 3)
                async with server:
                    await desk.live()
                return desk.feed.stats()

        assert run(scene())["endings"]["unreachable"] >= 3


class TestMakeBeforeBreak:
    @pytest.mark.parametrize("venue", ["binance", "okx"])
    def test_loses_and_duplicates_nothing(self, venue):
        """The venue says that it will close, while trades go on: each of them is there once."""

        async def scene():
            async with VenueServer(venue, limits=FREE, keep=True) as server:
                seen = Counter()
                read = reader(venue)

                def note(frame, reading):
                    seen.update(i for part in read(frame.data).parts for i in part.ids)

                async with Desk(server, channels=["trades"], on_frame=note) as desk:
                    await desk.live()
                    closing = asyncio.create_task(server.close_on_schedule(grace_s=30.0))
                    while not desk.feed.stats()["replaced"]:
                        await server.advance(20)
                        await asyncio.sleep(0.005)
                    closing.cancel()
                    await desk.caught_up(200)
                    assert desk.feed.changes[State.REPLACING] == 1
                    return desk.trades(), truth(server), desk.feed.stats(), seen

        trades, expected, stats, seen = run(scene())
        assert {"replaced": 1} == stats["endings"]
        assert (2, 1) == (stats["lives"], stats["replaced"])
        assert stats["duplicates"] > 0, "both connections told the same for a while"
        assert sum(seen.values()) == len(expected) + stats["duplicates"]
        if venue in VENUES:
            assert expected == trades

    def test_an_old_connection_is_replaced_in_time(self):
        """Binance closes after 24 hours; here after a second, and never gets to do it."""

        async def scene():
            rules = hurried("binance", lifetime_s=1.0, replace_before_s=0.7)
            async with (
                VenueServer("binance", limits=FREE, keep=True) as server,
                Desk(server, channels=["trades"], rules=rules) as desk,
            ):
                await desk.live()
                while desk.feed.stats()["replaced"] < 3:
                    await server.advance(10)
                    await asyncio.sleep(0.005)
                await desk.caught_up(100)
                return desk.trades(), truth(server), desk.feed.stats()

        trades, expected, stats = run(scene())
        assert expected == trades
        assert {"replaced"} == set(stats["endings"])
        assert 0 == stats["missing"]


class TestRedundancy:
    @pytest.mark.parametrize(("venue", "market"), DECODED)
    def test_two_connections_lose_nothing_that_one_has(self, venue, market):
        """1 % duplicates on both, drops and breaks on one side: each trade is published exactly once."""

        async def scene():
            faults = lambda number: Faults(duplicate=0.01, drop=0.1 if number == 0 else 0.0)  # noqa: E731
            async with (
                VenueServer(venue, market, limits=FREE, keep=True, faults=faults) as server,
                Desk(server, channels=["trades"], connections=2) as desk,
            ):
                await desk.live(2)
                for turn in range(10):
                    await server.advance(300)
                    if turn == 4:
                        server.abort(0)
                await desk.caught_up(100)
                await desk.live(3)
                return desk.trades(), truth(server), desk.feed.stats(), server.injected

        trades, expected, stats, injected = run(scene())
        assert injected["drop"] > 5
        assert injected["duplicate"] > 5
        assert Counter(expected) == Counter(trades)
        assert 0 == stats["missing"]
        assert stats["duplicates"] > len(expected) / 4

    def test_quotes_without_ids_follow_one_connection(self):
        """Kraken's ticker: told by the leader alone; by the other when that is lost."""

        async def scene():
            async with (
                VenueServer("kraken", limits=FREE) as server,
                Desk(server, channels=["quotes"], connections=2) as desk,
            ):
                await desk.live(2)
                await desk.caught_up(400)
                before = desk.feed.stats()
                server.abort(0)
                await desk.until(lambda: desk.reasons(State.ENDED))
                await desk.caught_up(400)
                return before, desk.feed.stats(), server.counts

        before, after, _ = run(scene())
        followers = before["merged"]["follower_frames"]
        # Half of what came, but for the first quotes of a connection that did not lead yet.
        assert abs(before["events"] - followers) <= 4
        assert after["events"] > before["events"] * 1.8

    def test_both_may_break_in_turn(self):
        """As long as one stands at any time, nothing is lost."""

        async def scene():
            async with (
                VenueServer("binance", limits=FREE, keep=True) as server,
                Desk(server, channels=["trades"], connections=2) as desk,
            ):
                await desk.live(2)
                for turn in range(6):
                    await desk.caught_up(60)
                    server.abort(min(server.clients))
                    await server.advance(30)
                    await desk.live(3 + turn)
                await desk.caught_up(60)
                return desk.trades(), truth(server), desk.feed.stats()

        trades, expected, stats = run(scene())
        assert Counter(expected) == Counter(trades)
        assert (0, 8) == (stats["missing"], stats["lives"])

    def test_recorded_parallel_connections(self, data):
        """OKX and three connections: each market message once, first arrival wins, none lost."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        from tickbus.exchanges import merge, open_capture

        names = [data / f"okx/2021-07-22_redundant_conn{n}.rec.txt.zst" for n in (1, 2, 3)]
        captures = [open_capture(name) for name in names]
        read, merger, distinct, copies = reader("okx"), Merger(None, None), set(), 0
        for capture, frame in merge(captures):
            reading = read(frame.data)
            for part in reading.parts if reading.kind == Kind.DATA else ():
                keys = [(part.symbol, id) for id in part.ids if id is not None]
                copies += len(keys)
                distinct.update(keys)
            merger.take("okx", capture.path, reading, frame.data, frame.receive_ns)

        assert (108, 36, 72) == (copies, len(distinct), merger.counts["duplicates"])
        assert len(distinct) == sum(merger.first.values())


class TestChaos:
    @pytest.mark.parametrize("venue", NUMBERED)
    @pytest.mark.parametrize("connections", [1, 2])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_every_trade_is_told_once_or_counted_as_missing(self, venue, connections, seed):
        """Breaks, closes, silences, notices, refusals and harmed frames at random: the sums hold."""

        async def scene():
            dice = random.Random(seed)
            harm = Faults(drop=0.01, duplicate=0.02, reorder=0.01, truncate=0.01, garbage=0.01, seed=seed)
            # What is lost before anything was seen shows nowhere.
            faults = lambda number: Faults() if number < connections else harm  # noqa: E731
            rules = hurried(venue, dead_after_s=0.4, ping_after_s=0.1)
            async with (
                VenueServer(venue, limits=FREE, keep=True, faults=faults) as server,
                Desk(server, channels=["trades"], connections=connections, rules=rules) as desk,
            ):
                await desk.live(connections)
                await desk.caught_up(60)
                actions = (
                    lambda chosen: server.abort(chosen),
                    lambda chosen: server.close(dice.choice([1000, 1001, 1012, 4000]), "", chosen),
                    lambda chosen: server.silence(chosen),
                    lambda chosen: server.close_on_schedule(0.0, chosen),
                    lambda chosen: server.refuse(dice.choice([429, 503])),
                )
                for _ in range(15):
                    await server.advance(dice.randrange(40))
                    if server.clients:
                        done = dice.choice(actions)(dice.choice(list(server.clients)))
                        await done if done is not None else None
                    await asyncio.sleep(dice.random() * 0.03)
                # Calm again, until the latest trade of each has come: it shows what was missing before.
                trades = []
                while not latest(truth(server)) <= set(trades):
                    server.silence(on=False)
                    for client in server.clients.values():
                        client.harm.faults = Faults()
                    await desk.caught_up(40)
                    trades += desk.trades()
                return trades, truth(server), desk.feed.stats()

        trades, expected, stats = run(scene())
        assert not Counter(trades) - Counter(expected), "told twice, or never sent"
        assert len(expected) - len(trades) == stats["missing"]
        assert stats["lives"] > connections


class TestCallers:
    def test_a_callback_that_raises_ends_nothing(self, caplog):
        async def scene():
            async with (
                VenueServer("kraken", limits=FREE, keep=True) as server,
                Desk(server, channels=["trades"], on_frame=lambda *_: 1 / 0) as desk,
            ):
                await desk.live()
                await desk.caught_up(200)
                return desk.trades(), truth(server), desk.feed.stats()

        trades, expected, stats = run(scene())
        assert expected == trades
        assert stats["counts"]["callback_errors"] == stats["counts"]["frames"]
        assert "division by zero" in caplog.text

    def test_says_when_all_is_live(self):
        """Not before the last of several connections is, also after one was lost."""

        async def scene():
            async with VenueServer("kraken", limits=FREE) as server, Desk(server, connections=3) as desk:
                await asyncio.wait_for(desk.feed.live(), TIMEOUT_S)
                first = desk.feed.changes[State.LIVE]
                server.abort(1)
                await desk.until(lambda: desk.reasons(State.ENDED))
                await asyncio.wait_for(desk.feed.live(), TIMEOUT_S)
                return first, desk.feed.changes[State.LIVE]

        assert (3, 4) == run(scene())

    def test_a_closed_bus_ends_the_feed(self):
        """With the bus's own error, instead of frames that go nowhere."""

        async def scene():
            async with (
                VenueServer("kraken", limits=FREE) as server,
                Desk(server, channels=["trades"]) as desk,
            ):
                await desk.live()
                desk.events.close()
                desk.bus.close()
                await server.advance(100)
                await asyncio.wait([desk.task], timeout=TIMEOUT_S)
                return desk.task.exception()

        assert isinstance(run(scene()), BusClosedError)

    def test_many_instruments_take_several_connections(self):
        async def scene():
            async with VenueServer("kraken", limits=FREE, keep=True) as server:
                rules = hurried("kraken", streams_max=3)
                symbols = ("BTC-USDT", "ETH-USDT")
                async with Desk(server, symbols=symbols, rules=rules) as desk:
                    await desk.live(2)
                    await desk.caught_up(200)
                    return desk.trades(), truth(server), server.counts["accepted"]

        trades, expected, accepted = run(scene())
        assert (expected, 2) == (trades, accepted)

    def test_without_the_library_the_extra_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "websockets.asyncio.client", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[exchanges\]"):
            run(Feed("kraken", ["BTC-USD"], url="ws://127.0.0.1:1").run())

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ({"symbols": []}, "no symbols"),
            ({"channels": []}, "no channels"),
            ({"connections": 0}, "connections=0"),
            ({"market": "futures"}, "futures"),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, what):
        options = {"symbols": ["BTC-USD"]} | arguments
        with pytest.raises(ValueError, match=what):
            Feed("kraken", options.pop("symbols"), **options)


class TestDuplicates:
    def test_a_bad_copy_does_not_cost_the_good_one(self):
        """What the decoder refuses is not seen: the other connection's copy is published."""
        from tickbus.exchanges import Decoder

        with tb.Bus() as bus:
            merger, read = Merger(lambda: Decoder("binance"), bus), reader("binance")
            good = (
                b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":5,'
                b'"p":"1.5","q":"2","T":1,"m":true}}'
            )
            for frame in (good.replace(b'"1.5"', b'"x"'), good, good):
                merger.take("g", "c", read(frame), frame, 1)

            assert (1, 1) == (merger.published, merger.counts["duplicates"])
