"""Promises of the local venue server: each venue's own words, chains and checksums that hold, its rules."""

import asyncio
import itertools
import json
import urllib.request
import zlib

import pytest

from tickbus.exchanges import VENUES, Decoder
from tickbus.exchanges.readings import Kind, reader
from tickbus.exchanges.sequences import Chains
from tickbus.testing.venue_server import PROTOCOLS, Faults, Limits, VenueServer

websockets = pytest.importorskip("websockets", reason="extra 'exchanges' is not installed")
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

#: What a client sends for trades, quotes and books of two symbols, in each venue's words.
SUBSCRIBE = {
    ("binance", "spot"): [
        {
            "method": "SUBSCRIBE",
            "params": ["btcusdt@trade", "btcusdt@bookTicker", "ethusdt@depth@100ms"],
            "id": 1,
        }
    ],
    ("coinbase", "spot"): [
        {"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": ["matches", "ticker", "heartbeat"]},
        {"type": "subscribe", "channels": [{"name": "level2_batch", "product_ids": ["ETH-USDT"]}]},
    ],
    ("coinbase", "advanced"): [
        {"type": "subscribe", "product_ids": ["BTC-USDT"], "channel": channel}
        for channel in ("market_trades", "ticker", "heartbeats")
    ]
    + [{"type": "subscribe", "product_ids": ["ETH-USDT"], "channel": "level2"}],
    ("kraken", "spot"): [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USDT"]}, "req_id": 1},
        {"method": "subscribe", "params": {"channel": "ticker", "symbol": ["BTC/USDT"]}, "req_id": 2},
        {
            "method": "subscribe",
            "params": {"channel": "book", "symbol": ["ETH/USDT"], "depth": 10},
            "req_id": 3,
        },
    ],
    ("okx", "spot"): [
        {
            "op": "subscribe",
            "args": [
                {"channel": "trades", "instId": "BTC-USDT"},
                {"channel": "bbo-tbt", "instId": "BTC-USDT"},
                {"channel": "books", "instId": "ETH-USDT"},
            ],
        }
    ],
    ("bybit", "spot"): [
        {"op": "subscribe", "args": ["publicTrade.BTCUSDT", "orderbook.1.BTCUSDT", "orderbook.50.ETHUSDT"]}
    ],
}
PATHS = {"binance": "/stream", "kraken": "/v2", "okx": "/ws/v5/public", "bybit": "/v5/public/spot"}
ALL = [pytest.param(*pair, id="-".join(pair)) for pair in PROTOCOLS]
FAST = Limits(heartbeat_s=0.02)


async def gather(server: VenueServer, events: int, messages: list | None = None) -> list[str]:
    """All frames of a client that subscribes, sees so many events and leaves."""
    pair = (server.venue, server.market)
    frames: list[str] = []
    async with connect(server.url + PATHS.get(server.venue, "/"), compression=None) as socket:
        for message in SUBSCRIBE[pair] if messages is None else messages:
            await socket.send(message if isinstance(message, str) else json.dumps(message))
        expected = len(SUBSCRIBE[pair] if messages is None else messages)
        while server.counts["messages"] < expected:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        await server.advance(events)
        try:
            while True:
                frames.append(await asyncio.wait_for(socket.recv(), 0.1))
        except (TimeoutError, ConnectionClosed):
            return frames


def served(venue: str, market: str, events: int = 600, **options) -> list[str]:
    async def run() -> list[str]:
        async with VenueServer(venue, market, **options) as server:
            return await gather(server, events)

    return asyncio.run(run())


