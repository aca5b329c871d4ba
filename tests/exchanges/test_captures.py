"""Promises of captures: three formats, three compressions, real recordings explained to the frame."""

import base64
import gzip
import json
from collections import Counter, defaultdict

import pytest

from tickbus.errors import CaptureError, MissingExtraError
from tickbus.exchanges import Decoder, Frame, lines, merge, open_capture

FRAME = b'{"event":"heartbeat"}'
TSJSON = b"1617666541676557000 " + FRAME + b"\n"
TEXT = (
    b'configuration: {"ticker":["BTC-USD"]}\n'
    b"wss://ws.kraken.com <-> 1617666422.6348429\n"
    b'wss://ws.kraken.com <- 1617666423.122873: {"event":"subscribe"}\n'
    b"https://api.kraken.com/x -> 1617666423.2: {}\n"
    b"1617666423.1243808: " + FRAME + b"\n"
    b"1617666424: b'\\x1f\\x8b\"'\n"
    b"\n"
)


def jsonl(*received: tuple[str, str, bytes]) -> bytes:
    header = '{"t":"header","format":2,"exchange":"KRAKEN"}\n'
    header += '{"t":"http","conn":"h","ts":1.5,"url":"u","data":"x"}\n'
    rows = (
        f'{{"t":"recv","conn":"{conn}","ts":{ts},"data":{json.dumps(data.decode())}}}\n'
        for conn, ts, data in received
    )
    return (header + "".join(rows)).encode()


@pytest.fixture
def capture_of(tmp_path):
    def write(content: bytes, name: str = "kraken.capture", **market):
        path = tmp_path / name
        path.write_bytes(content)
        return open_capture(path, **market)

    return write


class TestFormats:
    def test_nanoseconds_and_json(self, capture_of):
        """tsjson: the time as it stands, the frame untouched."""
        capture = capture_of(TSJSON * 2)

        assert ("tsjson", "kraken", "spot") == (capture.format, capture.venue, capture.market)
        assert [Frame(1_617_666_541_676_557_000, "0", FRAME)] * 2 == list(capture)

    def test_text_recorder(self, capture_of):
        """rec.txt: received frames only, binary ones as bytes, times exact to the last digit."""
        capture = capture_of(TEXT)

        assert ("rec.txt", "kraken") == (capture.format, capture.venue)
        expected = [
            Frame(1_617_666_423_124_380_800, "wss://ws.kraken.com", FRAME),
            Frame(1_617_666_424_000_000_000, "wss://ws.kraken.com", b'\x1f\x8b"'),
        ]
        assert expected == list(capture)

    def test_json_lines_recorder(self, capture_of):
        """rec.jsonl: text and binary frames; what the recorder did itself is passed over."""
        binary = {"t": "recv", "conn": "a", "ts": 1626916410, "b64": base64.b64encode(b"\x00\xff").decode()}
        capture = capture_of(jsonl(("a", "1626916408.60732", FRAME)) + json.dumps(binary).encode() + b"\n")

        assert ("rec.jsonl", "kraken") == (capture.format, capture.venue)
        expected = [
            Frame(1_626_916_408_607_320_000, "a", FRAME),
            Frame(1_626_916_410_000_000_000, "a", b"\x00\xff"),
        ]
        assert expected == list(capture)

    def test_connections_are_merged_by_time(self, capture_of):
        """Recorded one connection after the other, replayed as they happened."""
        capture = capture_of(
            jsonl(("a", "1.0", b"1"), ("a", "3.0", b"3"), ("b", "0.5", b"0"), ("b", "2.0", b"2"))
        )

        assert [b"0", b"1", b"2", b"3"] == [frame.data for frame in capture]
        assert ["b", "a", "b", "a"] == [frame.connection for frame in capture]

    def test_files_are_merged_by_time(self, capture_of):
        """Several captures replay as one."""
        one = capture_of(b"1000000000000000001 {}\n1000000000000000003 {}\n", "a", venue="kraken")
        two = capture_of(b"1000000000000000002 []\n", "b", venue="coinbase")

        assert ["kraken", "coinbase", "kraken"] == [capture.venue for capture, _ in merge([one, two])]

    def test_compression_is_told_by_content(self, capture_of):
        """gzip, also in several members; the name does not matter."""
        capture = capture_of(gzip.compress(TSJSON) + gzip.compress(TSJSON), "kraken.txt")

        assert [FRAME, FRAME] == [frame.data for frame in capture]
        assert capture.size_bytes == capture.position_bytes

    def test_zstandard(self, capture_of):
        """Zstandard, also in several frames."""
        zstandard = pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        stored = zstandard.compress(TSJSON)

        assert [FRAME, FRAME] == [frame.data for frame in capture_of(stored + stored)]

    def test_zstandard_missing_names_the_extra(self, capture_of, monkeypatch):
        """Without the library the error says what to install."""
        monkeypatch.setitem(__import__("sys").modules, "zstandard", None)

        with pytest.raises(MissingExtraError, match=r"tickbus\[exchanges\]"):
            capture_of(lines.ZSTD_MAGIC + b"....")

    def test_argument_overrides_detection(self, capture_of):
        """The caller knows better."""
        capture = capture_of(TSJSON, venue="binance", market="usdm")

        assert ("binance", "usdm") == (capture.venue, capture.market)
        assert ("binance", "usdm") == (capture.decoder().venue, capture.decoder().market)


class TestDamage:
    """Each error names the file and the line; frames before it have been yielded."""

    @pytest.mark.parametrize(
        ("content", "line", "what"),
        [
            (b"", 1, "empty"),
            (b"\x7fELF\x00\x01", 1, "known format"),
            (b"hello\nworld\n", 1, "known format"),
            (b"date,open,close\n", 1, "known format"),
            (b'{"stream":"x"}\n', 1, "known format"),
        ],
    )
    def test_foreign_file(self, capture_of, content, line, what):
        with pytest.raises(CaptureError, match=rf"kraken.capture:{line}: .*{what}"):
            capture_of(content)

    @pytest.mark.parametrize(
        ("content", "line", "what"),
        [
            (TSJSON + b'1617666541676557001 {"ev', 2, "cut off"),
            (TSJSON + b"garbage\n", 2, "expected 'NANOSECONDS FRAME'"),
            (TEXT + b"garbage\n", 8, "expected 'SECONDS: FRAME'"),
            (TEXT + b"1617666425: [1,2", 8, "cut off"),
            (TEXT + b"1617666425: b'\\x1'\n", 8, "bytes literal"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv","co', 4, "cut off"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv"}\n', 4, "without conn"),
            (jsonl(("a", "1.0", FRAME)) + b'{"t":"recv","conn":"a","ts":1,"b64":"%"}\n', 4, "without conn"),
            (jsonl(("a", "1.0", FRAME)) + b"[]\n", 4, "expected a record"),
            (gzip.compress(TSJSON * 1000)[:-20], 1, "cut off"),
            (gzip.compress(TSJSON)[:-8] + b"\x00" * 8, 1, "damaged"),
        ],
    )
    def test_damaged_file(self, capture_of, content, line, what):
        with pytest.raises(CaptureError, match=rf"kraken.capture:\d+: .*{what}") as error:
            list(capture_of(content))
        # How far a damaged compressed stream gets before it is noticed is the library's business.
        if not content.startswith(lines.GZIP_MAGIC):
            assert f":{line}: " in str(error.value)

    def test_cut_off_zstandard(self, capture_of):
        """The library itself would take a cut-off stream for a short one."""
        zstandard = pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        with pytest.raises(CaptureError, match="cut off"):
            list(capture_of(zstandard.compress(TSJSON * 1000)[:-3]))

    def test_missing_file(self, tmp_path):
        with pytest.raises(CaptureError, match="No such file"):
            open_capture(tmp_path / "absent")

    def test_endless_line(self, capture_of, monkeypatch):
        """A file without line ends does not fill the memory."""
        monkeypatch.setattr(lines, "LINE_BYTES_MAX", 1 << 20)
        with pytest.raises(CaptureError, match="longer than 1 MiB"):
            capture_of(b"x" * (3 << 20))

    def test_venue_without_decoder(self, capture_of):
        with pytest.raises(CaptureError, match="recorded from OKX"):
            capture_of(b'{"t":"header","exchange":"OKX"}\n')