class TestProtocols:
    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_frames_are_what_the_venue_sends(self, venue, market):
        """Each is understood; trades and quotes carry ids where the venue's do; every sequence is whole."""
        read, chains, channels = reader(venue), Chains(), set()
        for frame in served(venue, market):
            reading = read(frame.encode())
            assert reading.kind not in (Kind.UNKNOWN, Kind.UNREADABLE, Kind.REFUSAL), frame
            for part in reading.parts if reading.kind == Kind.DATA else ():
                assert part.symbol, frame
                assert "ok" == chains.check((part.channel, part.symbol), part.sequence), frame
                channels.add(part.channel)

        assert 3 == len(channels)

    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_same_seed_same_frames(self, venue, market):
        """Whenever they are asked for."""
        options = {"limits": Limits(heartbeat_s=60)}

        assert served(venue, market, **options) == served(venue, market, **options)
        assert served(venue, market, **options) != served(venue, market, seed=8, **options)

    @pytest.mark.parametrize(("venue", "market"), ALL)
    def test_trades_and_quotes_decode(self, venue, market):
        """As many events as the readings promise, none malformed."""
        if venue not in VENUES:
            pytest.skip(f"no decoder for {venue}")
        decoder, read = Decoder(venue), reader(venue)
        for frame in served(venue, market):
            ids = [id for part in read(frame.encode()).parts for id in part.ids]
            assert len(ids) == len(decoder.decode(frame.encode())), frame

        counters = decoder.counters()
        assert ({}, 0) == (counters["malformed"], counters["unpackable"])
        assert counters["trades"] > 20
        assert counters["quotes"] > 100

    def test_a_binance_snapshot_bridges_the_updates(self):
        """The REST book and the updates after it give the book of the venue."""

        async def run():
            async with VenueServer("binance") as server:
                url = f"{server.rest_url}/api/v3/depth?symbol=ETHUSDT&limit=1000"

                def get():
                    with urllib.request.urlopen(url) as answer:
                        return json.load(answer)

                await server.advance(50)
                snapshot = await asyncio.to_thread(get)
                frames = await gather(server, 400)
                return snapshot, frames, server.simulation.books["ETH-USDT"]

        snapshot, frames, book = asyncio.run(run())
        sides = {key: dict(snapshot[key]) for key in ("bids", "asks")}
        last = snapshot["lastUpdateId"]
        for frame in frames:
            data = json.loads(frame).get("data", {})
            if data.get("e") != "depthUpdate" or data["u"] <= last:
                continue
            assert data["U"] <= last + 1 <= data["u"]
            last = data["u"]
            for key, side in (("b", "bids"), ("a", "asks")):
                for price, size in data[key]:
                    sides[side][price] = size
        for side, levels in (("bids", book.bids()), ("asks", book.asks())):
            expected = {ticks / 100: size / 1e8 for ticks, size in levels}
            assert expected == {float(p): float(s) for p, s in sides[side].items() if float(s)}

    def test_kraken_checksums_hold(self):
        """Computed anew from the texts of a book that is cut to ten levels, after every message."""
        bids, asks, checked = {}, {}, 0
        for frame in served("kraken", "spot"):
            message = json.loads(frame, parse_float=str)
            if message.get("channel") != "book":
                continue
            [row] = message["data"]
            for side, key, away in ((bids, "bids", -1), (asks, "asks", 1)):
                if message["type"] == "snapshot":
                    side.clear()
                for level in row[key]:
                    side[level["price"]] = level["qty"]
                live = sorted((float(p) * away, p) for p, q in side.items() if float(q))
                kept = {p: side[p] for _, p in live[:10]}
                side.clear()
                side.update(kept)
            text = "".join(
                part.replace(".", "").lstrip("0")
                for side, away in ((asks, 1), (bids, -1))
                for _, level in sorted((float(p) * away, (p, q)) for p, q in side.items())
                for part in level
            )
            assert row["checksum"] == zlib.crc32(text.encode())
            checked += 1
        assert checked > 100

    def test_okx_checksums_hold(self):
        """Signed, over 25 levels in turn, from the texts as sent."""
        bids, asks, checked, previous = {}, {}, 0, -1
        for frame in served("okx", "spot"):
            message = json.loads(frame)
            if message.get("arg", {}).get("channel") != "books" or "data" not in message:
                continue
            [row] = message["data"]
            assert previous == row["prevSeqId"]
            previous = row["seqId"]
            for side, key in ((bids, "bids"), (asks, "asks")):
                side.update({price: size for price, size, _, _ in row[key]})
                for price in [price for price, size in side.items() if size == "0"]:
                    del side[price]
            best = [
                sorted(side.items(), key=lambda level: float(level[0]) * away)[:25]
                for side, away in ((bids, -1), (asks, 1))
            ]
            pairs = [level for pair in itertools.zip_longest(*best) for level in pair if level]
            value = zlib.crc32(":".join(":".join(level) for level in pairs).encode())
            assert row["checksum"] == value - (1 << 32 if value >> 31 else 0)
            checked += 1
        assert checked > 100

    @pytest.mark.parametrize(
        ("venue", "message", "expected"),
        [
            ("binance", {"method": "DANCE", "id": 5}, "2: Invalid request: unknown variant `DANCE`"),
            ("binance", "{", "2: Invalid request"),
            (
                "coinbase",
                {"type": "subscribe", "product_ids": ["FOO-BAR"], "channels": ["matches"]},
                "FOO-BAR is not a valid product",
            ),
            (
                "coinbase",
                {"type": "subscribe", "product_ids": ["BTC-USDT"], "channels": ["level2"]},
                "requires authentication",
            ),
            (
                "kraken",
                {"method": "subscribe", "params": {"channel": "trade", "symbol": ["FOO/BAR"]}},
                "Currency pair not supported FOO/BAR",
            ),
            (
                "okx",
                {"op": "subscribe", "args": [{"channel": "trades", "instId": "FOO-BAR"}]},
                "60018: Wrong URL or channel:trades,instId:FOO-BAR",
            ),
            ("bybit", {"op": "subscribe", "args": ["publicTrade.FOOUSDT"]}, r"Invalid symbol"),
            ("bybit", {"op": "subscribe", "args": ["publicTrade.BTCUSDT"] * 11}, "args size >10"),
        ],
    )
    def test_what_is_wrong_is_refused_in_its_words(self, venue, message, expected):
        async def run():
            async with VenueServer(venue) as server:
                return await gather(server, 0, [message])

        readings = [reader(venue)(frame.encode()) for frame in asyncio.run(run())]
        [refusal] = [reading for reading in readings if reading.kind == Kind.REFUSAL]
        assert expected in refusal.text

    @pytest.mark.parametrize(
        ("venue", "message"),
        [
            ("binance", {"method": "LIST_SUBSCRIPTIONS", "id": 3}),
            ("kraken", {"method": "ping", "req_id": 3}),
            ("okx", "ping"),
            ("bybit", {"op": "ping", "req_id": "3"}),
        ],
    )
    def test_pings_are_answered(self, venue, message):
        async def run():
            async with VenueServer(venue) as server:
                return await gather(server, 0, [message])

        assert Kind.PONG in [reader(venue)(frame.encode()).kind for frame in asyncio.run(run())]