#: File, market, frames, and what is in them: the counts of the data's README.
RECORDED = [
    (
        "binance/2024-08-08_spot_btcusdt.tsjson.zst",
        "spot",
        41_249,
        "trades=9757 quotes=28040 depth=3451 depth_snapshot=1",
    ),
    (
        "binance/2024-07-18_usdm_btcusdt.tsjson.zst",
        "usdm",
        11_414,
        "trades=974 quotes=7113 depth=3326 depth_snapshot=1",
    ),
    (
        "binance/2024-08-08_coinm_btcusd_perp.tsjson.zst",
        "coinm",
        48_270,
        "trades=2286 quotes=19136 depth=26847 depth_snapshot=1",
    ),
    (
        "binance/2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
        "spot",
        11_357,
        "trades=1240 quotes=5408 depth=4709",
    ),
    (
        "binance/2021-04-05_usdm_5symbols_with_rest.rec.txt.zst",
        "usdm",
        8_421,
        "trades=574 quotes=3424 depth=4423",
    ),
    (
        "binance/2021-07-22_coinm_10symbols.rec.jsonl.zst",
        "coinm",
        4_371,
        "trades=51 quotes=2240 depth=2047 candle=33",
    ),
    (
        "binance_us/2021-04-05_spot_10symbols_with_rest.rec.txt.zst",
        "spot-us",
        6_008,
        "trades=188 quotes=2624 depth=3196",
    ),
    (
        "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst",
        "spot",
        1_030,
        "trades=79 quotes=160 history=200 depth=775 heartbeat=25 candle=6 ack=5",
    ),
    (
        "coinbase/2021-04-17_pro_5products.rec.txt.zst",
        "spot",
        5_896,
        "trades=72 history=5 depth=5734 depth_snapshot=5 ticker_without_sizes=77 ack=3",
    ),
    ("kraken/2021-04-05_spot_trade.rec.txt.zst", "spot", 142, "trades=28 heartbeat=119 ack=10 status=1"),
    ("kraken/2021-04-05_spot_ticker.rec.txt.zst", "spot", 152, "quotes=22 heartbeat=119 ack=10 status=1"),
    ("kraken/2021-04-05_spot_book.rec.txt.zst", "spot", 14_636, "depth=14506 heartbeat=119 ack=10 status=1"),
]


class TestRecordings:
    @pytest.mark.parametrize(("name", "market", "frames", "expected"), RECORDED)
    def test_every_frame_is_explained(self, data, name, market, frames, expected):
        """Events, history or a reason for each frame; none malformed; as many as were counted."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        capture = open_capture(data / name)
        decoder = capture.decoder()
        latest = 0
        for frame in capture:
            decoder.decode(frame.data)
            assert latest <= frame.receive_ns
            latest = frame.receive_ns

        counters = decoder.counters()
        counted = {kind: counters[kind] for kind in ("trades", "quotes", "history") if counters[kind]}
        assert market == capture.market
        assert (frames, {}, 0) == (counters["frames"], counters["malformed"], counters["unpackable"])
        parts = (part.split("=") for part in expected.split())
        assert {kind: int(count) for kind, count in parts} == counted | counters["ignored"]

    def test_prices_come_from_their_text(self, data):
        """Every price of a recording equals what Python reads from the same text."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        capture = open_capture(data / "binance/2024-07-18_usdm_btcusdt.tsjson.zst")
        decoder = capture.decoder()
        checked = 0
        for frame in capture:
            for _, _, value, *_ in decoder.decode(frame.data):
                message = json.loads(frame.data)["data"]
                assert float(message.get("p") or message["b"]) == value
                checked += 1
        assert 974 + 7_113 == checked

    def test_coinbase_advanced_side_is_the_makers(self, data):
        """Trades at the touch of the same connection's book: the decoded taker bought at the ask."""
        pytest.importorskip("zstandard", reason="extra 'exchanges' is not installed")
        decoder = Decoder("coinbase")
        sides: dict[tuple[str, str], dict[float, float]] = defaultdict(dict)
        seen: Counter[tuple[str, int]] = Counter()
        for frame in open_capture(data / "coinbase/2026-08-09_advanced_trade_btc_eth.rec.jsonl.zst"):
            message = json.loads(frame.data)
            for event in message["events"] if message["channel"] == "l2_data" else ():
                for update in event["updates"]:
                    side = sides[event["product_id"], update["side"]]
                    side[float(update["price_level"])] = float(update["new_quantity"])
            for number, symbol, price, metadata, *_ in decoder.decode(frame.data):
                bids, asks = ([p for p, q in sides[symbol, side].items() if q] for side in ("bid", "offer"))
                if number == 0 and bids and asks:
                    where = "ask" if price >= min(asks) else "bid" if price <= max(bids) else "inside"
                    seen[where, -1 if metadata >> 63 else 1] += 1

        assert {("ask", 1): 48, ("bid", -1): 23, ("inside", -1): 5, ("inside", 1): 2} == seen