class TestRules:
    @pytest.mark.parametrize(
        ("venue", "limits", "code"),
        [
            ("binance", Limits(messages=(5, 1.0)), 1008),
            ("coinbase", Limits(subscribe_within_s=0.05), 1008),
            ("okx", Limits(client_silent_s=0.05), 4004),
        ],
    )
    def test_who_breaks_them_is_sent_away(self, venue, limits, code):
        """Too many messages, no subscription, no ping."""

        async def run():
            async with VenueServer(venue, limits=limits) as server:
                async with connect(server.url + PATHS.get(venue, "/")) as socket:
                    if venue == "binance":
                        for number in range(6):
                            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
                    await asyncio.wait_for(socket.wait_closed(), 10)
                return socket.close_code, server.counts["sent_away"]

        assert (code, 1) == asyncio.run(run())

    def test_too_many_attempts_are_refused(self):
        async def run():
            async with VenueServer("okx", limits=Limits(attempts=(2, 60.0))) as server:
                for _ in range(2):
                    async with connect(server.url):
                        pass
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(server.url):
                        pass
                return refused.value.response

        response = asyncio.run(run())
        assert (429, "60") == (response.status_code, response.headers["Retry-After"])


class TestFaults:
    @pytest.mark.parametrize("fault", ["drop", "duplicate", "reorder", "truncate", "garbage"])
    def test_is_done_as_often_as_counted(self, fault):
        """Compared with what the same seed sends unharmed."""

        async def run(faults):
            limits = Limits(heartbeat_s=0.02)
            async with VenueServer("binance", faults=faults, limits=limits) as server:
                return await gather(server, 600), server.injected

        whole, _ = asyncio.run(run(None))
        harmed, injected = asyncio.run(run(Faults(**{fault: 0.05})))
        done = injected[fault]
        assert set(injected) == {fault}
        assert done > 5
        missing = len(set(whole) - set(harmed))
        more = len(harmed) - len(whole)
        # A swap of the last frame is told by the next heartbeat.
        expected = {"drop": (done, -done), "duplicate": (0, done), "reorder": (0, 0)}
        expected |= {"truncate": (done, 0), "garbage": (0, done)}
        assert expected[fault] == (missing, more)
        assert (harmed == whole) is False


class TestRecordings:
    def test_a_recording_is_sent_to_who_subscribes(self, data):
        """Only the streams it asked for, all of them, from the start."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")

        async def run():
            path = data / "binance/2024-07-18_usdm_btcusdt.tsjson.zst"
            async with (
                VenueServer("binance", capture=path) as server,
                connect(server.url + "/stream?streams=btcusdt@trade") as socket,
            ):
                return [json.loads(await asyncio.wait_for(socket.recv(), 20)) for _ in range(974)]

        frames = asyncio.run(run())
        assert {"trade"} == {frame["data"]["e"] for frame in frames}
